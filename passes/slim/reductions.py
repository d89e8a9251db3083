"""What rules need to know of reductions: over which axes, whatever the opset calls them."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE
from onnxslim.rewriter.place import Place


def axes_are_input(op_type: str, opset: int) -> bool:
    """Whether the reduction takes its axes as second input; before, as attribute."""
    return opset >= AXES_ARE_INPUT_SINCE[op_type]


def axes_of(place: Place, node: ir.Node) -> tuple[int, ...] | None:
    """Axes that a reduction removes or makes 1, ascending and from the front.

    None where they or the rank are unknown, and where it reduces nothing (``noop_with_empty_axes``).
    """
    x = node.inputs[0]
    rank = place.facts.rank(x) if x is not None else None
    if rank is None or any(a.is_ref() for a in node.attributes.values()):
        return None
    given: tuple[int, ...] = ()
    if axes_are_input(node.op_type, place.opset):
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            array = place.known(node.inputs[1])
            if array is None:
                return None
            given = tuple(int(axis) for axis in array.reshape(-1))
    elif "axes" in node.attributes:
        given = tuple(node.attributes["axes"].as_ints())
    if not given:
        noop = node.attributes.get("noop_with_empty_axes")
        return None if noop is not None and noop.as_int() else tuple(range(rank))
    axes = {axis + rank if axis < 0 else axis for axis in given}
    if len(axes) != len(given) or not axes <= set(range(rank)):
        return None
    return tuple(sorted(axes))


def keeps_dims(node: ir.Node) -> bool:
    """Whether reduced dimensions stay, as 1."""
    attribute = node.attributes.get("keepdims")
    return attribute is None or (not attribute.is_ref() and attribute.as_int() != 0)
