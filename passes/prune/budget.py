"""How many channels each group gives up: the same share of all, or where what is saved costs the least accuracy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis import model_cost
from onnxslim.analysis.channels import Channels, Group
from onnxslim.analysis.dims import Expr, evaluate, free_symbols
from onnxslim.graph.edit import Names
from onnxslim.ops.channels import Ids
from onnxslim.runtime import Feed, attribute, node_times

from .importance import Ranking

CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})
CALL = 1.5
"""Microseconds that a node costs whatever its size."""


def steps_of(group: Group, round_to: int) -> int:
    """Atoms by which the group shrinks, so that its axes keep multiples of ``round_to`` entries."""
    widest = group.weights[0].positions.shape[1]
    return round_to // math.gcd(round_to, widest)


def kept_of(group: Group, wanted: float, round_to: int, least: int) -> int:
    """Atoms that stay: ``wanted`` of them, rounded to the step, at least ``least`` and one step.

    Groups that are too small for the step keep all.
    """
    step = steps_of(group, round_to)
    floor = -(-max(least, 1) // step) * step
    count = max(round(wanted / step) * step, floor, step)
    return count if count < len(group) else len(group)


def uniform(groups: Sequence[Group], ratio: float, round_to: int, least: int) -> dict[str, int]:
    """Key -> atoms that go, the share ``ratio`` of each group."""
    return {group.key: len(group) - kept_of(group, (1 - ratio) * len(group), round_to, least) for group in groups}


@dataclass(frozen=True, slots=True)
class Term:
    """A part of what a run costs, which shrinks with each of some axes."""

    cost: float
    axes: tuple[Ids, ...]


class Costs:
    """What a run costs as a function of what is removed.

    Args:
        terms: In one unit.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = terms
        self.total = sum(term.cost for term in terms)

    def __call__(self, keep: npt.NDArray[np.bool_]) -> float:
        """The cost with what ``keep``, ``bool[ids]``, is true for."""
        return sum(self.term(place, keep) for place in range(len(self._terms)))

    def terms_of(self, members: Ids) -> list[int]:
        """Places of the terms that any of the ids take part in."""
        marked = set(members.tolist())
        return [
            i for i, term in enumerate(self._terms) if any(not marked.isdisjoint(ids.tolist()) for ids in term.axes)
        ]

    def term(self, place: int, keep: npt.NDArray[np.bool_]) -> float:
        """The cost of one term."""
        term = self._terms[place]
        return term.cost * math.prod(float(keep[ids].mean()) for ids in term.axes)


def macs_of(model: ir.Model, channels: Channels, feed: Feed | None) -> Costs:
    """Multiply-accumulates.

    Args:
        model: The model that ``channels`` are of.
        channels: Its channels.
        feed: An input: open dims are as large as its.
    """
    bindings: dict[str, int] = {}
    for value in model.graph.inputs:
        shape = channels.facts.shape(value) or ()
        given = np.shape(feed[value.name]) if feed is not None and value.name in feed else ()
        for dim, size in zip(shape, given, strict=False):
            names = list(free_symbols(dim)) if isinstance(dim, Expr) else []
            if len(names) == 1 and evaluate(dim, {names[0]: size}) == size:
                bindings[names[0]] = size
    nodes = model_cost(model, channels.facts, bindings).nodes
    return Costs([Term(float(each.macs), _axes(node, channels)) for node, each in nodes.items() if each.macs])


def times_of(model: ir.Model, channels: Channels, feeds: Sequence[Feed], threads: int) -> Costs:
    """Microseconds on this machine, from a profile: of a contraction in proportion to its MACs, else to its output.

    Args:
        model: The model that ``channels`` are of.
        channels: Its channels.
        feeds: Inputs to run it on.
        threads: Of the session.
    """
    names = Names.of(model)
    named = model.clone()
    keys = {}
    for node, twin in zip(model.graph, named.graph, strict=True):
        twin.name = names.fresh(f"profiled_{node.name or node.op_type}")
        keys[twin.name] = node.outputs[0].name or ""
    nodes = {node.outputs[0].name or "": node for node in model.graph if node.outputs}
    contractions = {key for key, node in nodes.items() if node.op_type in CONTRACTIONS}
    times = attribute(node_times(named, feeds, threads=threads), named, keys, contractions)
    terms = []
    for key, microseconds in times.items():
        node = nodes[key]
        axes = (
            _axes(node, channels)
            if key in contractions
            else tuple(ids for ids in channels.links.ids(node.outputs[0]) or () if ids is not None)
        )
        terms += [Term(min(CALL, microseconds), ()), Term(max(0.0, microseconds - CALL), axes)]
    return Costs(terms)


