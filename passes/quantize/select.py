"""Which groups run in int8: the least of time and error together, found exactly by a minimum cut.

Every group is in float or in int8, every tensor around it on a grid or not. A group costs its time in the form that it
has; a value costs a QuantizeLinear where a float group makes it and an int8 one reads it, a DequantizeLinear the other
way round; a tensor on a grid costs its error, weighed. All of these are costs of one side or of two sides that differ,
so that the least total is a minimum cut (Kolmogorov and Zabih, What Energy Functions Can Be Minimized via Graph Cuts,
PAMI 2004, section 4). Weighing the error more and more gives the lower convex hull of the knapsack of time and error
(Everett, Generalized Lagrange Multiplier Method, Operations Research 1963).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from .cost import Int8Costs
from .group import Int8Group
from .tensors import Tensor

UNIT = 1000
"""Capacities are whole nanoseconds: with whole numbers the cut is exact and the same everywhere."""
STEPS = 60
RATIO = 2**0.4
"""Weights of the error that are tried: so many, each by so much more than the one before."""

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """Groups to run in int8, with what that is expected to cost."""

    keys: frozenset[str]
    microseconds: float
    noise: float
    """Noise over signal at the outputs, errors of the tensors added up."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Noise over signal that each part adds to the outputs: tensors by name, weights by the key of their group."""

    tensors: Mapping[str, float]
    weights: Mapping[str, float]

    def of(self, groups: Sequence[Int8Group], tensors: Sequence[Tensor], keys: Collection[str]) -> float:
        """The sum of what is in int8 when ``keys`` are."""
        used = {value.name for group in groups if group.key in keys for value in group.measured}
        rounded = sum(self.tensors.get(each.name, 0.0) for each in tensors if not used.isdisjoint(each.values))
        return rounded + sum(self.weights.get(key, 0.0) for key in keys)

    def times(self, factor: float) -> Errors:
        """Weighed; no part counts for more than the signal itself."""
        tensors = {name: factor * min(value, 1.0) for name, value in self.tensors.items()}
        return Errors(tensors, {key: factor * min(value, 1.0) for key, value in self.weights.items()})


def choices(groups: Sequence[Int8Group], tensors: Sequence[Tensor], costs: Int8Costs, errors: Errors) -> list[Choice]:
    """The best choices for ever more weight on the error, fastest first.

    Args:
        groups: All that could run in int8.
        tensors: Around them.
        costs: Of the groups and conversions.
        errors: Of tensors and weights.
    """
    whole = errors.times(1.0)
    total = sum(whole.tensors.values()) + sum(whole.weights.values()) or 1.0
    base = sum(costs.in_float.get(group.key, 0.0) for group in groups) / total / RATIO ** (STEPS / 3)
    found: dict[frozenset[str], Choice] = {}
    for step in range(-1, STEPS):
        weight = 0.0 if step < 0 else base * RATIO**step
        choice = cut(groups, tensors, costs, whole.times(weight))
        spent = errors.of(groups, tensors, choice.keys)
        found.setdefault(choice.keys, Choice(choice.keys, choice.microseconds, spent))
        if not choice.keys:
            break
    return list(found.values())


def time_of(groups: Sequence[Int8Group], costs: Int8Costs, keys: Collection[str]) -> float:
    """Microseconds of all groups, and of the conversions between them, when ``keys`` are in int8."""
    spent = sum((costs.in_int8 if group.key in keys else costs.in_float).get(group.key, 0.0) for group in groups)
    made = {group.output for group in groups if group.key in keys}
    slots = {(group.node, index) for group in groups if group.key in keys for index, _ in group.activations}
    for value in dict.fromkeys(value for group in groups if group.key in keys for value in group.measured):
        name = value.name or ""
        if value not in made:
            spent += costs.quantize.get(name, 0.0)
        elif any((use.node, use.idx) not in slots for use in value.uses()):
            spent += costs.dequantize.get(name, 0.0)
    return spent


def cut(groups: Sequence[Int8Group], tensors: Sequence[Tensor], costs: Int8Costs, penalty: Errors) -> Choice:
    """The choice with the least sum of time and penalties.

    Args:
        groups: All that could run in int8.
        tensors: Around them.
        costs: Microseconds.
        penalty: Microseconds that errors count as.
    """
    graph: nx.DiGraph[Place] = nx.DiGraph()
    int8, floating = ("side", "int8"), ("side", "float")
    graph.add_nodes_from((int8, floating))
    producer = {group.output: group for group in groups if group.output is not None}
    slots = {(group.node, index): group for group in groups for index, _ in group.activations}

    def pay(one: Place, other: Place, cost: float) -> None:
        """``cost`` where ``one`` is on the int8 side and ``other`` is not."""
        if cost > 0:
            capacity = math.inf if math.isinf(cost) else round(cost * UNIT)
            if graph.has_edge(one, other):
                graph[one][other]["capacity"] += capacity
            else:
                graph.add_edge(one, other, capacity=capacity)

    of_value = {name: tensor.name for tensor in tensors for name in tensor.values}
    for tensor in tensors:
        pay(("tensor", tensor.name), floating, penalty.tensors.get(tensor.name, 0.0))
    for group in groups:
        here = ("group", group.key)
        pay(int8, here, costs.in_float.get(group.key, 0.0))
        pay(here, floating, costs.in_int8.get(group.key, 0.0) + penalty.weights.get(group.key, 0.0))
        for value in group.measured:
            pay(here, ("value", value.name or ""), math.inf)
    for value in dict.fromkeys(value for group in groups for value in group.measured):
        name = value.name or ""
        here, made = ("value", name), producer.get(value)
        pay(here, ("tensor", of_value[name]), math.inf)
        if made is None:
            pay(here, floating, costs.quantize.get(name, 0.0))
            continue
        source = ("group", made.key)
        pay(here, source, costs.quantize.get(name, 0.0))
        readers = [slots.get((use.node, use.idx)) for use in value.uses()]
        back = costs.dequantize.get(name, 0.0)
        if any(reader is None for reader in readers):
            pay(source, floating, back)
        else:
            pay(source, ("read", name), back)
            for reader in readers:
                assert reader is not None
                pay(("read", name), ("group", reader.key), math.inf)
    value, (chosen, _) = nx.minimum_cut(graph, int8, floating)
    keys = frozenset(key for kind, key in chosen if kind == "group")
    spent = penalty.of(groups, tensors, keys)
    return Choice(keys, float(value) / UNIT - spent, 0.0)
