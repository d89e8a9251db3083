"""How many channels each group gives up: the same share of all, or where what is saved costs the least accuracy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis import model_cost
from onnxslim.analysis.channels import Channels, Group
from onnxslim.analysis.cost import bound
from onnxslim.execution import Feed, attribute, node_times
from onnxslim.graph.edit import Names, constant_tensor
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.channels import Ids

from .apply import constants_of
from .importance import Ranking

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
CONTRACTIONS = RECURRENT | {"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"}
CALL = 1.5
"""Microseconds that a node costs whatever its size."""


def steps_of(group: Group, round_to: int) -> int:
    """Atoms by which the group shrinks, so that the axes of its contractions keep multiples of ``round_to`` entries."""
    contracted = [
        site.positions.shape[1]
        for site in group.weights
        if any(use.node.op_type in CONTRACTIONS for use in site.value.uses())
    ]
    return round_to // math.gcd(round_to, *(contracted or [site.positions.shape[1] for site in group.weights]))


def least_of(group: Group, least: int) -> int:
    """Atoms that hold ``least`` channels: one that is a whole head of attention counts as many channels as it has.

    An atom has the fewest entries where its channels are made; a consumer that reads several places of each, such as a
    Gemm behind a Flatten, has more of the same channels.
    """
    width = min((site.positions.shape[1] for site in group.weights), default=1)
    return max(1, -(-least // max(width, 1)))


def kept_of(group: Group, wanted: float, round_to: int, least: int) -> int:
    """Atoms that stay: ``wanted`` of them, rounded to the step, at least one step and ``least`` channels.

    Groups that are too small for the step keep all.
    """
    step = steps_of(group, round_to)
    floor = -(-least_of(group, least) // step) * step
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

    @classmethod
    def joined(cls, *parts: tuple[Costs, float]) -> Costs:
        """The sum of several, each times a factor."""
        return cls([replace(term, cost=factor * term.cost) for costs, factor in parts for term in costs._terms])

    def __call__(self, keep: npt.NDArray[np.bool_]) -> float:
        """The cost of what ``keep``, ``bool[ids]``, is true for."""
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
    shapes = {name: np.shape(array) for name, array in (feed or {}).items()}
    nodes = model_cost(model, channels.facts, bound(model, channels.facts, shapes)).nodes
    terms = []
    for node, each in nodes.items():
        # What bodies and functions cost is told of the nodes in them.
        whole = node.op_identifier() in model.functions or next(subgraphs(node.attributes.values()), None) is not None
        if each.macs and not whole:
            terms += _terms(node, float(each.macs), channels)
    return Costs(terms)


def sizes_of(model: ir.Model, channels: Channels) -> Costs:
    """Bytes of the constants that have channels.

    Args:
        model: The model that ``channels`` are of.
        channels: Its channels.
    """
    found = []
    for value in constants_of(model).values():
        tensor, axes = constant_tensor(value), _axes(value, channels)
        if tensor is not None and axes:
            found.append(Term(float(tensor.nbytes), axes))
    return Costs(found)


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
        terms.append(Term(min(CALL, microseconds), ()))
        rest = max(0.0, microseconds - CALL)
        terms += _terms(node, rest, channels) if key in contractions else [Term(rest, _axes(node.outputs[0], channels))]
    return Costs(terms)


def _terms(node: ir.Node, cost: float, channels: Channels) -> list[Term]:
    """What a contraction costs, by the axes that its MACs are proportional to the product of."""
    if node.op_type in RECURRENT:
        sizes = [_sizes(value, channels) for value in node.inputs[1:3]]
        shares = [size / max(1, sum(sizes)) for size in sizes]
        return [
            Term(cost * share, _axes(value, channels)) for share, value in zip(shares, node.inputs[1:3], strict=True)
        ]
    second = node.inputs[1] if len(node.inputs) > 1 else None
    if node.op_type not in ("MatMul", "Einsum"):
        return [Term(cost, _axes(second, channels))]
    axes = _axes(node.outputs[0], channels)
    if node.op_type == "MatMul":
        return [Term(cost, (*axes, *_axes(node.inputs[0], channels, slice(-1, None))))]
    # Each letter once: an axis that both have is known by what its entries belong to.
    inputs = [ids for value in node.inputs for ids in _axes(value, channels)]
    return [Term(cost, tuple({channels.labels[ids].tobytes(): ids for ids in inputs}.values()))]


def _axes(value: ir.Value | None, channels: Channels, part: slice = slice(None)) -> tuple[Ids, ...]:
    """The axes of a value that have ids."""
    every = (channels.links.ids(value) if value is not None else None) or ()
    return tuple(ids for ids in list(every)[part] if ids is not None)


def _sizes(value: ir.Value | None, channels: Channels) -> int:
    """Elements of a weight."""
    return math.prod(len(ids) for ids in _axes(value, channels))


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
        least: Channels that each group keeps.
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
        return len(group) - now if now >= max(least_of(group, least), step) else None

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
