"""What slim, quantize and compress have in common: run passes, weigh the result, keep it or not, write it, report."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxslim import calibration, runtime
from onnxslim.api.quality import MIN_SQNR, hold_to
from onnxslim.api.result import Result
from onnxslim.api.source import AnyModel, AnySamples, Source, check_output, open_samples, open_source
from onnxslim.errors import CannotRun, CheckFailed, InputError, did_you_mean
from onnxslim.graph import Encoded, atomic_write, encode, save
from onnxslim.graph.reader import source_of
from onnxslim.pipeline import Guilty, Pass, Pipeline, Step, dump_recipe
from onnxslim.report import Attempt, Report, describe, versions
from onnxslim.runtime.tier import Tier

if TYPE_CHECKING:
    from onnxslim.calibration import Metric, Samples, Split
    from onnxslim.runtime import Latency, Parity

MAX_HELD_BACK = 64
"""Held-back samples that the report's SQNR and latency are taken on."""
MAX_TIMED = 8
"""Of these, those that the latency is measured with."""
INLINE_LIMIT = 1 << 30
"""Bytes of weights above which they stay in a file of their own."""

SESSION_TRIALS = 3
"""Times that a session is opened to measure it."""
SESSION_ENOUGH = 0.2
"""Seconds of one trial after which there is no other."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a verb runs; the fields are the keyword arguments that the verbs share."""

    samples: AnySamples | None = None
    verify: bool = True
    bench: bool = True
    metric: Metric | None = None
    min_sqnr: float = MIN_SQNR
    max_drop: float = 0.01
    """How much of the metric a lossy result may lose."""
    in_place: bool = False
    external_data: bool | None = None
    trust_data_dir: str | os.PathLike[str] | None = None
    memory: int = 1 << 30
    threads: int = 1
    target: str | None = None
    """Name of the machine that int8 is for (`onnxslim.runtime.TARGETS`); None means this one."""
    record: bool = False
    recipe_path: str | os.PathLike[str] | None = None
    prepare: Callable[[ir.Model], None] | None = None
    """Edits that the caller asked for, such as other input shapes: the result is compared with the edited model."""
    must_compare: bool = False
    """Whether outputs that cannot be compared are a failed check."""
    time_sessions: bool = False
    """Whether to measure how long onnxruntime takes to open the model before and after."""
    progress: Progress = lambda _: None

    def __post_init__(self) -> None:
        """Refuses what the command line would refuse.

        Raises:
            InputError: A number is none, or out of its range.
        """
        if math.isnan(self.min_sqnr):
            raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
        if self.threads < 1:
            raise InputError(f"threads is {self.threads}", mend="give 1 or more")
        if self.target is not None and self.target not in runtime.TARGETS:
            mend = did_you_mean(self.target, runtime.TARGETS)
            raise InputError(f"there is no target {self.target!r}", where="target", mend=mend)

    @property
    def elsewhere(self) -> str:
        """The name of the target where it is another machine than this one; else empty."""
        return self.target if self.target is not None and self.target != runtime.host_target().name else ""


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
    notes: tuple[str, ...] = ()
    unverified: str = ""
    """Why outputs were not compared although they should have been."""
    veto: str = ""
    """Why it must not be the output; empty where it may."""


