"""What a runtime computes when it opens a model: constants that the file states as nodes, and that then stay in memory.

onnxruntime folds every node that depends on constants alone, however large the result, and keeps each value that
something uses when the model runs. A file of a few kB can take gigabytes so.
"""

from __future__ import annotations

import math
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes

_NO_LARGER: Final = frozenset(
    {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Shape", "Size", "Constant"}
    | {"Neg", "Abs", "Sqrt", "Floor", "Ceil", "Exp", "Log", "Not", "Reciprocal", "Erf", "Tanh", "Sigmoid", "Relu"}
    | {"ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceMean"}
)
"""Operators whose output has no more elements than all inputs together."""
_WIDEST: Final = 8
"""Bytes of an element at most (complex128 aside)."""


def made_at_load(model: ir.Model, enough: int) -> int:
    """Bytes of the values of the main graph that depend on constants alone, but are none in the file.

    Args:
        model: The model.
        enough: Bytes up to which the number need not be exact: where plain bounds stay below, shapes are not inferred.

    Returns:
        The bytes, or a bound on them that is no more than ``enough``. Values of unknown size count nothing.
    """
    elements: dict[ir.Value, float] = {}
    made: list[ir.Value] = []
    bounded = True
    for node in model.graph:
        if not all(x is None or x in elements or _is_constant(x) for x in node.inputs):
            continue
        given = [elements[x] if x in elements else float(x.const_value.size) for x in node.inputs if x is not None]  # type: ignore[union-attr]
        if node.op_type == "Constant":
            tensor = node.attributes.get("value")
            most = float(tensor.value.size) if tensor is not None and not tensor.is_ref() else 1.0
        else:
            most = sum(given) if node.op_type in _NO_LARGER else math.prod(max(size, 1.0) for size in given)
            bounded &= node.op_type in _NO_LARGER or node.op_type in _BROADCASTING
            made += [y for y in node.outputs if y.name]
        elements.update(dict.fromkeys(node.outputs, most))
    most_bytes = sum(elements[y] for y in made) * _WIDEST
    if not made or (bounded and most_bytes <= enough):
        return int(most_bytes) if made else 0
    facts = infer_shapes(model)
    total = 0
    for y in made:
        shape, dtype = facts.static_shape(y), facts.dtype(y)
        if shape is not None and dtype is not None and dtype != ir.DataType.STRING:
            total += math.ceil(math.prod(shape) * dtype.itemsize)
    return total


_BROADCASTING: Final = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Where", "Equal", "Less", "Greater", "And", "Or"}
    | {"LessOrEqual", "GreaterOrEqual", "Xor", "Cast", "CastLike", "Gather", "MatMul", "Gemm"}
)
"""Operators whose output has no more elements than the product of the inputs' elements."""


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_input() and value.const_value is not None
