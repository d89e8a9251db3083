"""What slim, prune, quantize and compress share: run passes, weigh the result, keep it or not, write it, report."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnx_ir as ir

from onnxslim import calibration, runtime
from onnxslim.analysis import infer_shapes, model_cost
from onnxslim.analysis.cost import bound
from onnxslim.api.baseline import evidence, is_labelled, named_metric
from onnxslim.api.fallback import Fallback
from onnxslim.api.output import size_of, time_sessions, weigh, write, written
from onnxslim.api.quality import MIN_SQNR, hold_to
from onnxslim.api.result import Result
from onnxslim.api.settings import MAX_DROP, Settings
from onnxslim.api.source import AnyModel, Source, check_output, open_samples, open_source, open_statistics
from onnxslim.api.widening import run_narrowing, widened
from onnxslim.errors import FIX, CannotRun, CheckFailed, InputError, TooSlow
from onnxslim.fitting import typical
from onnxslim.graph import Encoded
from onnxslim.graph.halves import Half
from onnxslim.graph.listed import defaults
from onnxslim.packing import decoded_values, ledger
from onnxslim.pipeline import Context, Guilty, Pass, Pipeline, Step, dump_recipe, get_pass
from onnxslim.report import Attempt, Report, describe, versions
from onnxslim.report.wording import common, kind_of
from onnxslim.runtime.affordable import opening_seconds
from onnxslim.runtime.tier import Tier

if TYPE_CHECKING:
    from onnxslim.api.converting import Conversion
    from onnxslim.calibration import Samples, Split, Statistics
    from onnxslim.report import ModelFacts
    from onnxslim.runtime import Feed, Latency, Parity

MAX_HELD_BACK = 64
"""Held-out samples that the report's SQNR and latency are taken on."""
MAX_CONVERTED = 4
"""Samples that outputs are compared on with those before a conversion of the float type."""
LONG_REASON = 100
"""Characters of a reason beyond which only its first clause is repeated for the whole model."""
MAX_TIMED = 8
"""Of these, those that the latency is measured with."""
MAIN_PROCESSES, MAIN_SECONDS = 10, 4.0
"""Of the latency on the threads asked for."""
WARM_UP = 0.25
"""Seconds that one run of every feed may take."""
OTHER_PROCESSES, OTHER_SECONDS = 5, 1.0
"""Of the latency on all CPUs, which is only there to find what is slower."""


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A candidate for the output, and what was measured of it."""

    model: ir.Model
    steps: tuple[Step, ...]
    guilty: tuple[Guilty, ...]
    evidence: str
    decision: str
    reason: str = ""
    untouched: bool = False
    """Whether the model is the one that came in."""
    encoded: Encoded | None = None
    """The file of the model, where it has been weighed."""
    parity: Parity | None = None
    latency: Latency | None = None
    parallel: Latency | None = None
    """The latency on all CPUs."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The metric on the report part, by model (``input``, ``output``)."""
    notes: tuple[str, ...] = ()
    unverified: str = ""
    """Why outputs were not compared although they should have been."""
    veto: str = ""
    """Why it must not be the output; empty where it may."""
    poor: bool = False
    """Whether it is the outputs or the score that speak against it, and not size or speed."""
    halves: Mapping[str, Half] = field(default_factory=dict)
    """How the file holds weights in half precision that are float32 constants here."""

    def because(self, reason: str) -> Self:
        """The same, with the reason why it is not all that was asked for."""
        return replace(self, reason=reason)


def rewrite(
    command: str,
    model: AnyModel,
    output: str | os.PathLike[str] | None,
    passes: Sequence[Pass],
    settings: Settings,
    *,
    may_grow: bool = False,
) -> Result:
    """Runs passes on a model and returns the best result that may be trusted.

    The lossless passes come first, then the lossy ones. A lossy result that is wrong, larger or slower is dropped for
    the part of it that is not (`onnxslim.api.fallback`), at last for the lossless one; a lossless one that is larger,
    for the model as it came. The report says so. Lossless passes that come after the lossy ones, such as encodings, are
    run on what is left too.

    Args:
        command: The verb.
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``; the caller's object is not changed.
        output: Where to write the result.
        passes: In their order.
        settings: How.
        may_grow: Whether a lossless result may be larger: its purpose is another.

    Raises:
        InputError: The model, the samples, the output or a combination of options cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it. Nothing is written.
    """
    with runtime.operators_from(settings.custom_op_library):
        return _rewrite(command, model, output, passes, settings, may_grow=may_grow)


