"""f(Transpose(a), Transpose(b)) -> Transpose(f(a, b)), for f that works on each element alone."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.elementwise import BROADCASTING, ELEMENTWISE
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .merge_transposes import composed, permutation

MAX_STEPS = 8


class SinkTransposes(Rule):
    """Turn once what several inputs are turned by, and let what lies between two Transposes work on what is not turned.

    1. All inputs of an operator are turned alike, by two Transposes or more: one after it does for all.
    2. A Transpose follows another, with such operators between them: they merge, or cancel.

    Numbers may stand beside what is turned. Nothing else may use what is between.
    """

    name: ClassVar[str] = "sink-transposes"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = (*BROADCASTING, "Transpose")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Transpose, or none, for several."""
        return between(node, place) if node.op_type == "Transpose" else joined(node, place)


def joined(node: ir.Node, place: Place) -> Replacement | str | None:
    """The operator on what its inputs were before they were turned, and one Transpose after it."""
    makers = [place.before(x, "Transpose") for x in node.inputs]
    found = list(dict.fromkeys(maker for maker in makers if maker is not None))
    if len(found) < 2:
        return None
    perms = {permutation(maker, place) for maker in found}
    perm = perms.pop()
    if perm is None or perms:
        return "the permutations differ, or are not known"
    shapes = [place.facts.shape(maker.outputs[0]) for maker in found]
    if place.facts.shape(node.outputs[0]) not in (None, *shapes):
        return "the result is larger than each of what is turned"
    for x, maker in zip(node.inputs, makers, strict=True):
        if x is not None and maker is None and not is_number(x, len(perm), place):
            return "what stands beside it is neither turned nor a number"
        if x is not None and maker is not None and not place.is_free(x, node):
            return "what is turned has another use"
    inputs = [x if maker is None else maker.inputs[0] for x, maker in zip(node.inputs, makers, strict=True)]
    new = remade(node, inputs)
    turned = ir.node("Transpose", [new.outputs[0]], {"perm": perm}, name=found[0].name or "")
    return Replacement((new, turned), (turned.outputs[0],))


def between(node: ir.Node, place: Place) -> Replacement | str | None:
    """What lies between ``node`` and a Transpose before it, on what was not turned yet; then at most one Transpose."""
    steps: list[tuple[ir.Node, ir.Value]] = []
    user, value = node, node.inputs[0]
    while value is not None and len(steps) <= MAX_STEPS:
        maker = place.before(value, "Transpose", *ELEMENTWISE, *BROADCASTING)
        if maker is None or not place.is_free(value, user):
            return None
        if maker.op_type == "Transpose":
            break
        turned = [x for x in maker.inputs if x is not None and place.constant(x) is None]
        if len(turned) != 1:
            return None
        steps.append((maker, turned[0]))
        user, value = maker, turned[0]
    first = place.before(value, "Transpose")
    if first is None or not steps or first.inputs[0] is None:
        return None  # two in a row are merged by a rule of their own
    p, q = permutation(first, place), permutation(node, place)
    if p is None or q is None or len(p) != len(q):
        return "a permutation is not known"
    for step, old in steps:  # before any node is made: one that is not used would count among the users of its inputs
        if not all(x is None or x is old or is_number(x, len(p), place) for x in step.inputs):
            return "what stands beside what is turned is no number"
    made: list[ir.Node] = []
    source = first.inputs[0]
    for step, old in reversed(steps):
        made.append(remade(step, [source if x is old else x for x in step.inputs]))
        source = made[-1].outputs[0]
    both = composed(p, q)
    if both != tuple(range(len(both))):
        made.append(ir.node("Transpose", [source], {"perm": both}, name=node.name or ""))
    return Replacement(made, (made[-1].outputs[0],))


def is_number(value: ir.Value, rank: int, place: Place) -> bool:
    """Whether it is a constant of one element that adds no dims to what has ``rank`` of them."""
    array = place.constant(value)
    return array is not None and array.size == 1 and array.ndim <= rank
