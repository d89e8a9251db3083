"""Concat(a, Concat(b, c), d) -> Concat(a, b, c, d), along one axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

MAX_PARTS = 256
"""Concats do not grow beyond so many inputs: a long chain of them would otherwise be copied at every step."""


class MergeConcats(Rule):
    """Concatenate the parts of a Concat directly, where nothing else uses it."""

    name: ClassVar[str] = "merge-concats"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Concat",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Concat for several."""
        parts: list[ir.Value | None] = []
        axis, reason = concat_axis(node, place), None
        for x in node.inputs:
            inner = place.before(x, "Concat")
            if x is None or inner is None:
                parts.append(x)
            elif axis is None or concat_axis(inner, place) != axis:
                reason = "another axis, or one that is not known"
                parts.append(x)
            elif not place.is_free(x, node):
                reason = "the inner Concat has another use"
                parts.append(x)
            else:
                parts += inner.inputs
        if len(parts) > MAX_PARTS:
            return f"more than {MAX_PARTS} parts"
        if parts == list(node.inputs):
            return reason
        new = ir.node("Concat", parts, dict(node.attributes), name=node.name or None)
        return Replacement((new,), (new.outputs[0],), f"{len(parts)} parts")


def concat_axis(node: ir.Node, place: Place) -> int | None:
    """The axis of a Concat, counted from the front; a negative one needs the rank. None where it is not known."""
    attribute = node.attributes.get("axis")
    if attribute is None:
        return 1 if place.opset < 4 else None
    if attribute.is_ref():
        return None
    axis = attribute.as_int()
    rank = place.facts.rank(node.outputs[0])
    if axis >= 0:
        return axis
    return None if rank is None else axis + rank
