"""Reshape(x, computed shape) -> Reshape(x, constant), and the same of Expand: the chain that computed it dies.

A dim equal to x's at its place is written 0 ("copy", unless allowzero is set), one other dim that is not known -1. In
Expand a dim equal to x's is written 1. What is written gives the same in every run that succeeded, with empty tensors
too: -1 beside a dim that may be 0 is refused by onnxruntime, so it stands only where all other dims are positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import Dim, Expr
from onnxslim.analysis.dims import lower
from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

MAX_USERS = 64
"""A target with more users is left alone: each rewrite looks at all of them."""


class ConstantTarget(Rule):
    """Replace a computed target of Reshape or Expand by a constant, where one says the same in every run.

    The match is the node that computes the target. All that use it must take the same constant.
    """

    name: ClassVar[str] = "constant-target"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = (
        *("Add", "Cast", "Concat", "ConstantOfShape", "Div", "Expand", "Gather", "Max", "Min", "Mod", "Mul", "Reshape"),
        *("ScatterND", "Shape", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where"),
    )

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """A constant in the place of the computed target."""
        target = node.outputs[0]
        if len(node.outputs) != 1 or target.is_graph_output():
            return None
        uses = tuple(target.uses())
        if not uses or len(uses) > MAX_USERS or not any(takes_target(use.node, use.idx) for use in uses):
            return None
        elements = place.facts.value(target)
        if elements is None or elements.ndim != 1 or place.facts.dtype(target) != ir.DataType.INT64:
            return "the elements of the target are not known"
        if not all(takes_target(use.node, use.idx) for use in uses):
            return "the target is used elsewhere too"
        found: list[int] | None = None
        for use in uses:
            answer = constant_for(use.node, list(elements), place)
            if isinstance(answer, str):
                return answer
            if found is not None and answer != found:
                return "its users would need different targets"
            found = answer
        like = f"{target.name}_target"
        return Replacement(outputs=(place.new_constant(np.array(found, np.int64), like),), detail=str(found))


def takes_target(node: ir.Node, index: int) -> bool:
    """Whether this input is the target of a Reshape or Expand."""
    return node.domain == "" and node.op_type in ("Reshape", "Expand") and index == 1


def constant_for(node: ir.Node, elements: Sequence[Dim | float], place: Place) -> list[int] | str:
    """The constant target of a Reshape or Expand that stands for ``elements``, or why there is none."""
    x = node.inputs[0]
    shape = place.facts.shape(x) if x is not None else None
    if node.op_type == "Expand":
        return "the shape is not known" if shape is None else expand_target(elements, shape)
    allowzero = node.attributes.get("allowzero")
    if allowzero is not None and allowzero.is_ref():
        return "allowzero is a parameter of a function"
    return reshape_target(elements, shape, copying=allowzero is None or allowzero.as_int() == 0)


def reshape_target(elements: Sequence[Dim | float], shape: Sequence[Dim] | None, *, copying: bool) -> list[int] | str:
    """Writes a target as numbers, 0 where a dim is copied, and at most one -1.

    Args:
        elements: What the target holds, numbers and expressions.
        shape: The shape that is reshaped; None where it is not known.
        copying: Whether 0 copies a dim (allowzero is not set).
    """
    found: list[int] = []
    holes: list[int] = []
    positive = True
    for i, dim in enumerate(elements):
        same = shape is not None and i < len(shape) and shape[i] == dim
        if isinstance(dim, Expr):
            if same and copying:
                found.append(0)
                positive &= lower(dim) >= 1
            else:
                holes.append(i)
                found.append(-1)
            continue
        if dim == 0 and not copying:
            return "a dim is zero"
        if dim == 0:
            source = shape[i] if shape is not None and i < len(shape) else 0
            positive &= lower(source) >= 1
        elif dim < 0:
            positive = False
        found.append(int(dim))
    if not holes:
        return found
    if len(holes) > 1:
        return "more than one dim is not known"
    return found if positive else "a dim is not known beside one that may be zero"


def expand_target(elements: Sequence[Dim | float], shape: Sequence[Dim]) -> list[int] | str:
    """Writes a target as numbers, 1 where the dim of ``shape`` (aligned at the end) is the same."""
    found: list[int] = []
    for back in range(len(elements), 0, -1):
        dim = elements[-back]
        if not isinstance(dim, Expr):
            found.append(int(dim))
        elif back <= len(shape) and shape[-back] == dim:
            found.append(1)
        else:
            return "a dim that is not known would widen it"
    return found
