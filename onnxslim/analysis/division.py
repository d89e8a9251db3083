"""Quotients: exact, rounded down, up or toward zero, and what remains."""

from __future__ import annotations

import math

from onnxslim.analysis.bounds import lower, upper
from onnxslim.analysis.polynomial import (
    MAX_TERMS,
    Dim,
    Expr,
    Monomial,
    add,
    mul,
    opaque,
    order_of,
    polynomial,
    terms_of,
)


def divide(a: Dim, b: Dim) -> Dim | None:
    """The exact quotient a / b as a polynomial, or None where b is 0 or does not divide a."""
    if b == 0:
        return None
    if a == b:
        return 1
    rest, quotient = dict(terms_of(a)), 0
    answer: Dim = quotient
    divisor = terms_of(b)
    head, head_factor = divisor[0]
    for _ in range(MAX_TERMS):
        if not rest:
            return answer
        monomial = min(rest, key=order_of)
        left = list(monomial)
        for atom in head:
            if atom not in left:
                return None
            left.remove(atom)
        if rest[monomial] % head_factor:
            return None
        step = polynomial({tuple(left): rest[monomial] // head_factor})
        answer = add(answer, step)
        rest = dict(terms_of(add(polynomial(rest), mul(mul(step, b), -1))))
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
        return opaque("floor", (a, b), 0 if bounded else -math.inf)
    if b < 0:
        a, b = mul(a, -1), -b
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, factor in terms_of(a):  # residues in (-b/2, b/2], the constant's in [0, b)
        whole[monomial] = -((b // 2 - factor) // b) if monomial else factor // b
        rest[monomial] = factor - b * whole[monomial]
    rest = {monomial: factor for monomial, factor in rest.items() if factor}
    constant = rest.pop((), 0)
    if rest and next(iter(rest.values())) < 0:  # floor(-x, b) = -floor(x + b - 1, b): ceilings in one form
        flipped = {monomial: -factor for monomial, factor in rest.items()}
        return add(polynomial(whole), mul(floordiv(add(polynomial(flipped), b - 1 - constant), b), -1))
    common = math.gcd(b, *rest.values())
    inner, divisor, constant = {m: f // common for m, f in rest.items()}, b // common, constant // common
    if divisor == 1 or not inner:
        return add(polynomial(whole), add(polynomial(inner), constant // divisor))
    numerator = add(polynomial(inner), constant)
    (monomial, factor), *more = inner.items()
    if not more and factor == 1 and len(monomial) == 1 and monomial[0].op == "floor":
        x, y = monomial[0].args
        if isinstance(y, int):  # floor((floor(x/y) + k) / d) = floor((x + k*y) / (y*d)), for y, d > 0
            return add(polynomial(whole), floordiv(add(x, constant * y), y * divisor))
    least = lower(numerator)
    call = opaque("floor", (numerator, divisor), least // divisor if least > -math.inf else least)
    return add(polynomial(whole), call)


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
