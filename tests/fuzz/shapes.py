"""What rules of shape arithmetic and of constants look for."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.fuzz.builder import Builder, CannotAdd, Tensor
from tests.fuzz.layout import UNARY, some


def ints(b: Builder, *values: int) -> Tensor:
    return b.const(np.array(values, np.int64))


def scalar(b: Builder, value: int) -> Tensor:
    return b.const(np.array(value, np.int64))


def sizes_of(b: Builder, x: Tensor) -> list[Tensor]:
    """The sizes of ``x``, each of shape (1,), by one of the ways exporters take."""
    shape = b.op("Shape", x)
    result = []
    for axis in range(x.rank):
        match b.rng.randrange(5):
            case 0:
                size = b.unsqueeze(b.op("Gather", shape, scalar(b, axis)), 0)
            case 1:
                size = b.op("Gather", shape, ints(b, axis))
            case 2:
                size = b.slice(shape, [axis], [axis + 1], [0], [1])
            case 3 if b.opset >= 15:
                size = b.op("Shape", x, start=axis, end=axis + 1 if axis + 1 < x.rank else b.rng.choice([x.rank, 99]))
            case _:
                size = b.reshape(b.op("Gather", b.op("Shape", x), scalar(b, axis - x.rank)), [1])
        if b.maybe(0.15):
            size = b.op("Cast", b.op("Cast", size, to=TensorProto.INT32), to=TensorProto.INT64)
        result.append(size)
    return result


def shape_reshape(b: Builder) -> None:
    """Shape, Gather, Unsqueeze, Concat, Reshape: to one Reshape with 0 and -1 where it says the same."""
    x = some(b)
    sizes = sizes_of(b, x)
    match b.rng.randrange(5):
        case 0 if x.rank >= 2:
            parts = [*sizes[:-2], ints(b, -1)]
        case 1 if x.rank >= 2:
            parts = [b.op("Mul", sizes[0], sizes[1]), *sizes[2:]]
        case 2:
            parts = [ints(b, 1), *sizes]
        case 3 if x.rank >= 2 and len(set(x.dims[-1])) == 1 and x.dims[-1][0] % 2 == 0 and x.dims[-1][0]:
            half = b.op("Div", sizes[-1], ints(b, 2))
            parts = [*sizes[:-1], ints(b, 2), half if b.maybe() else ints(b, x.dims[-1][0] // 2)]
        case _:
            parts = sizes
            if b.maybe(0.3):
                parts = parts[::-1]
    y = b.op("Reshape", x, b.op("Concat", *parts, axis=0))
    if b.maybe(0.5) and y.rank >= 2:
        b.op("Reshape", y, b.op("Shape", x) if b.maybe(0.8) else ints(b, -1))


def shape_of(b: Builder) -> None:
    """Shape of what is computed from something of the same shape; static sizes; comparisons of sizes."""
    x = some(b)
    y = b.op(b.rng.choice(["Relu", "Identity", "Neg"]), x) if x.dtype != "int64" else b.op("Neg", x)
    if x.rank >= 2 and b.maybe():
        y = b.op("Transpose", y, perm=[*range(1, x.rank), 0])
    shape = b.op("Shape", y)
    match b.rng.randrange(5):
        case 0:
            b.op("Expand", b.const(b.array([1], x.dtype)), shape)
        case 1:
            b.op("Cast", b.op("ReduceProd", shape, keepdims=0), to=TensorProto.FLOAT)
        case 2:
            b.op("Cast", b.op("Size", y), to=TensorProto.FLOAT)
        case 3:
            b.op("Reshape", y, shape)
        case _:
            rank = b.op("Shape", shape)
            b.op("Add", b.op("Cast", rank, to=TensorProto.FLOAT), b.const(np.array(1, np.float32)))


def constant_of_shape(b: Builder) -> None:
    """ConstantOfShape beside what it broadcasts with, as a mask, or as the target of an Expand."""
    x = b.pick("float32", least=1)
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [b.rng.choice([0.0, 1.0, 2.5])])
    match b.rng.randrange(4):
        case 0:
            y = b.op("ConstantOfShape", b.op("Shape", x), value=value)
            b.op(b.rng.choice(["Add", "Mul"]), x, y)
        case 1:
            y = b.op("ConstantOfShape", ints(b, *[2] * b.rng.randrange(3)), value=value)
            b.op("Mul", x, b.op("ReduceMax", y, keepdims=0) if y.rank else y)
        case 2:
            one = helper.make_tensor("value", TensorProto.INT64, [1], [1])
            minus = scalar(b, -1)
            target = b.op("Concat", *[ints(b, dim[0]) if len(set(dim)) == 1 else ints(b, -1) for dim in x.dims], axis=0)
            ones = b.op("ConstantOfShape", ints(b, x.rank), value=one)
            b.op("Expand", x, b.op("Where", b.op("Equal", target, b.op("Mul", ones, minus)), ones, target))
        case _:
            y = b.op("ConstantOfShape", b.op("Concat", *sizes_of(b, x), axis=0), value=value)
            b.op("Concat", x, y, axis=0)


def ranges(b: Builder) -> None:
    """Range of a size, or of constants, used as positions."""
    x = b.pick("float32", least=1)
    if b.maybe(0.6):
        limit = b.op("Gather", b.op("Shape", x), scalar(b, b.rng.randrange(x.rank)))
    else:
        limit = scalar(b, b.rng.choice([0, 3, 40]))
    r = b.op("Range", scalar(b, 0), limit, scalar(b, 1))
    y = b.op("Cast", r, to=TensorProto.FLOAT)
    if b.maybe():
        b.op("Greater", b.unsqueeze(r, 1), r)
    else:
        b.op("Mul", y, b.const(np.array(0.5, np.float32)))


def slice_by_shape(b: Builder) -> None:
    """A constant table cut to a size, and slices that end at the size of the axis."""
    x = b.pick("float32", least=2)
    axis = b.rng.randrange(x.rank)
    if max(x.dims[axis]) > 8:
        raise CannotAdd("longer than the table")
    size = b.op("Gather", b.op("Shape", x), ints(b, axis))
    if b.maybe():
        table = b.const(b.array([8]))
        y = b.op("Slice", table, ints(b, 0), size, ints(b, 0))
        if axis == x.rank - 1:
            b.op("Add", x, y)
    else:
        half = b.op("Div", size, ints(b, 2))
        parts = [
            b.op("Slice", x, ints(b, 0), half, ints(b, axis)),
            b.op("Slice", x, half, size if b.maybe(0.7) else ints(b, 2**62), ints(b, axis)),
        ]
        b.op("Concat", *parts, axis=axis)


def giant(b: Builder) -> None:
    """Large constants that say little: all alike, a run of numbers, one row again and again."""
    x = b.pick("float32", "int64")
    match b.rng.randrange(5):
        case 0:
            c = b.const(np.full((24, 16), b.rng.choice([0, 1, 3]), x.dtype))
        case 1:
            c = b.const((np.arange(300) * b.rng.choice([1, 2]) + b.rng.choice([0, 1])).astype(x.dtype))
        case 2:
            c = b.const(np.broadcast_to(b.array([12], x.dtype), (20, 12)).copy())
        case 3:
            c = b.const(np.tile(b.array([8], x.dtype), 20))
        case _:
            table = np.zeros((16, 16), x.dtype)
            table[b.rng.randrange(16), b.rng.randrange(16)] = 1
            c = b.const(table)
    y = b.reduce("ReduceSum", c, [0], 1)
    b.op("Add", x, b.op("ReduceMax", y, keepdims=0))
    if b.maybe(0.4):
        b.op("Mul", c, b.op("ReduceSum", x, keepdims=0))


def folded(b: Builder) -> None:
    """A computation of constants, some of which make more bytes than they take."""
    x = b.pick("float32", "float64", "int64")
    c = b.const(b.array(b.rng.choice([[2, 3], [4], []]), x.dtype))
    for _ in range(b.rng.choice([1, 2, 3])):
        match b.rng.randrange(5):
            case 0:
                c = b.op("Neg", c)
            case 1 if c.rank:
                c = b.op("Transpose", c)
            case 2:
                c = b.op("Expand", c, ints(b, *([7] * b.rng.randrange(3)), *[dim[0] for dim in c.dims]))
            case 3 if c.rank:
                c = b.op("Tile", c, ints(b, *[b.rng.choice([1, 9])] * c.rank))
            case _:
                c = b.op("Mul", c, c)
    total = b.op("ReduceMax", c, keepdims=0)
    b.op("Add", x, total)


def shared_constant(b: Builder) -> None:
    """One constant, used by nodes of several kinds; or by none."""
    x = b.pick("float32")
    c = b.const(b.array([3], low=0.5), how="initializer")
    b.const(b.array([5]), how="initializer")
    y = b.op("ReduceMax", b.op("Add", c, b.op(b.rng.choice(UNARY), c)), keepdims=0)
    b.op("Mul", x, y)
    if b.maybe(0.3):
        b.outputs.append(c)


PATTERNS = (
    shape_reshape,
    shape_reshape,
    shape_reshape,
    shape_of,
    constant_of_shape,
    constant_of_shape,
    ranges,
    slice_by_shape,
    giant,
    folded,
    folded,
    shared_constant,
)
