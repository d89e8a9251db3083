"""Concat(f(a), f(b), ...) -> f(Concat(a, b, ...)), for f that works on each element alone, and for Transpose."""

from __future__ import annotations

from typing import ClassVar, cast

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.elementwise import ELEMENTWISE
from onnxslim.ops.signature import attributes_key
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .merge_concats import concat_axis
from .merge_transposes import permutation

FUSED = ("HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
"""What runtimes compute within the Conv or Gemm before it, so that to sink it would cost a pass over the data."""
LINEAR = ("Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul")


class SinkBelowConcat(Rule):
    """Do after a Concat, once, what is done to each of its parts.

    Elements are computed as before. onnxruntime's vectorized transcendental functions may round the last bit of an
    element by its place in the vector, so that the promise is that of reordered floats.
    """

    name: ClassVar[str] = "sink-below-concat"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Concat",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One operator for several."""
        makers = [place.before(x, "Transpose", *ELEMENTWISE) for x in node.inputs]
        found = [maker for maker in makers if maker is not None]
        if len(makers) < 2 or len(found) < len(makers):
            return None
        first = found[0]
        if any(maker.op_type != first.op_type or len(maker.inputs) != 1 for maker in found):
            return None
        if first.op_type in FUSED and any(place.before(m.inputs[0], *LINEAR) is not None for m in found):
            return "runtimes fuse it into the operator before it"
        axis = concat_axis(node, place)
        if axis is None:
            return "the axis is not known"
        if not all(place.is_free(cast("ir.Value", x), node) for x in node.inputs):
            return "a part has another use"
        if len(set(found)) < len(found):
            return "a part stands there twice"
        sources = [cast("ir.Value", maker.inputs[0]) for maker in found]
        if first.op_type == "Transpose":
            perms = {permutation(maker, place) for maker in found}
            perm = perms.pop()
            if perm is None or perms or axis >= len(perm):
                return "the permutations differ, or are not known"
            axis = perm[axis]
            attributes: dict[str, object] = {"perm": perm}
        else:
            key = attributes_key(first, place.opset)
            if key is None or any(attributes_key(maker, place.opset) != key for maker in found):
                return "the attributes differ"
            if len({place.facts.dtype(x) for x in sources} | {None}) != 2:
                return "the dtypes differ, or are not known"
            attributes = dict(first.attributes)
        joined = ir.node("Concat", sources, {"axis": axis})
        new = ir.node(first.op_type, [joined.outputs[0]], cast("dict[str, ir.Attr]", attributes))
        return Replacement((joined, new), (new.outputs[0],))
