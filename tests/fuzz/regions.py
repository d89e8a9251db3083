"""What moving Transposes looks for: operators of all kinds between Transposes, as exports of TensorFlow have them."""

from __future__ import annotations

import numpy as np

from tests.fuzz.builder import Builder, CannotAdd, Tensor

UNARY = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Softplus", "LeakyRelu", "HardSigmoid")


def vector(b: Builder, x: Tensor) -> Tensor:
    """Constants along the last axis, over some axes, or one number; at times with fewer dims than ``x``."""
    sizes = [dim[0] if len(set(dim)) == 1 and b.maybe(0.6) else 1 for dim in x.dims]
    for axis in range(x.rank - 1):
        sizes[axis] = sizes[axis] if b.maybe(0.2) else 1
    drop = b.rng.randrange(x.rank + 1) if b.maybe(0.7) else 0
    return b.const(b.array([] if b.maybe(0.1) else sizes[drop:] or [1], x.dtype))


def step(b: Builder, x: Tensor) -> Tensor:
    """One operator that may work on either order."""
    axis = b.rng.randrange(-x.rank, x.rank)
    floats = x.dtype.startswith("float")
    match b.rng.randrange(18):
        case 0 | 1 | 2 | 3:
            return b.op(b.rng.choice(["Add", "Mul", "Sub", "Max"]), x, vector(b, x))
        case 4 | 5:
            return b.op(b.rng.choice(UNARY), x)
        case 6:
            return b.op("Add", x, b.op(b.rng.choice(UNARY), x))
        case 7:
            return b.op("Concat", x, b.op("Neg", x), axis=axis)
        case 8 if floats:
            mean = b.reduce("ReduceMean", x, [axis], 1)
            return b.op("Mul", x, mean) if b.maybe() else b.op("Sub", x, mean)
        case 9:
            size = min(x.dims[axis])
            if size < 2 or len(set(x.dims[axis])) > 1:
                raise CannotAdd("too short")
            left, right = b.split(x, [1, size - 1], axis)
            return b.op("Mul", right, left)
        case 10:
            amounts = [b.rng.choice([0, 0, 1]) for _ in range(2 * x.rank)]
            return b.op("Pad", x, b.const(np.array(amounts, np.int64)))
        case 11 if floats:
            return b.op("Softmax", x, axis=axis)
        case 12:
            return b.slice(x, [0], [b.rng.choice([1, 2, 100])], [axis], [1])
        case 13:
            where = b.rng.randrange(x.rank + 1)
            y = b.op(b.rng.choice(UNARY), b.unsqueeze(x, where))
            return b.squeeze(y, where)
        case 14 if x.dtype == "float32":
            scale = b.const(np.array(0.25, np.float32))
            zero = b.const(np.array(100, np.uint8))
            return b.op("DequantizeLinear", b.op("QuantizeLinear", x, scale, zero), scale, zero)
        case 15 if floats:
            return b.op("PRelu", x, vector(b, x))
        case 16:
            return b.clip(x, -0.5, 1.0) if floats else b.op("Neg", x)
        case 17 if x.rank == 4 and x.dtype == "float32":
            scales = b.const(np.array([1, 2, 2, 1], np.float32))
            return b.op("Resize", x, b.const(np.zeros(0, np.float32)), scales, mode="nearest")
    return b.op("Neg", x)


def regions(b: Builder) -> None:
    """Steps between Transposes, some of which cancel; ends in one, in none, or in several."""
    x = b.pick("float32", "float32", "float32", "float64", "int64", least=2)
    if x.rank < 5 and b.maybe(0.2):
        x = b.unsqueeze(x, b.rng.randrange(x.rank + 1))
    perm = list(range(x.rank))
    b.rng.shuffle(perm)
    if b.maybe(0.6):
        perm = [0, *range(2, x.rank), 1]
    back = [int(i) for i in np.argsort(perm)]
    found = [b.op("Transpose", x, perm=perm)]
    for _ in range(b.rng.choice([1, 2, 2, 3, 4])):
        y = b.rng.choice(found)
        if b.maybe(0.1) and y.rank == len(perm):
            found.append(b.op("Transpose", step(b, b.op("Transpose", y, perm=back)), perm=perm))
            continue
        found.append(step(b, y))
    if b.maybe(0.2):
        b.op("Shape", found[-1])
    for y in found[-b.rng.choice([1, 1, 1, 2, 3]) :]:
        if y.rank == len(perm) and b.maybe(0.85):
            b.op("Transpose", y, perm=back)


def beside_conv(b: Builder) -> None:
    """A Conv between Transposes, and per-channel vectors outside of them."""
    x = b.pick("float32", rank=4)
    if len(set(x.dims[3])) > 1 or 0 in x.dims[3]:
        raise CannotAdd("the channels are not known")
    for _ in range(b.rng.choice([1, 2])):
        channels = x.dims[3][0]
        turned = b.op("Transpose", x, perm=[0, 3, 1, 2])
        weights = b.const(b.array([b.rng.choice([2, 3]), channels, 1, 1]))
        y = b.op("Transpose", b.op("Conv", turned, weights), perm=[0, 2, 3, 1])
        for op_type in b.rng.sample(["Mul", "Add", "Relu"], b.rng.choice([1, 2, 3])):
            y = b.op(op_type, y, *([] if op_type == "Relu" else [vector(b, y)]))
        x = y
    if b.maybe(0.6):
        gate = b.reduce("ReduceMean", x, [1, 2], b.rng.randrange(2))
        gate = b.unsqueeze(gate, 1, 2) if gate.rank == 2 else gate
        x = b.op("Mul", x, b.op("Sigmoid", gate))
    if b.maybe(0.7):
        b.op("Transpose", x, perm=[0, 3, 1, 2])


PATTERNS = (regions, regions, beside_conv)