def _axes(node: ir.Node, channels: Channels) -> tuple[Ids, ...]:
    """The axes whose product the MACs of a contraction are proportional to, of those that have ids."""
    if node.op_type in ("LSTM", "GRU", "RNN"):
        # gates x (input + hidden), of which the recurrence is the part that shrinks with its square
        ids = None if node.inputs[2] is None else channels.links.axis(node.inputs[2], 2)
        return () if ids is None else (ids,)
    second = node.inputs[1] if len(node.inputs) > 1 else None
    every = list(channels.links.ids(second) or ()) if second is not None else []
    if node.op_type in ("MatMul", "Einsum"):
        first = node.inputs[0]
        left = list(channels.links.ids(first) or ()) if first is not None else []
        every += left[:-1]  # the last one is what is summed over, counted in the other
    return tuple(ids for ids in every if ids is not None)


def cheapest(
    groups: Sequence[Group],
    rankings: Mapping[str, Ranking],
    weights: Mapping[str, float],
    costs: Costs,
    channels: Channels,
    budget: float,
    round_to: int,
    least: int,
) -> dict[str, int]:
    """Key -> atoms that go, until ``budget`` of the costs are left or no group can give more.

    Greedy: the next step is taken of the group where it adds the least error for what it saves; steps of a group cost
    more and more, so that this is the relaxed knapsack's solution.

    Args:
        groups: To choose from.
        rankings: Of each group; ``errors`` times ``weights`` is the error at the outputs.
        weights: Factor of each group.
        costs: MACs or times of the model.
        channels: Of the model.
        budget: Share of the costs that is left.
        round_to: See `steps_of`.
        least: Atoms that each group keeps.
    """
    keep = np.ones(channels.links.count, bool)
    members = _members(groups, channels)
    touched = {group.key: costs.terms_of(np.concatenate(members[group.key])) for group in groups}
    gone = dict.fromkeys((group.key for group in groups), 0)
    left, wanted = costs.total, budget * costs.total

    def after(group: Group) -> int | None:
        """Atoms gone after the group's next step; None where it has none."""
        step = steps_of(group, round_to)
        stay = len(group) - gone[group.key]
        now = (stay - 1) // step * step
        return len(group) - now if now >= max(least, step) else None

    def price(group: Group) -> tuple[float, float]:
        """Error for what the next step saves, and what it saves."""
        target = after(group)
        if target is None:
            return math.inf, 0.0
        ranking, key = rankings[group.key], group.key
        ids = np.concatenate([members[key][i] for i in ranking.order[gone[key] : target]])
        before = sum(costs.term(i, keep) for i in touched[key])
        keep[ids] = False
        saved = before - sum(costs.term(i, keep) for i in touched[key])
        keep[ids] = True
        error = weights[key] * (ranking.errors[target] - ranking.errors[gone[key]])
        return (error / saved if saved > 0 else math.inf), saved

    prices = {group.key: price(group) for group in groups}
    by_key = {group.key: group for group in groups}
    near: dict[str, set[str]] = defaultdict(set)
    for one in groups:
        near[one.key] = {other.key for other in groups if set(touched[one.key]) & set(touched[other.key])}
    while left > wanted:
        key = min(prices, key=lambda each: prices[each][0], default=None)
        if key is None or math.isinf(prices[key][0]):
            break
        target = after(by_key[key])
        assert target is not None
        keep[np.concatenate([members[key][i] for i in rankings[key].order[gone[key] : target]])] = False
        left -= prices[key][1]
        gone[key] = target
        for other in near[key]:
            prices[other] = price(by_key[other])
    return gone


def _members(groups: Sequence[Group], channels: Channels) -> dict[str, list[Ids]]:
    """Key -> all ids of each atom."""
    order = np.argsort(channels.labels, kind="stable")
    labels = channels.labels[order]
    found = {}
    for group in groups:
        mine = channels.labels[group.ids]
        starts, ends = np.searchsorted(labels, mine, "left"), np.searchsorted(labels, mine, "right")
        found[group.key] = [order[a:b] for a, b in zip(starts, ends, strict=True)]
    return found
