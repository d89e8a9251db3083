"""MatMul of Transposes and with a scalar factor -> com.microsoft.FusedMatMul, which reads its operands either way."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contraction import TRANSPOSES
from onnxslim.ops.contrib import DOMAIN
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import finite_float32, float_dtype, scalar
from .merge_transposes import permutation


class FuseFusedMatMul(Rule):
    """Let the product transpose the last two dims of its operands, and scale its result."""

    name: ClassVar[str] = "fuse-fused-matmul"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul", "Div", "MatMul")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        factor, product = 1.0, node
        if node.op_type != "MatMul":
            found = scaled_product(node, place)
            if found is None:
                return None
            product, factor = found
        users = [use.node for use in product.outputs[0].uses()]
        if (
            product is node
            and len(users) == 1
            and users[0].op_type in ("Mul", "Div")
            and scaled_product(users[0], place)
        ):
            return None  # it is fused with its factor
        operands = [x for x in product.inputs if x is not None]
        if len(operands) != 2:
            return None
        taken = [transposed(x, product, place) for x in operands]
        if factor == 1.0 and not any(x is not None for x in taken):
            return None
        if any(place.before(x, "DequantizeLinear") for x in operands):
            return "it runs in int8"
        if not float_dtype(place, operands[0]):
            return "it is not known to be float32"
        attributes: dict[str, int | float] = {} if factor == 1.0 else {"alpha": factor}
        attributes |= {name: 1 for name, x in zip(TRANSPOSES, taken, strict=True) if x is not None}
        inputs = [old if new is None else new for old, new in zip(operands, taken, strict=True)]
        new = ir.node("FusedMatMul", inputs, attributes, domain=DOMAIN, name=product.name or "")
        return Replacement([new], [new.outputs[0]])


def scaled_product(node: ir.Node, place: Place) -> tuple[ir.Node, float] | None:
    """The MatMul that ``node`` alone scales by a number, and the number; None where it does not."""
    if node.domain or node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for value, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        product = place.before(value, "MatMul")
        number = scalar(place, other, value)
        if product is None or value is None or number is None or not place.is_free(value, node):
            continue
        if node.op_type == "Div" and (value is not node.inputs[0] or number == 0):
            continue
        factor = 1 / number if node.op_type == "Div" else number
        return (product, factor) if finite_float32(factor) and factor != 0 else None
    return None


def transposed(value: ir.Value, user: ir.Node, place: Place) -> ir.Value | None:
    """What ``value`` is the Transpose of, in the last two dims alone and for ``user`` alone; else None."""
    node = place.before(value, "Transpose")
    perm = permutation(node, place) if node is not None else None
    if node is None or perm is None or len(perm) < 2 or not place.is_free(value, user):
        return None
    rank = len(perm)
    return node.inputs[0] if perm == (*range(rank - 2), rank - 1, rank - 2) else None
