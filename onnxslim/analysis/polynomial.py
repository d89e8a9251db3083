"""Integers that are not known, as polynomials in normal form: their sums and products.

An `Expr` has integer coefficients and `Atom`s for variables; equal polynomials are equal objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

MAX_TERMS: Final = 32
MAX_DEGREE: Final = 16
MAX_TEXT: Final = 1000
MAX_COEFFICIENT: Final = 2**63


class TooComplex(ArithmeticError):
    """An expression outgrew the limits of this module; who asked for it goes on with an unknown."""


class Atom:
    """A symbol or an opaque call. ``key`` renders it unambiguously, and is its identity and its place in the order."""

    __slots__ = ("args", "key", "least", "op")

    def __init__(self, op: str, args: tuple[Dim, ...], key: str, least: float) -> None:
        if len(key) > MAX_TEXT and args:
            raise TooComplex(f"{op} of an expression of {len(key)} characters")
        self.op, self.args, self.key, self.least = op, args, key, least

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atom) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return self.key


Monomial: TypeAlias = tuple[Atom, ...]


class Expr:
    """A polynomial that is no constant. Immutable and hashable; arithmetic with ints and other expressions."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Expr) and self._hash == other._hash and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        return add(self, other) if isinstance(other, int | Expr) else NotImplemented

    def __sub__(self, other: Dim) -> Dim:
        return add(self, mul(other, -1)) if isinstance(other, int | Expr) else NotImplemented

    def __mul__(self, other: Dim) -> Dim:
        return mul(self, other) if isinstance(other, int | Expr) else NotImplemented

    def __neg__(self) -> Dim:
        return mul(self, -1)

    def __rsub__(self, other: int) -> Dim:
        return add(other, mul(self, -1)) if isinstance(other, int) else NotImplemented

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for monomial, factor in self.terms:
            names = [atom.key for atom in monomial]
            if abs(factor) != 1 or not names:
                names.insert(0, str(abs(factor)))
            sign = "-" if factor < 0 else "+"
            text += (f" {sign} " if text else "-" if factor < 0 else "") + "*".join(names)
        return text

    def __repr__(self) -> str:
        return f"<{self}>"


Dim: TypeAlias = int | Expr


def terms_of(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    """Monomials and their factors, in order; a number is the factor of the empty monomial."""
    if isinstance(dim, Expr):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def order_of(monomial: Monomial) -> tuple[int, tuple[str, ...]]:
    """What monomials are sorted by: from the highest degree down, then by their atoms."""
    return -len(monomial), tuple(atom.key for atom in monomial)


def polynomial(terms: dict[Monomial, int]) -> Dim:
    """The normal form of a sum: a number where nothing else is left.

    Raises:
        TooComplex: There are too many terms, or they are too large.
    """
    kept = {monomial: factor for monomial, factor in terms.items() if factor}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    if len(kept) > MAX_TERMS:
        raise TooComplex(f"{len(kept)} terms")
    ordered = sorted(kept, key=order_of) if len(kept) > 1 else list(kept)
    for monomial in ordered:
        if len(monomial) > MAX_DEGREE or abs(kept[monomial]) > MAX_COEFFICIENT:
            raise TooComplex(f"degree {len(monomial)}, coefficient {kept[monomial]}")
    return Expr(tuple((monomial, kept[monomial]) for monomial in ordered))


def opaque(op: str, args: tuple[Dim, ...], least: float) -> Expr:
    """A polynomial of one atom: a call that is not worked out."""
    return Expr((((Atom(op, args, f"{op}({', '.join(map(str, args))})", least),), 1),))


def add(a: Dim, b: Dim) -> Dim:
    """A + b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return a + b
    terms = dict(terms_of(a))
    for monomial, factor in terms_of(b):
        terms[monomial] = terms.get(monomial, 0) + factor
    return polynomial(terms)


def mul(a: Dim, b: Dim) -> Dim:
    """A * b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return a * b
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        if b == 1:
            return a
        return polynomial({monomial: factor * b for monomial, factor in terms_of(a)})
    terms: dict[Monomial, int] = {}
    for left, x in terms_of(a):
        for right, y in terms_of(b):
            monomial = tuple(sorted(left + right, key=lambda atom: atom.key)) if left and right else left or right
            terms[monomial] = terms.get(monomial, 0) + x * y
    return polynomial(terms)


def product(dims: Iterable[Dim]) -> Dim:
    """Product of the dims; 1 of none."""
    result: Dim = 1
    for dim in dims:
        result = mul(result, dim)
    return result
