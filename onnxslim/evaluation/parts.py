"""The parts of a model's outputs: what each output is concatenated, decoded or selected from.

One figure over a tensor of boxes (0 to 640) and scores (0 to 1) sees only the boxes. So outputs are traced back:

- Concat(a, b) -> a and b, each a part;
- Sigmoid(x), Softmax(x) and the like -> x: a saturated value hides differences (scores near 0 and 1);
- Reshape, Transpose, Slice, Split, casts, Q/DQ pairs, scaling by constants: looked through for one of the two above;
- ArgMax, TopK, NonMaxSuppression, comparisons and what is gathered at their indices -> the floats that decided.

A part is compared at the last tensor that such a step led to, and the output itself besides: what comes behind that
tensor may be rounded too. What a trace does not reach is told apart by magnitude (`onnxslim.evaluation.signal`).

Long because the trace has a step for each kind of operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import onnx_ir as ir

SATURATING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Hardmax", "Tanh", "Clip"})
MOVES = frozenset({"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Dropout"})
"""Operators whose first input holds the same elements as their output."""
CUTS = frozenset({"Slice", "Split", "Gather"})
"""Operators that take some elements at places that do not depend on values."""
QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
SCALES = frozenset({"Mul", "Div", "Add", "Sub", "Neg", "Pow", "Exp", "Sqrt"})
"""Elementwise operators that decode a head, where every other operand is a constant."""
SELECTED = frozenset({"Gather", "GatherElements", "GatherND"})
DECISIONS = frozenset({"ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero"})
COMPARISONS = frozenset({"Greater", "Less", "GreaterOrEqual", "LessOrEqual"})
LABELS = {"ZipMap": 0, "LabelEncoder": 0, "ArrayFeatureExtractor": 1}
"""Operators of ``ai.onnx.ml`` that name classes, and which input holds their scores or places."""
MAX_STEPS = 64
"""Operators looked through before giving up."""
MAX_INPUTS = 16
"""Inputs of a Concat beyond which it is one part: the steps of an unrolled loop, not kinds of outputs."""
MAX_PARTS = 32
"""Parts of an output beyond which it is compared as a whole."""
ELSEWHERE = SELECTED | {"TopK", "NonMaxSuppression", "NonZero"}
"""What puts elements in an order, or at places, that a tiny error changes: behind it they cannot be compared."""
MAX_ANCESTORS = 48
"""Operators looked at for what decides an index."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an output, as the original model and what was made of it both have it."""

    output: str
    """Name of the graph output."""
    path: tuple[str, ...] = ()
    """The steps from the output to the tensor that is compared, such as ``("Concat:1", "Sigmoid")``."""

    @property
    def is_selected(self) -> bool:
        """Whether the output holds a choice of the part's elements that floats made."""
        return any(step.partition(":")[0] in ELSEWHERE for step in self.path)

    @property
    def before(self) -> str:
        """The operator whose input is compared; empty where nothing saturates or decides."""
        return next((step for step in reversed(self.path) if not step.startswith("Concat")), "")


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a part is compared in one model. `value` follows edits of the graph after the trace."""

    part: Part
    output: ir.Value
    reader: tuple[ir.Node, int] | None = None
    """Who reads the tensor, and in which slot; None for the output itself."""
    cuts: tuple[tuple[ir.Node, int], ...] = ()
    """Moves between the saturation and the output, nearest to the output first: they are repeated on the tensor."""
    joined: tuple[ir.Node, int] | None = None
    """The last Concat on the way from the output, and which input of it the part is."""
    elementwise: tuple[tuple[ir.Node, int], ...] = ()
    """Nodes that give one value for each of an input, between there and the output; second: which input."""

    @property
    def value(self) -> ir.Value:
        """The tensor that is compared, before ``cuts``."""
        found = self.output if self.reader is None else self.reader[0].inputs[self.reader[1]]
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class _Trace:
    leaf: Leaf
    at: ir.Value
    """How far the search went."""
    moved: tuple[tuple[ir.Node, int], ...] = ()
    """Moves since the leaf's tensor; second: which output of the node."""
    steps: int = 0

    @property
    def is_cut(self) -> bool:
        return any(node.op_type in CUTS for node, _ in self.moved)


def leaves_of(model: ir.Model) -> list[Leaf]:
    """The parts of all outputs, each tensor once, in the order of the outputs; behind its parts the output itself.

    An output that only repeats the tensors of others (indices beside scores) adds none.
    """
    found: dict[tuple[int, tuple[int, ...]], Leaf] = {}
    for output in model.graph.outputs:
        whole = Leaf(Part(output.name or ""), output)
        leaves = _leaves(output)
        if len(leaves) > MAX_PARTS:
            leaves = [whole]
        elif not any(leaf.part.is_selected for leaf in leaves):
            leaves.append(whole)
        for leaf in leaves:
            found.setdefault((id(leaf.value), tuple(id(node) for node, _ in leaf.cuts)), leaf)
    return list(found.values())


