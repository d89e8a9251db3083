"""Pow(Sqrt(x), 2) -> x, and Mul(Sqrt(x), Sqrt(x)) likewise, where x is not negative.

It is not where it is computed as a sum, product or mean of squares, magnitudes and the like; of a negative number the
root is NaN. The two roundings that go are a relative 2e-7. NaN and infinity stay what they are.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import float_dtype, inputs, scalar

MAX_NODES = 16
_NEVER_NEGATIVE = ("Abs", "Exp", "Relu", "Sigmoid", "Softmax", "Sqrt", "ReduceSumSquare", "ReduceL1", "ReduceL2")
_KEEPS_SIGN = ("Add", "Mul", "Max", "Sum", "ReduceSum", "ReduceMean", "Reshape", "Transpose", "Identity")
_OPERANDS = {"ReduceSum": 1, "ReduceMean": 1, "Reshape": 1}
"""How many of the inputs are data, where not all are."""


def is_square(place: Place, node: ir.Node) -> bool:
    """Whether the node multiplies something with itself."""
    if node.op_type == "Mul":
        return len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
    return node.op_type == "Pow" and len(node.inputs) == 2 and scalar(place, node.inputs[1], node.inputs[0]) == 2


def never_negative(place: Place, value: ir.Value) -> bool:
    """Whether no element of ``value`` can be below 0 (NaN is none below), by how it is computed."""
    pending, seen = [value], set[ir.Value]()
    while pending:
        x = pending.pop()
        if x in seen:
            continue
        seen.add(x)
        number = scalar(place, x, value)
        node = place.before(x, "Mul", "Pow", *_NEVER_NEGATIVE, *_KEEPS_SIGN)
        if number is not None and number >= 0:
            continue
        if node is None or len(seen) > MAX_NODES:
            return False
        if is_square(place, node) or node.op_type in _NEVER_NEGATIVE:
            continue
        if node.op_type not in _KEEPS_SIGN:
            return False
        pending.extend(inputs(node)[: _OPERANDS.get(node.op_type)])
    return True


class FuseSquareRoot(Rule):
    """Leave out a root that is squared again."""

    name: ClassVar[str] = "fuse-square-root"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Pow", "Mul")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses a square and the root before it."""
        root = place.before(node.inputs[0], "Sqrt") if is_square(place, node) else None
        x = root.inputs[0] if root is not None else None
        if x is None:
            return None
        if not float_dtype(place, x, ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return "it is not known to be float32 or double"
        if not never_negative(place, x):
            return "what the root is taken of may be negative"
        return Replacement([], [x])
