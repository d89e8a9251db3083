"""Value rules: the numbers that shape arithmetic computes, element by element, exact or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    Expr,
    add,
    ceildiv,
    differ,
    floordiv,
    lower,
    maximum,
    minimum,
    mod,
    mul,
    product,
    truncdiv,
    upper,
)
from onnxslim.analysis.facts import Array, Fact, Ratio
from onnxslim.analysis.operator import MAX_ELEMENTS, Operator, Rule, Undecided, axis_of, registering, tensor

INTEGERS: Final = frozenset(
    getattr(ir.DataType, name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
)
WIDE: Final = frozenset({ir.DataType.INT32, ir.DataType.INT64})
"""Integers in which shape arithmetic does not overflow."""
FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
FOLLOWED: Final = INTEGERS | FLOATS

VALUE_RULES: Final[dict[str, Rule]] = {}
"""Tried before the shape rules; each returns None where a value that it needs is not known."""
rule = registering(VALUE_RULES)


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


def _known(op: Operator, count: int | None = None) -> list[Array] | None:
    arrays = [fact.value for fact in op.inputs[:count] if fact is not None and fact.value is not None]
    wanted = len(op.inputs) if count is None else count
    return arrays if len(arrays) == wanted else None


def result(dtype: ir.DataType, value: Array) -> list[Fact]:
    """One output with a value."""
    return [Fact(dtype, tuple(int(d) for d in value.shape), value)]


def _cast(element: Any, source: ir.DataType, target: ir.DataType) -> Any:
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


@rule("Cast", "CastLike")
def _cast_rule(op: Operator) -> list[Fact] | None:
    source = op.fact(0)
    target = ir.DataType(op.get("to")) if op.node.op_type == "Cast" else op.fact(1).dtype
    if source.value is None or source.dtype is None or target is None or target not in FOLLOWED:
        return None
    source_dtype, wanted = source.dtype, target
    return result(wanted, tensor((_cast(e, source_dtype, wanted) for e in source.value.flat), source.value.shape))


def _float_mul(a: Any, b: Any) -> Any:
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


def _float_div(a: Any, b: Any) -> Any:
    if isinstance(a, float) and isinstance(b, float):
        if b == 0:
            raise Undecided("Div")
        return a / b
    if isinstance(a, Expr) and isinstance(b, float) and b.is_integer() and 0 < b < 2**12:
        return Ratio(a, int(b))
    raise Undecided("Div")


def _int_div(a: Dim, b: Dim) -> Dim:
    quotient = truncdiv(a, b)
    if quotient is None:
        raise Undecided("Div")
    return quotient


def _exact(function: Callable[[Dim, Dim], Dim]) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float):
            return function(a, b)  # type: ignore[arg-type]
        if any(isinstance(x, Ratio) or (isinstance(x, float) and not x.is_integer()) for x in (a, b)):
            raise Undecided("float")
        return function(*(int(x) if isinstance(x, float) else x for x in (a, b)))

    return apply


def _pick(function: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    exact = _exact(function)

    def apply(a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float) and (math.isnan(a) or math.isnan(b)):
            raise Undecided(name)
        return exact(a, b)

    return apply


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": _exact(add),
    "Sub": _exact(lambda a, b: a - b),
    "Min": _pick(minimum, "Min"),
    "Max": _pick(maximum, "Max"),
}


@rule("Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "Sum")
def _arithmetic(op: Operator) -> list[Fact] | None:
    arrays, dtype = _known(op), op.fact(0).dtype
    if arrays is None or dtype is None or dtype == ir.DataType.BOOL or op.version < 7:
        return None
    name = "Add" if op.node.op_type == "Sum" else op.node.op_type
    wanted = dtype
    if name in _ARITHMETIC:
        combine = _ARITHMETIC[name]
    elif name == "Mul":
        combine = _float_mul if dtype in FLOATS else mul
    elif name == "Div":
        combine = _float_div if dtype in FLOATS else _int_div
    else:
        combine = _remainder if dtype in INTEGERS and not op.get("fmod", 0) else _undecided
    total = arrays[0]
    for array in arrays[1:]:
        left, right = np.broadcast_arrays(total, array)
        if left.size > MAX_ELEMENTS:
            return None
        pairs = zip(left.flat, right.flat, strict=True)
        total = tensor((settle(combine(a, b), wanted) for a, b in pairs), left.shape)
    return result(wanted, total)


def _remainder(a: Dim, b: Dim) -> Dim:
    if b == 0:
        raise Undecided("Mod")
    return mod(a, b)


def _undecided(a: Any, b: Any) -> Any:
    raise Undecided("fmod")


def _compare(name: str, a: Any, b: Any) -> int:
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


def _bit(a: Any) -> int:
    if not isinstance(a, int):
        raise Undecided("bool")
    return a


@rule("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor")
def _relation(op: Operator) -> list[Fact] | None:
    arrays = _known(op)
    if arrays is None or op.version < 7:
        return None
    left, right = np.broadcast_arrays(*arrays)
    if left.size > MAX_ELEMENTS:
        return None
    name = op.node.op_type
    logic: dict[str, Callable[[Any, Any], int]] = {
        "And": lambda a, b: 0 if a == 0 or b == 0 else _bit(a) & _bit(b),
        "Or": lambda a, b: 1 if a == 1 or b == 1 else _bit(a) | _bit(b),
        "Xor": lambda a, b: _bit(a) ^ _bit(b),
    }
    combine = logic.get(name, lambda a, b: _compare(name, a, b))
    pairs = zip(left.flat, right.flat, strict=True)
    return result(ir.DataType.BOOL, tensor((combine(a, b) for a, b in pairs), left.shape))


def _absolute(a: Dim) -> Dim:
    return maximum(a, mul(a, -1)) if isinstance(a, int | Expr) else _unless_float(a, abs)


def _unless_float(a: Any, function: Callable[[float], Any]) -> Any:
    if isinstance(a, Ratio):
        raise Undecided("Ratio")
    return function(a)


def _sign(a: Any) -> int:
    if isinstance(a, Expr) and lower(a) > 0:
        return 1
    if not isinstance(a, int | float):
        raise Undecided("Sign")
    return int(a > 0) - int(a < 0)


def _rounded(a: Any, up: bool) -> Any:
    if isinstance(a, Ratio):
        return ceildiv(*a) if up else floordiv(*a)
    if isinstance(a, float) and math.isfinite(a):
        return float(math.ceil(a) if up else math.floor(a))
    return a


_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "Neg": lambda a: mul(a, -1) if isinstance(a, int | Expr) else _unless_float(a, lambda x: -x),
    "Abs": _absolute,
    "Sign": _sign,
    "Not": lambda a: 1 - _bit(a),
    "Floor": lambda a: _rounded(a, up=False),
    "Ceil": lambda a: _rounded(a, up=True),
}


@rule(*_UNARY)
def _unary(op: Operator) -> list[Fact] | None:
    array, dtype = op.fact(0).value, op.fact(0).dtype
    if array is None or dtype is None:
        return None
    function, wanted = _UNARY[op.node.op_type], dtype
    return result(wanted, tensor((settle(function(a), wanted) for a in array.flat), array.shape))


@rule("Where")
def _where(op: Operator) -> list[Fact] | None:
    arrays, dtype = _known(op), op.fact(1).dtype
    if arrays is None or dtype is None:
        return None
    conditions, left, right = np.broadcast_arrays(*arrays)
    if left.size > MAX_ELEMENTS:
        return None
    chosen = []
    for c, a, b in zip(conditions.flat, left.flat, right.flat, strict=True):
        if not isinstance(c, int) and a != b:
            raise Undecided("Where")
        chosen.append(a if c == 1 or a == b else b)
    return result(dtype, tensor(chosen, left.shape))


@rule("Range")
def _range(op: Operator) -> list[Fact] | None:
    bounds, dtype = [op.elements(i) for i in range(3)], op.fact(0).dtype
    if dtype is None or dtype not in WIDE or any(b is None or len(b) != 1 or not isinstance(b[0], int) for b in bounds):
        return None
    start, limit, step = (b[0] for b in bounds if b is not None)
    if step == 0 or len(range(start, limit, step)) > MAX_ELEMENTS:
        return None
    wanted, numbers = dtype, range(start, limit, step)
    return result(wanted, tensor(numbers, (len(numbers),)))


@rule("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")
def _reduce(op: Operator) -> list[Fact] | None:
    array, dtype = op.fact(0).value, op.fact(0).dtype
    if array is None or dtype is None or dtype not in WIDE:
        return None
    name, wanted = op.node.op_type, dtype
    axes = op.parameter("axes", 1, 13 if name == "ReduceSum" else 18)
    if not axes:
        if op.get("noop_with_empty_axes", 0):
            return result(wanted, array)
        axes = list(range(array.ndim))
    places = sorted({axis_of(axis, array.ndim) for axis in axes})
    kept = [axis for axis in range(array.ndim) if axis not in places]
    count = math.prod(array.shape[axis] for axis in places)
    rows = array.transpose(kept + places).reshape(-1, count) if count else None
    if rows is None:
        return None
    total: dict[str, Callable[[Sequence[Any]], Any]] = {
        "ReduceSum": lambda row: _fold(add, row),
        "ReduceProd": product,
        "ReduceMax": lambda row: _fold(maximum, row),
        "ReduceMin": lambda row: _fold(minimum, row),
    }
    shape = [1 if axis in places else size for axis, size in enumerate(array.shape)]
    if not op.get("keepdims", 1):
        shape = [array.shape[axis] for axis in kept]
    return result(wanted, tensor((settle(total[name](list(row)), wanted) for row in rows), shape))


def _fold(function: Callable[[Any, Any], Any], row: Sequence[Any]) -> Any:
    total = row[0]
    for element in row[1:]:
        total = function(total, element)
    return total
