"""Reduce(Transpose(x)) -> Reduce(x) over the axes that these are in x, where the axes that remain keep their order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .merge_transposes import permutation
from .reductions import axes_are_input, axes_of, keeps_dims


class FuseReduceTranspose(Rule):
    """Reduce what a Transpose was made of, where that gives the same dims; floats are summed in another order."""

    name: ClassVar[str] = "fuse-reduce-transpose"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = tuple(AXES_ARE_INPUT_SINCE)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Leaves the Transpose before ``node`` out."""
        value = node.inputs[0]
        transpose = place.before(value, "Transpose")
        x = transpose.inputs[0] if transpose is not None else None
        if transpose is None or value is None or x is None:
            return None
        perm, axes = permutation(transpose, place), axes_of(place, node)
        if perm is None or axes is None:
            return "the axes are not known"
        if keeps_dims(node):
            return "the reduced dims are kept in their places"
        remaining = [old for new, old in enumerate(perm) if new not in axes]
        if remaining != sorted(remaining):
            return "the dims that remain are in another order"
        if not place.is_free(value, node):
            return "what is transposed has another use"
        over = sorted(perm[axis] for axis in axes)
        attributes = {name: each for name, each in node.attributes.items() if name != "axes"}
        inputs = [x]
        if axes_are_input(node.op_type, place.opset):
            inputs.append(place.new_constant(np.array(over, np.int64), f"{x.name}_axes"))
        else:
            attributes["axes"] = ir.AttrInt64s("axes", over)
        new = remade(node, inputs, attributes)
        return Replacement([new], (new.outputs[0],))
