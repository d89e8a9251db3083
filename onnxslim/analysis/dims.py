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

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import onnx_ir as ir

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


def symbol(name: str, *, least: float = 0) -> Expr:
    """The symbol of that name, an unknown integer of at least ``least``."""
    plain = name.isidentifier() or (name.startswith("?") and name[1:].isalnum())
    key = name if plain else "{" + name.replace("\\", "\\\\").replace("}", "\\}") + "}"
    return Expr(((((Atom("symbol", (), key, least)),), 1),))


class Symbols:
    """A source of anonymous symbols, each different from every other; named ``?0``, ``?v1``, ... in order of need."""

    def __init__(self) -> None:
        self.count = 0

    def dim(self) -> Expr:
        """An unknown dimension, >= 0."""
        self.count += 1
        return symbol(f"?{self.count - 1}")

    def data(self) -> Expr:
        """An unknown integer of any sign: an element of a tensor that is known only when the model runs."""
        self.count += 1
        return symbol(f"?v{self.count - 1}", least=-math.inf)


def age(name: str) -> int:
    """Number of an anonymous symbol in its source's order; -1 for a declared one."""
    return int(name[1:].lstrip("v")) if name.startswith("?") else -1


def _items(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, Expr):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _order(monomial: Monomial) -> tuple[int, tuple[str, ...]]:
    return -len(monomial), tuple(atom.key for atom in monomial)


def _make(terms: dict[Monomial, int]) -> Dim:
    kept = {monomial: factor for monomial, factor in terms.items() if factor}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    if len(kept) > MAX_TERMS:
        raise TooComplex(f"{len(kept)} terms")
    ordered = sorted(kept, key=_order) if len(kept) > 1 else list(kept)
    for monomial in ordered:
        if len(monomial) > MAX_DEGREE or abs(kept[monomial]) > MAX_COEFFICIENT:
            raise TooComplex(f"degree {len(monomial)}, coefficient {kept[monomial]}")
    return Expr(tuple((monomial, kept[monomial]) for monomial in ordered))


def add(a: Dim, b: Dim) -> Dim:
    """A + b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return a + b
    terms = dict(_items(a))
    for monomial, factor in _items(b):
        terms[monomial] = terms.get(monomial, 0) + factor
    return _make(terms)


def mul(a: Dim, b: Dim) -> Dim:
    """A * b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return a * b
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        if b == 1:
            return a
        return _make({monomial: factor * b for monomial, factor in _items(a)})
    terms: dict[Monomial, int] = {}
    for left, x in _items(a):
        for right, y in _items(b):
            monomial = tuple(sorted(left + right, key=lambda atom: atom.key)) if left and right else left or right
            terms[monomial] = terms.get(monomial, 0) + x * y
    return _make(terms)


def product(dims: Iterable[Dim]) -> Dim:
    """Product of the dims; 1 of none."""
    result: Dim = 1
    for dim in dims:
        result = mul(result, dim)
    return result


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
        rest = _make({m: f for m, f in dim.terms if m != monomial})
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


def _call(op: str, args: tuple[Dim, ...], least: float) -> Expr:
    return Expr((((Atom(op, args, f"{op}({', '.join(map(str, args))})", least),), 1),))