def twins_of(parts: Sequence[Part], model: ir.Model) -> list[Leaf | None]:
    """Where another model has the same parts; None for one that it has not."""
    known: dict[Part, Leaf] = {}
    for output in model.graph.outputs:
        known[Part(output.name or "")] = Leaf(Part(output.name or ""), output)
        known |= {leaf.part: leaf for leaf in _leaves(output)}
    return [known.get(part) for part in parts]


def find(model: ir.Model, name: str, part: Part) -> Leaf | None:
    """The tensor of a part by its name in the main graph, for a model whose way to it is another.

    Where it is only quantized, what it is dequantized to: that is what the rest of the model sees.
    """
    value = next((value for node in model.graph for value in node.outputs if value.name == name), None)
    for op in ("QuantizeLinear", "DequantizeLinear"):
        readers = [] if value is None or value.is_graph_output() else list(value.uses())
        if readers and all(use.node.op_type == op and use.idx == 0 for use in readers):
            value = readers[0].node.outputs[0]
    return None if value is None or value.producer() is None else Leaf(part, value)


@contextmanager
def shown(model: ir.Model, leaves: Sequence[Leaf]) -> Iterator[list[str]]:
    """Shows the tensors of ``leaves`` as further outputs of the main graph until the block is left.

    Yields:
        The name of each leaf's tensor, of an output that is there anyway included.
    """
    graph = model.graph
    count, made = len(graph.outputs), list[ir.Node]()
    present = {id(value) for value in graph.outputs}
    names: list[str] = []
    try:
        for leaf in leaves:
            value = leaf.value
            for node, index in reversed(leaf.cuts):
                again = _repeated(node, value, f"{value.name}_part_{len(made)}")
                graph.append(again)
                made.append(again)
                value = again.outputs[index]
            if id(value) not in present:
                graph.outputs.append(value)
                present.add(id(value))
            names.append(value.name or "")
        yield names
    finally:
        while len(graph.outputs) > count:
            graph.outputs.pop()  # a slice deletion would leave the values marked as outputs
        for node in reversed(made):
            graph.remove(node, safe=True)


def _repeated(node: ir.Node, value: ir.Value, name: str) -> ir.Node:
    outputs = [ir.Value(name=f"{name}_{i}", type=value.type) for i in range(len(node.outputs))]
    return ir.Node(
        node.domain,
        node.op_type,
        [value, *node.inputs[1:]],
        list(node.attributes.values()),
        outputs=outputs,
        name=name,
    )


def _leaves(output: ir.Value) -> list[Leaf]:
    found: list[Leaf] = []
    queue = [_Trace(Leaf(Part(output.name or ""), output), output)]
    while queue:
        trace = queue.pop(0)
        after = _step(trace) if trace.steps < MAX_STEPS and len(found) + len(queue) <= MAX_PARTS else None
        if after is None:
            found.append(trace.leaf)
        else:
            queue[:0] = after
    return found


def _step(trace: _Trace) -> list[_Trace] | None:
    """The trace one operator further up, or the traces that it divides into; None where it ends."""
    node = trace.at.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    op = node.op_type
    if node.domain == "ai.onnx.ml" and op in LABELS and _can_differ(node.inputs[LABELS[op]]):
        return [_at(trace, node, LABELS[op], op)]
    if node.domain not in ("", "ai.onnx"):
        return None
    if op == "Div" and (start := _softmax_slot(node)) is not None:
        return [_at(trace, start, 0, "Softmax")]
    place = node.outputs.index(trace.at)
    if op in SELECTED and (slot := _decided_slot(node)) is not None:
        return [_at(trace, node, slot, op)]
    if op in MOVES or (op in CUTS and _is_constant(node.inputs[1:])):
        return [replace(trace, at=node.inputs[0], moved=(*trace.moved, (node, place)), steps=trace.steps + 1)]
    if op in QDQ or (op == "Cast" and not _is_discrete(trace.at) and not _is_discrete(node.inputs[0])):
        return [_through(trace, node, 0)]
    if op in SCALES:
        free = [i for i, value in enumerate(node.inputs) if value is not None and not is_constant(value)]
        return [_through(trace, node, free[0])] if len(free) == 1 else None
    if op == "Concat":
        slots = [i for i, value in enumerate(node.inputs) if _can_differ(value)]
        if trace.is_cut or not slots or len(node.inputs) > MAX_INPUTS:
            return None
        traces = [_at(trace, node, i, f"Concat:{i}") for i in slots]
        return [replace(each, leaf=replace(each.leaf, joined=each.leaf.reader)) for each in traces]
    if op in SATURATING and _can_differ(node.inputs[0]):
        after = _at(trace, node, 0, op)
        after = replace(after, leaf=replace(after.leaf, elementwise=(*after.leaf.elementwise, (node, 0))))
        if trace.is_cut:
            # The same elements of the logits: beyond that, what was cut could not be told from the rest.
            return [replace(after, leaf=replace(after.leaf, cuts=trace.moved), steps=MAX_STEPS)]
        return [after]
    if op in DECISIONS or op in COMPARISONS or (op == "Cast" and _is_discrete(trace.at)):
        count = 2 if op == "NonMaxSuppression" or op in COMPARISONS else 1
        slots = [i for i, v in enumerate(node.inputs[:count]) if _can_differ(v) and not _is_discrete(v)]
        return [_at(trace, node, i, f"{op}:{i}" if count > 1 else op) for i in slots] or None
    return None


