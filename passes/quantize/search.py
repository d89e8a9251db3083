"""The search for the best int8 form of a model: ranges by output error, nodes by measured time and error.

What is estimated only proposes: every candidate is built, its kernels are looked up in onnxruntime's graph, and its
outputs and its speed are measured as a whole before it is chosen.

Long because what proposes (ranges, simulators) and what decides (built candidates) share one state.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Histogram, Statistics
from onnxslim.evaluation import Lengths, Noise
from onnxslim.execution import Feed, Target, host_target, optimized_graph
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.ops.int8 import slow_kernel
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import PROBED, PROFILED

from .bias import Means, means_of
from .cost import Int8Costs
from .estimate import SECONDS, affordable, errors_of, judge_ranges, measure_costs, name_nodes, ranges_to_try
from .group import Int8Group, rebound, with_bias
from .judge import SIZE_WORTH, Judge, Scored, best_of
from .plan import Chosen
from .qdq import Built, unfused
from .rounding import NEAREST, Rounding, compensated
from .select import Choice, choices
from .simulate import Simulator, rounded_weight
from .tensors import Span, Tensor, by_value, merged, tensors_of

LEGALISE_ROUNDS = 8
"""Taking one group out can unfuse a neighbour; in practice the second round finds nothing."""
STAGES = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.65, 0.5)
"""Shares of the time that could be saved at most: for each, the most accurate estimate that saves it is built."""
SEARCH_UP_TO = 1 << 30
"""Bytes of weights beyond which no candidates are built beside each other: nodes are chosen by rule."""


class Int8Options(Protocol):
    """The pass, as the search sees it: its options, and how it builds a model."""

    @property
    def ranges(self) -> str:
        """How the range of an activation is chosen."""

    @property
    def rounding(self) -> str:
        """How weights are rounded."""

    @property
    def correct_bias(self) -> bool:
        """Whether biases are corrected."""

    @property
    def per_tensor(self) -> bool:
        """Whether a weight has one scale."""

    @property
    def search(self) -> bool:
        """Whether nodes are chosen by measured time and error."""

    @property
    def weigh_bytes(self) -> bool:
        """Whether bytes that are saved count as time."""

    @property
    def keep_slow(self) -> bool:
        """Whether slow kernels are kept."""

    def span(self, histogram: Histogram) -> Span:
        """The range that the rule of ``ranges`` gives."""

    def build(
        self,
        groups: Sequence[Int8Group],
        model: ir.Model,
        spans: Mapping[str, Span],
        means: Means,
        rounding: Rounding,
        target: Target,
    ) -> Built:
        """Puts groups of a model into int8, in place."""


@dataclass(eq=False)
class Int8Search:
    """One search for one model.

    Args:
        options: The pass.
        model: The float model, opset 13 or newer.
        groups: Of a model with the same names: all that may run in int8.
        statistics: Histograms of the values around them.
        context: Of the pass.
    """

    options: Int8Options
    model: ir.Model
    groups: Sequence[Int8Group]
    statistics: Statistics
    context: Context

    def __post_init__(self) -> None:
        self.target = self.context.target
        self.reasons: dict[str, str] = {}
        self.means = means_of(self.groups, self.statistics) if self.options.correct_bias else {}
        self.rounding = NEAREST
        self.costs, self.noise = Int8Costs({}, {}, {}, {}), dict[str, Noise]()
        tensors = (value.const_value for value in self.model.graph.initializers.values())
        self.weight_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def run(self) -> Chosen:
        """Measures, proposes, builds, judges. Nothing is chosen where nothing is better than float."""
        groups = self._measured(rebound(self.model, self.groups))
        tensors = tensors_of(groups)
        histograms = {tensor.name: merged([self._histogram(name) for name in tensor.values]) for tensor in tensors}
        spans = {each.name: each.fixed or self.options.span(histograms[each.name]) for each in tensors}
        search = self.options.search and self.weight_bytes <= SEARCH_UP_TO
        timed = search and self.context.bench and self.target == host_target()
        wanted = groups if self.options.keep_slow or timed else by_rule(groups, self.reasons)
        self.context.progress(f"look for the int8 kernels of {len(wanted)} nodes")
        legal, built = self._legal(wanted, by_value(tensors, spans))
        if self.options.rounding == "compensated":
            self.rounding = compensated(
                self.model, legal, self.context, bits=self._bits, per_channel=not self.options.per_tensor
            )
        legal, built = self._of_equal_lengths(legal, built, by_value(tensors, spans))
        if self.options.keep_slow or not search or built is None:
            return self._chosen(legal, by_value(tensors, spans))
        around = {value.name for group in legal for value in group.measured}
        tensors = [each for each in tensors if not around.isdisjoint(each.values)]
        feeds = feeds_of(self.context.samples or (), PROBED)
        self.context.progress(f"measure what each of {len(tensors)} tensors does to the outputs")
        tried = ranges_to_try(tensors, histograms)
        if self.options.ranges != "auto":
            tried = {name: [spans[name]] for name in tried}
        simulator = affordable(lambda some: self._simulator(legal, tensors, some), feeds, len(tensors))
        ranges, self.noise = judge_ranges(simulator, tried, SECONDS / 2)
        spans = {each.name: ranges[each.name] for each in tensors}
        values = by_value(tensors, spans)
        if not timed:
            return self._chosen(legal, values)
        self.context.progress(f"measure the time of {len(legal)} nodes in float and in int8")
        count = len(self.context.samples) if hasattr(self.context.samples, "__len__") else PROBED  # type: ignore[arg-type]
        sizes = {name: self._histogram(name).total / max(1, count) for each in tensors for name in each.values}
        self.costs = measure_costs(self.model, built, feeds[:PROFILED], sizes, self.target.session_config)
        errors = errors_of(simulator, legal, tensors, spans, self.noise, histograms, round_weight=self._rounded)
        valued = self._with_bytes(legal)
        found = choices(legal, tensors, valued, errors)
        in_float = sum(valued.in_float.values())
        rule = Choice(frozenset(group.key for group in by_rule(legal, {})), math.inf, math.inf)
        return self._chosen(self._judged(legal, [*proposals(found, in_float), rule], values, feeds), values)

    def _judged(
        self, legal: Sequence[Int8Group], proposed: Sequence[Choice], spans: Mapping[str, Span], feeds: Sequence[Feed]
    ) -> list[Int8Group]:
        """Builds the proposals and measures them; the groups of the best, in the form that was built."""
        self.context.progress(f"build and measure {len(proposed)} candidates")
        built: dict[frozenset[str], ir.Model] = {}
        groups: dict[frozenset[str], list[Int8Group]] = {}
        for choice in proposed:
            kept, made = self._legal([group for group in legal if group.key in choice.keys], spans)
            if made is not None:
                keys = frozenset(group.key for group in kept)
                built.setdefault(keys, made.model)
                groups.setdefault(keys, kept)  # which neighbours are in int8 decides whether a bias must be
        samples = self.context.selection or self.context.samples
        assert samples is not None
        unseen = feeds_of(samples, PROBED) or feeds
        judge = Judge(self.model, self.context, unseen)
        models = list(built.values())
        scored = [
            Scored(
                keys,
                speed,
                quality,
                judge.score(model) if quality > -math.inf else None,
                1 - self._saved([group for group in legal if group.key in keys]),
            )
            for (keys, model), speed, quality in zip(
                built.items(), judge.speeds(models), judge.fidelities(models), strict=True
            )
        ]
        for each in scored:
            said = "" if each.score is None else f", score {each.score:.4f}"
            self.context.progress(f"{len(each.keys)} nodes in int8: {1 / each.speed:.2f}x, {each.sqnr:.1f} dB{said}")
        score = judge.score(self.model)
        if score is not None and not math.isfinite(score):  # a metric of agreement: nothing is as like it as itself
            score = None
        best, reason = best_of(scored, floor=self.context.min_sqnr, score=score, max_drop=self.context.max_drop)
        if reason:
            self.reasons.setdefault("", reason)
        return [] if best is None else groups[best.keys]

    def _with_bytes(self, groups: Sequence[Int8Group]) -> Int8Costs:
        """The costs, where weights that stay in float cost what their bytes are worth."""
        total = sum(self.costs.in_float.get(group.key, 0.0) for group in groups)
        in_float = {
            group.key: self.costs.in_float.get(group.key, 0.0) + SIZE_WORTH * total * self._saved([group])
            for group in groups
        }
        return replace(self.costs, in_float=in_float)

    def _saved(self, groups: Sequence[Int8Group]) -> float:
        """The share of the model's weights, in bytes, that int8 saves with these groups; 0 where bytes do not count."""
        if not self.options.weigh_bytes:
            return 0.0
        found = {group.weight: constant_tensor(group.weight) for group in groups}
        saved = sum(0.75 * tensor.nbytes for tensor in found.values() if tensor is not None)
        return saved / max(self.weight_bytes, 1)

    def _measured(self, groups: Sequence[Int8Group]) -> list[Int8Group]:
        """Those whose values were all measured."""
        why = {request.value: reason for request, reason in self.statistics.declined.items()}
        found = []
        for group in groups:
            names = [value.name or "" for value in group.measured]
            missing = [name for name in names if not self._has(name)]
            if missing:
                self.reasons[group.key] = why.get(missing[0], f"{missing[0]} never held a finite value")
            else:
                found.append(group)
        return found

    def _has(self, name: str) -> bool:
        histogram = self.statistics.histogram(name)
        return histogram is not None and histogram.total > 0

    def _histogram(self, name: str) -> Histogram:
        histogram = self.statistics.histogram(name)
        assert histogram is not None
        return histogram

    def _legal(self, groups: Sequence[Int8Group], spans: Mapping[str, Span]) -> tuple[list[Int8Group], Built | None]:
        """The groups that become int8 kernels, found by building them on a clone, and what was built last."""
        kept = list(groups)
        for _ in range(LEGALISE_ROUNDS):
            if not kept:
                break
            trial = self.model.clone()
            name_nodes(trial)
            built = self.options.build(rebound(trial, kept), trial, spans, self.means, self.rounding, self.target)
            reasons = unfused(optimized_graph(trial, config=self.target.session_config), built)
            if not reasons:
                return kept, built
            biased = {group.key: with_bias(group) for group in kept if group.key in reasons}
            self.reasons |= {key: reason for key, reason in reasons.items() if biased[key] is None}
            kept = [each for group in kept if (each := biased.get(group.key, group)) is not None]
        return [], None

    def _of_equal_lengths(
        self, legal: list[Int8Group], built: Built | None, spans: Mapping[str, Span]
    ) -> tuple[list[Int8Group], Built | None]:
        """Without the groups whose values decide lengths of the outputs, if those change with them."""
        lengths = Lengths(self.model, (self.context.samples, self.context.selection), self.context.threads)

        def build(some: Sequence[Int8Group]) -> ir.Model:
            made = self._legal(some, spans)[1]
            return self.model if made is None else made.model

        if built is None:
            return legal, built
        kept, reason = lengths.kept(legal, lambda each: each.node, build)
        if len(kept) == len(legal):
            return legal, built
        self.reasons |= {each.key: f"its values decide a length: {reason}" for each in legal if each not in kept}
        return self._legal(kept, spans)

    @property
    def _bits(self) -> int:
        return 7 if self.target.reduce_range else 8

    def _rounded(self, group: Int8Group) -> np.ndarray:
        return rounded_weight(group.node, self._bits, not self.options.per_tensor, self.rounding)

    def _simulator(self, groups: Sequence[Int8Group], tensors: Sequence[Tensor], feeds: Sequence[Feed]) -> Simulator:
        return Simulator(
            self.model,
            groups,
            tensors,
            feeds,
            activation=self.target.activation,
            bits=self._bits,
            per_channel=not self.options.per_tensor,
            threads=os.cpu_count() or 1,
            rounding=self.rounding,
        )

    def _chosen(self, groups: Sequence[Int8Group], spans: Mapping[str, Span]) -> Chosen:
        """The decision, with a reason for every group that is not in it."""
        keys = {group.key for group in groups}
        declined = [
            (site(group.node), self.reasons.get(group.key) or self._reason(group))
            for group in self.groups
            if group.key not in keys and not group.is_mover
        ]
        if not keys and "" in self.reasons:
            declined.insert(0, ("model", self.reasons[""]))
        return Chosen(
            tuple(group.names for group in groups),
            self.target.name,
            spans,
            self.means,
            self.rounding,
            {group.key: self._detail(group) for group in groups},
            tuple(declined),
        )

    def _detail(self, group: Int8Group) -> str:
        tensor = constant_tensor(group.weight)
        said = [] if tensor is None else [f"{tensor.size:,} weights"]
        if group.key in self.costs.in_int8:
            before, after = self.costs.in_float.get(group.key, 0.0), self.costs.in_int8[group.key]
            said.append(f"{before:.0f} -> {after:.0f} us")
        return self.rounding.detail(group, *said)

    def _reason(self, group: Int8Group) -> str:
        before, after = self.costs.in_float.get(group.key, 0.0), self.costs.in_int8.get(group.key, 0.0)
        if after >= before:
            return f"int8 is no faster here: {after:.0f} us, float {before:.0f} us"
        noise = max((self.noise[name.name].power for name in group.measured if name.name in self.noise), default=0.0)
        level = f" ({10 * math.log10(noise):.0f} dB of the outputs)" if noise > 0 else ""
        return f"{before - after:.0f} us saved are not worth the conversions around it and its error{level}"


def by_rule(groups: Sequence[Int8Group], reasons: dict[str, str]) -> list[Int8Group]:
    """The contractions whose kernels are not known to be slow; ``reasons`` takes in why the others are left out."""
    found = []
    for group in groups:
        tensor = constant_tensor(group.weight)
        slow = "" if tensor is None else slow_kernel(group.node, tuple(tensor.shape.numpy()))
        if tensor is None:
            slow = "nothing is timed, and only time tells whether its kernel pays"
        if slow:
            reasons[group.key] = slow
        else:
            found.append(group)
    return found


def proposals(found: Sequence[Choice], in_float: float) -> list[Choice]:
    """The choices worth building: the most accurate for each stage of speed.

    Args:
        found: What the sweep gave.
        in_float: Microseconds of the groups in float.
    """
    least = min((each.microseconds for each in found), default=in_float)
    picked: dict[frozenset[str], Choice] = {}
    for stage in STAGES:
        limit = in_float - stage * (in_float - least)
        fast = [each for each in found if each.keys and each.microseconds <= limit * (1 + 1e-9)]
        if fast:
            best = min(fast, key=lambda each: (each.noise, each.microseconds))
            picked.setdefault(best.keys, best)
    return list(picked.values())
