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

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Histogram, Statistics
from onnxslim.evaluation import Noise
from onnxslim.execution import Feed, host_target
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import PROBED, PROFILED

from .bias import means_of
from .cost import Int8Costs
from .estimate import SECONDS, affordable, errors_of, judge_ranges, measure_costs, ranges_to_try
from .group import Int8Group, rebound
from .judge import SIZE_WORTH, Judge, Scored, best_of, stored_bytes
from .kernels import Int8Options, Kernels
from .plan import Chosen
from .qdq import Built
from .rounding import compensated
from .rule import by_rule, costs_by_rule, time_by_rule
from .select import Choice, choices, time_of
from .simulate import Simulator, rounded_weight
from .tensors import Span, Tensor, by_value, merged, tensors_of

STAGES = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.65, 0.5)
"""Shares of the time that could be saved at most: for each, the most accurate estimate that saves it is built."""
SIMULATED = 4.0
"""Time of a run of the simulator, as a multiple of the time that a run of the model takes by rule."""
SEARCH_UP_TO = 1 << 30
"""Bytes of weights beyond which no candidates are built beside each other: nodes are chosen by rule."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What can be chosen from, and what is known of it.

    Attributes:
        legal: Groups that become kernels, all together.
        built: With all of them; None where there is none.
        feeds: To measure with.
        tensors: Around them.
        histograms: By name of the tensor.
        spans: Name of a tensor -> its range.
        simulator: Tells the noise of single tensors; None where nothing is searched.
    """

    legal: list[Int8Group]
    built: Built | None
    feeds: Sequence[Feed]
    tensors: Sequence[Tensor]
    histograms: Mapping[str, Histogram]
    spans: Mapping[str, Span]
    simulator: Simulator | None = None

    @property
    def values(self) -> dict[str, Span]:
        """The range of every value."""
        return by_value(self.tensors, self.spans)


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
        means = means_of(self.groups, self.statistics) if self.options.correct_bias else {}
        self.kernels = Kernels(self.options, self.model, self.context, means, reasons=self.reasons)
        self.costs, self.noise = Int8Costs({}, {}, {}, {}), dict[str, Noise]()
        self.forms: dict[frozenset[str], list[Int8Group]] = {}
        """The groups of each candidate, as they were built: which neighbours are in int8 decides about a bias."""
        tensors = (value.const_value for value in self.model.graph.initializers.values())
        self.weight_bytes = sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def timed(self) -> bool:
        """Whether choices rest on times measured here."""
        return self._searched and self.context.bench and self.target == host_target()

    @property
    def _searched(self) -> bool:
        return self.options.search and self.weight_bytes <= SEARCH_UP_TO

    def run(self) -> Chosen:
        """Measures, proposes, builds, judges. Nothing is chosen where nothing is better than float."""
        ready = self._ready()
        if ready.simulator is None or not self.timed:
            return self._chosen(ready.legal, ready.values)
        scored, score = self._judged(ready, self._proposed(ready, ready.simulator))
        best, reason = best_of(scored, floor=self.context.min_sqnr, score=score, max_drop=self.context.max_drop)
        if reason:
            self.reasons.setdefault("", reason)
        return self._chosen([] if best is None else self.forms[best.keys], ready.values)

    def candidates(self) -> tuple[list[tuple[Chosen, Scored]], float | None]:
        """All that `run` would choose from, and the metric of the float model.

        Where nothing may be timed, the candidates are those of a cost by rule, and so is their speed.
        """
        ready = self._ready()
        if ready.built is None:
            return [], None
        every = Choice(frozenset(group.key for group in ready.legal), math.inf, math.inf)
        proposed = [every] if ready.simulator is None else self._proposed(ready, ready.simulator)
        scored, score = self._judged(ready, proposed)
        return [(self._chosen(self.forms[each.keys], ready.values), each) for each in scored], score

    def _ready(self) -> Ready:
        """The groups that become kernels, and the ranges around them."""
        groups = self._measured(rebound(self.model, self.groups))
        tensors = tensors_of(groups)
        histograms = {tensor.name: merged([self._histogram(name) for name in tensor.values]) for tensor in tensors}
        spans = {each.name: each.fixed or self.options.span(histograms[each.name]) for each in tensors}
        wanted = groups if self.options.keep_slow or self.timed else by_rule(groups, self.reasons)
        self.context.progress(f"look for the int8 kernels of {len(wanted)} nodes")
        legal, built = self.kernels.legal(wanted, by_value(tensors, spans))
        if self.options.rounding == "compensated":
            self.kernels.rounding = compensated(
                self.model, legal, self.context, bits=self._bits, per_channel=not self.options.per_tensor
            )
        legal, built = self.kernels.of_equal_lengths(legal, built, by_value(tensors, spans))
        feeds = feeds_of(self.context.samples or (), PROBED)
        if self.options.keep_slow or not self._searched or built is None:
            return Ready(legal, built, feeds, tensors, histograms, spans)
        around = {value.name for group in legal for value in group.measured}
        tensors = [each for each in tensors if not around.isdisjoint(each.values)]
        self.context.progress(f"measure what each of {len(tensors)} tensors does to the outputs")
        tried = ranges_to_try(tensors, histograms)
        if self.options.ranges != "auto":
            tried = {name: [spans[name]] for name in tried}
        each = None if self.timed else SIMULATED * time_by_rule(self.model, feeds[0]) / 1e6
        simulator = affordable(lambda some: self._simulator(legal, tensors, some), feeds, len(tensors), each)
        ranges, self.noise = judge_ranges(simulator, tried, SECONDS / 2, each)
        return Ready(
            legal, built, feeds, tensors, histograms, {each.name: ranges[each.name] for each in tensors}, simulator
        )

    def _proposed(self, ready: Ready, simulator: Simulator) -> list[Choice]:
        """Choices worth building, by what was measured of single tensors and nodes."""
        legal, tensors = ready.legal, ready.tensors
        count = len(self.context.samples) if hasattr(self.context.samples, "__len__") else PROBED  # type: ignore[arg-type]
        sizes = {name: self._histogram(name).total / max(1, count) for each in tensors for name in each.values}
        if self.timed:
            assert ready.built is not None
            self.context.progress(f"measure the time of {len(legal)} nodes in float and in int8")
            config = self.target.session_config
            self.costs = measure_costs(self.model, ready.built, ready.feeds[:PROFILED], sizes, config)
        else:
            self.costs = costs_by_rule(legal, sizes)
        errors = errors_of(
            simulator, legal, tensors, ready.spans, self.noise, ready.histograms, round_weight=self._rounded
        )
        valued = self._with_bytes(legal)
        found = choices(legal, tensors, valued, errors)
        in_float = sum(valued.in_float.values())
        rule = Choice(frozenset(group.key for group in by_rule(legal, {})), math.inf, math.inf)
        return [*proposals(found, in_float), rule]

    def _judged(self, ready: Ready, proposed: Sequence[Choice]) -> tuple[list[Scored], float | None]:
        """Builds the proposals and measures them; also the metric of the float model, where that is a number."""
        self.context.progress(f"build and measure {len(proposed)} candidates")
        built: dict[frozenset[str], ir.Model] = {}
        for choice in proposed:
            some = [group for group in ready.legal if group.key in choice.keys]
            kept, made = self.kernels.legal(some, ready.values)
            if made is not None:
                keys = frozenset(group.key for group in kept)
                built.setdefault(keys, made.model)
                self.forms.setdefault(keys, kept)
        samples = self.context.selection or self.context.samples
        assert samples is not None
        judge = Judge(self.model, self.context, feeds_of(samples, PROBED) or ready.feeds)
        models, whole = list(built.values()), max(stored_bytes(self.model), 1)
        speeds = judge.speeds(models) if self.timed else [self._speed_by_rule(ready, keys) for keys in built]
        scored = [
            Scored(
                keys,
                speed,
                quality,
                judge.score(model) if quality > -math.inf else None,
                1 - self._saved([group for group in ready.legal if group.key in keys]),
                stored_bytes(model) / whole,
            )
            for (keys, model), speed, quality in zip(built.items(), speeds, judge.fidelities(models), strict=True)
        ]
        for each in scored:
            said = "" if each.score is None else f", score {each.score:.4f}"
            self.context.progress(f"{len(each.keys)} nodes in int8: {1 / each.speed:.2f}x, {each.sqnr:.1f} dB{said}")
        score = judge.score(self.model)
        if score is not None and not math.isfinite(score):  # a metric of agreement: nothing is as like it as itself
            score = None
        return scored, score

    def _speed_by_rule(self, ready: Ready, keys: frozenset[str]) -> float:
        """Time as a share of the float model's, from the costs by rule."""
        whole = time_by_rule(self.model, ready.feeds[0])
        saved = time_of(ready.legal, self.costs, ()) - time_of(ready.legal, self.costs, keys)
        return 1 - saved / whole

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

    @property
    def _bits(self) -> int:
        return 7 if self.target.reduce_range else 8

    def _rounded(self, group: Int8Group) -> np.ndarray:
        return rounded_weight(group.node, self._bits, not self.options.per_tensor, self.kernels.rounding)

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
            rounding=self.kernels.rounding,
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
            self.kernels.means,
            self.kernels.rounding,
            {group.key: self._detail(group) for group in groups},
            tuple(declined),
        )

    def _detail(self, group: Int8Group) -> str:
        tensor = constant_tensor(group.weight)
        said = [] if tensor is None else [f"{tensor.size:,} weights"]
        if self.timed and group.key in self.costs.in_int8:
            before, after = self.costs.in_float.get(group.key, 0.0), self.costs.in_int8[group.key]
            said.append(f"{before:.0f} -> {after:.0f} us")
        return self.kernels.rounding.detail(group, *said)

    def _reason(self, group: Int8Group) -> str:
        if not self.timed:
            return "by rule, what it saves is not worth the conversions around it and its error"
        before, after = self.costs.in_float.get(group.key, 0.0), self.costs.in_int8.get(group.key, 0.0)
        if after >= before:
            return f"int8 is no faster here: {after:.0f} us, float {before:.0f} us"
        noise = max((self.noise[name.name].power for name in group.measured if name.name in self.noise), default=0.0)
        level = f" ({10 * math.log10(noise):.0f} dB of the outputs)" if noise > 0 else ""
        return f"{before - after:.0f} us saved are not worth the conversions around it and its error{level}"


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
