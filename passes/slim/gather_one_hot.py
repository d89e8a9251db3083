"""Cast(x == [0, 1, ..., n-1]) W -> W'[clip(x, -1, n)]: a product with one-hot rows picks rows.

W' is W with a row of zeros behind it: what is no class has no one in its row, and picks that one, as -1 from behind
and as n. Adding zeros to a finite number changes nothing, so that the result is the same but for the sign of a zero.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Array, Place, Replacement
from onnxslim.rewriter.rule import Rule

INDICES: dict[ir.DataType | None, np.dtype[Any]] = {
    ir.DataType.INT32: np.dtype(np.int32),
    ir.DataType.INT64: np.dtype(np.int64),
}
CLIP_TAKES_INTEGERS = 12


class GatherOneHot(Rule):
    """Look up the rows that a one-hot matrix picks from constant weights."""

    name: ClassVar[str] = "gather-one-hot"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("MatMul",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Gather for the comparison, the Cast and the product."""
        cast = place.before(node.inputs[0], "Cast")
        equal = place.before(cast.inputs[0], "Equal") if cast is not None else None
        if equal is None or place.opset < CLIP_TAKES_INTEGERS:
            return None
        weights = place.constant(node.inputs[1])
        if weights is None or weights.ndim != 2 or weights.dtype not in (np.float32, np.float64):
            return None
        found = compared(place, equal, len(weights))
        if found is None:
            return "what is compared with is not 0, 1, 2, ... along the last axis"
        index, dtype = found
        if not np.isfinite(weights).all():
            return "its weights hold NaN or infinity"
        table = np.concatenate([weights, np.zeros_like(weights[:1])])
        axis = place.new_constant(np.array([-1], np.int64), "last_axis")
        last = (axis,) if place.opset >= 13 else ()
        flat = ir.node("Squeeze", [index, *last], {} if last else {"axes": [-1]})
        low, high = (place.new_constant(np.array(end, dtype), "class") for end in (-1, len(weights)))
        rows = place.new_constant(table, node.inputs[1].name or "rows" if node.inputs[1] is not None else "rows")
        clipped = ir.node("Clip", [flat.outputs[0], low, high])
        gather = ir.node("Gather", [rows, clipped.outputs[0]], {"axis": 0}, name=node.name)
        return Replacement([flat, clipped, gather], [gather.outputs[0]])


def compared(place: Place, equal: ir.Node, classes: int) -> tuple[ir.Value, np.dtype[Any]] | None:
    """What ``equal`` compares with 0, 1, ..., ``classes`` - 1 along the last axis, of size 1 there; and its type."""
    for side, other in ((0, 1), (1, 0)):
        value, constant = equal.inputs[side], place.known(equal.inputs[other])
        if value is None or constant is None or not is_range(constant, classes):
            continue
        shape, kind = place.facts.shape(value), place.facts.dtype(value)
        if kind in INDICES and shape and shape[-1] == 1 and constant.ndim <= len(shape):
            return value, INDICES[kind]
    return None


def is_range(array: Array, size: int) -> bool:
    """Whether the array holds 0, 1, ..., ``size`` - 1 along its last axis, and is 1 in every other."""
    return array.ndim > 0 and array.shape[-1] == size == array.size and bool((array.ravel() == np.arange(size)).all())
