"""Cast o Cast -> one Cast, or none, where the first loses nothing and so cannot be seen in the result."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

D = ir.DataType
SIGNED = {D.INT8: 8, D.INT16: 16, D.INT32: 32, D.INT64: 64}
UNSIGNED = {D.UINT8: 8, D.UINT16: 16, D.UINT32: 32, D.UINT64: 64}
FLOATS = {D.BFLOAT16: 8, D.FLOAT16: 11, D.FLOAT: 24, D.DOUBLE: 53}
"""Bits of an integer, and of a float's significand: whole numbers of that many bits are exact."""
WIDER_FLOATS = {
    D.BFLOAT16: (D.BFLOAT16, D.FLOAT, D.DOUBLE),
    D.FLOAT16: (D.FLOAT16, D.FLOAT, D.DOUBLE),
    D.FLOAT: (D.FLOAT, D.DOUBLE),
    D.DOUBLE: (D.DOUBLE,),
}


class MergeCasts(Rule):
    """Cast at once what is cast twice.

    The first Cast must represent every number of its input; from there to the last type it must make no difference
    where one starts: among integers, to bool, from float32 to a float, or to a type that holds every number of the
    input too.
    """

    name: ClassVar[str] = "merge-casts"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("Cast",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One Cast for two."""
        middle = node.inputs[0]
        first = place.before(middle, "Cast")
        x = first.inputs[0] if first is not None else None
        if first is None or middle is None or x is None or place.opset < 6:
            return None
        source, between, last = place.facts.dtype(x), _to(first), _to(node)
        if source is None or between is None or last is None:
            return "a type is not known"
        if not holds(between, source):
            return f"{between.name} does not hold every {source.name}"
        if not same_from_either(source, between, last):
            return f"{last.name} may be another number from {between.name} than from {source.name}"
        if source == last:
            return Replacement(outputs=(x,), detail="they cancel")
        if not place.is_free(middle, node):
            return "what is between has another use"
        new = ir.node("Cast", [x], {"to": int(last)}, name=node.name or None)
        return Replacement((new,), (new.outputs[0],))


def _to(node: ir.Node) -> ir.DataType | None:
    to = node.attributes.get("to")
    return None if to is None or to.is_ref() else ir.DataType(to.as_int())


def holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether every number of type ``narrow`` is one of type ``wide``.

    >>> holds(D.FLOAT, D.INT16), holds(D.FLOAT, D.INT32), holds(D.INT16, D.UINT16)
    (True, False, False)
    """
    if narrow == wide:
        return narrow == D.BOOL or narrow in SIGNED or narrow in UNSIGNED or narrow in FLOATS
    if narrow == D.BOOL:
        return wide in SIGNED or wide in UNSIGNED or wide in FLOATS
    if narrow in UNSIGNED:
        bits = UNSIGNED[narrow]
        return SIGNED.get(wide, 0) > bits or UNSIGNED.get(wide, 0) >= bits or _reaches(wide, bits)
    if narrow in SIGNED:
        return SIGNED.get(wide, 0) >= SIGNED[narrow] or _reaches(wide, SIGNED[narrow] - 1)
    return wide in WIDER_FLOATS.get(narrow, ())


def _reaches(wide: ir.DataType, bits: int) -> bool:
    """Whether a float holds every whole number of so many bits; float16 ends at 65504."""
    return FLOATS.get(wide, 0) >= bits


def same_from_either(source: ir.DataType, between: ir.DataType, last: ir.DataType) -> bool:
    """Whether casting to ``last`` gives the same from either of two types that hold the same number."""
    whole = SIGNED | UNSIGNED
    if last == D.BOOL or holds(last, source):
        return last == D.BOOL or last in whole or last in FLOATS
    if source in whole and between in whole:
        return last in whole  # the lower bits; from integers to floats runtimes round in more than one way
    return source == D.FLOAT and last in FLOATS  # one rounding, of the same number
