"""x * sigmoid(alpha * x) -> com.microsoft.QuickGelu, which is SiLU where alpha is 1."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contrib import DOMAIN
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import affine, finite_float32, float_dtype, inputs


class FuseQuickGelu(Rule):
    """Join a Sigmoid with the product that it gates."""

    name: ClassVar[str] = "fuse-quick-gelu"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        if len(inputs(node)) != 2:
            return None
        for x, value in (inputs(node), inputs(node)[::-1]):
            gate = place.before(value, "Sigmoid")
            argument = gate.inputs[0] if gate is not None else None
            if gate is None or argument is None:
                continue
            inner = affine(place, argument, gate) if argument is not x else None
            if inner is not None and (inner.x is not x or inner.shift != 0 or not finite_float32(inner.factor)):
                continue
            if not place.is_free(value, node):
                return "others need the Sigmoid too"
            if not float_dtype(place, x):
                return "it is not known to be float32"
            new = ir.node("QuickGelu", [x], {"alpha": 1.0 if inner is None else inner.factor}, domain=DOMAIN)
            return Replacement([new], [new.outputs[0]])
        return None
