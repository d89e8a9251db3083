"""Operators that compute each element from those at its place: every axis of the output is that of the inputs."""

from __future__ import annotations

from onnxslim.ops.channels.operator import Op, links, merge
from onnxslim.ops.elementwise import BROADCASTING, ELEMENTWISE

UNARY = (
    *(name for name in ELEMENTWISE if name != "Clip"),
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cosh", "Gelu", "Identity", "IsInf", "Mish"),
    *("Shrink", "Sinh", "Swish", "BitwiseNot"),
)


@links(*UNARY)
def _unary(op: Op) -> None:
    merge(op, [0])


@links(*(name for name in BROADCASTING if name != "Clip"), *("Mean", "Mod", "Sum", "BitShift"))
def _broadcast(op: Op) -> None:
    slots = [slot for slot in op.slots() if slot >= 0]
    if len(slots) != len(op.node.inputs) or op.version < 7:
        op.pin_all("broadcasting before opset 7 is not followed")
        return
    merge(op, slots)


@links("Clip", "CastLike")
def _first(op: Op) -> None:
    # Bounds are scalars; of CastLike's second input only the dtype is read.
    merge(op, [0])
    second = op.value(1)
    if op.node.op_type == "CastLike" and second is not None:
        for axis in range(op.rank(1) or 0):
            op.ids(1, axis)


@links("Dropout")
def _dropout(op: Op) -> None:
    merge(op, [0])
    if op.value(-2) is not None:
        merge(op, [0], out=-2)


@links("PRelu")
def _prelu(op: Op) -> None:
    merge(op, [0, 1])


@links("QuantizeLinear", "DequantizeLinear")
def _quantize(op: Op) -> None:
    merge(op, [0])
    rank = op.rank(0)
    for slot in (1, 2):
        size = op.shape(slot)
        if rank is None or op.value(slot) is None or size is None or len(size) != 1:
            continue  # one scale for the tensor; blocks along an axis are not claimed
        if size[0] == 1:
            op.ids(slot, 0)
        else:
            op.link(slot, 0, 0, op.integer("axis", 1) % rank)
