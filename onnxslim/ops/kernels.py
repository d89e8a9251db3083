"""Operators whose result ONNX fixes to the last bit, in numpy: data movement, integers, exactly rounded floats.

Whatever a runtime is free to round in its own way (Exp, MatMul, ReduceSum of floats, ...) has no kernel here.

Long because each operator has its kernel here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Sequence[Array | None]
Attributes = Mapping[str, Any]
Kernel = Callable[[Inputs, Attributes, int], tuple[Array, ...]]
"""Inputs (None where omitted), attributes by name and the opset version; gives the outputs.

Raises:
    NotCovered: Where the kernel does not define the case; another evaluator may.
"""


class NotCovered(Exception):
    """The kernel leaves this case to another evaluator."""


def _need(x: Array | None) -> Array:
    if x is None:
        raise NotCovered("an input is omitted")
    return x


def _axes(inputs: Inputs, attributes: Attributes, index: int) -> list[int] | None:
    """Axes from the input that newer opsets use, else from the attribute that older ones use."""
    given = inputs[index] if len(inputs) > index else None
    if given is not None:
        return [int(a) for a in given.reshape(-1)]
    return [int(a) for a in attributes["axes"]] if "axes" in attributes else None


def _binary(function: Callable[[Array, Array], Array]) -> Kernel:
    def kernel(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
        a, b = _need(inputs[0]), _need(inputs[1])
        if opset < 7 or a.dtype != b.dtype:
            raise NotCovered("old broadcasting rules or mixed types")
        with np.errstate(all="ignore"):
            return (np.asarray(function(a, b)),)

    return kernel


def _exact(a: Array) -> bool:
    """Types whose arithmetic numpy does in the type itself, as runtimes do."""
    return a.dtype in (np.float32, np.float64) or a.dtype.kind in "iu"


def _arithmetic(function: Callable[[Array, Array], Array]) -> Kernel:
    def checked(a: Array, b: Array) -> Array:
        if not _exact(a):
            raise NotCovered(f"arithmetic in {a.dtype}")
        return function(a, b)

    return _binary(checked)


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    _check_division(a, b)
    quotient = a // b  # floor; ONNX truncates towards zero
    return np.asarray(quotient + ((a % b != 0) & ((a < 0) != (b < 0))).astype(a.dtype))


def _mod(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":
        _check_division(a, b)
    raise NotCovered("only the check is done here")


def _check_division(a: Array, b: Array) -> None:
    """A processor traps on both cases, and takes the whole process with it: no runtime may get them."""
    if not b.all():
        raise ValueError("an integer is divided by zero")
    if a.dtype.kind == "i" and (b == -1).any() and (a == np.iinfo(a.dtype).min).any():
        raise ValueError("an integer division overflows")


def _compare(function: Callable[[Array, Array], Array]) -> Kernel:
    return _binary(function)


def _unary(function: Callable[[Array], Array]) -> Kernel:
    def kernel(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
        x = _need(inputs[0])
        if not _exact(x):
            raise NotCovered(f"arithmetic in {x.dtype}")
        with np.errstate(all="ignore"):
            return (np.asarray(function(x)),)

    return kernel


def _not(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (np.logical_not(_need(inputs[0])),)


def _identity(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (_need(inputs[0]),)


def _shape(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    dims = _need(inputs[0]).shape
    return (np.array(dims[shape_slice(len(dims), attributes)], np.int64),)


def shape_slice(rank: int, attributes: Attributes) -> slice:
    """The dims that ``Shape`` gives: ``start`` and ``end`` count from the back when negative and are clamped.

    >>> shape_slice(4, {"start": -2}), shape_slice(4, {"end": 9})
    (slice(2, 4, None), slice(0, 4, None))
    """

    def clamp(i: int) -> int:
        return min(max(i + rank if i < 0 else i, 0), rank)

    return slice(clamp(int(attributes.get("start", 0))), clamp(int(attributes.get("end", rank))))


def _size(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (np.array(_need(inputs[0]).size, np.int64),)


def _cast(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    """Casts that every runtime agrees on; floats outside an integer's range and the narrow floats are left to it."""
    x = _need(inputs[0])
    wanted = _CAST_TO.get(int(attributes["to"]))
    if wanted is None or x.dtype.name not in _CAST_FROM:
        raise NotCovered("a cast of a narrow or string type")
    if x.dtype.kind == "f" and wanted.kind in "iu":
        low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
        whole = np.trunc(x.astype(np.float64))
        if not (np.isfinite(whole).all() and (whole >= low).all() and (whole < float(high)).all()):
            raise NotCovered("a float outside the integer's range")
    with np.errstate(all="ignore"):
        return (x.astype(wanted),)


_CAST_TO: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}
_CAST_FROM = {dtype.name for dtype in _CAST_TO.values()}


