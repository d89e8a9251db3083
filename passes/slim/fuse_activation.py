"""Simple activations from their formulas, each with the operator that the opset has.

* ``1 / (1 + exp(-x))`` -> Sigmoid: the exponential overflows to 0 at the end where Sigmoid is below 1e-38
* ``x / (1 + |x|)`` -> Softsign: the same two operations
* ``min(max(x, lo), hi)`` -> Clip, for lo <= hi; the same bits, NaN included
* ``max(x, a x)`` -> LeakyRelu, for 0 < a < 1; the same bits

Not rewritten: ``log(1 + exp(x))`` overflows above 88 where Softplus does not, so that the results would differ; Relu
for ``max(x, 0)`` saves no node.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import confined, finite_float32, float_dtype, inputs, operand, scalar

_NOT_FLOAT = "it is not known to be float32, the only type that onnxruntime computes it in"
_SHARED = "others need one of its steps too"


class FuseSigmoid(Rule):
    """Join the steps of a Sigmoid or Softsign."""

    name: ClassVar[str] = "fuse-sigmoid"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Div", "Reciprocal")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        above, below = (None, node.inputs[0]) if node.op_type == "Reciprocal" else (node.inputs[0], node.inputs[1])
        last = place.before(below, "Add")
        parts = operand(place, last) if last is not None else None
        inner = place.before(parts[0], "Exp", "Abs") if parts is not None and parts[1] == 1 else None
        if last is None or inner is None or inner.inputs[0] is None:
            return None
        steps, x = [node, last, inner], inner.inputs[0]
        if inner.op_type == "Exp":
            if above is not None and scalar(place, above, below) != 1:
                return None
            negation = place.before(x, "Neg", "Mul")
            negated = _negated(place, negation) if negation is not None else None
            if negation is None or negated is None:
                return None
            op_type, x = "Sigmoid", negated
            steps.append(negation)
        elif above is not x:
            return None
        else:
            op_type = "Softsign"
        if place.opset < 6:
            return None
        if not float_dtype(place, x):
            return _NOT_FLOAT
        if not confined(steps, node):
            return _SHARED
        new = ir.node(op_type, [x])
        return Replacement([new], [new.outputs[0]], op_type)


def _negated(place: Place, node: ir.Node) -> ir.Value | None:
    """What a Neg, or a Mul by -1, is taken of."""
    if node.op_type == "Neg":
        return node.inputs[0]
    parts = operand(place, node)
    return parts[0] if parts is not None and parts[1] == -1 else None


class FuseClip(Rule):
    """Join a minimum and a maximum with constants to a Clip."""

    name: ClassVar[str] = "fuse-clip"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Min", "Max")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        outer = operand(place, node)
        first = place.before(outer[0], "Max" if node.op_type == "Min" else "Min") if outer is not None else None
        inner = operand(place, first) if first is not None else None
        if outer is None or inner is None or first is None or place.opset < 11:
            return None
        x = inner[0]
        low, high = (inner[1], outer[1]) if node.op_type == "Min" else (outer[1], inner[1])
        if not low <= high:
            return "its limits are in the wrong order"
        if not float_dtype(place, x):
            return _NOT_FLOAT
        if not place.is_free(outer[0], node):
            return _SHARED
        given = [first.inputs[inner[2]], node.inputs[outer[2]]]
        limits = [_rank_zero(place, value) for value in (given if node.op_type == "Min" else given[::-1])]
        new = ir.node("Clip", [x, *limits])
        return Replacement([new], [new.outputs[0]])


def _rank_zero(place: Place, value: ir.Value | None) -> ir.Value | None:
    """The constant as Clip wants its limits."""
    array = place.constant(value)
    if value is None or array is None or array.ndim == 0:
        return value
    return place.new_constant(np.asarray(array.reshape(())), value.name or "limit")


class FuseLeakyRelu(Rule):
    """Join the steps of a LeakyRelu."""

    name: ClassVar[str] = "fuse-leaky-relu"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Max",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        if place.opset < 6 or len(inputs(node)) != 2:
            return None
        for x, scaled in (inputs(node), inputs(node)[::-1]):
            product = place.before(scaled, "Mul")
            parts = operand(place, product) if product is not None else None
            if parts is None or parts[0] is not x or not 0 < parts[1] < 1:
                continue
            if not float_dtype(place, x) or not finite_float32(parts[1]):
                return _NOT_FLOAT
            if not place.is_free(scaled, node):
                return _SHARED
            new = ir.node("LeakyRelu", [x], {} if np.float32(parts[1]) == np.float32(0.01) else {"alpha": parts[1]})
            return Replacement([new], [new.outputs[0]])
        return None
