"""What an expression becomes once its symbols have values."""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim.analysis.division import floordiv
from onnxslim.analysis.extremes import broadcast, maximum
from onnxslim.analysis.polynomial import Atom, Dim, Expr, add, mul, product
from onnxslim.analysis.symbols import name_of


def substitute(dim: Dim, bindings: Mapping[str, Dim]) -> Dim:
    """``dim`` with the symbols that ``bindings`` names replaced."""
    if not isinstance(dim, Expr):
        return dim
    total: Dim = 0
    for monomial, factor in dim.terms:
        total = add(total, mul(product(_replace(atom, bindings) for atom in monomial), factor))
    return total


def _replace(atom: Atom, bindings: Mapping[str, Dim]) -> Dim:
    if atom.op == "symbol":
        bound = bindings.get(name_of(atom))
        return Expr((((atom,), 1),)) if bound is None else bound
    # Nesting is bounded by MAX_TEXT, so is this recursion.
    args = [substitute(arg, bindings) for arg in atom.args]
    if atom.op == "floor":
        if args[1] == 0:
            raise ZeroDivisionError(f"{atom.key} where the divisor is 0")
        return floordiv(args[0], args[1])
    result = args[0]
    for arg in args[1:]:
        result = maximum(result, arg) if atom.op == "max" else broadcast(result, arg)
    return result


def evaluate(dim: Dim, bindings: Mapping[str, int]) -> int | None:
    """The number that ``dim`` is when its symbols have these values; None where one has none, or a divisor is 0."""
    try:
        result = substitute(dim, bindings)
    except ZeroDivisionError:
        return None
    return None if isinstance(result, Expr) else result
