"""Where(true, a, b) -> a, and Where(false, a, b) -> b, where that has the result's shape."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.identity import same_shape
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule


class ConstantWhere(Rule):
    """Take what a condition that is the same everywhere chooses, or what both sides are."""

    name: ClassVar[str] = "constant-where"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Where",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The chosen side."""
        if len(node.inputs) != 3 or node.inputs[1] is None or node.inputs[2] is None:
            return None
        condition = place.known(node.inputs[0])
        if node.inputs[1] is node.inputs[2]:
            chosen = node.inputs[1]
        elif condition is None or not condition.size or condition.any() != condition.all():
            return None
        else:
            chosen = node.inputs[1] if condition.all() else node.inputs[2]
        if not same_shape(chosen, node.outputs[0], place.facts):
            return "the other side or the condition may widen it"
        return Replacement(outputs=(chosen,))
