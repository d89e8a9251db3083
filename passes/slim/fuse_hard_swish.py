"""Clip o affine -> HardSigmoid, and x * that -> HardSwish (opset 14) or HardSigmoid o Mul.

``s * clip(a x + b, lo, hi) + t`` is ``max(0, min(1, alpha x + beta))`` with ``alpha = s a`` and ``beta = s b + t``
where it ends at 0 and 1: ``s lo + t = 0`` and ``s hi + t = 1``. HardSwish is ``x * max(0, min(1, x / 6 + 1 / 2))``.

Both sides round at most four times what is between 0 and 1, so that they differ by a few units in the last place of 1,
times x. Where ``x * clip(x + 3, 0, 6)`` is beyond the largest float before it is divided by 6, only the operator has
the right result. NaN and infinity give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import Affine, affine, finite_float32, float_dtype, gate, is_close, scalar

_NOT_FLOAT = "it is not known to be float32, the only type that onnxruntime computes it in"

_DEFAULTS = {"alpha": 0.2, "beta": 0.5}
_ZERO = 1e-7
_REACH = 16
"""How far from the ramp shifts may lead: rounding beside larger ones would be seen in the result."""


@dataclass
class Ramp:
    """``max(0, min(1, alpha x + beta))`` and the nodes that compute it."""

    x: ir.Value
    alpha: float
    beta: float
    nodes: list[ir.Node]


def limits(place: Place, clip: ir.Node) -> tuple[float, float] | None:
    """The two limits of a Clip where both are constant."""
    if place.opset < 11:
        low, high = clip.attributes.get("min"), clip.attributes.get("max")
        if low is None or high is None or low.is_ref() or high.is_ref():
            return None
        return low.as_float(), high.as_float()
    if len(clip.inputs) < 3:
        return None
    bounds = scalar(place, clip.inputs[1]), scalar(place, clip.inputs[2])
    return None if bounds[0] is None or bounds[1] is None else (bounds[0], bounds[1])


def ramp(place: Place, clip: ir.Node, outer: Affine) -> Ramp | None:
    """Reads ``outer.factor * Clip + outer.shift`` as a ramp from 0 to 1; its nodes include those of ``outer``."""
    bounds, x, scale, shift = limits(place, clip), clip.inputs[0], outer.factor, outer.shift
    if bounds is None or x is None or scale <= 0:
        return None
    if abs(scale * bounds[0] + shift) > _ZERO or not is_close(scale * bounds[1] + shift, 1):
        return None
    inner = affine(place, x, clip)
    alpha, beta = scale * inner.factor, scale * inner.shift + shift
    if not finite_float32(alpha, beta) or scale * inner.reach + outer.reach > _REACH:
        return None
    return Ramp(inner.x, alpha, beta, [*outer.nodes, clip, *inner.nodes])


def read(place: Place, node: ir.Node, outer: Affine) -> Ramp | None:
    """Reads a Clip or HardSigmoid, scaled and shifted, as a ramp from 0 to 1."""
    if node.op_type == "Clip":
        return ramp(place, node, outer)
    x = node.inputs[0]
    if x is None or outer.factor != 1 or outer.shift != 0 or any(a.is_ref() for a in node.attributes.values()):
        return None
    alpha, beta = (
        node.attributes[name].as_float() if name in node.attributes else default for name, default in _DEFAULTS.items()
    )
    return Ramp(x, alpha, beta, [node])


def hard_sigmoid(of: Ramp) -> ir.Node:
    """The node; an attribute that has its default is left out."""
    wanted = {"alpha": of.alpha, "beta": of.beta}
    return ir.node(
        "HardSigmoid",
        [of.x],
        {name: number for name, number in wanted.items() if np.float32(number) != np.float32(_DEFAULTS[name])},
    )


class FuseHardSigmoid(Rule):
    """Join the steps of a HardSigmoid."""

    name: ClassVar[str] = "fuse-hard-sigmoid"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Clip", "Div", "Mul", "Add", "Sub")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        outer = affine(place, node.outputs[0], None)
        clip = place.before(outer.x, "Clip")
        if clip is None or place.opset < 6:
            return None
        if outer.nodes and not place.is_free(outer.x, outer.nodes[-1]):
            return None
        found = ramp(place, clip, outer)
        if found is None or len(found.nodes) < 2:  # a Clip alone stays
            return None
        if not float_dtype(place, found.x):
            return _NOT_FLOAT
        new = hard_sigmoid(found)
        return Replacement([new], [new.outputs[0]], f"alpha {found.alpha:g}, beta {found.beta:g}")


class FuseHardSwish(Rule):
    """Join the steps of a HardSwish; before opset 14, to a HardSigmoid and a product."""

    name: ClassVar[str] = "fuse-hard-swish"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Div", "Mul")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        found = gate(place, node, "Clip", "HardSigmoid")
        if found is None or place.opset < 6:
            return None
        x, f, product = found.x, found.f, found.polynomial
        scale, shift = found.factor(x, f), found.factor(x)
        if set(product.terms) - {(0, 1), (product.leaves.index(x),)}:
            return None
        inner = read(place, found.kernel, Affine(f, scale, shift))
        if inner is None or inner.x is not x:
            return None
        if not float_dtype(place, x):
            return _NOT_FLOAT
        if place.opset >= 14 and is_close(inner.alpha, 1 / 6) and is_close(inner.beta, 0.5):
            new = ir.node("HardSwish", [x])
            return Replacement([new], [new.outputs[0]])
        if len(product.nodes) + len(inner.nodes) <= 2:
            return None
        sigmoid = hard_sigmoid(inner)
        new = ir.node("Mul", [x, sigmoid.outputs[0]])
        return Replacement([sigmoid, new], [new.outputs[0]])
