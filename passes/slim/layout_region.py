"""Regions of a graph in which Transposes may stand elsewhere, and what each placement costs.

A region is what Transposes of one kind reach through operators that can work in either order of axes (`ops.layout`).
Each of its values has a side: the order that it is in now, 0 or 1, and the permutation that takes it to the other side.
A Transpose between the sides is no operator of the region: its input and output are one *net*, data that exist in one
order or in both. A placement gives each operator a side. A net costs one Transpose of its bytes where its producer and
any of its consumers are on different sides. Operators that are not of the region hold their values where they are.

Long because how a region grows and how its nets are tied is one walk over the same sides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.layout import RULES, Perm, Turn, inverse, moves_only_ones, turned
from onnxslim.rewriter.place import Place
from onnxslim.rewriter.scopes import ANNOTATION

from .merge_transposes import permutation

NOMINAL = 16
"""What a dim that is not known counts as."""
HOPS = 4
"""Operators between an Unsqueeze and the Transpose that says where its new dim goes."""
VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""What a Transpose that moves only dims of 1 merges with."""
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What takes in factors, summands and activations that stand right beside it."""
_AFFINE = ("Add", "Div", "Mul", "Sub")
_ACTIVATIONS = ("Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh")


class Membership(NamedTuple):
    """Where a value belongs."""

    region: int
    side: int
    perm: Perm
    """Takes it to the other side."""


@dataclass(eq=False)
class Net:
    """Data of a region, in one order or both."""

    root: ir.Value
    values: list[ir.Value]
    """The root and what Transposes make of it."""
    producer: ir.Node | None = None
    """The operator of the region that makes it; None where it is held by something else."""
    consumers: dict[ir.Node, None] = field(default_factory=dict)
    """Operators of the region that read it."""
    pinned: list[tuple[ir.Node, int, ir.Value]] = field(default_factory=list)
    """What reads it and is not of the region: node, input, value."""
    free: list[tuple[ir.Node, ir.Value]] = field(default_factory=list)
    """Transposes of other kinds and Shapes, which read either."""
    early: dict[ir.Value, None] = field(default_factory=dict)
    """Values that graph outputs or subgraphs need."""
    bytes: int = 0
    count: int = 1
    """Nodes that a Transpose of it is: none where it merges with a Reshape."""
    ties: int = 0
    """Prefers that no Transpose parts what could be fused."""


@dataclass(eq=False)
class LayoutRegion:
    """Operators, nets and the Transposes that are there now."""

    number: int
    sides: dict[ir.Node, int] = field(default_factory=dict)
    """Operator -> the side that it is on now."""
    turns: dict[ir.Node, Turn] = field(default_factory=dict)
    """Operator -> what it is on the other side."""
    transposes: dict[ir.Node, None] = field(default_factory=dict)
    nets: dict[ir.Value, Net] = field(default_factory=dict)
    """By root."""
    root: dict[ir.Value, ir.Value] = field(default_factory=dict)
    reasons: dict[ir.Node, str] = field(default_factory=dict)
    """Why operators that have a rule are not of the region."""


class RegionSearch:
    """Finds the regions of one graph. A value belongs to one region at most, so that all searches are linear."""

    def __init__(self, place: Place, annotated: frozenset[str]) -> None:
        self.place, self.annotated, self.graph = place, annotated, place.scope.graph
        self.members: dict[ir.Value, Membership] = {}
        self._count = 0

    def region(self, seed: ir.Node) -> LayoutRegion | None:
        """The region of a Transpose; None where it belongs to one already, or is not understood."""
        x, y, perm = seed.inputs[0], seed.outputs[0], permutation(seed, self.place)
        if x is None or perm is None or not self._is_data(x) or not self._is_data(y):
            return None
        if x in self.members or y in self.members or perm == tuple(range(len(perm))):
            return None
        if self.place.facts.rank(x) != len(perm):
            return None
        self._count += 1
        region = LayoutRegion(self._count)
        self._spread(region, x, perm)
        return region

    def _is_data(self, value: ir.Value) -> bool:
        """Whether it may change its order: computed or fed, of this graph, and no part of an annotation."""
        if ANNOTATION in value.meta or value.name in self.annotated:
            return False
        producer = value.producer()
        if producer is not None:
            return producer.graph is self.graph and constant_tensor(value) is None
        return value.is_graph_input() and value.graph is self.graph

    def _spread(self, region: LayoutRegion, start: ir.Value, perm: Perm) -> None:
        """Gives a side to all that is reached from ``start``."""
        self.members[start] = Membership(region.number, 0, perm)
        queue = deque([start])
        while queue:
            value = queue.popleft()
            member = self.members[value]
            for node in self._around(value):
                if node in region.sides or node in region.reasons or node in region.transposes:
                    continue
                if node.op_type == "Transpose" and node.domain == "":
                    queue.extend(self._cross(region, node))
                elif node.op_type in RULES and node.domain == "":
                    queue.extend(self._enter(region, node, member))

    def _around(self, value: ir.Value) -> Iterator[ir.Node]:
        producer = value.producer()
        if producer is not None and producer.graph is self.graph:
            yield producer
        for use in value.uses():
            if use.node.graph is self.graph:
                yield use.node

    def _cross(self, region: LayoutRegion, node: ir.Node) -> Iterator[ir.Value]:
        """Takes a Transpose in that leads from one side to the other; yields what is new."""
        x, y, perm = node.inputs[0], node.outputs[0], permutation(node, self.place)
        if x is None or perm is None or not self._is_data(x) or not self._is_data(y):
            return
        here, there = self.members.get(x), self.members.get(y)
        if here is not None and here.perm == perm and here.region == region.number:
            wanted = Membership(region.number, 1 - here.side, inverse(perm))
            if there not in (None, wanted):
                return
            self.members[y] = wanted
        elif here is None and there is not None and there.perm == inverse(perm) and there.region == region.number:
            self.members[x] = Membership(region.number, 1 - there.side, perm)
        else:
            return
        region.transposes[node] = None
        if here is None:
            yield x
        if there is None:
            yield y

    def _enter(self, region: LayoutRegion, node: ir.Node, member: Membership) -> Iterator[ir.Value]:
        """Takes an operator in that can work on either side; yields what is new."""
        perm = self._perm(node, member)
        if perm is None:
            return
        turn = turned(node, self.place.opset, perm, self.place.facts, self.place.constant)
        if not isinstance(turn, Turn):
            region.reasons[node] = turn or ""
            return
        wanted = Membership(region.number, member.side, perm)
        new: dict[ir.Value, Membership] = {}
        for values, perms in ((node.inputs, turn.inputs), (node.outputs, turn.outputs)):
            for index, own in perms.items():
                value = values[index]
                if value is None or self.place.constant(value) is not None:
                    continue
                wanted = Membership(region.number, member.side, own)
                if not self._is_data(value) or self.members.get(value, wanted) != wanted:
                    region.reasons[node] = "what it works on is in several orders"
                    return
                if self.members.get(value) is None and new.setdefault(value, wanted) != wanted:
                    region.reasons[node] = "what it works on is in several orders"
                    return
        if any(y.name and (ANNOTATION in y.meta or y.name in self.annotated) for y in node.outputs):
            region.reasons[node] = "it takes part in a quantization annotation"
            return
        region.sides[node], region.turns[node] = member.side, turn
        self.members.update(new)
        yield from new

    def _perm(self, node: ir.Node, member: Membership) -> Perm | None:
        """The permutation of what has most dims; None as long as only what has fewer has been reached."""
        x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
        ranks = [self.place.facts.rank(value) if value is not None else None for value in (x, y)]
        if None in ranks:
            return None
        widest = x if (ranks[0] or 0) > (ranks[1] or 0) else y
        if ranks[0] == ranks[1] or ((ranks[0] or 0) < (ranks[1] or 0) and node.op_type != "Unsqueeze"):
            return member.perm if len(member.perm) == max(rank or 0 for rank in ranks) else None
        found = self.members.get(widest) if widest is not None else None
        if found is not None:
            return found.perm if found.region == member.region else None
        return self._ahead(node.outputs[0], member.perm) if node.op_type == "Unsqueeze" else None

    def _ahead(self, value: ir.Value, perm: Perm) -> Perm | None:
        """What a Transpose makes of an Unsqueeze, perhaps after some steps.

        A new dim may go to several places; which one it is must be known before the Transpose is reached.
        """
        for _ in range(HOPS):
            users = [use.node for use in value.uses()]
            for user in users:
                if user.op_type == "Transpose" and user.domain == "":
                    found = permutation(user, self.place)
                    return found if found is not None and len(found) > len(perm) else None
            if len(users) != 1 or users[0].op_type not in RULES or len(users[0].outputs) != 1:
                return None
            value = users[0].outputs[0]
        return None

    def connect(self, region: LayoutRegion, order: dict[ir.Node, int]) -> None:
        """Finds the nets of a region."""
        values = [v for node in (*region.sides, *region.transposes) for v in (*node.inputs, *node.outputs)]
        mine = [v for v in dict.fromkeys(values) if v is not None and self._mine(region, v)]
        for node in sorted(region.transposes, key=order.__getitem__):
            x, y = node.inputs[0], node.outputs[0]
            if x is not None:
                region.root[y] = region.root.get(x, x)
        for value in mine:
            root = region.root.setdefault(value, value)
            net = region.nets.get(root)
            if net is None:
                net = region.nets[root] = Net(root, [])
            net.values.append(value)
        for net in region.nets.values():
            self._fill(region, net)

    def _mine(self, region: LayoutRegion, value: ir.Value) -> bool:
        member = self.members.get(value)
        return member is not None and member.region == region.number

    def _fill(self, region: LayoutRegion, net: Net) -> None:
        """Who makes and reads a net, and what a Transpose of it costs."""
        producer = net.root.producer()
        net.producer = producer if producer in region.sides else None
        for value in net.values:
            nested = False
            for use in value.uses():
                node = use.node
                if node in region.transposes:
                    continue
                if node.graph is not self.graph:
                    nested = True
                elif node in region.sides and use.idx in region.turns[node].inputs:
                    net.consumers[node] = None
                elif self._reads_either(node):
                    net.free.append((node, value))
                else:
                    net.pinned.append((node, use.idx, value))
            if nested or value.is_graph_output():
                net.early[value] = None
        shape, dtype = self.place.facts.shape(net.root), self.place.facts.dtype(net.root)
        net.bytes = max(1, int(dtype.itemsize)) if dtype is not None else 4
        for dim in shape or ():
            net.bytes *= dim if isinstance(dim, int) else NOMINAL
        if shape is not None and moves_only_ones(self.members[net.root].perm, shape):
            net.bytes, net.count = 0, int(producer is None or producer.op_type not in VIEWS)
        net.ties = self._ties(net) if net.count else 1

    def _reads_either(self, node: ir.Node) -> bool:
        """Whether it can be made to read the data in either order, at no cost."""
        if node.domain != "" or any(each.is_ref() for each in node.attributes.values()):
            return False
        return node.op_type == "Shape" or (node.op_type == "Transpose" and permutation(node, self.place) is not None)

    def _ties(self, net: Net) -> int:
        """How much is lost if a Transpose parts the producer from its consumer."""
        consumers = [*net.consumers, *(node for node, _, _ in net.pinned)]
        producer = net.root.producer()
        if len(consumers) != 1 or producer is None or net.early:
            return 0
        (consumer,) = consumers
        if self._takes(producer):
            if self._is_affine(consumer):
                return 2
            return int(consumer.op_type in (*_ACTIVATIONS, "Add"))
        if consumer.op_type in LINEAR and (self._is_affine(producer) or producer.op_type == "Pad"):
            return 2
        return 0

    def _is_affine(self, node: ir.Node) -> bool:
        """Whether it multiplies or adds a constant."""
        return node.op_type in _AFFINE and any(self.place.constant(x) is not None for x in node.inputs)

    def _takes(self, node: ir.Node) -> bool:
        """Whether a factor after the node can go into an operator before it."""
        for _ in range(4):
            if node.op_type in LINEAR:
                return True
            if not self._is_affine(node):
                return False
            x = next((x for x in node.inputs if x is not None and self.place.constant(x) is None), None)
            before = x.producer() if x is not None else None
            if before is not None and before.op_type == "Transpose" and before.inputs[0] is not None:
                before = before.inputs[0].producer()
            if before is None:
                return False
            node = before
        return False
