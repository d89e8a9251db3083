"""Arithmetic of single elements of tensors: numbers, expressions and ratios, exact or `Undecided`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, ceildiv, differ, floordiv, lower, maximum, mod, mul, truncdiv, upper
from onnxslim.analysis.facts import Ratio
from onnxslim.analysis.operator import Undecided

INTEGERS: Final = frozenset(
    getattr(ir.DataType, name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
)
WIDE: Final = frozenset({ir.DataType.INT32, ir.DataType.INT64})
"""Integers in which shape arithmetic does not overflow."""
FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
FOLLOWED: Final = INTEGERS | FLOATS


def settle(element: Any, dtype: ir.DataType) -> Any:
    """The element as a tensor of ``dtype`` holds it: wrapped or rounded, or Undecided."""
    if dtype in FLOATS:
        if isinstance(element, Expr | Ratio):
            return element
        with np.errstate(over="ignore"):
            return float(np.float32(element)) if dtype == ir.DataType.FLOAT else float(element)
    if isinstance(element, int):
        if dtype == ir.DataType.BOOL:
            return int(element != 0)
        bits = dtype.bitwidth
        wrapped = element & ((1 << bits) - 1)
        return wrapped - (1 << bits) if dtype.is_signed() and wrapped >> (bits - 1) else wrapped
    if isinstance(element, Expr) and (dtype in WIDE or (dtype == ir.DataType.BOOL and _is_bit(element))):
        return element
    raise Undecided(str(dtype))


def _is_bit(element: Expr) -> bool:
    return lower(element) >= 0 and upper(element) <= 1


def cast(element: Any, source: ir.DataType, target: ir.DataType) -> Any:
    """An element cast from one type to another."""
    if target in FLOATS or source in INTEGERS:
        if target == ir.DataType.BOOL and isinstance(element, Expr):
            if lower(element) > 0 or upper(element) < 0:
                return 1
            if not _is_bit(element):
                raise Undecided("Cast")
        return settle(element, target)
    if target == ir.DataType.BOOL:
        raise Undecided("Cast")
    if isinstance(element, Ratio):
        if lower(element.numerator) < 0:
            raise Undecided("Cast")
        return settle(floordiv(*element), target)
    if isinstance(element, Expr):
        return settle(element, target)
    if not math.isfinite(element) or not abs(element) < 2**31 or (not target.is_signed() and element < 0):
        raise Undecided("Cast")  # out of range is undefined
    return settle(int(element), target)


def float_mul(a: Any, b: Any) -> Any:
    """A product, where a float can be an exact factor of an expression."""
    if isinstance(a, Expr) and isinstance(b, Expr):
        return mul(a, b)
    if isinstance(b, Expr | Ratio):
        a, b = b, a
    if not isinstance(b, float) or not math.isfinite(b):
        raise Undecided("Mul")
    if isinstance(a, float):
        return a * b
    numerator, denominator = b.as_integer_ratio()
    if isinstance(a, Ratio):
        denominator *= a.denominator
        if a.denominator & (a.denominator - 1):
            raise Undecided("Mul")
        a = a.numerator
    # Whole numbers below 2**24 times a short dyadic factor are exact in float32.
    if abs(numerator) > 64 or denominator > 4096:
        raise Undecided("Mul")
    whole = mul(a, numerator)
    return whole if denominator == 1 or not isinstance(whole, Expr) else Ratio(whole, denominator)


def float_div(a: Any, b: Any) -> Any:
    """A quotient of floats, or of an expression and a float that is exact."""
    if isinstance(a, float) and isinstance(b, float):
        if b == 0:
            raise Undecided("Div")
        return a / b
    if isinstance(a, Expr) and isinstance(b, float) and b.is_integer() and 0 < b < 2**12:
        return Ratio(a, int(b))
    raise Undecided("Div")


def int_div(a: Dim, b: Dim) -> Dim:
    """The quotient of integers, toward zero."""
    quotient = truncdiv(a, b)
    if quotient is None:
        raise Undecided("Div")
    return quotient


def exact(function: Callable[[Dim, Dim], Dim]) -> Callable[[Any, Any], Any]:
    """The function of dims, for elements that may be ratios or floats."""

    def apply(a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float):
            return function(a, b)  # type: ignore[arg-type]
        if any(isinstance(x, Ratio) or (isinstance(x, float) and not x.is_integer()) for x in (a, b)):
            raise Undecided("float")
        return function(*(int(x) if isinstance(x, float) else x for x in (a, b)))

    return apply


def pick(function: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    """The same for one that picks the smaller or the larger."""
    plain = exact(function)

    def apply(a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float) and (math.isnan(a) or math.isnan(b)):
            raise Undecided(name)
        return plain(a, b)

    return apply


def remainder(a: Dim, b: Dim) -> Dim:
    """The remainder with the sign of the divisor."""
    if b == 0:
        raise Undecided("Mod")
    return mod(a, b)


def undecided(a: Any, b: Any) -> Any:
    """For operators whose numbers are not followed."""
    raise Undecided("fmod")


def compare(name: str, a: Any, b: Any) -> int:
    """Whether a relation holds: 1 or 0."""
    if isinstance(a, float) and isinstance(b, float):
        gap: Any = a - b
    else:
        a, b = (int(x) if isinstance(x, float) and x.is_integer() else x for x in (a, b))
        if isinstance(a, Ratio | float) or isinstance(b, Ratio | float):
            raise Undecided(name)
        if name == "Equal":
            if a == b:
                return 1
            if differ(a, b):
                return 0
            raise Undecided(name)
        gap = a - b
    low, high = (gap, gap) if isinstance(gap, float) else (lower(gap), upper(gap))
    truth: dict[str, tuple[bool, bool]] = {
        "Equal": (low == high == 0, low > 0 or high < 0),
        "Less": (high < 0, low >= 0),
        "LessOrEqual": (high <= 0, low > 0),
        "Greater": (low > 0, high <= 0),
        "GreaterOrEqual": (low >= 0, high < 0),
    }
    yes, no = truth[name]
    if yes == no:
        raise Undecided(name)
    return int(yes)


def bit(a: Any) -> int:
    """A truth value that is a number."""
    if not isinstance(a, int):
        raise Undecided("bool")
    return a


def absolute(a: Dim) -> Dim:
    """The magnitude."""
    return maximum(a, mul(a, -1)) if isinstance(a, int | Expr) else unless_float(a, abs)


def unless_float(a: Any, function: Callable[[float], Any]) -> Any:
    """The function of a plain number."""
    if isinstance(a, Ratio):
        raise Undecided("Ratio")
    return function(a)


def sign(a: Any) -> int:
    """1, 0 or -1."""
    if isinstance(a, Expr) and lower(a) > 0:
        return 1
    if not isinstance(a, int | float):
        raise Undecided("Sign")
    return int(a > 0) - int(a < 0)


def rounded(a: Any, up: bool) -> Any:
    """The integer above or below."""
    if isinstance(a, Ratio):
        return ceildiv(*a) if up else floordiv(*a)
    if isinstance(a, float) and math.isfinite(a):
        return float(math.ceil(a) if up else math.floor(a))
    return a


def fold(function: Callable[[Any, Any], Any], row: Sequence[Any]) -> Any:
    """A row taken together from left to right."""
    total = row[0]
    for element in row[1:]:
        total = function(total, element)
    return total
