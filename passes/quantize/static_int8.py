"""Static int8 quantization: QDQ groups where onnxruntime has an int8 kernel that is faster, checked after building.

The source of the arithmetic: B. Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference (CVPR 2018), section 2.1. Which groups become kernels: onnxslim.ops.int8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import onnx_ir as ir

from onnxslim.calibration import Histogram, Request, Statistics, collect, fingerprints
from onnxslim.calibration.ranges import entropy, min_max, mse, percentile
from onnxslim.errors import InputError, did_you_mean
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.graph.walk import nodes
from onnxslim.ops.int8 import CONTRACTIONS, no_kernel, slow_kernel
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.runtime import Target, Tier, host_target, optimized_graph

from .lift_opset import TARGET as QDQ_OPSET
from .lift_opset import lift, obstacle, raise_opset
from .qdq import Group, Ranges, group_of, holds_no_number, insert, unfused

LEGALISE_ROUNDS = 8
"""Taking one group out can unfuse a neighbour; in practice the second round finds nothing."""


@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """Run contractions in int8, with activation ranges measured on samples.

    Every group that is inserted is looked up in the graph that onnxruntime makes of the result; what did not become an
    int8 kernel is taken out again, because it would only cost time and accuracy.
    """

    name: ClassVar[str] = "quantize"
    tier: ClassVar[Tier] = Tier.LOSSY
    needs_samples: ClassVar[bool] = True

    ranges: Literal["mse", "min-max", "percentile", "entropy"] = field(
        default="min-max", metadata={"help": "how the range of an activation is chosen from its histogram"}
    )
    percentile: float = field(
        default=99.99, metadata={"help": "share of values kept by --ranges percentile, in percent"}
    )
    operators: tuple[str, ...] = field(
        default=tuple(CONTRACTIONS), metadata={"help": "operators to quantize", "choices": tuple(CONTRACTIONS)}
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata={"help": 'nodes to leave in float: names, or "re:PATTERN" for a regular expression'}
    )
    per_tensor: bool = field(default=False, metadata={"help": "one weight scale per tensor instead of per channel"})
    keep_slow: bool = field(
        default=False, metadata={"help": "quantize also where the int8 kernel is known to be slower than float"}
    )

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Quantizes ``model`` in place.

        Raises:
            InputError: There are no samples, or an option is wrong.
        """
        if context.samples is None:
            raise InputError("static quantization needs samples", mend="give --samples, or samples= in Python")
        if not 50 < self.percentile <= 100:
            raise InputError(f"a percentile of {self.percentile} is no share to keep", mend="give one in (50, 100]")
        target = context.target or host_target()
        candidates = self.candidates(model, context)
        if not candidates:
            return context.result()
        lifted = model
        if model.opset_imports.get("", 0) < QDQ_OPSET:
            reason = obstacle(model)
            if reason:
                context.decline("lift-opset", "model", reason)
                return context.result()
            lifted = model.clone()
            raise_opset(lifted)
        ranges, unmeasured = self.measure(model, candidates, context)
        measured = []
        for group in candidates:
            reasons = [unmeasured[value.name or ""] for value in group.measured if value.name in unmeasured]
            if reasons:
                context.decline("quantize", site(group.node), reasons[0])
            else:
                measured.append(group.key)
        kept = self.legal(lifted, measured, ranges, target, context)
        # Only now, since a model in which nothing can be quantized shall keep its opset.
        if not kept or not lift(model, context):
            return context.result()
        allowed = {
            group.key
            for group in _groups(model, kept)
            if context.allow(Action("quantize", (group.key,), site(group.node), _detail(group)))
        }
        self.insert(model, _groups(model, allowed), ranges, target)
        return context.result()

    def candidates(self, model: ir.Model, context: Context) -> list[Group]:
        """The groups worth trying, in graph order; what is left out is on record with its reason."""
        excluded = _Matcher(self.exclude)
        found = []
        for node in nodes(model):
            if node.domain or node.op_type not in CONTRACTIONS:
                continue
            reason: str | Group
            if node.graph is not model.graph:
                reason = "it is in a subgraph or function"
            elif node.op_type not in self.operators:
                reason = "its operator is not in --operators"
            elif excluded(node):
                reason = "excluded"
            else:
                reason = group_of(node)
            if isinstance(reason, Group):
                tensor = constant_tensor(reason.weight)
                shape = tuple(tensor.shape.numpy()) if tensor is not None else ()
                why = no_kernel(node, shape) or ("" if self.keep_slow else slow_kernel(node, shape))
                if not why and holds_no_number(reason):
                    why = "its weights hold NaN or infinity"
                if not why and Action("quantize", (reason.key,), site(node)).key in context.refused:
                    why = "a check failed with this rewrite"
                if not why:
                    found.append(reason)
                    continue
                reason = why
            context.decline("quantize", site(node), reason)
        excluded.check(model)
        return found

    def measure(self, model: ir.Model, groups: list[Group], context: Context) -> tuple[Ranges, dict[str, str]]:
        """Ranges of the activations that the groups quantize, and why some have none; one run over the samples."""
        assert context.samples is not None
        names = list(dict.fromkeys(value.name or "" for group in groups for value in group.measured))
        # A replay of the pass measures the same values of the same model again.
        key = ("histograms", tuple(names), fingerprints(model)[model.graph.outputs[0]])
        if key not in context.cache:
            context.progress(f"calibrate {len(names)} tensors")
            requests = [Request(name, "histogram") for name in names]
            context.cache[key] = collect(
                model, context.samples, requests, memory=context.memory, threads=context.threads
            )
        statistics: Statistics = context.cache[key]
        ranges, unmeasured = {}, {request.value: reason for request, reason in statistics.declined.items()}
        for name in names:
            histogram = statistics.histogram(name)
            if histogram is not None and histogram.total:
                ranges[name] = self.choose(histogram)
            else:
                unmeasured.setdefault(name, f"{name} never held a finite value")
        return ranges, unmeasured

    def choose(self, histogram: Histogram) -> tuple[float, float]:
        """The range that the grid of a tensor with this histogram shall cover."""
        if self.ranges == "min-max":
            return min_max(histogram)
        if self.ranges == "percentile":
            return percentile(histogram, self.percentile)
        return entropy(histogram) if self.ranges == "entropy" else mse(histogram)

    def legal(self, model: ir.Model, keys: Sequence[str], ranges: Ranges, target: Target, context: Context) -> set[str]:
        """The keys of the groups that become int8 kernels, found by building them on a clone."""
        kept = set(keys)
        for _ in range(LEGALISE_ROUNDS):
            if not kept:
                break
            context.progress(f"look for the int8 kernels of {len(kept)} groups")
            trial = model.clone()
            groups = _groups(trial, kept)
            self.insert(trial, groups, ranges, target)
            reasons = unfused(optimized_graph(trial, config=target.session_config), groups)
            if not reasons:
                return kept
            for group in groups:
                if group.key in reasons:
                    context.decline("quantize", site(group.node), reasons[group.key])
            kept -= set(reasons)
        return kept if not kept else set()

    def insert(self, model: ir.Model, groups: list[Group], ranges: Ranges, target: Target) -> None:
        """Puts the groups' QDQ nodes into ``model``, with the types that ``target`` wants."""
        bits = 7 if target.reduce_range else 8
        insert(model, groups, ranges, activation=target.activation, bits=bits, per_channel=not self.per_tensor)


