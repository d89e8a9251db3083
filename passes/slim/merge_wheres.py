"""Where(not c, a, b) -> Where(c, b, a), and Where(c, a, Where(c, x, y)) -> Where(c, a, y); so on the other side."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import Dim
from onnxslim.analysis.operator import broadcast_shapes
from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule


class MergeWheres(Rule):
    """Choose once what is chosen twice by one condition; let no Not stand before a choice.

    What the inner Where leaves unused must not be what widened the result's shape.
    """

    name: ClassVar[str] = "merge-wheres"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Where",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Where."""
        if len(node.inputs) != 3 or any(x is None for x in node.inputs):
            return None
        condition, yes, no = node.inputs
        negation = place.before(condition, "Not")
        if negation is not None and condition is not None:
            if not all(use.node.op_type == "Where" and use.idx == 0 for use in condition.uses()):
                return "the negated condition has another use"
            if condition.is_graph_output():
                return "the negated condition is an output"
            return _where(node, negation.inputs[0], no, yes)
        inner = [place.before(x, "Where") for x in (yes, no)]
        sides = [yes, no]
        for i in (0, 1):
            found = inner[i]
            if found is not None and len(found.inputs) == 3 and found.inputs[0] is condition:
                sides[i] = found.inputs[1 + i]
        if sides == [yes, no]:
            return None
        left_out = [old for old, new in zip((yes, no), sides, strict=True) if old is not new]
        if not any(value is not None and place.is_free(value, node) for value in left_out):
            return "the inner Where has another use"
        after = place.facts.shape(node.outputs[0])
        if after is None or _broadcast([condition, *sides], place) != after:
            return "what is left out may widen it"
        return _where(node, condition, *sides)


def _where(node: ir.Node, *inputs: ir.Value | None) -> Replacement:
    new = ir.node("Where", inputs, name=node.name or None)
    return Replacement((new,), (new.outputs[0],))


def _broadcast(values: list[ir.Value | None], place: Place) -> tuple[Dim, ...] | None:
    """The shape that the values broadcast to; None where one is not known."""
    shapes = [place.facts.shape(value) if value is not None else None for value in values]
    known = [shape for shape in shapes if shape is not None]
    return broadcast_shapes(known) if len(known) == len(shapes) else None