def _rewrite(
    command: str,
    model: AnyModel,
    output: str | os.PathLike[str] | None,
    passes: Sequence[Pass],
    settings: Settings,
    *,
    may_grow: bool,
) -> Result:
    started = time.perf_counter()
    passes = settings.complete(passes)
    _refuse_after_encode(passes)
    source = open_source(
        model, trust_data_dir=settings.trust_data_dir, freeze_initializers=settings.freeze_initializers
    )
    facts = source.facts
    given = {"samples": settings.samples, "labels": settings.labels, "recipe": settings.recipe_path}
    check_output(source, output, in_place=settings.in_place, others=given)
    converted = None
    if settings.prepare is not None:
        converted = settings.prepare(source.model)
        source = replace(source, given=source.model, bytes=size_of(weigh(source.model)))
    packed = source.model
    if command in _UNPACKED:
        source = replace(source, model=_unpacked(packed))
    samples = open_samples(settings.samples, source.model, settings.labels)
    named = settings.metric
    if named is not None:
        settings = replace(settings, metric=named_metric(named, source.model, settings.threads))
    warnings: list[str] = []
    lossy = [p for p in passes if p.tier is Tier.LOSSY]
    lossless = list(itertools.takewhile(lambda p: p.tier is not Tier.LOSSY, passes))
    if samples is None and lossy and (settings.metric is not None or any(p.needs_samples for p in lossy)):
        raise InputError(
            f"{command} needs samples" if settings.metric is None else "a metric needs samples",
            mend="give --samples: a folder of .npz, a .npy, a folder of images, module:function",
        )
    if samples is None and settings.min_sqnr != MIN_SQNR:
        raise InputError("min_sqnr needs samples", mend="give --samples too, or leave it out")
    trial = _lossless(source, lossless, samples, settings, command, may_grow=may_grow)
    if converted is not None:
        trial = _compared(converted, trial, samples, settings)
    if settings.must_verify and trial.unverified:
        raise CheckFailed("the outputs cannot be compared", why=trial.unverified.partition(FIX)[0], mend=_COMPARABLE)
    attempt: Attempt | None = None
    calibrated = held_back = held_out = 0
    if lossy:
        parts = calibration.split(samples) if samples is not None else None
        judging = [samples, parts.selection, parts.report] if samples is not None and parts is not None else []
        statistics = open_statistics(settings.stats, judging)
        score = None
        if parts is not None:  # a metric that fails shall do so before the work
            score, warnings = _evidence(source.model, parts, settings, labelled=is_labelled(named))
        base = _widened(trial, lossless, samples, settings)
        tried, dropped = _settled(source, base, passes[len(lossless) :], parts, statistics, score, settings, command)
        if parts is not None:
            calibrated, held_out = len(parts.calibration), len(parts.report)
            held_back = min(held_out, MAX_HELD_BACK)
        dropped = tried if tried.veto else dropped
        if dropped is not None:
            attempt = Attempt(
                steps=dropped.steps,
                guilty=dropped.guilty,
                parity=dropped.parity,
                latency=dropped.latency,
                parallel=dropped.parallel,
                scores=dropped.scores,
            )
        if tried.veto:
            trial = replace(trial, decision=_KEPT.get(command, "kept float"), reason=tried.veto, notes=tried.notes)
            trial = _finished(source, trial, passes[len(lossless) :], samples, settings, command)
        else:
            trial = replace(tried, steps=trial.steps + tried.steps, guilty=trial.guilty + tried.guilty)
        if score is not None and not trial.scores:
            trial = replace(trial, scores=_both(score, _score(trial.model, parts, settings)))
    notes = []
    names = {p.name for p in passes}
    if replaceable := len(defaults(source.model)):
        notes.append(
            f"{replaceable} of the initializers are inputs too, so that a caller may replace them: they are not taken "
            "for constants; --freeze-initializers (freeze_initializers=True) says that nobody does"
        )
    if source.false_claims:
        name, declared, inferred = source.false_claims[0]
        more = f" (and {len(source.false_claims) - 1} more)" if len(source.false_claims) > 1 else ""
        notes.append(
            f"the file declares {name!r} as {declared}, and it is {inferred}{more}: such shapes are not believed"
        )
    if "sparsify" in names and "encode" not in names:
        notes.append("no pass stores the zeros and few values in fewer bytes: encode behind sparsify does")
    if packed is not source.model and trial.model is source.model:  # unpacked for nothing: it would be larger
        trial = replace(trial, model=packed)
        notes.append(
            "its packed weights stay as they are, for plain ones take more bytes; onnxslim decode makes them plain"
        )
    elif packed is not source.model:
        notes.append("its packed weights were unpacked first: the sizes of before are those of the packed file")
    macs: dict[str, int | None] = {}
    if samples is not None and any(p.name == "prune" for p in lossy):
        (feed,) = typical([sample.feed for sample in itertools.islice(samples, MAX_TIMED)])
        macs = {"input": _macs(source.model, feed), "output": _macs(trial.model, feed)}
    session_seconds: dict[str, float] = {}
    if settings.time_sessions and not trial.unverified:  # what cannot be opened takes its time, too
        settings.progress("measure how long sessions take to open")
        session_seconds = time_sessions(source, trial.model, trial.encoded, settings.threads)
    recipe = dump_recipe(passes)
    if settings.record:
        trial.model.metadata_props["onnxslim.recipe"] = recipe
        trial = replace(trial, encoded=None, untouched=False)
    files: dict[str, Any] = {}
    if output is None:
        size = size_of(trial.encoded or weigh(trial.model))
    else:
        settings.progress(f"write {os.fspath(output)}")
        original = source.original() if trial.untouched else None
        saved = write(
            trial.model, output, external_data=settings.external_data, encoded=trial.encoded, original=original
        )
        size, files = saved.bytes, written(saved, output)
    report = Report(
        command=command,
        decision=trial.decision,
        reason=trial.reason,
        input=facts,
        output=_facts_of(trial.model, output, size, weights=command == "sparsify"),
        steps=trial.steps,
        guilty=trial.guilty,
        parity=trial.parity,
        latency=trial.latency,
        evidence=trial.evidence,
        verified=settings.verify and not trial.unverified,
        attempt=attempt,
        calibrated=calibrated,
        held_back=held_back,
        held_out=held_out,
        notes=(*notes, *trial.notes),
        warnings=warnings,
        parallel=trial.parallel,
        scores=trial.scores,
        metric=named if isinstance(named, str) else "",
        macs=macs,
        session_seconds=session_seconds,
        target=settings.elsewhere if lossy else "",
        seconds=time.perf_counter() - started,
        versions=versions(),
        recipe=recipe,
        **files,
    )
    return Result(trial.model, report)


