"""Not o Not and Neg o Neg -> nothing; f o f -> f for what is idempotent; Abs o Neg -> Abs."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

INVERSE = ("Neg", "Not")
"""f(f(x)) = x for every bit pattern: a sign flipped twice, an integer negated modulo 2**n twice."""
IDEMPOTENT = ("Abs", "Ceil", "Floor", "Round", "Sign")
"""f(f(x)) = f(x), NaN and infinities included."""


class MergeUnary(Rule):
    """Merge two operators of one input where one, or none, does the same."""

    name: ClassVar[str] = "merge-unary"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = (*INVERSE, *IDEMPOTENT)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The first of the two, its input, or one in their place."""
        middle = node.inputs[0]
        first = place.before(middle, node.op_type, "Neg")
        if first is None or middle is None or first.inputs[0] is None:
            return None
        if first.op_type == node.op_type:
            return Replacement(outputs=(first.inputs[0] if node.op_type in INVERSE else middle,))
        if node.op_type != "Abs":
            return None
        if not place.is_free(middle, node):
            return "what is between has another use"
        new = ir.node("Abs", [first.inputs[0]], name=node.name or None)
        return Replacement((new,), (new.outputs[0],))