def _groups(model: ir.Model, keys: set[str]) -> list[Group]:
    """The groups with these keys, as they stand in this model or clone."""
    found = []
    for node in model.graph:
        if node.outputs and node.outputs[0].name in keys:
            group = group_of(node)
            assert isinstance(group, Group), group
            found.append(group)
    return found


def _detail(group: Group) -> str:
    tensor = constant_tensor(group.weight)
    return "" if tensor is None else f"{tensor.size:,} weights"


class _Matcher:
    """Whether a node's name, or its output's, is one of the names or matches one of the ``re:`` patterns."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.names = {pattern for pattern in patterns if not pattern.startswith("re:")}
        try:
            self.expressions = [re.compile(pattern[3:]) for pattern in patterns if pattern.startswith("re:")]
        except re.error as error:
            raise InputError(
                f"{error.pattern!r} is no regular expression", why=str(error), mend="escape special characters with \\"
            ) from error

    def __call__(self, node: ir.Node) -> bool:
        return any(name in self.names or any(e.search(name) for e in self.expressions) for name in _names(node))

    def check(self, model: ir.Model) -> None:
        """Refuses names that the model does not have; a pattern may match nothing."""
        known = {name for node in nodes(model) for name in _names(node)}
        for name in sorted(self.names - known):
            quantizable = {each for node in nodes(model) if _is_contraction(node) for each in _names(node)}
            mend = did_you_mean(name, quantizable)
            if any(sign in name for sign in "*?[^$|"):
                pattern = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
                mend = f"names are taken literally; for a pattern write --exclude 're:{pattern}'"
            raise InputError(f"--exclude names no node: {name!r}", mend=mend)


def _is_contraction(node: ir.Node) -> bool:
    return not node.domain and node.op_type in CONTRACTIONS


def _names(node: ir.Node) -> list[str]:
    """What a user may call a node: its name, and its outputs'."""
    return [name for name in (node.name, *(value.name for value in node.outputs)) if name]
