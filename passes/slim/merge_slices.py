"""Slice o Slice -> one Slice with the axes of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

LAST = int(np.iinfo(np.int64).max)
Cut = tuple[int, int, int, int]
"""Axis, start, end, step, as the operator takes them."""


class MergeSlices(Rule):
    """Merge two Slices with constant bounds; nothing else may use what is between.

    Cuts along different axes do not see each other, so that bounds, negative ones too, mean the same in one node. Along
    one axis ``x[a:b][c:d]`` is ``x[a + c : min(b, a + d)]`` where none is negative.
    """

    name: ClassVar[str] = "merge-slices"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Slice",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Slice for two."""
        middle = node.inputs[0]
        first = place.before(middle, "Slice")
        x = first.inputs[0] if first is not None else None
        if first is None or middle is None or x is None:
            return None
        inner, outer = cuts(first, place), cuts(node, place)
        if inner is None or outer is None:
            return "the bounds are not known"
        if not place.is_free(middle, node):
            return "what is between has another use"
        merged = merge(inner, outer)
        if merged is None:
            return "both cut the same axis, not both forward from its beginning"
        new = slice_node(x, merged, place)
        return Replacement((new,), (new.outputs[0],))


def merge(inner: Sequence[Cut], outer: Sequence[Cut]) -> list[Cut] | None:
    """The cuts that do what ``inner`` and then ``outer`` do; None where they are not simply one.

    >>> merge([(0, 2, 9, 1)], [(0, 3, 5, 1), (1, -1, 99, 2)])
    [(0, 5, 7, 1), (1, -1, 99, 2)]
    """
    found = {cut[0]: cut for cut in inner}
    for axis, start, end, step in outer:
        if axis not in found:
            found[axis] = (axis, start, end, step)
            continue
        _, first, last, stride = found[axis]
        if (step, stride) != (1, 1) or min(first, last, start, end) < 0:
            return None
        found[axis] = (axis, min(first + start, LAST), min(last, first + end), 1)
    return sorted(found.values())


def cuts(node: ir.Node, place: Place) -> list[Cut] | None:
    """What a Slice cuts; None where a bound is no constant, or an axis not known."""
    if place.opset < 10:
        attributes = [node.attributes.get(name) for name in ("starts", "ends", "axes")]
        if any(attribute is not None and attribute.is_ref() for attribute in attributes):
            return None
        lists = [None if attribute is None else [int(i) for i in attribute.as_ints()] for attribute in attributes]
    else:
        lists = []
        for index in (1, 2, 3, 4):
            value = node.inputs[index] if len(node.inputs) > index else None
            array = place.known(value)
            if value is not None and array is None:
                return None
            lists.append(None if array is None else [int(i) for i in array.reshape(-1)])
    starts, ends, axes = lists[:3]
    steps = lists[3] if len(lists) > 3 else None
    if starts is None or ends is None:
        return None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    if min(axes, default=0) < 0:
        x = node.inputs[0]
        rank = place.facts.rank(x) if x is not None else None
        if rank is None:
            return None
        axes = [axis + rank if axis < 0 else axis for axis in axes]
    once = len(set(axes)) == len(axes) > 0
    return list(zip(axes, starts, ends, steps, strict=True)) if once else None


def slice_node(x: ir.Value, made: Sequence[Cut], place: Place) -> ir.Node:
    """A Slice that cuts so."""
    axes, starts, ends, steps = (list(column) for column in zip(*made, strict=True))
    if place.opset < 10:
        return ir.node("Slice", [x], {"axes": axes, "starts": starts, "ends": ends})
    columns = [("starts", starts), ("ends", ends), ("axes", axes)]
    if any(step != 1 for step in steps):
        columns.append(("steps", steps))
    made_constants = [place.new_constant(np.array(column, np.int64), f"{x.name}_{name}") for name, column in columns]
    return ir.node("Slice", [x, *made_constants])
