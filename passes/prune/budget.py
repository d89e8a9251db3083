"""How many channels each group gives up: the same share of all, or wherever a MAC saved costs the least accuracy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import model_cost
from onnxslim.analysis.channels import Channels, Group
from onnxslim.analysis.dims import Expr, evaluate, free_symbols
from onnxslim.ops.channels import Ids
from onnxslim.runtime import Feed

from .importance import Ranking


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
class _Term:
    """MACs that shrink with each of some axes."""

    macs: float
    axes: tuple[Ids, ...]


class Macs:
    """The multiply-accumulates of a model as a function of what is removed.

    Args:
        model: The model that ``channels`` are of.
        channels: Its channels.
        feed: An input: open dims are as large as its.
    """

    def __init__(self, model: ir.Model, channels: Channels, feed: Feed | None) -> None:
        bindings: dict[str, int] = {}
        for value in model.graph.inputs:
            shape = channels.facts.shape(value) or ()
            given = np.shape(feed[value.name]) if feed is not None and value.name in feed else ()
            for dim, size in zip(shape, given, strict=False):
                names = list(free_symbols(dim)) if isinstance(dim, Expr) else []
                if len(names) == 1 and evaluate(dim, {names[0]: size}) == size:
                    bindings[names[0]] = size
        cost = model_cost(model, channels.facts, bindings)
        self._terms = [
            _Term(float(each.macs), axes)
            for node, each in cost.nodes.items()
            if each.macs
            for axes in [_axes(node, channels)]
        ]
        self.total = sum(term.macs for term in self._terms)

    def __call__(self, keep: np.ndarray) -> float:
        """MACs left.

        Args:
            keep: ``bool[ids]``.
        """
        return sum(term.macs * math.prod(float(keep[ids].mean()) for ids in term.axes) for term in self._terms)

    def terms_of(self, members: Ids) -> list[int]:
        """Places of the terms that any of the ids take part in."""
        marked = set(members.tolist())
        return [
            i for i, term in enumerate(self._terms) if any(not marked.isdisjoint(ids.tolist()) for ids in term.axes)
        ]

    def term(self, place: int, keep: np.ndarray) -> float:
        """MACs left of one term."""
        term = self._terms[place]
        return term.macs * math.prod(float(keep[ids].mean()) for ids in term.axes)


def _axes(node: ir.Node, channels: Channels) -> tuple[Ids, ...]:
    """The axes whose product the node's MACs are proportional to, of those that have ids."""
    if node.op_type in ("LSTM", "GRU", "RNN"):
        places = [(node.inputs[1], 2), (node.inputs[2], 2)]
        found = [channels.links.axis(value, axis) for value, axis in places if value is not None]
        return tuple(ids for ids in found[1:] if ids is not None)  # gates x (input + hidden): about linear in hidden
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
    macs: Macs,
    channels: Channels,
    budget: float,
    round_to: int,
    least: int,
) -> dict[str, int]:
    """Key -> atoms that go, until ``budget`` of the MACs are left or no group can give more.

    Greedy: the next step is taken of the group where it adds the least error for each MAC that it saves; steps of a
    group cost more and more, so that this is the relaxed knapsack's solution.

    Args:
        groups: To choose from.
        rankings: Of each group; ``errors`` times ``weights`` is the error at the outputs.
        weights: Factor of each group.
        macs: Of the model.
        channels: Of the model.
        budget: MACs left, as a share.
        round_to: See `steps_of`.
        least: Atoms that each group keeps.
    """
    keep = np.ones(channels.links.count, bool)
    members = _members(groups, channels)
    touched = {group.key: macs.terms_of(np.concatenate(members[group.key])) for group in groups}
    gone = dict.fromkeys((group.key for group in groups), 0)
    left, wanted = macs.total, budget * macs.total

    def after(group: Group) -> int | None:
        """Atoms gone after the group's next step; None where it has none."""
        step = steps_of(group, round_to)
        stay = len(group) - gone[group.key]
        now = (stay - 1) // step * step
        return len(group) - now if now >= max(least, step) else None

    def price(group: Group) -> tuple[float, float]:
        """Error for each MAC, and MACs saved, of the next step."""
        target = after(group)
        if target is None:
            return math.inf, 0.0
        ranking, key = rankings[group.key], group.key
        ids = np.concatenate([members[key][i] for i in ranking.order[gone[key] : target]])
        before = sum(macs.term(i, keep) for i in touched[key])
        keep[ids] = False
        saved = before - sum(macs.term(i, keep) for i in touched[key])
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