def rewrite(
    command: str,
    model: AnyModel,
    output: str | os.PathLike[str] | None,
    passes: Sequence[Pass],
    settings: Settings,
) -> Result:
    """Runs passes on a model and returns the best result that may be trusted.

    The lossless passes come first, then the lossy ones. A lossy result that is wrong, larger or slower is dropped for
    the lossless one, and a lossless one that is larger for the model as it came; the report says so.

    Raises:
        InputError: The model, the samples, the output or a combination of options cannot be used.
        CheckFailed: A check failed, and no rewrite could be found whose refusal mends it. Nothing is written.
    """
    started = time.perf_counter()
    source = open_source(model, trust_data_dir=settings.trust_data_dir)
    facts = source.facts
    given = {"samples": settings.samples, "recipe": settings.recipe_path}
    check_output(source, output, in_place=settings.in_place, others=given)
    if settings.prepare is not None:
        settings.prepare(source.model)
        source = replace(source, given=source.model, bytes=_size(_weigh(source.model)))
    samples = open_samples(settings.samples, source.model)
    lossy = [p for p in passes if p.tier is Tier.LOSSY]
    lossless = list(itertools.takewhile(lambda p: p.tier is not Tier.LOSSY, passes))
    if samples is None and any(p.needs_samples for p in lossy):
        raise InputError(
            f"{command} needs samples",
            mend="give --samples: a folder of .npz, a .npy, a folder of images, module:function",
        )
    trial = _lossless(source, lossless, samples, settings, command)
    if settings.must_compare and trial.unverified:
        raise CheckFailed("the outputs cannot be compared", why=trial.unverified, mend="give model_check_inputs")
    scores: dict[str, float] = {}
    attempt: Attempt | None = None
    calibrated = held_back = 0
    if lossy:
        parts = calibration.split(samples) if samples is not None else None
        tried = _lossy(source, trial, passes[len(lossless) :], parts, settings, command)
        if parts is not None:
            calibrated, held_back = len(parts.calibration), min(len(parts.report), MAX_HELD_BACK)
        if tried.veto:
            attempt = Attempt(steps=tried.steps, guilty=tried.guilty, parity=tried.parity, latency=tried.latency)
            trial = replace(trial, decision="kept fp32", reason=tried.veto, notes=tried.notes)
        else:
            trial = replace(tried, steps=trial.steps + tried.steps, guilty=trial.guilty + tried.guilty)
        if settings.metric is not None and parts is not None:
            scores = {
                name: settings.metric(runtime.open_session(each, threads=settings.threads).run, parts.report)
                for name, each in (("input", source.model), ("output", trial.model))
            }
    session_seconds: dict[str, float] = {}
    if settings.time_sessions:
        settings.progress("measure how long sessions take to open")
        session_seconds = _time_sessions(source, trial, settings.threads)
    recipe = dump_recipe(passes)
    if settings.record:
        trial.model.metadata_props["onnxslim.recipe"] = recipe
        trial = replace(trial, encoded=None, untouched=False)
    if output is None:
        size = _size(trial.encoded or _weigh(trial.model))
    else:
        settings.progress(f"write {os.fspath(output)}")
        size = _write(source, trial, output, settings.external_data)
    report = Report(
        command=command,
        decision=trial.decision,
        reason=trial.reason,
        input=facts,
        output=describe(trial.model, output, size),
        steps=trial.steps,
        guilty=trial.guilty,
        parity=trial.parity,
        latency=trial.latency,
        evidence=trial.evidence,
        attempt=attempt,
        calibrated=calibrated,
        held_back=held_back,
        notes=trial.notes,
        scores=scores,
        session_seconds=session_seconds,
        target=settings.elsewhere if lossy else "",
        seconds=time.perf_counter() - started,
        versions=versions(),
        recipe=recipe,
    )
    return Result(trial.model, report)


_DONE = {"slim": "slimmed", "quantize": "quantized", "compress": "compressed"}


def _lossless(source: Source, passes: list[Pass], samples: Samples | None, settings: Settings, command: str) -> _Trial:
    """Runs the lossless passes; what comes of them is never larger than what came in."""
    outcome = _pipeline(passes, samples, settings).run(source.model)
    trial = _Trial(
        model=outcome.model,
        steps=outcome.steps,
        guilty=outcome.guilty,
        evidence=outcome.evidence,
        decision=_DONE[command],
        parity=outcome.parity,
        unverified=outcome.unverified,
        notes=(f"the outputs were not compared: {outcome.unverified}",) if outcome.unverified else (),
        encoded=_weigh(outcome.model) if outcome.modified else None,
    )
    if not outcome.modified:
        taken_back = "every rewrite was taken back, because a check failed with it"
        reason = taken_back if outcome.guilty else "no rewrite applies"
    else:
        reason = _growth(source, trial.encoded)
    if reason and settings.prepare is not None:
        return replace(
            trial, model=source.model, encoded=None, notes=(*trial.notes, f"beyond the edits asked for: {reason}")
        )
    if reason:
        return replace(trial, model=source.model, encoded=None, untouched=True, decision="unchanged", reason=reason)
    return trial