def _softmax_slot(node: ir.Node) -> ir.Node | None:
    """The node that reads the logits of a Softmax spelt out: Exp(x - max) / sum, for the last node of it."""
    top, bottom = (value.producer() if value is not None else None for value in node.inputs)
    if top is None or bottom is None or top.op_type != "Exp" or bottom.op_type != "ReduceSum":
        return None
    if bottom.inputs[0] is not node.inputs[0]:
        return None
    shifted = top.inputs[0].producer() if top.inputs[0] is not None else None
    if shifted is not None and shifted.op_type == "Sub":
        largest = shifted.inputs[1].producer() if shifted.inputs[1] is not None else None
        if largest is not None and largest.op_type == "ReduceMax" and largest.inputs[0] is shifted.inputs[0]:
            top = shifted
    return top if _can_differ(top.inputs[0]) else None


def _at(trace: _Trace, node: ir.Node, slot: int, step: str) -> _Trace:
    part = replace(trace.leaf.part, path=(*trace.leaf.part.path, step))
    value = node.inputs[slot]
    assert value is not None
    return _Trace(replace(trace.leaf, part=part, reader=(node, slot)), value, steps=trace.steps + 1)


def _through(trace: _Trace, node: ir.Node, slot: int) -> _Trace:
    """The trace above a node that changes no element's place."""
    value = node.inputs[slot]
    assert value is not None
    leaf = replace(trace.leaf, elementwise=(*trace.leaf.elementwise, (node, slot)))
    return replace(trace, leaf=leaf, at=value, steps=trace.steps + 1)


def _decided_slot(node: ir.Node) -> int | None:
    """Which input of a Gather is compared instead of its output; None unless floats chose the places."""
    data, indices = node.inputs[0], node.inputs[1]
    if indices is None or not _is_decided(indices):
        return None
    return 0 if _can_differ(data) and not _is_discrete(data) else 1


def _is_decided(value: ir.Value) -> bool:
    """Whether an index depends on which of some floats are larger."""
    queue, seen = [value], set[int]()
    while queue and len(seen) < MAX_ANCESTORS:
        node = queue.pop().producer()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type in DECISIONS | COMPARISONS:
            return any(each is not None and not _is_discrete(each) for each in node.inputs[:1])
        if node.op_type != "Shape":
            queue.extend(each for each in node.inputs if each is not None)
    return False


def _can_differ(value: ir.Value | None) -> bool:
    """Whether a value is computed: what is given or constant is the same in every model."""
    return value is not None and value.producer() is not None and not is_constant(value)


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initializer or a Constant, as it is or cast, reshaped or dequantized."""
    for _ in range(4):
        if value is None or value.const_value is not None:
            return True
        node = value.producer()
        if node is None or node.op_type == "Constant":
            return node is not None
        if node.op_type not in MOVES | QDQ | {"Cast"} or not node.inputs:
            return False
        value = node.inputs[0]
    return False


def _is_constant(values: Sequence[ir.Value | None]) -> bool:
    return all(is_constant(value) for value in values)


def _is_discrete(value: ir.Value | None) -> bool:
    """Whether a value is known to hold integers, booleans or strings."""
    if value is None:
        return False
    if value.dtype is not None:
        return not value.dtype.is_floating_point()
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Cast":
        return not ir.DataType(node.attributes["to"].as_int()).is_floating_point()
    if node.op_type == "TopK":
        return value is node.outputs[1]
    if node.op_type in MOVES | CUTS:
        return _is_discrete(node.inputs[0])
    return node.op_type in DECISIONS | COMPARISONS | {"Shape", "Size", "Not", "And", "Or", "Equal"}
