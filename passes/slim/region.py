"""The part of a graph that depends on constants alone: its values, and what keeping or folding each node costs.

Long because the costs of a region are kept while it grows: both change node by node.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.graph.edit import site
from onnxslim.ops.determinism import impurity
from onnxslim.ops.evaluate import CannotEvaluate, evaluate
from onnxslim.pipeline.context import Context
from onnxslim.rewriter.scopes import ANNOTATION, Scope
from onnxslim.rewriter.size import constant_node_bytes, listing_bytes, node_bytes, tensor_bytes

from .lift_constants import constant_tensor

_LEFT_TO_RUNTIME = frozenset({"Constant", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
"""A Constant is one already; the others are patterns that the runtime turns into int8 kernels."""
_CONTRACTIONS = frozenset(
    {"MatMul", "MatMulInteger", "Gemm", "Conv", "ConvTranspose", "ConvInteger", "Einsum", "LSTM", "GRU", "RNN"}
)
MAX_GROWTH = 256 << 10
"""Bytes that one fold may take more, where there are any to spare; larger constants are computed at load."""
LARGE = 1 << 20
"""Bytes from which on it is worth the time to find out that a value cannot be written."""
_LINKING_BYTES = 256
"""Smaller constants, shared by half a model, do not tie its parts together."""

Tensors = tuple[ir.TensorProtocol | None, ...]


@dataclass
class WorkBudget:
    """Work left for evaluation: bytes and multiplications, not seconds, so that no result depends on the machine."""

    left: int

    def spend(self, work: int) -> bool:
        """Takes the work off where there is enough left; a step that is too large does not bar smaller ones."""
        if work > self.left:
            return False
        self.left -= work
        return True


def work(node: ir.Node, inputs: Sequence[ir.TensorProtocol | None]) -> int:
    """What evaluating the node costs: bytes read, and multiplications of contractions (an upper bound).

    A contraction of a (elements A) with b (elements B) over K takes A * B / K multiplications at most; where K is not
    plain to see, 1 is taken.
    """
    given = [x for x in inputs if x is not None]
    total = sum(x.nbytes if x.dtype != ir.DataType.STRING else 16 * x.size for x in given)
    if node.op_type not in _CONTRACTIONS or len(given) < 2:
        return total
    a, b = given[0], given[1]
    shared = [size for size in a.shape.numpy() if size]
    match node.op_type:
        case "MatMul" | "MatMulInteger":
            over = shared[-1] if shared else 1
        case "Gemm":
            over = min(shared, default=1)
        case "Conv" | "ConvTranspose" | "ConvInteger":
            over = shared[1] if len(shared) > 1 else 1
        case _:
            over = 1
    return total + a.size * b.size // over


@dataclass
class Region:
    """Nodes that depend on constants alone, in order of execution, with what is known of each."""

    model: ir.Model
    as_nodes: bool
    """Constants are written as nodes, not as initializers."""
    pinned: frozenset[str]
    """Names of constants that must not vanish."""
    scope: Scope
    room: int
    """Bytes of values that may still be held."""
    order: list[ir.Node] = field(default_factory=list)
    tensors: dict[ir.Node, Tensors] = field(default_factory=dict)
    """Values of the nodes that could be folded; those that never will be are dropped."""
    kept_bytes: dict[ir.Node, int] = field(default_factory=dict)
    """Bytes that die if the node is folded: it, its constants, and what it alone uses, at their cheapest."""
    dead: dict[ir.Node, None] = field(default_factory=dict)
    """Nodes found unused once others are folded."""
    _value_bytes: dict[ir.Node, int] = field(default_factory=dict)
    _unread: dict[ir.Node, int] = field(default_factory=dict)
    """Users of the node that have not been walked over yet."""
    _only_user: dict[ir.Value, ir.Node | None] = field(default_factory=dict)
    """Who alone used a value when the region grew; a constant may have thousands of users, who all ask."""

    def has_values(self, node: ir.Node) -> bool:
        """Whether the node's values are at hand."""
        return node in self.tensors

    def used(self, node: ir.Node) -> list[ir.Value]:
        """Outputs that something uses."""
        return [y for y in node.outputs if y.uses() or y.is_graph_output()]

    def value_bytes(self, node: ir.Node) -> int:
        """Bytes of the constants that would replace the node."""
        return self._value_bytes[node]

    def is_frontier(self, node: ir.Node) -> bool:
        """Whether something outside the region uses the node."""
        return any(y.is_graph_output() or any(u.node not in self._value_bytes for u in y.uses()) for y in node.outputs)

    def is_root(self, node: ir.Node) -> bool:
        """Whether the node has to be decided for itself: nobody in the region is its only user."""
        return self.is_frontier(node) or self.owner(node) is None

    def owner(self, node: ir.Node) -> ir.Node | None:
        """The one node of the region that uses this one, where there is just one user."""
        users = {u.node: None for y in node.outputs for u in y.uses()}
        if len(users) != 1 or any(y.is_graph_output() for y in node.outputs):
            return None
        (user,) = users
        return user if user in self._value_bytes else None

    def bury(self, node: ir.Node) -> bool:
        """Notes that nothing uses the node any more; False, so that it reads as *not needed*."""
        self.dead[node] = None
        return False

    def add(self, node: ir.Node, tensors: Tensors) -> None:
        """Takes a node in, after all that it depends on."""
        self.order.append(node)
        total = 0
        for y, t in zip(node.outputs, tensors, strict=True):
            if t is not None and (y.uses() or y.is_graph_output()):
                total += self._constant_bytes(t, y.name or "", as_node=self.as_nodes or y.is_graph_output())
        self._value_bytes[node] = total
        self.tensors[node] = tensors
        self.room -= held_bytes(tensors)
        self._unread[node] = len({u.node for y in node.outputs for u in y.uses()})
        self.kept_bytes[node] = node_bytes(node) + sum(self._input_bytes(node, x) for x in dict.fromkeys(node.inputs))

    def _constant_bytes(self, tensor: ir.TensorProtocol, name: str, *, as_node: bool) -> int:
        if as_node:
            return constant_node_bytes(tensor, name)
        return tensor_bytes(tensor, name) + listing_bytes(tensor, name, self.model)

    def pass_over(self, node: ir.Node) -> None:
        """Drops values that ``node`` was the last to need, where storing them cannot be cheaper than computing them."""
        for producer in dict.fromkeys(x.producer() for x in node.inputs if x is not None):
            if producer not in self._unread:
                continue
            self._unread[producer] -= 1
            if producer not in self.tensors or self._unread[producer]:
                continue
            alone = self.owner(producer) is node and self._value_bytes[producer] > self.kept_bytes[producer]
            if alone or (self._value_bytes[producer] > LARGE and self._value_bytes[producer] > self.most_written):
                self.room += held_bytes(self.tensors.pop(producer))

    @cached_property
    def most_written(self) -> int:
        """Bytes that a value of this graph may have for a fold to write it: what all saves, and what one may cost."""
        return most_saved(self.scope) + MAX_GROWTH

    def _input_bytes(self, node: ir.Node, x: ir.Value | None) -> int:
        """What dies of an input with its user: nothing, where another uses it too."""
        if x is None or x.is_graph_output():
            return 0
        if x not in self._only_user:
            users = {u.node for u in x.uses()}
            self._only_user[x] = users.pop() if len(users) == 1 else None
        if self._only_user[x] is not node:
            return 0
        producer = x.producer()
        if producer in self._value_bytes:
            if len(self.used(producer)) > 1:
                return 0
            return min(self.kept_bytes[producer], self._value_bytes[producer])
        return self._leaf_bytes(x)

    def _leaf_bytes(self, x: ir.Value) -> int:
        if x.name in self.pinned:
            return 0
        size, tensor = leaf_bytes(x), x.const_value
        return size + (listing_bytes(tensor, x.name or "", self.model) if size and tensor is not None else 0)

    def parts(self) -> list[list[ir.Node]]:
        """The region's connected parts, tied by values and by large shared constants."""
        parent: dict[object, object] = {}

        def find(x: object) -> object:
            while parent.setdefault(x, x) is not x:
                parent[x] = parent[parent[x]]
                x = parent[x]
            return x

        for node in self.order:
            for x in node.inputs:
                if x is None:
                    continue
                producer = x.producer()
                if producer in self._value_bytes:
                    parent[find(node)] = find(producer)
                elif leaf_bytes(x) > _LINKING_BYTES:
                    parent[find(node)] = find(x)
        groups: dict[object, list[ir.Node]] = {}
        for node in self.order:
            groups.setdefault(find(node), []).append(node)
        return list(groups.values())

    def net_bytes(self, part: Sequence[ir.Node], roots: Sequence[ir.Node]) -> int:
        """Growth of the file if the whole part is folded into the values of its frontier."""
        inside = set(part)
        if not all(self.has_values(node) for node in roots):
            return 1
        grown = sum(self._value_bytes[node] for node in roots) - sum(node_bytes(node) for node in part)
        leaves = {x: None for node in part for x in node.inputs if x is not None and x.producer() not in inside}
        for x in leaves:
            if not x.is_graph_output() and all(u.node in inside for u in x.uses()):
                grown -= self._leaf_bytes(x)
        return grown


