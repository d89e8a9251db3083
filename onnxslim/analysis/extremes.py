"""The larger and the smaller of two dimensions, and the one that broadcasting leaves."""

from __future__ import annotations

from onnxslim.analysis.bounds import lower, upper
from onnxslim.analysis.polynomial import Dim, Expr, add, mul, opaque


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of a and b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return max(a, b)
    gap = add(a, mul(b, -1))
    if lower(gap) >= 0:
        return a
    if upper(gap) <= 0:
        return b
    # max(a, b) = b + max(a - b, 0), turned so that the gap's first coefficient is positive: one form for all shifts.
    if isinstance(gap, Expr) and gap.terms[0][1] < 0:
        a, b, gap = b, a, mul(gap, -1)
    return add(b, opaque("max", (gap, 0), max(lower(gap), 0)))


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of a and b."""
    return mul(maximum(mul(a, -1), mul(b, -1)), -1)


def broadcast(a: Dim, b: Dim) -> Dim:
    """The dim that a and b broadcast to in a run that accepts them: the one that is not 1, never a guess of which."""
    if a == b or b == 1:
        return a
    if a == 1 or not isinstance(b, Expr):
        return b
    if not isinstance(a, Expr):
        return a
    parts: dict[str, Dim] = {}
    for dim in (a, b):
        monomial, factor = dim.terms[0]
        flat = len(dim.terms) == 1 and factor == 1 and len(monomial) == 1 and monomial[0].op == "broadcast"
        for part in monomial[0].args if flat else (dim,):
            parts[str(part)] = part
    if len(parts) == 1:
        return next(iter(parts.values()))
    return opaque("broadcast", tuple(parts[key] for key in sorted(parts)), 0)
