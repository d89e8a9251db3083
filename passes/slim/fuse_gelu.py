"""x * (1 + erf(x / sqrt(2))) / 2 -> Gelu (opset 20), its form with tanh likewise; x * tanh(softplus(x)) -> Mish (18).

Each is a polynomial in x and the output of one operator, which is how they are read: the order of factors, where the
1/2 stands, and division or multiplication by a constant do not matter. Constants may be rounded to float32, a relative
1e-6, which moves the result by less than 1e-6 |x|. onnxruntime computes Gelu by the same formulas, and Mish as these
very nodes; both only in float32. NaN and infinity give the same.

Swish (opset 24) is left apart: onnxruntime 1.32 has no kernel for it and computes a product more than there was.
"""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import Gate, affine, float_dtype, gate, is_close, polynomial

_NOT_FLOAT = "it is not known to be float32, the only type that onnxruntime computes it in"
_CUBE = 0.044715


def takes_erf(place: Place, found: Gate) -> bool:
    """Whether the kernel is ``erf(x / sqrt(2))``."""
    argument = found.kernel.inputs[0]
    if argument is None or found.kernel.op_type != "Erf":
        return False
    inner = affine(place, argument, found.kernel)
    return inner.x is found.x and is_close(inner.factor, math.sqrt(0.5)) and inner.shift == 0


def takes_tanh(place: Place, found: Gate) -> bool:
    """Whether the kernel is ``tanh(sqrt(2 / pi) (x + 0.044715 x^3))``."""
    argument, x = found.kernel.inputs[0], found.x
    last = place.before(argument, "Mul", "Div", "Add")
    if argument is None or last is None or found.kernel.op_type != "Tanh" or not place.is_free(argument, found.kernel):
        return False
    inner = polynomial(place, last)
    scale = math.sqrt(2 / math.pi)
    return inner is not None and inner.has({(x,): scale, (x, x, x): scale * _CUBE})


def gelu(place: Place, node: ir.Node) -> Gate | str | None:
    """The Gelu that ends in ``node``; a reason where it nearly is one, None where it is none."""
    found = gate(place, node, "Erf", "Tanh")
    if found is None or not found.polynomial.has({(found.x,): 0.5, (found.x, found.f): 0.5}):
        return None
    if not (takes_erf(place, found) or takes_tanh(place, found)):
        return f"what {found.kernel.op_type} is taken of is not as Gelu has it"
    return found if float_dtype(place, found.x) else _NOT_FLOAT


class FuseGelu(Rule):
    """Join the steps of a Gelu, from opset 20 on."""

    name: ClassVar[str] = "fuse-gelu"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul", "Div", "Add")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        found = gelu(place, node) if place.opset >= 20 else None
        if not isinstance(found, Gate):
            return found
        new = ir.node("Gelu", [found.x], {"approximate": "tanh"} if found.kernel.op_type == "Tanh" else {})
        return Replacement([new], [new.outputs[0]])


class FuseMish(Rule):
    """Join the steps of a Mish, from opset 18 on."""

    name: ClassVar[str] = "fuse-mish"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        found = gate(place, node, "Tanh") if place.opset >= 18 else None
        if found is None or not found.polynomial.has({(found.x, found.f): 1.0}):
            return None
        argument = found.kernel.inputs[0]
        softplus = place.before(argument, "Softplus")
        if argument is None or softplus is None or softplus.inputs[0] is not found.x:
            return None
        if not place.is_free(argument, found.kernel):
            return "others need the Softplus too"
        if not float_dtype(place, found.x):
            return _NOT_FLOAT
        new = ir.node("Mish", [found.x])
        return Replacement([new], [new.outputs[0]])
