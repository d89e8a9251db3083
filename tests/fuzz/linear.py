"""What fusions into linear operators look for: Conv, ConvTranspose, Gemm and MatMul with their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz.builder import Builder, CannotAdd, Tensor

BATCHES: tuple[str | int, ...] = ("N", "N", 1, 2)
HEIGHTS: tuple[str | int, ...] = (4, 5, 6, "M")
ROWS: tuple[str | int, ...] = ("N", "M", 2, 3)


def image(b: Builder) -> Tensor:
    """A float tensor of rank 4 with static channels: from the pool or a new input."""
    found = [x for x in b.visible() if x.dtype == "float32" and x.rank == 4 and len(set(x.dims[1])) == 1]
    found = [x for x in found if x.dims[1][0] in (1, 2, 3, 4, 6, 8) and not x.constant]
    if found and b.maybe(0.8):
        return b.rng.choice(found)
    if b.parent is not None:
        raise CannotAdd("a subgraph has no inputs")
    batch, height = b.rng.choice(BATCHES), b.rng.choice(HEIGHTS)
    return b.input("float32", [batch, b.rng.choice([2, 3, 4, 6]), height, b.rng.choice([4, 5, 6])])


def matrix(b: Builder) -> Tensor:
    """A float tensor of rank 2 or 3 whose last axis is static."""
    found = [x for x in b.visible() if x.dtype in ("float32", "float64") and x.rank in (2, 3) and not x.constant]
    found = [x for x in found if len(set(x.dims[-1])) == 1 and x.dims[-1][0] > 0]
    if found and b.maybe(0.8):
        return b.rng.choice(found)
    if b.parent is not None:
        raise CannotAdd("a subgraph has no inputs")
    dims: list[str | int] = [b.rng.choice(ROWS), b.rng.choice([3, 4, 6])]
    return b.input("float32", dims if b.maybe(0.6) else [b.rng.choice(BATCHES), *dims])


def conv(b: Builder, x: Tensor, transposed: bool | None = None, bias: bool | None = None) -> Tensor:
    """A convolution with random attributes."""
    channels = x.dims[1][0]
    transposed = b.maybe(0.25) if transposed is None else transposed
    group = b.rng.choice([g for g in (1, 1, 1, 2, 3, channels) if channels % g == 0])
    out = group * b.rng.choice([1, 2])
    k = [b.rng.choice([1, 1, 2, 3]), b.rng.choice([1, 1, 3])]
    weights = [channels, out // group, *k] if transposed else [out, channels // group, *k]
    attributes: dict[str, Any] = {"group": group}
    if b.maybe():
        attributes["kernel_shape"] = k
    if b.maybe(0.6):
        attributes["pads"] = [k[0] // 2, k[1] // 2] * 2 if b.maybe(0.7) else [1, 0, 0, 1]
    elif b.maybe(0.2) and not transposed:
        attributes["auto_pad"] = b.rng.choice(["SAME_UPPER", "VALID", "SAME_LOWER"])
    if b.maybe(0.2):
        attributes["strides"] = [2, 1]
    if b.maybe(0.1):
        attributes["dilations"] = [1, 2]
    w = b.const(b.array(weights))
    bias = b.maybe() if bias is None else bias
    extra = [b.const(b.array([out]))] if bias else []
    return b.op("ConvTranspose" if transposed else "Conv", x, w, *extra, **attributes)


def channel_constant(b: Builder, x: Tensor) -> Tensor:
    """A constant that fits beside ``x`` of (N, C, ...): per channel, scalar, or what only broadcasts alike."""
    channels, rank = x.dims[1][0], x.rank
    shapes: list[list[int]] = [[1, channels, *[1] * (rank - 2)], [channels, *[1] * (rank - 2)], [1], [], [1] * rank]
    if b.maybe(0.25):
        last = x.dims[-1][0] if len(set(x.dims[-1])) == 1 else 1
        shapes = [[last], [1, 1, *[1] * (rank - 3), last], [2, *[1] * (rank - 1)], [1, 1, *[1] * (rank - 1)]]
    return b.const(b.array(b.rng.choice(shapes), x.dtype))


def swapped(b: Builder, op_type: str, x: Tensor, y: Tensor) -> Tensor:
    """A binary node with its operands in either order."""
    return b.op(op_type, *((x, y) if b.maybe(0.7) else (y, x)))


def batchnorm(b: Builder, x: Tensor) -> Tensor:
    channels = x.dims[1][0]
    parameters = [b.const(b.array([channels], x.dtype)) for _ in range(3)]
    if b.maybe(0.1):
        parameters = [parameters[0], parameters[0], parameters[0]]
    var = b.const(b.array([channels], x.dtype, 0.2, 2.0))
    attributes: dict[str, Any] = {"epsilon": b.rng.choice([1e-5, 1e-3, 0.1])} if b.maybe() else {}
    return b.op("BatchNormalization", x, *parameters, var, **attributes)


def conv_batchnorm(b: Builder) -> None:
    y = batchnorm(b, conv(b, image(b)))
    if b.maybe(0.3):
        b.op("Relu", y)


def conv_affine(b: Builder) -> None:
    """Conv, and Mul, Add, Sub or Div by constants after it."""
    y = conv(b, image(b))
    for _ in range(b.rng.choice([1, 1, 2, 3])):
        op_type = b.rng.choice(["Add", "Mul", "Add", "Mul", "Sub", "Div"])
        c = channel_constant(b, y)
        y = b.op(op_type, y, c) if op_type == "Div" else swapped(b, op_type, y, c)


def affine_conv(b: Builder) -> None:
    """Mul, Add or BatchNormalization before a Conv: foldable without padding only."""
    x = image(b)
    affine = b.rng.choice(["Mul", "Add", "Sub", "BatchNormalization", "BatchNormalization"])
    x = batchnorm(b, x) if affine == "BatchNormalization" else swapped(b, affine, x, channel_constant(b, x))
    conv(b, x)


def pad_conv(b: Builder) -> None:
    """A zero or other Pad before a Conv or a pool."""
    x = image(b)
    pads = [0] * 8
    for axis in (2, 3, 6, 7):
        pads[axis] = b.rng.choice([0, 1, 2])
    if b.maybe(0.15):
        pads[b.rng.choice([0, 1, 4, 5])] = 1
    if b.maybe(0.1):
        pads[2] = -1
    operands = [b.const(np.array(pads, np.int64))]
    if b.maybe(0.6):
        operands.append(b.const(np.array(b.rng.choice([0, 0, 0, 1]), np.float32)))
    mode = b.rng.choice(["constant"] * 5 + ["edge"])
    y = b.op("Pad", x, *operands, mode=mode)
    if b.maybe(0.75):
        conv(b, y, transposed=False)
    else:
        pool(b, y)


def pool(b: Builder, x: Tensor | None = None) -> None:
    x = x or image(b)
    kind = b.rng.choice(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"])
    if kind.startswith("Global"):
        y = b.op(kind, x)
        if b.maybe():
            b.op("Flatten", y)
        return
    attributes: dict[str, Any] = {"kernel_shape": [b.rng.choice([1, 2]), b.rng.choice([1, 2])]}
    if b.maybe(0.4):
        attributes["pads"] = [0, 0, 1, 1] if attributes["kernel_shape"] == [2, 2] else [0, 0, 0, 0]
    if kind == "AveragePool" and b.maybe():
        attributes["count_include_pad"] = 1
    b.op(kind, x, **attributes)


def matmul_affine(b: Builder) -> None:
    """MatMul with constant (or not) weights, and a bias or scale that fits a Gemm, or not quite."""
    x = matrix(b)
    inner, out = x.dims[-1][0], b.rng.choice([1, 3, 4])
    w = b.const(b.array([inner, out], x.dtype))
    y = swapped_matmul(b, x, w)
    if b.maybe(0.2):
        b.op("MatMul", x, w)  # the weights are shared
    for _ in range(b.rng.choice([1, 1, 2])):
        shapes = [[out], [1, out], [1], [], [1, 1, out]] if b.maybe(0.85) else [[2, 1, out], [out, 1], [1, 1, 1, 1]]
        op_type = b.rng.choice(["Add", "Add", "Mul", "Sub", "Div"])
        c = b.const(b.array(b.rng.choice(shapes), x.dtype, 0.5, 2.0))
        y = b.op(op_type, y, c) if op_type == "Div" else swapped(b, op_type, y, c)


def swapped_matmul(b: Builder, x: Tensor, w: Tensor) -> Tensor:
    if b.maybe(0.1):
        return b.op("MatMul", b.op("Transpose", w), b.op("Transpose", x))
    if b.maybe(0.15):
        return b.op("MatMul", x, b.op("Transpose", b.op("Transpose", w)))
    return b.op("MatMul", x, w)


def gemm(b: Builder) -> None:
    """Gemm with Transposes, a bias and scales around it."""
    x = matrix(b)
    if x.rank != 2:
        raise CannotAdd("Gemm wants rank 2")
    inner, out = x.dims[-1][0], b.rng.choice([1, 3, 4])
    trans = b.maybe(0.4)
    w = b.const(b.array([out, inner] if trans else [inner, out], x.dtype))
    attributes: dict[str, Any] = {"transB": 1} if trans else {}
    if b.maybe(0.3):
        attributes["alpha"] = b.rng.choice([0.5, 1.0, 2.0])
    if b.maybe(0.3):
        attributes["beta"] = b.rng.choice([0.5, 1.0, 0.0])
    if b.maybe(0.2):
        x, attributes["transA"] = b.op("Transpose", x, perm=[1, 0]), 1
    shape = b.rng.choice([[out], [1, out], [1], [], [1, 1]])
    bias = [b.const(b.array(shape, x.dtype))] if b.maybe(0.6) else []
    y = b.op("Gemm", x, w, *bias, **attributes)
    for _ in range(b.rng.choice([0, 1, 1, 2])):
        c = b.const(b.array(b.rng.choice([[out], [1, out], [1], [], [1, 1, out]]), x.dtype))
        y = swapped(b, b.rng.choice(["Add", "Mul", "Sub"]), y, c)
    if b.maybe(0.25) and y.rank == 2:
        batchnorm(b, y)


def matmul_chain(b: Builder) -> None:
    """Reshape, Gemm, Reshape around what could be one MatMul; a Transpose before a MatMul; two in a row."""
    x = matrix(b)
    inner = x.dims[-1][0]
    match b.rng.randrange(3):
        case 0:
            y = b.op("Gemm", b.reshape(x, [-1, inner]), b.const(b.array([inner, 3], x.dtype)))
            if x.rank == 3 and len(set(x.dims[1])) == 1:
                b.reshape(y, [-1, x.dims[1][0], 3])
        case 1:
            b.op("MatMul", b.op("Transpose", x, perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2]), x)
        case _:
            y = b.op("MatMul", x, b.const(b.array([inner, 2], x.dtype)))
            b.op("MatMul", y, b.const(b.array([2, 3], x.dtype)))


def parallel_matmul(b: Builder) -> None:
    """Several products of one input, as queries, keys and values are."""
    x = matrix(b)
    for _ in range(b.rng.choice([2, 3])):
        y = b.op("MatMul", x, b.const(b.array([x.dims[-1][0], 3], x.dtype)))
        if b.maybe(0.7):
            b.op("Add", y, b.const(b.array([3], x.dtype)))


def affine_matmul(b: Builder) -> None:
    """Constant factors and summands before a product with constant weights."""
    x = matrix(b)
    inner = x.dims[-1][0]
    for _ in range(b.rng.choice([1, 1, 2])):
        c = b.const(b.array(b.rng.choice([[], [1], [inner], [1, inner]]), x.dtype, 0.25, 2.0))
        x = swapped(b, b.rng.choice(["Mul", "Mul", "Add", "Div"]), x, c)
    y = b.op("MatMul", x, b.const(b.array([inner, 3], x.dtype)))
    if b.maybe(0.7):
        b.op("Add", y, b.const(b.array([3], x.dtype)))


def recurrent(b: Builder) -> None:
    """A GRU, LSTM or RNN whose initial state is zeros, written in several ways, or is not."""
    found = [x for x in b.visible() if x.dtype == "float32" and x.rank == 3 and not x.constant]
    found = [
        x for x in found if len(set(x.dims[2])) == 1 and 0 < x.dims[2][0] <= 6 and not any(0 in dim for dim in x.dims)
    ]
    if not found:
        if b.parent is not None:
            raise CannotAdd("a subgraph has no inputs")
        found = [b.input("float32", [b.rng.choice([2, 3]), b.rng.choice(BATCHES), 3])]
    x, hidden = b.rng.choice(found), 2
    op_type, gates = b.rng.choice([("GRU", 3), ("LSTM", 4), ("RNN", 1)])
    w = b.const(b.array([1, gates * hidden, x.dims[2][0]]))
    r = b.const(b.array([1, gates * hidden, hidden]))
    one, last = b.const(np.array([1], np.int64)), b.const(np.array([hidden], np.int64))
    zero, two = b.const(np.array([0], np.int64)), b.const(np.array([2], np.int64))
    batch = b.op("Slice", b.op("Shape", x), one, two, zero, one)
    shape = b.op("Concat", one, batch, last, axis=0)
    fill = np.array([0.0 if b.maybe(0.8) else 0.5], np.float32)
    state = (
        b.op("Expand", b.const(fill), shape)
        if b.maybe()
        else b.op("Mul", b.op("Expand", b.const(fill), shape), b.const(fill))
    )
    if b.maybe(0.4):
        state = b.op("Transpose", b.op("Transpose", state, perm=[1, 0, 2]), perm=[1, 0, 2])
    b.op(op_type, x, w, r, None, None, state, hidden_size=hidden)


PATTERNS = (
    recurrent,
    conv_batchnorm,
    conv_affine,
    affine_conv,
    affine_conv,
    affine_matmul,
    pad_conv,
    pool,
    matmul_affine,
    gemm,
    matmul_chain,
    parallel_matmul,
)
