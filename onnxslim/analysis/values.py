"""Value rules: the numbers that shape arithmetic computes, element by element, exact or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Expr, add, maximum, minimum, mul, product
from onnxslim.analysis.elements import (
    FLOATS,
    FOLLOWED,
    INTEGERS,
    WIDE,
    absolute,
    bit,
    cast,
    compare,
    exact,
    float_div,
    float_mul,
    fold,
    int_div,
    pick,
    remainder,
    rounded,
    settle,
    sign,
    undecided,
    unless_float,
)
from onnxslim.analysis.facts import Array, Fact
from onnxslim.analysis.operator import MAX_ELEMENTS, Operator, Rule, Undecided, axis_of, registering, tensor

VALUE_RULES: Final[dict[str, Rule]] = {}
"""Tried before the shape rules; each returns None where a value that it needs is not known."""
rule = registering(VALUE_RULES)


def _known(op: Operator, count: int | None = None) -> list[Array] | None:
    arrays = [fact.value for fact in op.inputs[:count] if fact is not None and fact.value is not None]
    wanted = len(op.inputs) if count is None else count
    return arrays if len(arrays) == wanted else None


def result(dtype: ir.DataType, value: Array) -> list[Fact]:
    """One output with a value."""
    return [Fact(dtype, tuple(int(d) for d in value.shape), value)]


@rule("Cast", "CastLike")
def _cast_rule(op: Operator) -> list[Fact] | None:
    source = op.fact(0)
    target = ir.DataType(op.get("to")) if op.node.op_type == "Cast" else op.fact(1).dtype
    if source.value is None or source.dtype is None or target is None or target not in FOLLOWED:
        return None
    source_dtype, wanted = source.dtype, target
    return result(wanted, tensor((cast(e, source_dtype, wanted) for e in source.value.flat), source.value.shape))


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": exact(add),
    "Sub": exact(lambda a, b: a - b),
    "Min": pick(minimum, "Min"),
    "Max": pick(maximum, "Max"),
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
        combine = float_mul if dtype in FLOATS else mul
    elif name == "Div":
        combine = float_div if dtype in FLOATS else int_div
    else:
        combine = remainder if dtype in INTEGERS and not op.get("fmod", 0) else undecided
    total = arrays[0]
    for array in arrays[1:]:
        left, right = np.broadcast_arrays(total, array)
        if left.size > MAX_ELEMENTS:
            return None
        pairs = zip(left.flat, right.flat, strict=True)
        total = tensor((settle(combine(a, b), wanted) for a, b in pairs), left.shape)
    return result(wanted, total)


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
        "And": lambda a, b: 0 if a == 0 or b == 0 else bit(a) & bit(b),
        "Or": lambda a, b: 1 if a == 1 or b == 1 else bit(a) | bit(b),
        "Xor": lambda a, b: bit(a) ^ bit(b),
    }
    combine = logic.get(name, lambda a, b: compare(name, a, b))
    pairs = zip(left.flat, right.flat, strict=True)
    return result(ir.DataType.BOOL, tensor((combine(a, b) for a, b in pairs), left.shape))


_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "Neg": lambda a: mul(a, -1) if isinstance(a, int | Expr) else unless_float(a, lambda x: -x),
    "Abs": absolute,
    "Sign": sign,
    "Not": lambda a: 1 - bit(a),
    "Floor": lambda a: rounded(a, up=False),
    "Ceil": lambda a: rounded(a, up=True),
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
        "ReduceSum": lambda row: fold(add, row),
        "ReduceProd": product,
        "ReduceMax": lambda row: fold(maximum, row),
        "ReduceMin": lambda row: fold(minimum, row),
    }
    shape = [1 if axis in places else size for axis, size in enumerate(array.shape)]
    if not op.get("keepdims", 1):
        shape = [array.shape[axis] for axis in kept]
    return result(wanted, tensor((settle(total[name](list(row)), wanted) for row in rows), shape))
