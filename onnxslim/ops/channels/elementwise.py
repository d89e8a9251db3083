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


@links("Dropout")
def _dropout(op: Op) -> None:
    merge(op, [0])
    if op.value(-2) is not None:
        merge(op, [0], out=-2)


@links("PRelu")
def _prelu(op: Op) -> None:
    if op.version < 7:
        op.pin_all("broadcasting before opset 7 is not followed")
        return
    merge(op, [0, 1])


@links("QuantizeLinear", "DequantizeLinear")
def _quantize(op: Op) -> None:
    merge(op, [0])
    rank = op.rank(0)
    for slot in (slot for slot in (1, 2) if op.value(slot) is not None):
        size = op.shape(slot)
        if rank is None or size is None or (len(size) > 1 and len(size) != rank):
            for axis in range(rank or 0):
                op.pin(0, axis, "its scales are not known")
        elif len(size) == 1 and size[0] != 1:
            op.link(slot, 0, 0, op.integer("axis", 1) % rank)
        elif len(size) > 1:  # blocks: along one axis there are fewer scales than entries, which stay
            for axis in range(rank):
                op.link(slot, axis, 0, axis)