def _lossy(
    source: Source, base: _Trial, passes: Sequence[Pass], parts: Split | None, settings: Settings, command: str
) -> _Trial:
    """Runs the lossy passes on the lossless result, and measures on samples that they have not seen."""
    calibration, held_back = (parts.calibration, parts.report) if parts is not None else (None, None)
    selection = parts.selection if parts is not None and len(parts.selection) else None
    outcome = _pipeline(passes, calibration, settings, selection).run(base.model)
    trial = _Trial(
        model=outcome.model,
        steps=outcome.steps,
        guilty=outcome.guilty,
        evidence=outcome.evidence,
        decision=_DONE[command],
        notes=base.notes + (parts.notes if parts is not None else ()),
        encoded=_weigh(outcome.model) if outcome.modified else None,
    )
    if not outcome.modified:
        declined = [each for step in outcome.steps for each in step.result.declined if each.site == "model"]
        return replace(trial, veto=declined[0].reason if declined else "nothing could be quantized")
    if settings.elsewhere:
        here = runtime.host_target().name
        note = f"the speed is not measured: the result is for {settings.elsewhere}, and this machine is {here}"
        trial = replace(trial, notes=(*trial.notes, note))
    parity, latency, veto = None, None, _growth(source, trial.encoded)
    feeds = [sample.feed for sample in itertools.islice(held_back, MAX_HELD_BACK)] if held_back is not None else []
    if settings.verify and feeds and not veto:
        settings.progress(f"compare outputs on {len(feeds)} held-back samples")
        reference = runtime.Reference(
            source.model, feeds, tier=Tier.LOSSY, threads=settings.threads, evidence="samples"
        )
        parity = hold_to(reference.check(outcome.model), settings.min_sqnr)
        veto = "" if parity.passed else f"the outputs differ too much: {parity.differences[0]}"
    if settings.bench and feeds and not veto and not settings.elsewhere:
        settings.progress("measure the latency")
        latency = runtime.compare_latency(
            source.model, outcome.model, feeds[:MAX_TIMED], threads=settings.threads, progress=settings.progress
        )
        if latency.verdict == "slower":
            veto = f"int8 is slower here: {1 / latency.ratio:.2f}x the speed of fp32"
    return replace(trial, parity=parity, latency=latency, veto=veto)


def _growth(source: Source, encoded: Encoded | None) -> str:
    """Why the result's size forbids it; empty where it does not."""
    if source.bytes is not None and encoded is not None and encoded.size > source.bytes:
        return f"the result would be larger: {encoded.size:,} bytes instead of {source.bytes:,}"
    return ""


def _pipeline(
    passes: Sequence[Pass], samples: Samples | None, settings: Settings, selection: Samples | None = None
) -> Pipeline:
    return Pipeline(
        passes,
        verify=settings.verify,
        samples=samples,
        selection=selection,
        metric=settings.metric,
        max_drop=settings.max_drop,
        min_sqnr=settings.min_sqnr,
        bench=settings.bench and not settings.elsewhere,
        memory=settings.memory,
        threads=settings.threads,
        target=runtime.TARGETS[settings.target] if settings.target is not None else None,
        progress=settings.progress,
    )


def _weigh(model: ir.Model) -> Encoded | None:
    """The model in one file, weights by reference; None where they are too large to be meant for one."""
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    return encode(model) if weights < INLINE_LIMIT else None


def _size(encoded: Encoded | None) -> int | None:
    return None if encoded is None else encoded.size


def _time_sessions(source: Source, trial: _Trial, threads: int) -> dict[str, float]:
    """Seconds to open each model, the best of a few alternating trials; nothing where one does not open."""
    config = runtime.lean_config(source.model)
    forms: dict[str, AnyModel] = {"input": source.model, "output": trial.model}
    if not config:  # else weights are lent, not copied
        forms["input"] = source.original() or encode(source.model).join()
        forms["output"] = (trial.encoded or encode(trial.model)).join()
    best: dict[str, float] = {}
    for _ in range(SESSION_TRIALS):
        for name, data in forms.items():
            started = time.perf_counter()
            try:
                runtime.open_session(data, threads=threads, config=config)
            except CannotRun:
                return {}
            best[name] = min(best.get(name, math.inf), time.perf_counter() - started)
        if sum(best.values()) > SESSION_ENOUGH:
            break
    return best


def _write(source: Source, trial: _Trial, output: str | os.PathLike[str], external_data: bool | None) -> int | None:
    """Writes the result; returns its size where that is known without measuring files."""
    loaded = source_of(source.model)
    if external_data is None and loaded is not None and loaded.data_files:
        external_data = True  # whoever keeps weights in a file of their own wants them there
    original = source.original() if trial.untouched and not external_data else None
    if original is not None:
        atomic_write(output, original)
        return len(original)
    save(trial.model, output, external_data=external_data, encoded=trial.encoded)
    return None if external_data else _size(trial.encoded)
