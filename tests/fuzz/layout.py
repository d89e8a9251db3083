"""What rules that move no numbers look for: Transpose, Reshape, Slice, Concat, Split, Expand, Cast and their chains."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.fuzz.builder import Builder, CannotAdd, Tensor

UNARY = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Erf", "Exp", "Softplus", "LeakyRelu", "Elu", "HardSigmoid")


def some(b: Builder, least: int = 1) -> Tensor:
    return b.pick("float32", "float32", "float64", "int64", "float16", least=least)


def permutation(b: Builder, rank: int) -> list[int]:
    perm = list(range(rank))
    b.rng.shuffle(perm)
    return perm


def middle(b: Builder, x: Tensor) -> Tensor:
    """Something that a Transpose or Reshape may pass: elementwise, by a constant or another value."""
    choice = b.rng.randrange(6)
    if choice == 0 or not x.dtype.startswith("float"):
        return b.op(b.rng.choice(["Identity", "Abs", "Neg"]), x)
    if choice <= 2:
        return b.op(b.rng.choice(UNARY), x)
    if choice == 3:
        return b.op(b.rng.choice(["Add", "Mul"]), x, b.const(b.array([], x.dtype)))
    if choice == 4:
        last = x.dims[-1][0] if x.rank and len(set(x.dims[-1])) == 1 else 1
        return b.op(b.rng.choice(["Add", "Mul", "Sub"]), x, b.const(b.array([last], x.dtype)))
    return b.op("Add", x, x)


def transposes(b: Builder) -> None:
    """Transpose, perhaps something between, and a Transpose that cancels it, or not."""
    x = some(b, least=2)
    perm = permutation(b, x.rank)
    y = b.op("Transpose", x, perm=perm)
    for _ in range(b.rng.choice([0, 0, 1, 2])):
        y = middle(b, y)
    back = [int(i) for i in np.argsort(perm)] if b.maybe(0.6) else permutation(b, x.rank)
    if y.rank == x.rank and b.maybe(0.9):
        b.op("Transpose", y, perm=back)
    else:
        b.op("Transpose", y)


def transpose_meets(b: Builder) -> None:
    """Transposes that meet in a binary node, a Concat, a reduction, a Softmax, a Split, a Pad or a Squeeze."""
    x = b.pick("float32", "float64", least=2)
    perm = permutation(b, x.rank)
    y = b.op("Transpose", x, perm=perm)
    axis = b.rng.randrange(-x.rank, x.rank)
    match b.rng.randrange(8):
        case 0:
            z = b.op(b.rng.choice(["Add", "Mul"]), y, b.op("Transpose", middle(b, x), perm=perm))
        case 1:
            z = b.op("Concat", y, b.op("Transpose", x, perm=perm), axis=axis)
        case 2:
            z = b.reduce(b.rng.choice(["ReduceMean", "ReduceSum", "ReduceMax"]), y, [axis], b.rng.randrange(2))
        case 3:
            z = b.op("Softmax", y, axis=axis)
        case 4:
            size = y.shape[axis]
            z = b.split(y, [1, size - 1], axis)[1] if size > 1 else y
        case 5:
            z = b.op("Pad", y, b.const(np.array([b.rng.randrange(2) for _ in range(2 * y.rank)], np.int64)))
        case 6:
            z = b.slice(y, [0], [b.rng.choice([1, 2])], [axis], [1])
        case _:
            z = b.unsqueeze(y, b.rng.randrange(y.rank + 1))
    if z.rank >= 2:
        b.op("Transpose", z, perm=[int(i) for i in np.argsort(perm)] if z.rank == len(perm) else permutation(b, z.rank))


def regroup(b: Builder, x: Tensor) -> Tensor:
    """A Reshape to a random shape of the same size, with 0 and -1 where they may stand."""
    if x.static and 0 not in x.shape:
        sizes, left = [], int(np.prod(x.shape))
        for _ in range(b.rng.choice([0, 1, 2, 3])):
            n = b.rng.choice([d for d in (1, 2, 3, 4, 5, 6) if left % d == 0])
            sizes.append(n)
            left //= n
        sizes.insert(b.rng.randrange(len(sizes) + 1), left)
        if b.maybe(0.4):
            sizes[b.rng.randrange(len(sizes))] = -1
        elif b.maybe(0.3):
            at = b.rng.randrange(len(sizes))
            if at < x.rank and x.shape[at] == sizes[at]:
                sizes[at] = 0
        return b.reshape(x, sizes)
    options = [[0] * x.rank, [-1]]
    if x.rank >= 2:
        options += [[0, -1], [0] * (x.rank - 1) + [-1], [-1, 1, *([0] * 0)], [0, 1, -1]]
        if len(set(x.dims[-1])) == 1:
            options += [[-1, x.dims[-1][0]], [-1, 1, x.dims[-1][0]], [1, -1, x.dims[-1][0]]]
    return b.reshape(x, b.rng.choice(options))


def reshapes(b: Builder) -> None:
    """Chains of Reshape, Flatten, Squeeze and Unsqueeze."""
    x = some(b)
    for _ in range(b.rng.choice([1, 2, 2, 3])):
        choice = b.rng.randrange(6)
        if choice <= 2:
            x = regroup(b, x)
        elif choice == 3:
            x = b.op("Flatten", x, axis=b.rng.randrange(-x.rank, x.rank + 1))
        elif choice == 4:
            axis = b.rng.randrange(-x.rank - 1, x.rank + 1)
            x = b.unsqueeze(x, axis)
            if b.maybe(0.3):
                x = middle(b, x)
            if b.maybe(0.4):
                x = b.squeeze(x, axis)
        else:
            ones = [i for i, dim in enumerate(x.dims) if set(dim) == {1}]
            if not ones:
                raise CannotAdd("nothing to squeeze")
            x = b.squeeze(x, b.rng.choice(ones) - b.rng.choice([0, x.rank]))


def transpose_reshape(b: Builder) -> None:
    """A Transpose that only moves axes of size 1, and a Transpose between Reshapes."""
    x = some(b)
    match b.rng.randrange(3):
        case 0:
            y = b.unsqueeze(x, b.rng.randrange(x.rank + 1))
            b.op("Transpose", y, perm=permutation(b, y.rank))
        case 1:
            y = regroup(b, x)
            regroup(b, b.op("Transpose", y, perm=permutation(b, y.rank)))
        case _:
            y = b.op("Transpose", x, perm=permutation(b, x.rank))
            y = b.op("Transpose", regroup(b, y))


def slices(b: Builder) -> None:
    """Slices of slices, with negative numbers, steps, and those that keep everything."""
    x = some(b)
    for _ in range(b.rng.choice([1, 2, 2, 3])):
        axis = b.rng.randrange(-x.rank, x.rank)
        start, end, step = b.rng.choice(
            [
                *((0, 2**62, 1), (0, 2**31 - 1, 1), (0, 100, 1), (1, 2**62, 1), (0, -1, 1), (-2, 2**62, 1)),
                *((0, 2, 1), (-1, -(2**62), -1), (0, 2**62, 2), (1, 3, 1), (-1, 0, -1), (5, 1, 1)),
            ]
        )
        if b.maybe(0.2) and x.rank > 1:
            other = (axis + 1) % x.rank - (x.rank if axis < 0 else 0)
            x = b.slice(x, [start, 0], [end, 2], [axis, other], [step, 1])
        else:
            x = b.slice(x, [start], [end], [axis], [step])


def concats(b: Builder) -> None:
    """Concat of one, of Concats, of all slices or parts of one tensor, and of empty tensors."""
    x = some(b)
    axis = b.rng.randrange(-x.rank, x.rank)
    match b.rng.randrange(6):
        case 0:
            b.op("Concat", x, axis=axis)
        case 1:
            inner = b.op("Concat", x, middle(b, x), axis=axis)
            other = axis if b.maybe(0.7) else b.rng.randrange(x.rank)
            try:
                b.op("Concat", inner, x, axis=other)
            except CannotAdd:
                b.op("Concat", inner, inner, axis=other)
        case 2:
            cut = b.rng.choice([1, 2])
            parts = [b.slice(x, [0], [cut], [axis], [1]), b.slice(x, [cut], [2**62], [axis], [1])]
            b.op("Concat", *(parts if b.maybe(0.8) else parts[::-1]), axis=axis)
        case 3:
            size = x.dims[axis][0]
            if len(set(x.dims[axis])) > 1 or size < 2:
                raise CannotAdd("nothing to split")
            parts = b.split(x, [1, size - 1], axis)
            if b.maybe(0.3):
                parts = [middle(b, part) for part in parts]
            b.op("Concat", *(parts if b.maybe(0.8) else parts[::-1]), axis=axis)
        case 4:
            empty = [max(dim[0], 0) if len(set(dim)) == 1 else 0 for dim in x.dims]
            empty[axis] = 0
            b.op("Concat", x, b.const(np.zeros(empty, x.dtype)), axis=axis)
        case _:
            whole = b.op("Concat", x, middle(b, x), axis=axis)
            size = x.dims[axis][0]
            if len(set(x.dims[axis])) == 1 and size > 0:
                b.split(whole, [size, size] if b.maybe(0.7) else [size + size - 1, 1], axis)


def sunk(b: Builder) -> None:
    """Parts of a Concat that were all made by the same operator, or almost."""
    x = b.pick("float32", "float64", least=1)
    axis = b.rng.randrange(-x.rank, x.rank)
    kind = b.rng.choice(UNARY)
    parts = [x, b.op("Abs", x), x if b.maybe() else b.op("Mul", x, x)][: b.rng.choice([2, 3])]
    if x.rank >= 2 and b.maybe(0.4):
        perm = permutation(b, x.rank)
        made = [b.op("Transpose", part, perm=perm) for part in parts]
    else:
        made = [b.op(kind if b.maybe(0.93) else b.rng.choice(UNARY), part) for part in parts]
    b.op("Concat", *made, axis=axis)


def allowzero(b: Builder) -> None:
    """A Reshape that says what zero means, where there is none, or is one."""
    x = some(b)
    if b.opset < 14:
        raise CannotAdd("Reshape has no allowzero")
    sizes = [dim[0] if len(set(dim)) == 1 else -1 for dim in x.dims]
    if sizes.count(-1) > 1:
        sizes = [-1]
    if b.maybe() and sizes[0] > 0:
        sizes = [1, *sizes]
    elif 0 in sizes or (-1 not in sizes and b.maybe(0.2) and 0 in (x.shape or (1,))):
        sizes = [0, *(n for n in sizes if n)]
    b.reshape(x, sizes, allowzero=1)


def nested_concats(b: Builder) -> None:
    """Concat of Concats along one axis, or along two."""
    x = some(b)
    axis = b.rng.randrange(-x.rank, x.rank)
    inner = b.op("Concat", x, x if b.maybe(0.3) else b.op("Neg", x), axis=axis)
    other = axis if b.maybe(0.8) else b.rng.randrange(x.rank)
    b.op("Concat", *b.rng.sample([inner, x if other == axis else inner], 2), axis=other)


def lossless_casts(b: Builder) -> None:
    """To a wider type, or one as wide, and on."""
    x = b.pick("float16", "float32", "int32", "uint8", "bool", "int64")
    kinds = {
        "float16": ("FLOAT", "DOUBLE"),
        "float32": ("DOUBLE", "FLOAT", "FLOAT16"),
        "int32": ("INT64", "DOUBLE", "FLOAT"),
        "uint8": ("INT32", "INT64", "FLOAT", "FLOAT16"),
        "bool": ("FLOAT", "INT64", "UINT8"),
        "int64": ("INT32", "DOUBLE", "FLOAT"),
    }
    to = b.rng.choice(kinds[x.dtype])
    y = b.op("Cast", x, to=TensorProto.DataType.Value(to))
    if b.maybe(0.2):
        y = b.op("Transpose", y)
    back = {"float16": "FLOAT16", "float32": "FLOAT"}.get(x.dtype, x.dtype.upper())
    b.op("Cast", y, to=TensorProto.DataType.Value(back if b.maybe() else b.rng.choice(["FLOAT", "DOUBLE"])))


def splits(b: Builder) -> None:
    """Split into one, into parts of which one is used, and Split where Slice would do."""
    x = some(b)
    axis = b.rng.randrange(-x.rank, x.rank)
    size = x.dims[axis][0]
    if len(set(x.dims[axis])) > 1 or not size:
        raise CannotAdd("a dynamic or empty axis")
    if b.maybe(0.4):
        b.split(x, [size], axis)
    else:
        cut = b.rng.randrange(size + 1)
        parts = b.split(x, [cut, size - cut], axis)
        if b.maybe() and size - cut > 1:
            b.split(parts[1], [1, size - cut - 1], axis)


def casts(b: Builder) -> None:
    """Chains of Cast: those that lose nothing may go."""
    x = b.pick(least=0)
    if not x.exact and x.dtype.startswith("float"):
        names = ["FLOAT", "DOUBLE", "FLOAT16"]
    else:
        names = ["FLOAT", "DOUBLE", "FLOAT16", "INT64", "INT32", "INT8", "UINT8", "BOOL"]
    for _ in range(b.rng.choice([1, 2, 2, 3])):
        to = b.rng.choice(names)
        if b.maybe(0.3):
            to = {"float32": "FLOAT", "float64": "DOUBLE"}.get(x.dtype, x.dtype.upper())
        if x.dtype.startswith("float") and to in ("UINT8", "INT8"):
            x = b.op("Relu", x)  # what is out of range depends on the machine
        x = b.op("Cast", x, to=TensorProto.DataType.Value(to))


def expands(b: Builder) -> None:
    """Expand and Tile that do nothing, before a node that broadcasts anyway, or that are needed."""
    x = b.pick("float32", "int64", "float64", least=0)
    static = [dim[0] if len(set(dim)) == 1 else 1 for dim in x.dims]
    match b.rng.randrange(5):
        case 0:
            y = b.op("Expand", x, b.const(np.array(static, np.int64)))
        case 1:
            y = b.op("Expand", x, b.op("Shape", x))
        case 2:
            y = b.op("Tile", x, b.const(np.array([1] * x.rank if b.maybe(0.7) else [2] * x.rank, np.int64)))
        case 3:
            y = b.op("Expand", x, b.const(np.array([2, *[1] * x.rank], np.int64)))
        case _:
            y = b.op("Expand", b.const(b.array([1], x.dtype)), b.op("Shape", x))
    if b.maybe(0.7):
        b.op(b.rng.choice(["Add", "Mul"]), *((y, x) if b.maybe() else (x, y)))


def gathers(b: Builder) -> None:
    """Gather by constant indices: one, a run of them, all of them, negative, of a Concat or a Gather."""
    x = some(b)
    axis = b.rng.randrange(-x.rank, x.rank)
    size = min(x.dims[axis])
    if not size:
        raise CannotAdd("nothing to gather")
    options = [0, -1, [0], [size - 1], list(range(size)), list(range(size))[::-1], [[0]], []]
    index = np.array(b.rng.choice(options), b.rng.choice([np.int64, np.int32]))
    y = b.op("Gather", x, b.const(index), axis=axis)
    if b.maybe(0.4) and y.rank:
        b.op("Gather", y, b.const(np.array(0, np.int64)), axis=0)
    elif b.maybe() and index.ndim == 1 and len(index) == 1:
        b.squeeze(y, axis)


def spaces(b: Builder) -> None:
    """DepthToSpace as Reshape, Transpose, Reshape; Resize by one; plain DepthToSpace."""
    x = b.pick("float32", rank=4)
    n, c, h, w = x.shape
    if c % 4 or b.maybe(0.2):
        scales = [1.0, 1.0, *([1.0, 1.0] if b.maybe() else [2.0, 1.0])]
        empty = b.const(np.zeros(0, np.float32))
        b.op("Resize", x, empty, b.const(np.array(scales, np.float32)), mode="nearest")
    elif b.maybe(0.3):
        b.op("DepthToSpace", x, blocksize=2)
    else:
        y = b.op("Transpose", b.reshape(x, [n, 2, 2, c // 4, h, w]), perm=[0, 3, 4, 1, 5, 2])
        b.reshape(y, [n, c // 4, 2 * h, 2 * w])


def pads(b: Builder) -> None:
    """Pads of zero, and Pad of Pad."""
    x = b.pick("float32", "int64", "float64", least=1)
    for _ in range(b.rng.choice([1, 2])):
        amounts = [0] * (2 * x.rank) if b.maybe(0.5) else [b.rng.choice([0, 1, 2]) for _ in range(2 * x.rank)]
        value = [b.const(np.array(b.rng.choice([0, 1]), x.dtype))] if b.maybe(0.4) else []
        mode = "constant" if b.maybe(0.9) else "edge"
        x = b.op("Pad", x, b.const(np.array(amounts, np.int64)), *value, mode=mode)


PATTERNS = (
    transposes,
    transposes,
    transpose_meets,
    transpose_meets,
    reshapes,
    reshapes,
    transpose_reshape,
    slices,
    slices,
    concats,
    sunk,
    allowzero,
    nested_concats,
    lossless_casts,
    lossless_casts,
    splits,
    casts,
    expands,
    gathers,
    spaces,
    pads,
)
