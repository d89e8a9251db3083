"""What the verbs share: run passes, weigh the result, keep it or not, write it, report."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnxslim.api.lossless import compared, finished, lossless, widened_for_lossy
from onnxslim.api.lossy import Lossy
from onnxslim.api.output import size_of, time_sessions, weigh, write, written
from onnxslim.api.page import check_report, layers_of
from onnxslim.api.result import Result
from onnxslim.api.searching import searched
from onnxslim.api.source import AnyModel, open_statistics
from onnxslim.api.task import Task, open_task
from onnxslim.errors import FIX, CheckFailed
from onnxslim.evaluation.baseline import is_labelled
from onnxslim.evaluation.tier import Tier
from onnxslim.execution import operators_from
from onnxslim.graph.annotations import annotation_bytes
from onnxslim.graph.listed import defaults
from onnxslim.packing import ledger
from onnxslim.pipeline import Pass, RunConfig, dump_recipe
from onnxslim.report import Attempt, Report, describe, machine
from onnxslim.report.words import verb_named
from onnxslim.search import Candidate
from onnxslim.search.fallback import lossy_of
from onnxslim.version import versions

if TYPE_CHECKING:
    from onnxslim.report import ModelFacts
    from onnxslim.search import Front
    from onnxslim.search.config import SearchConfig

ANNOTATED = 0.05
"""Share of a file that notes on its nodes must be to be worth saying."""
INTERRUPTED_EARLY = "the search was interrupted before it had a result that holds"
NONE_BETTER = "no result of the search keeps what it must"
COMPARABLE = "give inputs that the model takes, or load its operators with custom_op_library"


def rewrite(
    command: str,
    model: AnyModel,
    output: str | os.PathLike[str] | None,
    passes: Sequence[Pass],
    config: RunConfig,
    search: SearchConfig | None = None,
) -> Result:
    """Runs passes on a model and returns the best result that may be trusted.

    The lossless passes come first, then the lossy ones. A lossy result that is wrong, larger or slower is dropped for
    the part of it that is not (`onnxslim.search.fallback`), at last for the lossless one; a lossless one that is
    larger, for the model as it came. The report says so. Lossless passes that come after the lossy ones, such as
    encodings, are run on what is left too.

    Args:
        command: The verb.
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result.
        passes: In their order.
        config: How.
        search: How the lossy passes are searched for the best result; None where they run as they are configured.

    Raises:
        InputError: The model, the samples, the output or a combination of options cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it. Nothing is written.
    """
    with operators_from(config.custom_op_library):
        started = time.perf_counter()
        check_report(config.report, {"model": model, "output": output, "plan": config.plan}, config.samples)
        task = open_task(verb_named(command), model, output, passes, config)
        made = VerbRun(task, search).run()
        return _delivered(task, made, output, started)


def none_better(front: Front | None) -> str:
    """Why nothing of a search is the result: what speaks against the model that came nearest to the outputs."""
    failed = [each for each in (front.trials if front is not None else ()) if each.reason and each.choices]
    if not failed:
        return NONE_BETTER
    nearest = max(failed, key=lambda each: -math.inf if each.measured is None else each.measured.sqnr_db)
    return f"{NONE_BETTER}: {nearest.reason}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a job, and what a report says besides.

    Attributes:
        kept: What becomes the output.
        dropped: The lossy result that was dropped for it; None where none was.
        warnings: What makes the samples, the labels or the original doubtful.
        front: What a search has tried; None where there was none.
    """

    kept: Candidate
    dropped: Candidate | None = None
    warnings: Sequence[str] = ()
    front: Front | None = None


class VerbRun:
    """One run of a verb's passes.

    Args:
        task: What it works on.
        search: How the best result is searched for, or None.
    """

    def __init__(self, task: Task, search: SearchConfig | None = None) -> None:
        self.task, self.search = task, search
        self.first = list(itertools.takewhile(lambda p: p.tier is not Tier.LOSSY, task.passes))
        self.rest = list(task.passes[len(self.first) :])

    def run(self) -> Verdict:
        """The best result that may be trusted."""
        task, config = self.task, self.task.config
        base = compared(task, lossless(task, task.source, self.first))
        if config.must_verify and base.unverified:
            why = base.unverified.partition(FIX)[0]
            raise CheckFailed("the outputs cannot be compared", why=why, mend=COMPARABLE)
        return self._lossy(base) if self.rest else Verdict(base)

    def _lossy(self, base: Candidate) -> Verdict:
        task, config, evaluator = self.task, self.task.config, self.task.evaluator
        parts = evaluator.parts
        judging = [] if parts is None or task.samples is None else [task.samples, parts.selection, parts.report]
        statistics = open_statistics(config.stats, judging)
        labelled = is_labelled(task.metric or config.metric)
        # Before the work: a metric that fails shall do so at once.
        warnings = evaluator.baseline(labelled=labelled, max_drop=config.max_drop)
        start = widened_for_lossy(task, base, self.first)
        front: Front | None = None
        tried: Candidate | None
        if self.search is None:
            tried, dropped = Lossy(task, start, statistics).best(self.rest)
        else:
            found = searched(task, start, self.rest, statistics, self.search)
            tried, dropped, front = found.tried, None, found.front
        if tried is None:
            early = front is not None and front.interrupted
            kept = replace(base, decision=task.verb.kept, reason=INTERRUPTED_EARLY if early else none_better(front))
            kept = finished(task, kept, self.rest)
        elif tried.rejection is None:
            kept = tried.after(base)
        else:
            dropped = tried
            kept = replace(base, decision=task.verb.kept, reason=tried.rejection.reason, notes=tried.notes)
            kept = finished(task, kept, self.rest)
        if not kept.found.scores:
            kept = replace(kept, found=replace(kept.found, scores=evaluator.scores(kept.model)))
        return Verdict(kept, dropped, warnings, front)


