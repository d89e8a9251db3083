"""Numbers that a dimension is never below or above, from what its atoms are at least."""

from __future__ import annotations

import math

from onnxslim.analysis.polynomial import Dim, Expr, add, mul, polynomial


def lower(dim: Dim, depth: int = 4) -> float:
    """A number that ``dim`` is never below; -inf where none is known."""
    if not isinstance(dim, Expr):
        return dim
    total: float = 0
    for monomial, factor in dim.terms:
        if not monomial:
            total += factor
        elif factor > 0 and (len(monomial) == 1 or all(atom.least >= 0 for atom in monomial)):
            total += factor * math.prod(atom.least for atom in monomial)
        else:
            total = -math.inf
    if depth and (total == -math.inf or any(len(m) == 1 and m[0].op == "max" for m, _ in dim.terms)):
        return max(total, _lower_by_calls(dim, depth - 1))
    return total


def _lower_by_calls(dim: Expr, depth: int) -> float:
    """Bounds ``dim`` by its first max(g, 0) or floor(a, c) that helps, replaced by what bounds it."""
    for monomial, factor in dim.terms:
        if len(monomial) != 1 or monomial[0].op not in ("max", "floor"):
            continue
        a, b = monomial[0].args
        rest = polynomial({m: f for m, f in dim.terms if m != monomial})
        if monomial[0].op == "max":  # rest + k*max(a, b) = max(rest + k*a, rest + k*b), for k < 0 the min of them
            bounds = lower(add(rest, mul(a, factor)), depth), lower(add(rest, mul(b, factor)), depth)
            return min(bounds) if factor < 0 else max(bounds)
        if monomial[0].op == "floor" and isinstance(b, int):  # (a - b + 1) / b <= floor(a, b) <= a / b
            bound = add(mul(rest, b), mul(a if factor < 0 else add(a, 1 - b), factor))
            found = lower(bound, depth)
            if found > -math.inf:
                return -(-found // b)
    return -math.inf


def upper(dim: Dim) -> float:
    """A number that ``dim`` is never above; inf where none is known."""
    return -lower(mul(dim, -1))


def differ(a: Dim, b: Dim) -> bool:
    """Whether a and b are provably different."""
    gap = add(a, mul(b, -1))
    return gap != 0 if not isinstance(gap, Expr) else lower(gap) > 0 or upper(gap) < 0