def _gather(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    data, indices = _need(inputs[0]), _need(inputs[1])
    axis = int(attributes.get("axis", 0))
    length = data.shape[axis]
    if ((indices < -length) | (indices >= length)).any():
        raise NotCovered("an index is out of range")
    return (np.take(data, indices, axis=axis),)


def _slice(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    x = _need(inputs[0])
    if opset < 10:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes = list(attributes.get("axes", range(len(starts))))
        steps = [1] * len(starts)
    else:
        given = [None if i >= len(inputs) else inputs[i] for i in range(5)]
        starts, ends = _need(given[1]).tolist(), _need(given[2]).tolist()
        axes = list(range(len(starts))) if given[3] is None else given[3].tolist()
        steps = [1] * len(starts) if given[4] is None else given[4].tolist()
    window = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        window[axis] = slice_window(x.shape[axis], start, end, step)
    return (x[tuple(window)],)


def slice_window(length: int, start: int, end: int, step: int) -> slice:
    """ONNX's start, end and step on an axis as a Python slice: negatives count from the back, then both are clamped.

    >>> slice_window(5, -9, 9, 1), slice_window(5, 9, -9, -1)
    (slice(0, 5, 1), slice(4, None, -1))
    """
    if step == 0:
        raise NotCovered("a slice with step 0")
    start = start + length if start < 0 else start
    end = end + length if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), length), min(max(end, 0), length), step)
    start, end = min(max(start, 0), length - 1), min(max(end, -1), length - 1)
    return slice(start, None if end < 0 else end, step) if length else slice(0, 0, 1)


def reshape_dims(shape: Sequence[int], wanted: Sequence[int], allowzero: bool) -> list[int]:
    """The dims that ``Reshape`` of an array of ``shape`` to ``wanted`` gives.

    >>> reshape_dims([2, 3, 4], [0, -1], False)
    [2, 12]
    """
    dims = [shape[i] if d == 0 and not allowzero and i < len(shape) else int(d) for i, d in enumerate(wanted)]
    if -1 in dims:
        known = 1
        for d in dims:
            known *= d if d != -1 else 1
        size = int(np.prod(shape, dtype=np.int64))
        if known == 0 or size % known or dims.count(-1) > 1:
            raise NotCovered("a reshape that does not fit")
        dims[dims.index(-1)] = size // known
    return dims


def _reshape(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    x = _need(inputs[0])
    wanted = list(attributes["shape"]) if opset < 5 else _need(inputs[1]).tolist()
    dims = reshape_dims(x.shape, wanted, bool(attributes.get("allowzero", 0)))
    if int(np.prod(dims, dtype=np.int64)) != x.size:
        raise NotCovered("a reshape that does not fit")
    return (x.reshape(dims),)


def _squeeze(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    x = _need(inputs[0])
    axes = _axes(inputs, attributes, 1)
    return (np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes)),)


def _unsqueeze(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    axes = _axes(inputs, attributes, 1)
    if axes is None:
        raise NotCovered("Unsqueeze without axes")
    return (np.expand_dims(_need(inputs[0]), tuple(axes)),)


def _transpose(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (np.transpose(_need(inputs[0]), attributes.get("perm")),)


def _concat(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (np.concatenate([_need(x) for x in inputs], int(attributes["axis"]) if opset >= 4 else 1),)


def _where(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    return (np.where(_need(inputs[0]), _need(inputs[1]), _need(inputs[2])),)


def _expand(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    x, shape = _need(inputs[0]), _need(inputs[1])
    return (np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist()))),)


def _constant_of_shape(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    value = attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(-1)
    return (np.broadcast_to(fill[0], tuple(_need(inputs[0]).tolist())),)


def _range(inputs: Inputs, attributes: Attributes, opset: int) -> tuple[Array, ...]:
    start, limit, delta = (_need(x).reshape(()) for x in inputs)
    if start.dtype.kind != "i" or int(delta) == 0:
        raise NotCovered("a range of floats, or without a step")
    return (np.arange(int(start), int(limit), int(delta)).astype(start.dtype),)


KERNELS: dict[str, Kernel] = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_div),
    "Mod": _arithmetic(_mod),
    "Equal": _compare(np.equal),
    "Less": _compare(np.less),
    "Greater": _compare(np.greater),
    "LessOrEqual": _compare(np.less_equal),
    "GreaterOrEqual": _compare(np.greater_equal),
    "And": _compare(np.logical_and),
    "Or": _compare(np.logical_or),
    "Xor": _compare(np.logical_xor),
    "Not": _not,
    "Neg": _unary(np.negative),
    "Abs": _unary(np.abs),
    "Sqrt": _unary(np.sqrt),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Identity": _identity,
    "Shape": _shape,
    "Size": _size,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Where": _where,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
}
"""Kernels of the domain ``ai.onnx`` by operator type."""
