"""Reshape <allowzero = 1> -> Reshape: the same where each dim of the target is not 0, or equal to what 0 copies."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import Expr
from onnxslim.analysis.dims import lower
from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule


class PlainReshape(Rule):
    """Drop allowzero where no element of the target can be a zero that would then copy another dim.

    Only without allowzero can a target copy dims, so that this comes before making targets constant.
    """

    name: ClassVar[str] = "plain-reshape"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Reshape",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The Reshape without the attribute."""
        allowzero = node.attributes.get("allowzero")
        x, target = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
        if allowzero is None or x is None or target is None:
            return None
        if allowzero.is_ref():
            return "allowzero is a parameter of a function"
        if allowzero.as_int() != 0:
            elements, shape = place.facts.value(target), place.facts.shape(x)
            if elements is None:
                return "the elements of the target are not known"
            for i, dim in enumerate(elements.reshape(-1)):
                same = shape is not None and i < len(shape) and shape[i] == dim
                nonzero = lower(dim) >= 1 if isinstance(dim, Expr) else dim != 0
                if not (same or nonzero):
                    return "a dim may be zero"
        new = ir.node("Reshape", [x, target], name=node.name or None)
        return Replacement((new,), (new.outputs[0],))
