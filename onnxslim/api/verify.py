"""Do two models compute the same, and does the second one keep the limits that the user sets?"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnxslim import execution
from onnxslim.api.bench import bench
from onnxslim.api.output import size_of, weigh
from onnxslim.api.source import AnyModel, AnySamples, Source, open_samples, open_source
from onnxslim.errors import CannotRun, Crashed, InputError, did_you_mean
from onnxslim.evaluation import Difference, Parity, Reference, Tier
from onnxslim.evaluation.baseline import evidence, is_labelled, named_metric
from onnxslim.evaluation.check import Check, sqnr_check, unmeasured
from onnxslim.evaluation.confidence import Drop, PairedMetric
from onnxslim.evaluation.measurement import Constraints, Measurement, hold_to
from onnxslim.evaluation.scoring import score_of_run
from onnxslim.execution import Feed, operators_from, random_feeds, untried_feeds
from onnxslim.execution.ort import Libraries
from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline.config import MIN_SQNR
from onnxslim.report.record import size_ratio
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import HELD_OUT
from onnxslim.samples.splits import undivided

if TYPE_CHECKING:
    from onnxslim.execution import Latency
    from onnxslim.samples import Metric, Samples

UNUSABLE = ("load", "run", "inputs", "missing output")
"""Kinds of differences with which a candidate is neither scored nor timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Parity):
    """What was found: the parity of the outputs, and each limit beside what was measured.

    ``passed`` says whether the outputs agree and all limits hold; ``differences`` also names each limit that broke.

    Attributes:
        parity: The comparison of the outputs by itself.
        checks: The limits that were given.
        scores: The metric by model, ``reference`` and ``candidate``; empty where none was given.
        drop: What is lost of it, with its upper bound; None where ``max_drop`` was not given.
        latency: Of the candidate against the reference; None where ``min_speedup`` was not given.
        bytes: Of the files of both models, external data included, by ``reference`` and ``candidate``; None where one
            is too large for the single file that it would be written to.
        warnings: What makes the samples, the labels or the reference itself doubtful.
        feeds_used: The inputs that the outputs were compared on.
    """

    parity: Parity
    checks: tuple[Check, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    drop: Drop | None = None
    latency: Latency | None = None
    bytes: Mapping[str, int | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    feeds_used: tuple[Feed, ...] = field(default=(), repr=False)

    @property
    def size_ratio(self) -> float | None:
        """How many times smaller the candidate's files are."""
        return size_ratio(self.bytes.get("reference"), self.bytes.get("candidate"))

    def to_json(self) -> dict[str, Any]:
        """What ``verify --json`` prints of it: the parity by itself, and beside it what the limits are about."""
        names = ("passed", "parity", "checks", "scores", "drop", "latency", "bytes", "size_ratio", "warnings")
        return {name: getattr(self, name) for name in names}

    @property
    def broken(self) -> tuple[Check, ...]:
        """The limits that do not hold."""
        return tuple(each for each in self.checks if not each.holds)


def verify(
    reference: AnyModel,
    candidate: AnyModel,
    *,
    samples: AnySamples | None = None,
    labels: str | os.PathLike[str] | None = None,
    metric: Metric | str | None = None,
    max_drop: float | None = None,
    max_size: int | None = None,
    min_speedup: float | None = None,
    tier: Tier | str | None = None,
    min_sqnr: float | None = None,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
    trust_data_dir: str | os.PathLike[str] | None = None,
    custom_op_library: Libraries = (),
    freeze_initializers: bool = False,
) -> Verified:
    """Compares interfaces and outputs of two models, and holds the candidate to limits.

    Args:
        reference: The model that is right.
        candidate: The model to judge.
        samples: Representative inputs; without them random ones give structural evidence. The metric is taken on all of
            them: give samples that the candidate was not made with.
        labels: A file with the samples' labels.
        metric: Scores both models: ``top1``, ``sqnr``, ``cosine``, ``agreement``, ``module:function`` or a function of
            ``(run, samples)``, higher is better.
        max_drop: What the candidate may lose of the metric. The measured drop counts; its bound is told beside it.
        max_size: Bytes that the candidate's file may have, external data included.
        min_speedup: Times as fast as the reference that the candidate must be, by the median ratio.
        tier: ``exact``, ``numeric`` or ``lossy``. None means lossy where the candidate has quantized nodes or weights
            that the reference has not, or where ``max_drop`` is given; else numeric.
        min_sqnr: dB that every float output must keep at the lossy tier, on samples; None means `MIN_SQNR`.
        threads: Threads of the sessions.
        progress: Called with a short text before a long step.
        trust_data_dir: A folder outside the models' own in which their external data may lie.
        custom_op_library: Path of a library of custom operators, or several.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.

    Returns:
        What was found; ``passed`` says whether the candidate may stand for the reference, and ``checks`` holds each
        limit beside what was measured.

    Raises:
        InputError: A model, the samples, the metric or the tier cannot be used, or a limit needs what is not given.
        Crashed: onnxruntime does not survive the reference.
    """
    limits = Constraints(max_drop=max_drop, max_size=max_size, min_speedup=min_speedup, what="the candidate")
    _refuse(limits, min_sqnr, samples=samples is not None, labels=labels is not None, metric=metric is not None)
    with operators_from(custom_op_library):
        first, second = (
            open_source(each, trust_data_dir=trust_data_dir, freeze_initializers=freeze_initializers, samples=samples)
            for each in (reference, candidate)
        )
        found = open_samples(samples, first.model, labels)
        tier = _tier(tier, first, second, lossy=max_drop is not None)
        progress("compare outputs")
        side = _reference(first.model, found, tier, threads)
        parity = side.check(second.model)
        if side.evidence == "samples":
            parity = hold_to(parity, MIN_SQNR if min_sqnr is None else min_sqnr)
        runs = not any(each.kind in UNUSABLE for each in parity.differences)
        measured = Measurement(bytes=_bytes(second), parity=parity)
        warnings: tuple[str, ...] = ()
        if runs and metric is not None and found is not None:
            progress("score both models")
            measured, warnings = _scored(measured, metric, (first.model, second.model), found, limits, threads)
        if runs and min_speedup is not None:
            latency = bench(
                first.model, second.model, samples=samples, threads=threads, progress=progress
            )  # initializers are frozen and libraries loaded already
            measured = replace(measured, latency=latency)
        checks = list(limits.checks(measured))
        if min_sqnr is not None and runs:
            checks.insert(0, sqnr_check(parity, min_sqnr))
        checks += _missing(limits, checks)
        sizes = {"reference": _bytes(first), "candidate": measured.bytes}
        return _verified(parity, checks, measured, sizes, warnings, tuple(side.feeds))


def _verified(
    parity: Parity,
    checks: list[Check],
    measured: Measurement,
    sizes: Mapping[str, int | None],
    warnings: tuple[str, ...],
    feeds: tuple[Feed, ...],
) -> Verified:
    """The comparison, with the limits that broke among the differences; what parity itself names stands there once."""
    broken = [Difference("limit", "", str(each)) for each in checks if not each.holds and each.limit != "min_sqnr"]
    own = {each.name: getattr(parity, each.name) for each in fields(parity)}
    own |= {"passed": parity.passed and not broken, "differences": (*parity.differences, *broken)}
    return Verified(
        **own,
        parity=parity,
        checks=tuple(checks),
        scores=measured.scores,
        drop=measured.drop,
        latency=measured.latency,
        bytes=sizes,
        warnings=warnings,
        feeds_used=feeds,
    )


def _refuse(limits: Constraints, min_sqnr: float | None, *, samples: bool, labels: bool, metric: bool) -> None:
    """Refuses limits that are none, and those that need what was not given."""
    if min_sqnr is not None and math.isnan(min_sqnr):
        raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
    if min_sqnr is not None and not samples:
        raise InputError(
            "min_sqnr needs samples",
            why="what a lossy model does on random inputs says nothing of its quality",
            mend="give samples, or leave min_sqnr out",
        )
    if limits.max_drop is not None and not limits.max_drop >= 0:
        raise InputError(f"max_drop is {limits.max_drop}", mend="give 0 or more, in units of the metric")
    if limits.max_drop is not None and not metric:
        raise InputError("max_drop needs a metric", mend="give metric too, or min_sqnr instead")
    for name, given in (("labels", labels), ("a metric", metric)):
        if given and not samples:
            raise InputError(
                f"{name} needs samples" if name != "labels" else "labels need samples", mend="give samples"
            )
    if limits.max_size is not None and not limits.max_size > 0:
        raise InputError(f"max_size is {limits.max_size}", mend="give a number of bytes, more than 0")
    if limits.min_speedup is not None and not 0 < limits.min_speedup < math.inf:
        raise InputError(f"min_speedup is {limits.min_speedup}", mend="give a factor: 1.5 means 1.5 times as fast")


def _tier(tier: Tier | str | None, first: Source, second: Source, *, lossy: bool) -> Tier:
    if isinstance(tier, str):
        names = {t.name.lower(): t for t in Tier}
        if tier not in names:
            raise InputError(f"there is no tier {tier!r}", mend=did_you_mean(tier, names))
        return names[tier]
    if tier is None:
        quantized = [_is_quantized(source) for source in (first, second)]
        return Tier.LOSSY if lossy or quantized == [False, True] else Tier.NUMERIC
    return tier


def _missing(limits: Constraints, checks: list[Check]) -> list[Check]:
    """The limits that nothing was measured for."""
    why = "the candidate does not run as the reference does"
    asked = {
        "max_drop": (limits.max_drop, "at most", why),
        "max_size": (limits.max_size, "at most", "the model is in no file, and is too large for a single one"),
        "min_speedup": (limits.min_speedup, "at least", why),
    }
    known = {each.limit for each in checks}
    return [
        unmeasured(name, value, f"{how} {value:g}", reason)
        for name, (value, how, reason) in asked.items()
        if value is not None and name not in known
    ]


def _scored(
    measured: Measurement,
    metric: Metric | str,
    models: tuple[ir.Model, ir.Model],
    samples: Samples,
    limits: Constraints,
    threads: int,
) -> tuple[Measurement, tuple[str, ...]]:
    """Adds the metric of both models on all samples, and the drop where it is limited; warnings besides.

    Raises:
        InputError: A drop is limited and would mean nothing: the reference scores no better than chance, say.
    """
    scored = named_metric(metric, models[0], threads)
    before, after = (execution.open_session(model, threads=threads).run for model in models)
    parts = undivided(samples)
    score, doubts = evidence(models[0], parts, scored, labelled=is_labelled(metric), threads=threads)
    fatal = next((each for each in doubts if each.fatal), None)
    if limits.max_drop is None and score is not None:
        scores = {"reference": score, "candidate": score_of_run(scored, after, parts.report)}
        return replace(measured, scores=scores), tuple(map(str, doubts))
    if fatal is not None:
        raise InputError(fatal.what, mend=f"{fatal.mend}; without max_drop this is a warning")
    drop = PairedMetric(scored, before, samples).drop(after)
    scores = {"reference": drop.before, "candidate": drop.after}
    return replace(measured, scores=scores, drop=drop), tuple(map(str, doubts))


def _bytes(source: Source) -> int | None:
    """Bytes of the model's files, or of the file that it would be."""
    return source.bytes if source.bytes is not None else size_of(weigh(source.model))


def _is_quantized(source: Source) -> bool:
    """Whether it computes in integers, or keeps weights in them that it casts to floats."""
    if any("Quantize" in op for op in source.facts.ops):
        return True
    for node in source.model.graph:
        tensor = constant_tensor(node.inputs[0]) if node.op_type == "Cast" and node.inputs else None
        if tensor is not None and tensor.dtype in (ir.DataType.INT8, ir.DataType.UINT8) and len(tensor.shape) > 1:
            return True
    return False


def _reference(model: ir.Model, samples: Samples | None, tier: Tier, threads: int) -> Reference:
    """The side that is right, on the first samples, or on random inputs of several sizes."""
    if samples is not None:
        return Reference(model, feeds_of(samples, HELD_OUT), tier=tier, threads=threads, evidence="samples")
    try:
        return Reference(model, untried_feeds(model), tier=tier, threads=threads)
    except Crashed:
        raise
    except CannotRun:  # perhaps it runs at other sizes
        return Reference(model, random_feeds(model), tier=tier, threads=threads)
