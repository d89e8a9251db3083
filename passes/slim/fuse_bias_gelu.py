"""Gelu o Add of a vector -> com.microsoft.BiasGelu; the steps of Gelu below opset 20 -> com.microsoft.Gelu."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contrib import DOMAIN
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import Gate, float_dtype, inputs
from .fuse_gelu import gelu


class FuseContribGelu(Rule):
    """Join the steps of a Gelu where the opset has no operator for it."""

    name: ClassVar[str] = "fuse-contrib-gelu"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul", "Div", "Add")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        found = gelu(place, node)
        if not isinstance(found, Gate):
            return found
        new = ir.node("FastGelu" if found.kernel.op_type == "Tanh" else "Gelu", [found.x], domain=DOMAIN)
        return Replacement([new], [new.outputs[0]], new.op_type)


class FuseBiasGelu(Rule):
    """Let a Gelu add the bias of the layer before it."""

    name: ClassVar[str] = "fuse-bias-gelu"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Gelu",)
    domains: ClassVar[tuple[str, ...]] = ("", DOMAIN)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses the Add before ``node``."""
        value = node.inputs[0]
        add = place.before(value, "Add")
        if add is None or value is None or node.attributes:
            return None
        if not place.is_free(value, node):
            return "others need the sum too"
        shape = place.facts.shape(value)
        for x, bias in (inputs(add), inputs(add)[::-1]):
            array = place.constant(bias)
            if array is None or array.ndim != 1 or shape is None or place.facts.shape(x) != shape:
                continue
            if shape[-1] != len(array) or not float_dtype(place, value):
                continue
            new = ir.node("BiasGelu", [x, bias], domain=DOMAIN)
            return Replacement([new], [new.outputs[0]])
        return "what is added is no vector of constants over the last dim"