def _delivered(task: Task, made: Verdict, output: str | os.PathLike[str] | None, started: float) -> Result:
    """Writes the result, and reports on it."""
    config, source, kept, lossy = task.config, task.source, made.kept, lossy_of(task.passes)
    notes = list(_notes(task))
    if task.packed is not source.model and kept.model is source.model:  # unpacked for nothing: it would be larger
        kept = replace(kept, model=task.packed)
        notes.append(
            "its packed weights stay as they are, for plain ones take more bytes; onnxslim decode makes them plain"
        )
    elif task.packed is not source.model:
        notes.append("its packed weights were unpacked first: the sizes of before are those of the packed file")
    macs: dict[str, int | None] = {}
    if task.samples is not None and any(each.removes_work for each in lossy):
        macs = {"input": task.evaluator.macs(source.model), "output": task.evaluator.macs(kept.model)}
    session_seconds: dict[str, float] = {}
    if config.time_sessions and not kept.unverified:  # what cannot be opened takes its time, too
        config.progress("measure how long sessions take to open")
        session_seconds = time_sessions(source, kept.model, kept.encoded, config.threads)
    recipe = dump_recipe(task.passes)
    if config.record:
        kept.model.metadata_props["onnxslim.recipe"] = recipe
        kept = replace(kept, encoded=None, untouched=False)
    files: dict[str, Any] = {}
    if output is None:
        size = size_of(kept.encoded or weigh(kept.model))
    else:
        config.progress(f"write {os.fspath(output)}")
        original = source.original() if kept.untouched else None
        saved = write(kept.model, output, external_data=config.external_data, encoded=kept.encoded, original=original)
        size, files = saved.bytes, written(saved, output)
    notes += _annotated(task, kept, size)
    parts = task.evaluator.parts if lossy else None
    layers = layers_of(task, kept.model, runs=not kept.unverified)
    report = Report(
        command=task.verb.name,
        decision=kept.decision,
        reason=kept.reason,
        input=task.facts,
        output=_facts_of(task, kept, output, size),
        **_record(kept),
        evidence=kept.evidence,
        verified=config.verify and not kept.unverified,
        attempt=None if made.dropped is None else Attempt(**_record(made.dropped)),
        calibrated=0 if parts is None else len(parts.calibration),
        held_back=0 if parts is None else len(task.evaluator.feeds),
        held_out=0 if parts is None else len(parts.report),
        notes=(*notes, *kept.notes),
        warnings=made.warnings,
        metric=task.metric,
        macs=macs,
        session_seconds=session_seconds,
        target=config.elsewhere if lossy else "",
        seconds=time.perf_counter() - started,
        versions=versions(),
        machine=machine(),
        recipe=recipe,
        front=made.front,
        converted=source.converted,
        layers=layers,
        **files,
    )
    if config.report is not None:
        config.progress(f"write {os.fspath(config.report)}")
        report.save(config.report)
    return Result(kept.model, report)


def _record(candidate: Candidate) -> dict[str, Any]:
    """What a `Record` holds, of a candidate."""
    found = candidate.found
    return {
        "steps": candidate.steps,
        "guilty": candidate.guilty,
        "parity": found.parity,
        "latency": found.latency,
        "parallel": found.parallel,
        "scores": found.scores,
    }


def _notes(task: Task) -> Sequence[str]:
    """What to say of the model and the passes, whatever came of them."""
    notes = []
    if replaceable := len(defaults(task.source.model)):
        notes.append(
            f"{replaceable} of the initializers are inputs too, so that a caller may replace them: they are not taken "
            "for constants; --freeze-initializers (freeze_initializers=True) says that nobody does"
        )
    claims = task.source.false_claims
    if claims:
        name, declared, inferred = claims[0]
        more = f" (and {len(claims) - 1} more)" if len(claims) > 1 else ""
        notes.append(
            f"the file declares {name!r} as {declared}, and it is {inferred}{more}: such shapes are not believed"
        )
    if task.store.applied and task.config.plan is not None:
        count = "1 plan was" if task.store.applied == 1 else f"{task.store.applied} plans were"
        notes.append(f"{count} applied from {os.fspath(task.config.plan or '')}")
    sparse = [each.name for each in task.passes if each.for_size]
    if sparse and not any(each.encodes for each in task.passes):
        notes.append(f"no pass stores the zeros and few values in fewer bytes: encode behind {sparse[0]} does")
    return notes


def _annotated(task: Task, kept: Candidate, size: int | None) -> Sequence[str]:
    """What of the file only says something about it, where that is much."""
    said = 0 if task.config.strip else annotation_bytes(kept.model)
    if said < ANNOTATED * (size or math.inf):
        return ()
    return (f"{said:,} bytes of it are the exporter's notes on its nodes: --strip (strip=True) drops them",)


def _facts_of(task: Task, kept: Candidate, path: str | os.PathLike[str] | None, size: int | None) -> ModelFacts:
    facts = describe(kept.model, path, size)
    return replace(facts, tensors=tuple(ledger(kept.model))) if task.verb.lists_weights else facts
