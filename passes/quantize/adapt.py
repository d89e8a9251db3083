"""A decision about one model made one about a similar model: fewer channels, other weights, the same nodes by name.

Nothing is searched or timed. Ranges follow what the values reach: the same few samples gave their least and greatest
values when the decision was made, and give them now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.calibration import Request, Statistics, collect
from onnxslim.graph.edit import site
from onnxslim.pipeline import Context
from onnxslim.rewriter.opset import TARGET as QDQ_OPSET
from onnxslim.rewriter.opset import obstacle, raise_opset
from onnxslim.samples.feeds import first_of

from .bias import mean_request, means_of
from .group import Int8Group, rebound
from .kernels import Int8Options, Kernels
from .migrate import factors_of, migrate, migrations_of
from .plan import Chosen, Migrated, QuantizePlan
from .rounding import NEAREST
from .tensors import Span, Tensor, by_value, tensors_of

QUICK = 16
"""Samples that tell how far values reach."""


class AdaptableOptions(Int8Options, Protocol):
    """The pass, as adapting sees it."""

    def candidates(self, model: ir.Model, context: Context) -> list[Int8Group]:
        """The groups worth trying."""


def reach_of(model: ir.Model, names: Iterable[str], context: Context) -> dict[str, Span]:
    """Least and greatest values on the first `QUICK` samples; values that were never finite are left out."""
    return _reaches(_quickly(model, [Request(name, "range") for name in names], context), names)


def _quickly(model: ir.Model, requests: Sequence[Request], context: Context) -> Statistics:
    samples = first_of(context.samples or (), QUICK)
    return collect(model, samples, requests, memory=context.memory, threads=context.threads)


def _reaches(statistics: Statistics, names: Iterable[str]) -> dict[str, Span]:
    found = {}
    for name in names:
        each = statistics.range(name)
        if each is not None and each.low is not None and each.high is not None and each.low <= each.high:
            found[name] = float(each.low), float(each.high)
    return found


def adapted(options: AdaptableOptions, decision: QuantizePlan, model: ir.Model, context: Context) -> QuantizePlan:
    """The plan for ``model`` of what was decided about a similar one.

    Args:
        options: The pass.
        decision: Of an offer.
        model: Not changed.
        context: Of the pass.
    """
    migrated = remigrated(decision.migrated, model, context)
    model = with_migrations(model, migrated)
    lifted = lifted_of(model, context)
    if lifted is None:
        return QuantizePlan(migrated, Chosen())
    old = decision.chosen
    keys = {group.key for group in old.groups}
    # What is no candidate is on record from the planning.
    groups = [group for group in options.candidates(model, replace(context)) if group.key in keys]
    groups = rebound(lifted, groups)
    reasons = dict.fromkeys(keys, "it is no int8 candidate any more")
    kept = _Ranges(model, old, context, options.correct_bias).around(groups, reasons)
    if old.rounding != NEAREST:
        reason = "they have changed since they were rounded so as to make up for each other: now to the nearest"
        context.decline("quantize", "weights", reason)
    kernels = Kernels(options, lifted, context, kept.means, reasons=reasons)
    legal, built = kernels.legal(kept.groups, kept.spans)
    legal, _ = kernels.of_equal_lengths(legal, built, kept.spans)
    left = {group.key for group in legal}
    sites = {node.outputs[0].name: site(node) for node in lifted.graph if node.outputs}
    gone = tuple((sites.get(key, key), reasons[key]) for key in sorted(keys - left))
    for where, reason in gone:
        context.decline("quantize", where, reason)
    chosen = replace(
        old,
        groups=tuple(group.names for group in legal),
        target=context.target.name,
        spans=kept.spans,
        means=kept.means,
        rounding=NEAREST,
        details={key: text for key, text in old.details.items() if key in left},
        declined=(*old.declined, *gone),
    )
    return QuantizePlan(migrated, chosen)


@dataclass(frozen=True, slots=True)
class _Around:
    """Groups whose values were measured, and what was measured."""

    groups: list[Int8Group]
    spans: dict[str, Span]
    means: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class _Ranges:
    """What the values of a model reach, beside what they reached when ranges were chosen.

    Args:
        model: Its scales are as they shall be.
        chosen: What was decided.
        context: Its first samples are run.
        correct_bias: Whether means are wanted.
    """

    model: ir.Model
    chosen: Chosen
    context: Context
    correct_bias: bool

    def around(self, groups: Sequence[Int8Group], reasons: dict[str, str]) -> _Around:
        """Spans and means for those of ``groups`` that have them; ``reasons`` takes in why others do not."""
        names = list(dict.fromkeys(value.name or "" for group in groups for value in group.measured))
        wanted = [mean_request(group) for group in groups] if self.correct_bias else []
        requests = [*(Request(name, "range") for name in names), *(each for each in wanted if each is not None)]
        statistics = _quickly(self.model, requests, self.context) if requests else Statistics("none", 0, ())
        now = _reaches(statistics, names)
        kept = []
        for group in groups:
            missing = [value.name for value in group.measured if value.name not in now]
            unknown = [value.name for value in group.measured if value.name not in self.chosen.spans]
            if missing or unknown:
                why = "never held a finite value" if missing else "had no range when its group was chosen"
                reasons[group.key] = f"{(missing or unknown)[0]} {why}"
            else:
                kept.append(group)
        tensors = tensors_of(kept)
        spans = by_value(tensors, {each.name: self._span(each, now) for each in tensors})
        return _Around(kept, spans, means_of(kept, statistics) if self.correct_bias else {})

    def _span(self, tensor: Tensor, now: Mapping[str, Span]) -> Span:
        span = self.chosen.spans[tensor.name]
        before = [self.chosen.reach[name] for name in tensor.values if name in self.chosen.reach]
        if tensor.fixed or not before:
            return tensor.fixed or span
        return rescaled(span, _hull(before), _hull([now[name] for name in tensor.values]))


def _hull(spans: Sequence[Span]) -> Span:
    return min(low for low, _ in spans), max(high for _, high in spans)


def rescaled(span: Span, before: Span, now: Span) -> Span:
    """The span that is as far inside or outside of the range ``now`` as it was of the range ``before``.

    >>> rescaled((0.0, 3.0), (0.0, 4.0), (0.0, 8.0)), rescaled((-1.0, 3.0), (-1.0, 3.0), (-1.0, 3.0))
    ((0.0, 6.0), (-1.0, 3.0))
    """
    if now == before or before[0] == before[1]:
        return span if now == before else now
    ratio = (now[1] - now[0]) / (before[1] - before[0])
    low, high = (now[0] + (end - before[0]) * ratio for end in span)
    return low, high


def remigrated(decided: Migrated, model: ir.Model, context: Context) -> Migrated:
    """The same migrations: the same factors where the channels are as many, others of the same exponent elsewhere."""
    if not decided.factors:
        return decided
    found, reasons = migrations_of(model, infer_shapes(model))
    by_key = {each.key: each for each in found if each.key in decided.factors}
    changed = [each for each in by_key.values() if each.channels != len(decided.factors[each.key])]
    statistics = _quickly(model, [each.request for each in changed], context) if changed else None
    factors = {}
    for key, old in decided.factors.items():
        new = by_key.get(key)
        if new is None:
            context.decline("migrate", key, reasons.get(key, "no contraction reads it any more"))
        elif new not in changed or statistics is None:
            factors[key] = old
        elif (made := factors_of(new, statistics, decided.exponent)) is not None:
            factors[key] = made
        else:
            context.decline("migrate", key, "its channels held values that are not finite")
    return replace(decided, factors=factors)


def with_migrations(model: ir.Model, migrated: Migrated) -> ir.Model:
    """A clone in which scales have migrated; the model itself where none does."""
    if not migrated.factors:
        return model
    result = model.clone()
    for each in migrations_of(result, infer_shapes(result))[0]:
        if each.key in migrated.factors:
            migrate(each, migrated.factors[each.key])
    return result


def lifted_of(model: ir.Model, context: Context) -> ir.Model | None:
    """The model itself or a clone in an opset that has QDQ per channel; None, with a reason, where that fails."""
    if model.opset_imports.get("", 0) >= QDQ_OPSET:
        return model
    reason = obstacle(model)
    if reason:
        context.decline("lift-opset", "model", reason)
        return None
    lifted = model.clone()
    raise_opset(lifted)
    return lifted