def _facts_of(model: ir.Model, path: str | os.PathLike[str] | None, size: int | None, *, weights: bool) -> ModelFacts:
    facts = describe(model, path, size)
    return replace(facts, tensors=tuple(ledger(model))) if weights else facts


def _refuse_after_encode(passes: Sequence[Pass]) -> None:
    """Refuses passes that change weights behind one that packs them: most see none then, and do nothing."""
    encoded = False
    for each in passes:
        if each.name in ("encode", "decode"):
            encoded = getattr(each, "encoding", "dense") != "dense"
        elif encoded and each.tier is Tier.LOSSY:
            raise InputError(
                f"{each.name} comes after encode, which packs the weights that it would change",
                where="the passes",
                mend="let encode be the last one, or put decode between them",
            )


_UNPACKED = frozenset({"prune", "quantize", "sparsify", "compress"})
"""Verbs that look at weights, which they could not see where nodes unpack them."""


def _unpacked(model: ir.Model) -> ir.Model:
    """The model, or a copy with plain tensors where there are packed ones."""
    if not any(True for graph in model.graphs() for _ in decoded_values(graph)):
        return model
    plain = model.clone()
    get_pass("decode")().run(plain, Context())
    return plain


_DONE = {
    "slim": "slimmed",
    "prune": "pruned",
    "quantize": "quantized",
    "sparsify": "sparsified",
    "decode": "decoded",
    "compress": "compressed",
}
_COMPARABLE = "give inputs that the model takes, or load its operators with custom_op_library"
LEAST_GAIN = 0.001
"""Share of the bytes that zeros and few values must save."""
_KEPT = {"prune": "kept all channels", "sparsify": "kept all weights"}
"""What is decided where the lossy passes come to nothing; else ``kept float``."""


