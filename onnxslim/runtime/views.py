"""Tensors behind the outputs, by which the outputs are judged.

- A saturated Softmax or Sigmoid hides differences: its input, the logits, is what SQNR is taken on.
- An integer that a float decided (ArgMax, TopK, Cast, a comparison) may flip at a tie: the float tells whether it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir

SATURATING = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Hardmax", "Tanh"}
MOVES = {"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"}
"""Operators whose first input holds the same elements as their output."""
QDQ = {"QuantizeLinear", "DequantizeLinear"}
DECISIONS = {"ArgMax", "ArgMin", "TopK", "Cast", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"}
MAX_STEPS = 64
"""Operators looked through before giving up."""


def logits_view(model: ir.Model) -> dict[str, str]:
    """For each output that is a Softmax, LogSoftmax, Sigmoid or the like: the name of what goes into it.

    Moves of data (Reshape, Transpose, ...), casts and quantize-dequantize pairs in between are looked through.
    """
    found: dict[str, str] = {}
    for output in model.graph.outputs:
        node = _producer(output, MOVES | QDQ | {"Cast"})
        if node is not None and node.op_type in SATURATING and node.inputs[0] is not None and output.name:
            found[output.name] = node.inputs[0].name or ""
    return found


def decision(model: ir.Model, output: str) -> ir.Node | None:
    """The node that decided an integer or boolean output, with nothing but an Identity or a widening Cast in between.

    Moves of data are not looked through: the floats must be compared element by element with the integers.
    """
    value = next((v for v in model.graph.outputs if v.name == output), None)
    for _ in range(MAX_STEPS):
        node = value.producer() if value is not None else None
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        source = node.inputs[0] if node.inputs else None
        is_integer_cast = node.op_type == "Cast" and source is not None and _is_discrete(source)
        if node.op_type in DECISIONS and not is_integer_cast:
            return node if node.op_type != "TopK" or value is node.outputs[1] else None
        if node.op_type != "Identity" and not is_integer_cast:
            return None
        value = source
    return None


@contextmanager
def exposed(model: ir.Model, values: Sequence[ir.Value]) -> Iterator[None]:
    """Shows ``values`` as further outputs of the main graph, at its end, until the block is left."""
    outputs = model.graph.outputs
    count = len(outputs)
    try:
        outputs.extend(values)
        yield
    finally:
        while len(outputs) > count:
            outputs.pop()  # a slice deletion would leave the values marked as outputs


def named(model: ir.Model, names: Sequence[str]) -> list[ir.Value]:
    """Values of the main graph by name, in the order of ``names``; those that are not there are left out."""
    wanted = set(names)
    values = {v.name: v for v in model.graph.inputs if v.name in wanted}
    for node in model.graph:
        values.update((v.name, v) for v in node.outputs if v.name in wanted)
    return [values[name] for name in names if name in values]


def _producer(value: ir.Value, through: set[str]) -> ir.Node | None:
    """The first node upwards that is none of ``through``."""
    current: ir.Value | None = value
    for _ in range(MAX_STEPS):
        node = current.producer() if current is not None else None
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type not in through:
            return node
        current = node.inputs[0] if node.inputs else None
    return None


def _is_discrete(value: ir.Value) -> bool:
    """Whether the value is known to hold integers or booleans."""
    if value.dtype is not None:
        return not value.dtype.is_floating_point()
    node = value.producer()
    return node is not None and (node.op_type in DECISIONS - {"Cast", "TopK"} or _is_index_of_topk(node, value))


def _is_index_of_topk(node: ir.Node, value: ir.Value) -> bool:
    return node.op_type == "TopK" and value is node.outputs[1]
