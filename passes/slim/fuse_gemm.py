"""A B + C -> Gemm(A, B, C), and Gemm o Transpose -> Gemm with ``transA`` or ``transB``, of matrices."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.dims import Dim
from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contraction import TRANSPOSES
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .linear import is_dead, number, one_use

_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class FuseMatMulAdd(Rule):
    """Make one Gemm of MatMul and Add where both factors are known to be matrices and the sum widens nothing.

    Ranks and dims are inferred, never as declared: a Gemm of anything but matrices is no model. Weights stay as they
    are, shared or not. Only in float32 and float64.
    """

    name: ClassVar[str] = "fuse-matmul-add"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Add",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Gemm for MatMul and Add."""
        if is_dead(node) or len(node.inputs) != 2:
            return None
        reason: str | None = None
        for value, other in (tuple(node.inputs), tuple(reversed(node.inputs))):
            product = place.before(value, "MatMul")
            if product is None or value is None or other is None:
                continue
            answer = self._gemm(place, node, product, value, other)
            if not isinstance(answer, str):
                return answer
            reason = reason or answer
        return reason

    def _gemm(
        self, place: Place, node: ir.Node, product: ir.Node, value: ir.Value, other: ir.Value
    ) -> Replacement | str:
        a, b = product.inputs
        left, right = (place.facts.shape(x) if x is not None else None for x in (a, b))
        if left is None or right is None or len(left) != 2 or len(right) != 2:
            return "the factors are not known to be matrices"
        if place.opset < 7 or place.facts.dtype(value) not in _TYPES:
            return "Gemm is not of its type or opset"
        if not one_use(value):
            return "the product has another use"
        if not fits(place.facts.shape(other), (left[0], right[1])):
            return "the summand is not known to have the shape of the product"
        new = ir.node("Gemm", [a, b, other], name=node.name)
        return Replacement([new], (new.outputs[0],))


class FuseGemmTranspose(Rule):
    """Let a Gemm read a transposed matrix as it is."""

    name: ClassVar[str] = "fuse-gemm-transpose"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Gemm",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Flips ``transA`` or ``transB``."""
        for index, name in enumerate(TRANSPOSES):
            transpose, flag = place.before(node.inputs[index], "Transpose"), number(node, name, 0)
            x = transpose.inputs[0] if transpose is not None else None
            if transpose is None or x is None or is_dead(node):
                continue
            perm = transpose.attributes.get("perm")
            if flag is None or (perm is not None and (perm.is_ref() or tuple(perm.as_ints()) != (1, 0))):
                return "the permutation is not known"
            value = node.inputs[index]
            if value is None or not one_use(value):
                return "what is transposed has another use"
            inputs = list(node.inputs)
            inputs[index] = x
            attributes = {key: each for key, each in node.attributes.items() if key != name}
            if not flag:
                attributes[name] = ir.AttrInt64(name, 1)
            new = remade(node, inputs, attributes)
            return Replacement([new], (new.outputs[0],))
        return None


def fits(summand: tuple[Dim, ...] | None, product: tuple[Dim, Dim]) -> bool:
    """Whether a summand of that shape certainly broadcasts to the product, and not the other way round."""
    if summand is None or len(summand) > 2:
        return False
    return all(dim == 1 or dim == whole for dim, whole in zip(reversed(summand), reversed(product), strict=False))
