"""Squeeze o Reduce -> Reduce with ``keepdims = 0``, and Unsqueeze o Reduce -> Reduce with ``keepdims = 1``."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .linear import ints, is_dead, number

ARGUMENTS = ("ArgMax", "ArgMin")


class FuseReduceSqueeze(Rule):
    """Drop or keep reduced dims in the reduction itself, where a Squeeze or Unsqueeze is about the same dims."""

    name: ClassVar[str] = "fuse-reduce-squeeze"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Squeeze", "Unsqueeze")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One reduction for two nodes."""
        value = node.inputs[0]
        reduce = place.before(value, *AXES_ARE_INPUT_SINCE, *ARGUMENTS)
        if reduce is None or value is None or is_dead(node) or reduce.inputs[0] is None:
            return None
        keeps, wanted = number(reduce, "keepdims", 1), int(node.op_type == "Unsqueeze")
        if keeps is None or int(keeps) == wanted:
            return None
        rank = place.facts.rank(reduce.inputs[0])
        if rank is None:
            return "the number of dims is not known"
        here, there = axes(node, place, rank), reduced_axes(reduce, place, rank)
        if here is None or there is None:
            return "the dims are not known"
        if here != there:
            return "they are not about the same dims"
        if not place.is_free(value, node):
            return "the reduction has another use"
        attributes = {name: each for name, each in reduce.attributes.items() if name != "keepdims"}
        attributes["keepdims"] = ir.AttrInt64("keepdims", wanted)
        new = remade(reduce, reduce.inputs, attributes)
        return Replacement([new], (new.outputs[0],))


def axes(node: ir.Node, place: Place, rank: int) -> frozenset[int] | None:
    """The dims that a node names, of tensors with ``rank`` dims; None where it names none or they are not known."""
    given = ints(node, "axes")
    if given is None and len(node.inputs) > 1 and "axes" not in node.attributes:
        array = place.known(node.inputs[1])
        given = None if array is None else tuple(int(n) for n in array.reshape(-1))
    if not given or any(not -rank <= n < rank for n in given):
        return None
    return frozenset(n % rank for n in given)


def reduced_axes(node: ir.Node, place: Place, rank: int) -> frozenset[int] | None:
    """The dims that a reduction reduces; None where they are not known or not named."""
    if node.op_type not in ARGUMENTS:
        return axes(node, place, rank)
    axis = number(node, "axis", 0)
    return None if axis is None or not -rank <= axis < rank else frozenset((int(axis) % rank,))