def leaf_bytes(value: ir.Value) -> int:
    """Bytes of a constant that the region stands on; 0 where it is kept in any case, or stored sparse."""
    tensor = constant_tensor(value)
    if tensor is None or ANNOTATION in value.meta:
        return 0
    if tensor.meta:  # a mark of the reader: the file holds it in another, smaller form
        return 0
    producer = value.producer()
    return tensor_bytes(tensor, value.name or "") if producer is None else node_bytes(producer)


def held_bytes(tensors: Tensors) -> int:
    """Bytes of memory that values take."""
    return sum(0 if t is None else 16 * t.size if t.dtype == ir.DataType.STRING else t.nbytes for t in tensors)


def most_saved(scope: Scope) -> int:
    """Bytes that folding can save in a graph at most: its nodes, and the constants that they can see."""
    total = sum(node_bytes(node) for node in scope.graph)
    around: Scope | None = scope
    while around is not None:
        total += sum(leaf_bytes(value) for value in around.graph.initializers.values())
        if around is not scope:
            total += sum(node_bytes(node) for node in around.graph if node.op_type == "Constant")
        around = around.parent
    return total


def find_region(
    model: ir.Model,
    scope: Scope,
    facts: ShapeFacts,
    context: Context,
    *,
    max_bytes: int,
    max_held: int,
    budget: WorkBudget,
    as_nodes: bool,
    pinned: frozenset[str],
) -> Region:
    """Walks the graph once and evaluates what depends on constants alone.

    A value is dropped as soon as it is used up, unless storing it could be cheaper than computing it. No more than
    ``max_held`` bytes of values are held at once: what has no room bars what follows it, as what is too large does.
    """
    region = Region(model, as_nodes, pinned, scope, max_held)
    vain = _vain(region, facts)
    for node in scope.graph:
        if node in vain:
            too_large = f"its output would take {vain[node]:,} bytes"
            reason = too_large if vain[node] > max_bytes else f"the file would grow by {vain[node]:,} bytes"
            context.decline("fold-constant", site(node), reason)
            continue
        known = _values(node, model, scope, facts, context, region, max_bytes, budget)
        if known is not None:
            region.add(node, known)
        region.pass_over(node)
    return region


