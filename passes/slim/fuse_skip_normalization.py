"""LayerNormalization of a sum of two tensors of one shape -> com.microsoft.SkipLayerNormalization."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.ops.contrib import DOMAIN
from onnxslim.runtime.tier import Tier

from .algebra import float_dtype, inputs
from .rewriting import Place, Replacement, Rule


class FuseSkipNormalization(Rule):
    """Let the normalization over the last dim add the shortcut; the sum is its fourth output where others need it."""

    name: ClassVar[str] = "fuse-skip-normalization"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("LayerNormalization",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses the Add before ``node``."""
        value = node.inputs[0]
        add = place.before(value, "Add")
        if add is None or value is None or len(inputs(add)) != 2 or len(inputs(node)) < 2:
            return None
        left, right = inputs(add)
        shapes = [place.facts.shape(x) for x in (left, right)]
        if shapes[0] is None or shapes[0] != shapes[1] or len(shapes[0]) != 3:
            return "what is added is not known to be two tensors of one shape (batch, sequence, channels)"
        if not float_dtype(place, left):
            return "it is not known to be float32"
        if any(y.uses() or y.is_graph_output() for y in node.outputs[1:]):
            return "others need the mean or the deviation"
        if not place.is_free(value, node):
            return "others need the sum too"
        axis = node.attributes.get("axis")
        epsilon = node.attributes.get("epsilon")
        if any(each.is_ref() for each in node.attributes.values()) or (
            axis is not None and axis.as_int() not in (-1, 2)
        ):
            return "it is not over the last dim"
        attributes = {"epsilon": 1e-5 if epsilon is None else epsilon.as_float()}
        new = ir.node("SkipLayerNormalization", [left, right, *inputs(node)[1:]], attributes, domain=DOMAIN)
        return Replacement([new], [new.outputs[0]])