_NOTHING = {"prune": "nothing could be pruned", "sparsify": "no weight could be made sparse"}
_WHAT = {"prune": "the pruned model", "sparsify": "the sparse model"}
"""How a lossy result is called; else ``int8``."""


def _finished(
    source: Source, trial: _Trial, passes: Sequence[Pass], samples: Samples | None, settings: Settings, command: str
) -> _Trial:
    """What the lossless passes behind the lossy ones make of a lossless result, where that is smaller."""
    lossless = list(itertools.takewhile(lambda p: p.tier is not Tier.LOSSY, reversed(passes)))[::-1]
    if not lossless:
        return trial
    base = replace(source, model=trial.model, bytes=size_of(trial.encoded) if trial.encoded else source.bytes)
    after = _lossless(base, lossless, samples, settings, command)
    if after.untouched:
        return replace(trial, steps=trial.steps + after.steps, guilty=trial.guilty + after.guilty)
    return replace(
        trial,
        model=after.model,
        steps=trial.steps + after.steps,
        guilty=trial.guilty + after.guilty,
        encoded=after.encoded,
        untouched=False,
    )


def _lossless(
    source: Source,
    passes: list[Pass],
    samples: Samples | None,
    settings: Settings,
    command: str,
    *,
    may_grow: bool = False,
) -> _Trial:
    """Runs the lossless passes; what comes of them is never larger than what came in, unless it may be."""
    outcome = _pipeline(passes, samples, settings).run(source.model)
    unverified = outcome.unverified
    notes: tuple[str, ...] = ()
    if settings.verify and not outcome.modified and not unverified:  # there was nothing to compare
        unverified, notes = _obstacle(source.model, settings)
    if unverified:
        notes = (f"the outputs were not compared: {unverified}", *notes)
    trial = _Trial(
        model=outcome.model,
        steps=outcome.steps,
        guilty=outcome.guilty,
        evidence=outcome.evidence,
        decision=_DONE[command] if command != "sparsify" or _acted(outcome.steps, "encode") else "slimmed",
        parity=outcome.parity,
        unverified=unverified,
        notes=notes,
        encoded=weigh(outcome.model) if outcome.modified else None,
    )
    if not outcome.modified:
        reverted = "every rewrite was reverted, because a check failed with it"
        reason = reverted if outcome.guilty else "no rewrite applies"
    else:
        reason = "" if may_grow else _growth(source, trial.encoded)
    if reason and settings.prepare is not None:
        return replace(
            trial, model=source.model, encoded=None, notes=(*trial.notes, f"beyond the edits asked for: {reason}")
        )
    if reason:
        return replace(trial, model=source.model, encoded=None, untouched=True, decision="unchanged", reason=reason)
    return trial


def _compared(converted: Conversion, trial: _Trial, samples: Samples | None, settings: Settings) -> _Trial:
    """The trial with what its outputs lost by another float type.

    Raises:
        CheckFailed: They lost too much.
    """
    settings.progress(f"compare outputs with those before the conversion to {converted.dtype}")
    feeds = None if samples is None else [sample.feed for sample in itertools.islice(samples, MAX_CONVERTED)]
    try:
        parity = converted.check(trial.model, feeds)
    except CannotRun as error:
        if trial.unverified:
            return trial  # a note says why already
        note = f"the conversion to {converted.dtype} was not compared with the original: {error}"
        return replace(trial, unverified=str(error), notes=(*trial.notes, note))
    note = f"the outputs were compared with those before the conversion, on inputs that suit {converted.dtype}"
    return replace(trial, parity=parity, evidence=parity.evidence, notes=(*trial.notes, note))