def _vain(region: Region, facts: ShapeFacts) -> dict[ir.Node, int]:
    """Nodes that need not be evaluated, and the bytes that they would give: nothing small enough to write comes of it.

    Sizes are those that inference knows. Only values from ``LARGE`` bytes on are looked at.
    """
    sizes: dict[ir.Node, int] = {}
    for node in region.scope.graph:
        if all(x is None or x.producer() in sizes or _is_constant(x) for x in node.inputs):
            sizes[node] = sum(_inferred_bytes(y, facts) for y in node.outputs if y.name)
    if max(sizes.values(), default=0) <= LARGE:
        return {}
    vain: dict[ir.Node, int] = {}
    for node, size in reversed(sizes.items()):
        users = {u.node for y in node.outputs for u in y.uses()}
        if size > LARGE and size > region.most_written and all(u in vain or u not in sizes for u in users):
            vain[node] = size
    return vain


def _is_constant(value: ir.Value) -> bool:
    """What ``constant_tensor`` finds a tensor for, found without making one."""
    producer = value.producer()
    if producer is not None:
        return producer.op_type == "Constant" and producer.domain == ""
    return value.is_initializer() and not value.is_graph_input()


def _inferred_bytes(value: ir.Value, facts: ShapeFacts) -> int:
    """Bytes of a value; 0 where they are not known."""
    shape, dtype = facts.static_shape(value), facts.dtype(value)
    if shape is None or dtype is None or dtype == ir.DataType.STRING:
        return 0
    return math.ceil(math.prod(shape) * dtype.itemsize)