def divide(a: Dim, b: Dim) -> Dim | None:
    """The exact quotient a / b as a polynomial, or None where b is 0 or does not divide a."""
    if b == 0:
        return None
    if a == b:
        return 1
    rest, quotient = dict(_items(a)), 0
    answer: Dim = quotient
    divisor = _items(b)
    head, head_factor = divisor[0]
    for _ in range(MAX_TERMS):
        if not rest:
            return answer
        monomial = min(rest, key=_order)
        left = list(monomial)
        for atom in head:
            if atom not in left:
                return None
            left.remove(atom)
        if rest[monomial] % head_factor:
            return None
        step = _make({tuple(left): rest[monomial] // head_factor})
        answer = add(answer, step)
        rest = dict(_items(add(_make(rest), mul(mul(step, b), -1))))
    return None


def floordiv(a: Dim, b: Dim) -> Dim:
    """The largest integer <= a / b, for b != 0."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return a // b
    exact = divide(a, b)
    if exact is not None:
        return exact
    if isinstance(b, Expr):
        bounded = lower(b) >= 0 and lower(a) >= 0
        return _call("floor", (a, b), 0 if bounded else -math.inf)
    if b < 0:
        a, b = mul(a, -1), -b
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, factor in _items(a):  # residues in (-b/2, b/2], the constant's in [0, b)
        whole[monomial] = -((b // 2 - factor) // b) if monomial else factor // b
        rest[monomial] = factor - b * whole[monomial]
    rest = {monomial: factor for monomial, factor in rest.items() if factor}
    constant = rest.pop((), 0)
    if rest and next(iter(rest.values())) < 0:  # floor(-x, b) = -floor(x + b - 1, b): ceilings in one form
        flipped = {monomial: -factor for monomial, factor in rest.items()}
        return add(_make(whole), mul(floordiv(add(_make(flipped), b - 1 - constant), b), -1))
    common = math.gcd(b, *rest.values())
    inner, divisor, constant = {m: f // common for m, f in rest.items()}, b // common, constant // common
    if divisor == 1 or not inner:
        return add(_make(whole), add(_make(inner), constant // divisor))
    numerator = add(_make(inner), constant)
    (monomial, factor), *more = inner.items()
    if not more and factor == 1 and len(monomial) == 1 and monomial[0].op == "floor":
        x, y = monomial[0].args
        if isinstance(y, int):  # floor((floor(x/y) + k) / d) = floor((x + k*y) / (y*d)), for y, d > 0
            return add(_make(whole), floordiv(add(x, constant * y), y * divisor))
    least = lower(numerator)
    call = _call("floor", (numerator, divisor), least // divisor if least > -math.inf else least)
    return add(_make(whole), call)


def ceildiv(a: Dim, b: Dim) -> Dim:
    """The smallest integer >= a / b, for b != 0."""
    if isinstance(b, int) and b > 0:
        return floordiv(add(a, b - 1), b)
    return mul(floordiv(mul(a, -1), b), -1)


def mod(a: Dim, b: Dim) -> Dim:
    """A - b * floor(a / b): the remainder with the sign of b, for b != 0."""
    return add(a, mul(mul(b, floordiv(a, b)), -1))


def truncdiv(a: Dim, b: Dim) -> Dim | None:
    """A / b rounded toward zero as in ONNX's integer Div, or None where the signs are not known."""
    exact = divide(a, b)
    if exact is not None or b == 0:
        return exact
    if lower(a) >= 0 and lower(b) >= 0:
        return floordiv(a, b)
    if lower(a) >= 0 and upper(b) <= 0:
        return mul(floordiv(a, mul(b, -1)), -1)
    if upper(a) <= 0:
        negated = truncdiv(mul(a, -1), b) if lower(mul(a, -1)) >= 0 else None
        return None if negated is None else mul(negated, -1)
    return None


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
    return add(b, _call("max", (gap, 0), max(lower(gap), 0)))


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
    return _call("broadcast", tuple(parts[key] for key in sorted(parts)), 0)


def free_symbols(dim: Dim) -> Iterator[str]:
    """Names of the symbols in ``dim``, with repetitions, ``?...`` for anonymous ones."""
    pending = [dim]
    while pending:
        top = pending.pop()
        if isinstance(top, Expr):
            for monomial, _ in top.terms:
                for atom in monomial:
                    if atom.op == "symbol":
                        yield _name(atom)
                    pending.extend(atom.args)


def _name(atom: Atom) -> str:
    if atom.key.startswith("{"):
        return atom.key[1:-1].replace("\\}", "}").replace("\\\\", "\\")
    return atom.key


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
        bound = bindings.get(_name(atom))
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


def from_declared(dim: int | ir.SymbolicDim, symbols: Symbols) -> Dim:
    """A declared dimension: its number or symbol; a new anonymous symbol where it has no usable name.

    Negative numbers and the names ``?``, ``-1``, ``None`` stand for *unknown* in many exporters, thus never for one
    and the same unknown. A name that reads as an expression (``"past + 1"``) is a symbol like any other.
    """
    if isinstance(dim, int):
        return dim if dim >= 0 else symbols.dim()
    name = dim.value
    if not name or name.startswith("?") or name in {"-1", "None"}:
        return symbols.dim()
    return symbol(name)


def to_declared(dim: Dim) -> int | ir.SymbolicDim:
    """A dimension as onnx-ir writes it; whatever contains an anonymous symbol has no name."""
    if not isinstance(dim, Expr):
        return int(dim)
    names = list(free_symbols(dim))
    if any(name.startswith("?") for name in names):
        return ir.SymbolicDim(None)
    text = names[0] if len(names) == 1 and dim == symbol(names[0]) else str(dim)
    return ir.SymbolicDim(text)
