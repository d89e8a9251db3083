"""Reshape, Flatten, Squeeze or Unsqueeze of another of them -> one, or none.

All four only rename the places of the same numbers in the same order, so that the result is known by its shape alone.
So does a Transpose that moves nothing but dims of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import Dim
from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .constant_target import reshape_target
from .merge_transposes import permutation

VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that give their input another shape and leave its elements in order."""


class MergeViews(Rule):
    """Merge two nodes that only change a shape, where the result's shape can be written down.

    Tried in this order: nothing at all, the last Reshape as it is (where its target copies no dim), an Unsqueeze or
    Squeeze, a Reshape to a constant. What is between must have no other use, or nothing would be gained.
    """

    name: ClassVar[str] = "merge-views"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = (*VIEWS, "Transpose")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One node for two."""
        middle = node.inputs[0]
        first = place.before(middle, *VIEWS, "Transpose")
        x = first.inputs[0] if first is not None else None
        if first is None or middle is None or x is None or place.opset < 5:
            return None
        if node.op_type == first.op_type == "Transpose" or not (is_view(first, place) and is_view(node, place)):
            return None
        before, after = place.facts.shape(x), place.facts.shape(node.outputs[0])
        if before is not None and after is not None and before == after:
            return Replacement(outputs=(x,), detail="they cancel")
        if not place.is_free(middle, node):
            return "what is between has another use"
        if is_mask(first, node, before, after):
            return "onnxruntime fuses attention whose mask is written so"
        if node.op_type == "Reshape" and copies_nothing(node, place):
            new = ir.node("Reshape", [x, node.inputs[1]], attributes_of(node), name=node.name or None)
            return Replacement((new,), (new.outputs[0],))
        if before is None or after is None:
            return "a shape is not known"
        new_node = inserted(x, before, after, place) or reshaped(x, before, after, place)
        return Replacement((new_node,), (new_node.outputs[0],)) if isinstance(new_node, ir.Node) else new_node


def is_mask(first: ir.Node, second: ir.Node, before: Sequence[Dim] | None, after: Sequence[Dim] | None) -> bool:
    """Whether two Unsqueezes make (batch, 1, 1, length) of (batch, length), and what follows is a mask's arithmetic.

    onnxruntime's AttentionFusion and its transformer optimizer look for the two of them (fusion_attention.py:
    Unsqueeze, Unsqueeze, perhaps Cast, then Sub, Equal or Expand).
    """
    if not first.op_type == second.op_type == "Unsqueeze" or before is None or after is None:
        return False
    if len(before) != 2 or tuple(after) != (before[0], 1, 1, before[1]):
        return False
    users = [use.node for use in second.outputs[0].uses()]
    users = [use.node for user in users if user.op_type == "Cast" for use in user.outputs[0].uses()] or users
    return any(user.op_type in ("Sub", "Equal", "Expand") for user in users)


def is_view(node: ir.Node, place: Place) -> bool:
    """Whether the node leaves its input's elements in order."""
    if node.op_type != "Transpose":
        return True
    x, perm = node.inputs[0], permutation(node, place)
    shape = place.facts.shape(x) if x is not None else None
    if perm is None or shape is None or sorted(perm) != list(range(len(shape))):
        return False
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def attributes_of(node: ir.Node) -> dict[str, ir.Attr]:
    """The node's attributes, for a new one."""
    return dict(node.attributes)


def copies_nothing(node: ir.Node, place: Place) -> bool:
    """Whether a Reshape's target means the same whatever is reshaped: no element is a zero that copies a dim."""
    allowzero = node.attributes.get("allowzero")
    if allowzero is not None:
        return not allowzero.is_ref() and allowzero.as_int() != 0
    target = place.known(node.inputs[1])
    return target is not None and bool((target != 0).all())


def inserted(x: ir.Value, before: Sequence[Dim], after: Sequence[Dim], place: Place) -> ir.Node | None:
    """An Unsqueeze or Squeeze that makes ``after`` of ``before``; None where there is none."""
    if len(before) == len(after):
        return None
    op_type, long, short = ("Unsqueeze", after, before) if len(after) > len(before) else ("Squeeze", before, after)
    axes, at = [], 0
    for axis, dim in enumerate(long):
        if at < len(short) and short[at] == dim:
            at += 1
        elif dim == 1:
            axes.append(axis)
        else:
            return None
    if at < len(short):
        return None
    if place.opset < 13:
        return ir.node(op_type, [x], {"axes": axes})
    return ir.node(op_type, [x, place.new_constant(np.array(axes, np.int64), f"{x.name}_axes")])


def reshaped(x: ir.Value, before: Sequence[Dim], after: Sequence[Dim], place: Place) -> ir.Node | str:
    """A Reshape of ``x`` to ``after`` with a constant target; or why there is none."""
    if 0 in after:
        return "a dim is zero"
    target = reshape_target(after, before, copying=True)
    if isinstance(target, str):
        return target
    return ir.node("Reshape", [x, place.new_constant(np.array(target, np.int64), f"{x.name}_shape")])