def _values(
    node: ir.Node,
    model: ir.Model,
    scope: Scope,
    facts: ShapeFacts,
    context: Context,
    region: Region,
    max_bytes: int,
    budget: WorkBudget,
) -> Tensors | None:
    """The node's values where they are constant and may be folded; else the reason is put on record."""
    if (node.op_type in _LEFT_TO_RUNTIME and node.domain == "") or not region.used(node):
        return None
    known = _inferred(node, facts) if node.op_identifier() not in model.functions else None
    inputs = None if known is not None else _constant_inputs(node, region)
    if known is None and inputs is None:
        return None
    if node.op_type == "Identity" and node.outputs[0].is_graph_output():
        context.decline("fold-constant", site(node), "it is an output of its graph")
        return None
    if any(ANNOTATION in y.meta for y in node.outputs):
        context.decline("fold-constant", site(node), "it takes part in a quantization annotation")
        return None
    if any(use.node.graph is not scope.graph for y in node.outputs for use in y.uses()):
        # Measured: a branch for other ranks, never taken, made onnxruntime 1.32 refuse the model.
        context.decline("fold-constant", site(node), "a subgraph uses it, which may not fit shapes that become known")
        return None
    reason = impurity(node, scope.opset(node.domain), model.functions)
    if reason is None and known is None:
        assert inputs is not None
        if not budget.spend(work(node, inputs)):
            reason = "it takes more work than is left for evaluation"
        else:
            try:
                known = evaluate(node, inputs, scope.opset(node.domain), max_bytes=max_bytes, room=region.room)
                budget.spend(sum(y.nbytes for y in known if y is not None))
            except CannotEvaluate as error:
                reason = str(error)
    if reason is not None or known is None:
        if node.inputs:
            context.decline("fold-constant", site(node), reason or "")
        return None
    return known


def _inferred(node: ir.Node, facts: ShapeFacts) -> Tensors | None:
    """The node's values where inference knows all of them, whatever its inputs are."""
    tensors: list[ir.TensorProtocol | None] = []
    for y in node.outputs:
        if not y.name:
            tensors.append(None)
            continue
        array = facts.constant(y)
        if array is None:
            return None
        tensors.append(ir.Tensor(array))
    return tuple(tensors) if tensors else None


def _constant_inputs(node: ir.Node, region: Region) -> list[ir.TensorProtocol | None] | None:
    """One tensor an input, or None where one is not constant. A node without inputs has constant ones."""
    found: list[ir.TensorProtocol | None] = []
    for x in node.inputs:
        if x is None:
            found.append(None)
            continue
        producer, index = x.producer(), x.index()
        tensor = constant_tensor(x)
        if tensor is None and producer in region.tensors and index is not None:
            tensor = region.tensors[producer][index]
        if tensor is None:
            return None
        found.append(tensor)
    return found
