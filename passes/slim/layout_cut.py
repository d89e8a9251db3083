"""Where the Transposes of a region cost least: a minimum cut.

Each operator is on side 0 (with the source) or 1 (with the sink). A net costs its weight once if any consumer is not
on the side of its producer, however many they are: ``[p = 0 and some c = 1] + [p = 1 and some c = 0]``, of which only
one can be 1. Each term is a node of its own in the flow network: an edge of the net's weight from p to it and edges
that cannot be cut from it to each c, and the same backwards. What holds a value on a side is the source or the sink.
So the cut is exact (cf. Kolmogorov and Zabih, "What energy functions can be minimized via graph cuts?", PAMI 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

import onnx_ir as ir

from .layout_region import LayoutRegion, Net

FEW = 4
"""So many operators are tried out on every side."""
FAN = 8
"""Edges of a node in the tree around a terminal."""
MOST = 50_000
"""Larger regions stay as they are: the cut takes some 20 us for each operator, and more in entangled ones."""

Sides = Mapping[ir.Node, int]


class TransposeCost(NamedTuple):
    """What Transposes cost, in order of importance."""

    bytes: int = 0
    """That they move, and that operators go over once more since they are on their worse side."""
    nodes: int = 0
    ties: int = 0
    moved: int = 0
    """Operators on another side than now: what is no better stays."""

    def plus(self, other: TransposeCost) -> TransposeCost:
        """Both."""
        return TransposeCost(*(a + b for a, b in zip(self, other, strict=True)))


def by_bytes(cost: TransposeCost) -> int:
    """One number that orders costs lexicographically."""
    return (cost.bytes << 96) + (cost.nodes << 64) + (cost.ties << 32) + cost.moved


def by_count(cost: TransposeCost) -> int:
    """The same, with fewer Transposes before fewer bytes."""
    return (cost.nodes << 160) + (cost.bytes << 64) + (cost.ties << 32) + cost.moved


def net_sides(net: Net, region: LayoutRegion, side_of: Mapping[ir.Value, int]) -> tuple[int | None, set[int]]:
    """The side that something outside makes the net on, and those that something outside reads it on.

    The first is None where an operator of the region makes it.
    """
    made = side_of[net.root] if net.producer is None else None
    return made, {side_of[value] for _, _, value in net.pinned} | {side_of[value] for value in net.early}


def price(net: Net) -> TransposeCost:
    """Of a Transpose of the net."""
    return TransposeCost(net.bytes, net.count, net.ties)


def extra(region: LayoutRegion, node: ir.Node, side: int, size: Mapping[ir.Node, int]) -> TransposeCost:
    """What an operator costs on a side."""
    away = int(side != region.sides[node])
    return TransposeCost(size[node] * region.turns[node].passes[away], moved=away)


def total(
    region: LayoutRegion, sides: Sides, side_of: Mapping[ir.Value, int], size: Mapping[ir.Node, int]
) -> TransposeCost:
    """Of a placement."""
    cost = TransposeCost()
    for net in region.nets.values():
        made, read = net_sides(net, region, side_of)
        own = made if net.producer is None else sides[net.producer]
        if any(side != own for side in (*read, *(sides[node] for node in net.consumers))):
            cost = cost.plus(price(net))
    for node, side in sides.items():
        cost = cost.plus(extra(region, node, side, size))
    return cost


def placements(region: LayoutRegion, side_of: Mapping[ir.Value, int], size: Mapping[ir.Node, int]) -> Iterator[Sides]:
    """The placements worth a look, the best first: by bytes, then by the number of Transposes."""
    nodes = list(region.sides)
    if len(nodes) <= FEW:
        found = [dict(zip(nodes, sides, strict=True)) for sides in product((0, 1), repeat=len(nodes))]
        for order in (by_bytes, by_count):
            yield min(found, key=lambda sides: order(total(region, sides, side_of, size)))
        return
    for order in (by_bytes, by_count):
        yield minimum_cut(region, side_of, size, order)


def minimum_cut(
    region: LayoutRegion,
    side_of: Mapping[ir.Value, int],
    size: Mapping[ir.Node, int],
    order: Callable[[TransposeCost], int],
) -> Sides:
    """The cheapest placement."""
    import networkx  # takes a while

    source, sink = "source", "sink"
    network = networkx.DiGraph()
    network.add_nodes_from((source, sink))
    terminals: dict[bool, dict[object, int]] = {True: {}, False: {}}

    def connect(tail: object, head: object, weight: int) -> None:
        if tail is head or tail is sink or head is source or (tail is source and head is sink) or weight <= 0:
            return
        if tail is source or head is sink:
            ends = terminals[tail is source]
            inner = head if tail is source else tail
            ends[inner] = ends.get(inner, 0) + weight
            return
        if network.has_edge(tail, head):
            network[tail][head]["capacity"] += weight
        else:
            network.add_edge(tail, head, capacity=weight)

    nets = list(region.nets.values())
    never = 1 + sum(order(price(net)) for net in nets)
    never += sum(order(extra(region, node, side, size)) for node in region.sides for side in (0, 1))
    for index, net in enumerate(nets):
        made, read = net_sides(net, region, side_of)
        maker: object = net.producer if net.producer is not None else (source, sink)[made or 0]
        readers: list[object] = [*net.consumers, *((source, sink)[side] for side in sorted(read))]
        _join(connect, maker, readers, order(price(net)), never, index)
    for node in region.sides:
        connect(source, node, order(extra(region, node, 1, size)))
        connect(node, sink, order(extra(region, node, 0, size)))
    for (outer, inner), weight in _fan(source, terminals[True]):
        network.add_edge(outer, inner, capacity=weight)
    for (outer, inner), weight in _fan(sink, terminals[False]):
        network.add_edge(inner, outer, capacity=weight)
    flow = networkx.algorithms.flow.boykov_kolmogorov
    _, (zero, _) = networkx.minimum_cut(network, source, sink, flow_func=flow)
    return {node: int(node not in zero) for node in region.sides}


def _fan(terminal: object, ends: Mapping[object, int]) -> Iterator[tuple[tuple[object, object], int]]:
    """Edges from a terminal to what it is tied to, by way of a tree of few edges a node.

    The search for paths looks at all edges of a node again and again: thousands at one node would make it quadratic.
    """
    items, level = list(ends.items()), 0
    while len(items) > FAN:
        groups = [items[start : start + FAN] for start in range(0, len(items), FAN)]
        for index, group in enumerate(groups):
            for node, weight in group:
                yield ((terminal, level, index), node), weight
        items = [((terminal, level, index), sum(w for _, w in group)) for index, group in enumerate(groups)]
        level += 1
    for node, weight in items:
        yield (terminal, node), weight


def _join(
    connect: Callable[[object, object, int], None],
    maker: object,
    readers: Iterable[object],
    weight: int,
    never: int,
    index: int,
) -> None:
    """One net of the flow network."""
    others = [reader for reader in readers if reader is not maker]
    if len(others) == 1:
        connect(maker, others[0], weight)
        connect(others[0], maker, weight)
        return
    forward, backward = (index, "some on 1"), (index, "some on 0")
    if others:
        connect(maker, forward, weight)
        connect(backward, maker, weight)
    readers_of = dict.fromkeys(others, never)
    for (outer, inner), least in _fan(forward, readers_of):
        connect(outer, inner, least)
    for (outer, inner), least in _fan(backward, readers_of):
        connect(inner, outer, least)