def _obstacle(model: ir.Model, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """Why onnxruntime cannot open the model, and what else to say of it; empty where it can."""
    config = runtime.lean_config(model)
    try:
        patient = settings.must_verify or settings.samples is not None
        most = math.inf if patient else opening_seconds(model)
        runtime.try_opening(model, threads=settings.threads, config=config, most=most)
    except TooSlow as error:
        return str(error), ()
    except CannotRun as error:
        try:
            runtime.try_opening(model, threads=settings.threads, optimize=False, config=config)
        except CannotRun:
            return str(error), ()
        return "", (f"onnxruntime opens the model only without optimizations: {error.why or error.what}",)
    return "", ()


def _widened(trial: _Trial, lossless: Sequence[Pass], samples: Samples | None, settings: Settings) -> _Trial:
    """A lossless result for lossy passes to begin with: weights in half precision behind a Cast are constants."""
    run = _pipeline(lossless, samples, settings).run
    model, halves = widened(trial.model, run)
    if not halves:
        return trial
    note = f"{len(halves)} weights of half precision behind a Cast are constants; those that stay floats are stored so"
    return replace(trial, model=model, halves=halves, notes=(*trial.notes, note))


def _settled(
    source: Source,
    base: _Trial,
    passes: Sequence[Pass],
    parts: Split | None,
    statistics: Sequence[Statistics],
    score: float | None,
    settings: Settings,
    command: str,
) -> tuple[_Trial, _Trial | None]:
    """As much of the lossy result as holds, and all of it where that does not; see `Fallback.best`."""
    held_back = parts.report if parts is not None else ()
    feeds = [sample.feed for sample in itertools.islice(held_back, MAX_HELD_BACK)]

    @cache
    def reference() -> runtime.Reference:
        return runtime.Reference(source.model, feeds, tier=Tier.LOSSY, threads=settings.threads, evidence="samples")

    def judge(some: Sequence[Pass]) -> _Trial:
        trial = _lossy(source, base, some, parts, statistics, score, settings, command, feeds, reference)
        left = {each.name for each in some}
        gone = any(each.name not in left for each in passes if each.tier is Tier.LOSSY)
        return replace(trial, decision=_DONE.get(_last(some), trial.decision)) if gone else trial

    def timed(trial: _Trial, some: Sequence[Pass]) -> _Trial:
        if not settings.bench or settings.elsewhere:
            return trial
        return _timed(
            source, trial, typical(feeds, MAX_TIMED) if feeds else [], settings, _WHAT.get(_last(some), "int8")
        )

    kept, dropped = Fallback(judge, timed).best(passes)
    # What the stages hold would outlive the run in its report.
    bare = [
        replace(trial, steps=tuple(replace(step, stages=()) for step in trial.steps))
        for trial in (kept, dropped)
        if trial is not None
    ]
    return bare[0], bare[1] if len(bare) > 1 else None


def _last(passes: Sequence[Pass]) -> str:
    """The name of the verb that the last of the lossy passes is the work of."""
    return next((each.name for each in reversed(passes) if each.tier is Tier.LOSSY), "")


def _lossy(
    source: Source,
    base: _Trial,
    passes: Sequence[Pass],
    parts: Split | None,
    statistics: Sequence[Statistics],
    score: float | None,
    settings: Settings,
    command: str,
    feeds: Sequence[Feed],
    reference: Callable[[], runtime.Reference],
) -> _Trial:
    """Runs the lossy passes on the lossless result, and measures on samples that they have not seen."""
    calibration, held_back = (parts.calibration, parts.report) if parts is not None else (None, None)
    selection = parts.selection if parts is not None and len(parts.selection) else None
    beyond: list[str] = []
    if base.halves:
        outcome, beyond = run_narrowing(
            base.model,
            passes,
            base.halves,
            lambda some, model: _pipeline(some, calibration, settings, selection, statistics).run(model),
        )
    else:
        outcome = _pipeline(passes, calibration, settings, selection, statistics).run(base.model)
    trial = _Trial(
        model=outcome.model,
        steps=outcome.steps,
        guilty=outcome.guilty,
        evidence=outcome.evidence,
        decision=_DONE[command],
        notes=base.notes + (parts.notes if parts is not None else ()),
        encoded=weigh(outcome.model) if outcome.modified else None,
    )
    if not any(_acted(outcome.steps, p.name) for p in passes if p.tier is Tier.LOSSY):
        return replace(trial, veto=_why_nothing(outcome.steps, _NOTHING.get(command, "nothing could be quantized")))
    if parts is None:
        unseen = "there were no samples: what this does to the outputs was not measured"
        trial = replace(trial, notes=(*trial.notes, unseen))
    if beyond:
        note = f"{len(beyond)} weights were stored in half precision and are float32 now: they are beyond its range"
        trial = replace(trial, notes=(*trial.notes, note))
    if settings.elsewhere:
        here = runtime.host_target().name
        note = f"the speed is not measured: the result is for {settings.elsewhere}, and this machine is {here}"
        trial = replace(trial, notes=(*trial.notes, note))
    parity, veto = None, _growth(source, trial.encoded)
    if command == "sparsify" and not veto and not any(getattr(p, "encoding", "") == "dense" for p in passes):
        veto = _no_gain(source, base, trial)
    unfit = bool(veto)
    if settings.verify and feeds and not veto:
        settings.progress(f"compare outputs on {len(feeds)} held-out samples")
        parity = hold_to(reference().check(outcome.model), settings.min_sqnr)
        veto = "" if parity.passed else f"the outputs differ too much: {parity.differences[0]}"
    scores: dict[str, float] = {}
    if score is not None and not veto:
        scores = _both(score, _score(outcome.model, parts, settings))
        if settings.max_drop is not None and score - scores["output"] > settings.max_drop:
            told = f"{score:.4g} -> {scores['output']:.4g}"
            veto = f"the metric falls by more than {settings.max_drop:g} on held-out samples: {told}"
    if score is not None and held_back is not None and 0 < (settings.max_drop or 0) * len(held_back) < 1:
        few = f"a drop of {settings.max_drop:g} is less than one of the {len(held_back)} held-out samples"
        note = f"{few} that the metric is taken on: more samples are needed to show it"
        trial = replace(trial, notes=(*trial.notes, note))
    return replace(trial, parity=parity, scores=scores, veto=veto, poor=bool(veto) and not unfit)


def _timed(source: Source, trial: _Trial, feeds: Sequence[Feed], settings: Settings, what: str) -> _Trial:
    """Measures the latency on the threads asked for and on all CPUs; slower than the original is a veto."""
    found: dict[int, Latency] = {}
    veto = trial.veto
    if not veto and feeds:
        settings.progress("measure the latency")
        feeds = _affordable(trial.model, feeds, settings.threads)
    for threads in sorted({settings.threads, os.cpu_count() or 1}):
        if veto or not feeds:
            break
        main = threads == settings.threads
        found[threads] = runtime.compare_latency(
            source.model,
            trial.model,
            feeds,
            threads=threads,
            processes=MAIN_PROCESSES if main else OTHER_PROCESSES,
            seconds=MAIN_SECONDS if main else OTHER_SECONDS,
            progress=settings.progress,
        )
        if found[threads].verdict == "slower":
            where = "here" if threads == settings.threads else f"here on {threads} threads"
            veto = f"{what} is slower {where}: {1 / found[threads].ratio:.2f}x the speed of the original"
    others = [latency for threads, latency in found.items() if threads != settings.threads]
    return replace(trial, latency=found.get(settings.threads), parallel=others[0] if others else None, veto=veto)


def _affordable(model: ir.Model, feeds: Sequence[Feed], threads: int) -> Sequence[Feed]:
    """As many feeds as a slow model can be warmed up with in each process."""
    session = runtime.open_session(model, threads=threads)
    session.run(feeds[0])
    started = time.perf_counter()
    session.run(feeds[0])
    return feeds[: max(1, int(WARM_UP / max(time.perf_counter() - started, 1e-6)))]


def _macs(model: ir.Model, feed: Feed) -> int | None:
    facts = infer_shapes(model)
    shapes = {name: np.shape(array) for name, array in feed.items()}
    return model_cost(model, facts, bound(model, facts, shapes)).total.macs


def _why_nothing(steps: Sequence[Step], what: str) -> str:
    """Why lossy passes did nothing: what is wrong with the whole model, or else why most places were skipped.

    Args:
        steps: What the passes did.
        what: What is said first where no reason is of the whole model, such as ``"nothing could be quantized"``.
    """
    declined = [(step.name, each) for step in steps for each in step.result.declined]
    whole = [each.reason for _, each in declined if each.site == "model"]
    if whole:
        return whole[0]
    # What an option matches is no place; what another rule of the pass skipped is no reason of this one.
    own = [each.reason for name, each in declined if each.rule == name and not each.site.startswith("--")]
    if not own:
        return what
    (most, count), *_ = Counter(map(kind_of, own)).most_common(1)
    reason = common(each for each in own if kind_of(each) == most)
    if len(reason) > LONG_REASON:
        reason = reason.partition(": ")[0]
    return f"{what}: {reason} ({count} of {len(own)})"


def _acted(steps: Sequence[Step], name: str) -> bool:
    """Whether a pass changed anything."""
    return any(step.name == name and step.result.actions for step in steps)


def _both(before: float, after: float | None) -> dict[str, float]:
    assert after is not None
    return {"input": before, "output": after}


def _score(model: ir.Model, parts: Split | None, settings: Settings) -> float | None:
    """The metric on the report part; None where there is no metric."""
    if settings.score is None or parts is None:
        return None
    return settings.score(runtime.open_session(model, threads=settings.threads).run, parts.report)


def _evidence(model: ir.Model, parts: Split, settings: Settings, *, labelled: bool) -> tuple[float | None, list[str]]:
    """The original's score, and what is wrong with it on the samples, as texts.

    Raises:
        InputError: A drop of its score is bounded, and would mean nothing.
    """
    settings.progress("run the original")
    score, found = evidence(
        model, parts, settings.score, labelled=labelled, threads=settings.threads, memory=settings.memory // 4
    )
    fatal = [each for each in found if each.fatal]
    if fatal and settings.max_drop is not None:
        raise InputError(fatal[0].what, mend=f"{fatal[0].mend}; without max_drop this is a warning")
    if score is not None and math.isinf(score) and settings.max_drop is not None:
        raise InputError(
            f"the original scores {score}, so a drop from it means nothing",
            mend="give min_sqnr instead of max_drop, or another metric",
        )
    return score, list(map(str, found))


def _growth(source: Source, encoded: Encoded | None) -> str:
    """Why the result's size forbids it; empty where it does not."""
    if source.bytes is not None and encoded is not None and encoded.size > source.bytes:
        return f"the result would be larger: {encoded.size:,} bytes instead of {source.bytes:,}"
    return ""


def _no_gain(source: Source, base: _Trial, trial: _Trial) -> str:
    """Why zeros and few values are not worth it: the file is as large without them; empty where it is not."""
    before, after = size_of(base.encoded) or source.bytes, size_of(trial.encoded)
    if before is None or after is None or after < (1 - LEAST_GAIN) * before:
        return ""
    return f"the file would be no smaller: {after:,} bytes instead of {before:,}"


def _pipeline(
    passes: Sequence[Pass],
    samples: Samples | None,
    settings: Settings,
    selection: Samples | None = None,
    statistics: Sequence[Statistics] = (),
) -> Pipeline:
    return Pipeline(
        passes,
        verify=settings.verify,
        samples=samples,
        selection=selection,
        statistics=statistics,
        metric=settings.score,
        max_drop=MAX_DROP if settings.max_drop is None else settings.max_drop,
        min_sqnr=settings.min_sqnr,
        bench=settings.bench and not settings.elsewhere,
        memory=settings.memory,
        threads=settings.threads,
        patient=settings.must_verify,
        target=runtime.TARGETS[settings.target] if settings.target is not None else None,
        progress=settings.progress,
    )
