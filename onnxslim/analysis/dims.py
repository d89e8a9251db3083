"""Symbolic integers for dimensions and shape arithmetic: small, exact and fast.

A ``Dim`` is an ``int`` or an ``Expr``, a polynomial with integer coefficients over atoms. An atom is a symbol or one of
the opaque calls ``floor(a, b)`` (floor division), ``max(a, b)`` and ``broadcast(a, b, ...)``. Everything is kept in
normal form, so that ``==`` answers *provably equal*: equal expressions have equal values under every binding, while
unequal ones may or may not. ``mod`` and ``min`` need no atoms: a mod b = a - b*floor(a, b), min(a, b) = -max(-a, -b).

Symbols are integers >= 0, except those that ``Symbols.data`` makes. Two symbols of different names are never the same.

>>> n = symbol("N")
>>> str(2 * (n + 1) - n), 2 * n == n + n, floordiv(4 * n + 6, 2) == 2 * n + 3
('N + 2', True, True)
>>> evaluate(n * n - 1, {"N": 5}), evaluate(n, {})
(24, None)
"""

from onnxslim.analysis.bounds import differ, lower, upper
from onnxslim.analysis.division import ceildiv, divide, floordiv, mod, truncdiv
from onnxslim.analysis.extremes import broadcast, maximum, minimum
from onnxslim.analysis.polynomial import Atom, Dim, Expr, Monomial, TooComplex, add, mul, product
from onnxslim.analysis.substitution import evaluate, substitute
from onnxslim.analysis.symbols import Symbols, age, free_symbols, from_declared, symbol, to_declared

__all__ = [
    "Atom",
    "Dim",
    "Expr",
    "Monomial",
    "Symbols",
    "TooComplex",
    "add",
    "age",
    "broadcast",
    "ceildiv",
    "differ",
    "divide",
    "evaluate",
    "floordiv",
    "free_symbols",
    "from_declared",
    "lower",
    "maximum",
    "minimum",
    "mod",
    "mul",
    "product",
    "substitute",
    "symbol",
    "to_declared",
    "truncdiv",
    "upper",
]
