"""What decided an integer output: one that flips at a tie is judged by the floats before it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

DECISIONS = {"ArgMax", "ArgMin", "TopK", "Cast", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"}
MAX_STEPS = 64
"""Operators looked through before giving up."""


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


def _is_discrete(value: ir.Value) -> bool:
    """Whether the value is known to hold integers or booleans."""
    if value.dtype is not None:
        return not value.dtype.is_floating_point()
    node = value.producer()
    return node is not None and (node.op_type in DECISIONS - {"Cast", "TopK"} or _is_index_of_topk(node, value))


def _is_index_of_topk(node: ir.Node, value: ir.Value) -> bool:
    return node.op_type == "TopK" and value is node.outputs[1]


def named(model: ir.Model, names: Sequence[str]) -> list[ir.Value]:
    """Values of the main graph by name, in the order of ``names``; those that are not there are left out."""
    wanted = set(names)
    values = {v.name: v for v in model.graph.inputs if v.name in wanted}
    for node in model.graph:
        values.update((v.name, v) for v in node.outputs if v.name in wanted)
    return [values[name] for name in names if name in values]
