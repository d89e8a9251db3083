"""Transpose o Transpose -> one Transpose, or none: y[i] = x[p[q[i]]] for the dims of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule


class MergeTransposes(Rule):
    """Merge two Transposes in a row; two that are each other's inverse vanish.

    The first may have other uses where they are all Transposes, so that it dies in the end, or where nothing remains
    of the second.
    """

    name: ClassVar[str] = "merge-transposes"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Transpose",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Transpose for two."""
        middle = node.inputs[0]
        first = place.before(middle, "Transpose")
        x = first.inputs[0] if first is not None else None
        if first is None or middle is None or x is None:
            return None
        p, q = permutation(first, place), permutation(node, place)
        if p is None or q is None or len(p) != len(q):
            return "a permutation is not known"
        both = composed(p, q)
        if both == tuple(range(len(both))):
            return Replacement(outputs=(x,), detail="they cancel")
        users = [use.node for use in middle.uses()]
        if middle.is_graph_output() or any(user.domain != "" or user.op_type != "Transpose" for user in users):
            return "what is between has another use"
        new = ir.node("Transpose", [x], {"perm": both}, name=node.name or None)
        return Replacement((new,), (new.outputs[0],))


def permutation(node: ir.Node, place: Place) -> tuple[int, ...] | None:
    """The permutation of a Transpose; without the attribute the dims are reversed, and their number must be known."""
    perm = node.attributes.get("perm")
    if perm is not None:
        return None if perm.is_ref() else tuple(perm.as_ints())
    x = node.inputs[0]
    rank = place.facts.rank(x) if x is not None else None
    return None if rank is None else tuple(reversed(range(rank)))


def composed(p: Sequence[int], q: Sequence[int]) -> tuple[int, ...]:
    """The permutation that does ``p`` and then ``q``.

    >>> composed((1, 2, 0), (2, 0, 1))
    (0, 1, 2)
    """
    return tuple(p[axis] for axis in q)
