"""What algebraic rules look for: neutral elements, chains of constants, decomposed activations and normalizations."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from tests.fuzz.builder import Builder, CannotAdd, Tensor
from tests.fuzz.layout import UNARY, middle, some
from tests.fuzz.linear import swapped


def real(b: Builder, least: int = 0) -> Tensor:
    return b.pick("float32", "float32", "float32", "float64", "float16", least=least)


def number(b: Builder, x: Tensor, value: float) -> Tensor:
    """A scalar constant for ``x``, at times of rank 1, and at times a near miss of the value that a rule looks for."""
    if b.maybe(0.06):
        value = b.rng.choice([value * 1.01 + 0.01, -value, value + 1, 0.0])
    shape: list[int] = b.rng.choice([[], [], [1], [1] * x.rank])
    return b.const(np.full(shape, value, x.dtype))


def neutral(b: Builder) -> None:
    """x * 1, x + 0, x - 0, x / 1, x ** 1, and the same with shapes that broadcast."""
    x = b.pick("float32", "float32", "float64", "int64", "int32", "float16")
    op_type, value = b.rng.choice([("Mul", 1), ("Add", 0), ("Sub", 0), ("Div", 1), ("Mul", 0), ("Pow", 1), ("Pow", 2)])
    shape: list[int] = b.rng.choice([[], [1], [1] * x.rank, [1] * (x.rank + 1), [2, 1]])
    dims = [dim[0] if len(set(dim)) == 1 else 1 for dim in x.dims]
    c = b.const(np.full(dims if b.maybe(0.3) else shape, value, x.dtype))
    if op_type in ("Div", "Pow") or b.maybe(0.7):
        b.op(op_type, x, c)
    else:
        b.op(op_type, c, x)


def elementwise(b: Builder) -> None:
    """Random unary and binary nodes of values that are there."""
    x = real(b)
    for _ in range(b.rng.choice([1, 2, 3])):
        if b.maybe():
            x = b.op(b.rng.choice(UNARY), x)
        else:
            y = b.pick(x.dtype, constant=True)
            x = swapped(b, b.rng.choice(["Add", "Mul", "Sub", "Max", "Min"]), x, y)


def integers(b: Builder) -> None:
    x = b.pick("int64", "int32")
    c = b.const(b.array([], x.dtype, 1, 3))
    y = b.op(b.rng.choice(["Add", "Mul", "Sub"]), x, c)
    b.op(b.rng.choice(["Add", "Mul"]), y, b.const(np.array(b.rng.choice([0, 1, 2]), x.dtype)))
    if b.maybe(0.3):
        b.op("Div", y, b.const(np.array(b.rng.choice([1, 2, 3]), x.dtype)))


def constant_chain(b: Builder) -> None:
    """Add of Add, Mul of Mul, Mul of Add and so on, by constants."""
    x = real(b)
    for _ in range(b.rng.choice([2, 2, 3])):
        last = x.dims[-1][0] if x.rank and len(set(x.dims[-1])) == 1 else 1
        c = b.const(b.array(b.rng.choice([[], [1], [last], [1] * x.rank]), x.dtype, 0.25, 2.0))
        op_type = b.rng.choice(["Add", "Mul", "Sub", "Div"])
        x = b.op(op_type, x, c) if op_type == "Div" else swapped(b, op_type, x, c)


def division(b: Builder) -> None:
    """Division by constants, of which powers of two are exact; zeros, infinities and tiny numbers are not to be."""
    x = real(b)
    last = x.dims[-1][0] if x.rank and len(set(x.dims[-1])) == 1 else 1
    values = b.array([last] if b.maybe(0.4) else [], x.dtype, 0.3, 3.0)
    values = b.rng.choice(
        [values, values, np.full_like(values, 8), np.full_like(values, 0.0), np.full_like(values, np.inf)]
    )
    if b.maybe(0.05):
        values = np.full_like(values, 1e-7 if x.dtype == "float16" else 1e-42)
    b.op("Div", x, b.const(values))


def doubled(b: Builder) -> None:
    """Two of a kind in a row: Relu, Neg, Not, Abs, Clip, Min, Max, Identity, Sign, Ceil."""
    x = real(b)
    kind = b.rng.choice(["Relu", "Neg", "Abs", "Clip", "Min", "Max", "Identity", "Reciprocal", "Not", "Mixed"])
    if kind == "Clip":
        low, high = b.rng.choice([(0.0, 6.0), (-1.0, 1.0), (0.0, None), (None, 0.5), (None, None)])
        y = b.clip(x, low, high)
        b.clip(y, *b.rng.choice([(0.2, 0.8), (-3.0, 9.0), (None, 0.1), (0.9, -0.9)]))
    elif kind in ("Min", "Max"):
        y = b.op(kind, x, number(b, x, 0.5))
        b.op("Min" if b.maybe() else "Max", y, number(b, x, 1.0))
    elif kind == "Not":
        y = b.op("Not", b.op("Not", b.pick("bool")))
    elif kind == "Mixed":
        b.op("Relu", b.clip(x, -1.0, 1.0)) if b.maybe() else b.clip(b.op("Relu", x), -1.0, 6.0)
    else:
        y = b.op(kind, x)
        b.op(kind if b.maybe(0.8) else "Relu", y)


def hard_activation(b: Builder) -> None:
    """x * clip(x + 3, 0, 6) / 6 and its parts, in several spellings."""
    x = real(b)
    y = swapped(b, "Add", x, number(b, x, 3.0))
    y = b.clip(y, 0.0, 6.0) if b.maybe(0.8) else b.op("Min", b.op("Relu", y), number(b, x, 6.0))
    gate = b.op("Div", y, number(b, x, 6.0)) if b.maybe(0.7) else b.op("Mul", y, number(b, x, 1 / 6))
    if b.maybe(0.3):
        return
    if b.maybe(0.5):
        swapped(b, "Mul", x, gate)
    elif b.maybe(0.8):
        b.op("Div", swapped(b, "Mul", x, y), number(b, x, 6.0))
    else:
        swapped(b, "Mul", middle(b, x), gate)


def hard_sigmoid(b: Builder) -> None:
    x = real(b)
    gate = b.op("HardSigmoid", x, alpha=b.rng.choice([1 / 6, 0.2, 0.1666666716337204]), beta=0.5)
    swapped(b, "Mul", x, gate)


def gelu(b: Builder) -> None:
    """0.5 x (1 + erf(x / sqrt 2)) and the tanh form, in the orders that exporters write."""
    x = real(b)
    if b.maybe(0.7):
        root = number(b, x, math.sqrt(2))
        scaled = b.op("Div", x, root) if b.maybe(0.7) else b.op("Mul", x, number(b, x, math.sqrt(0.5)))
        gate = swapped(b, "Add", b.op("Erf", scaled), number(b, x, 1.0))
    else:
        cube = b.op("Pow", x, number(b, x, 3.0)) if b.maybe() else b.op("Mul", b.op("Mul", x, x), x)
        inner = swapped(b, "Add", x, swapped(b, "Mul", cube, number(b, x, 0.044715)))
        inner = swapped(b, "Mul", inner, number(b, x, math.sqrt(2 / math.pi)))
        gate = swapped(b, "Add", b.op("Tanh", inner), number(b, x, 1.0))
    match b.rng.randrange(3):
        case 0:
            swapped(b, "Mul", swapped(b, "Mul", x, gate), number(b, x, 0.5))
        case 1:
            swapped(b, "Mul", swapped(b, "Mul", x, number(b, x, 0.5)), gate)
        case _:
            swapped(b, "Mul", x, swapped(b, "Mul", gate, number(b, x, 0.5)))


def gates(b: Builder) -> None:
    """x * sigmoid(x), x * tanh(softplus(x)), log(1 + exp(x)), and near misses."""
    x = real(b)
    other = x if b.maybe(0.85) else middle(b, x)
    match b.rng.randrange(3):
        case 0:
            swapped(b, "Mul", other, b.op("Sigmoid", x))
        case 1:
            swapped(b, "Mul", other, b.op("Tanh", b.op("Softplus", x)))
        case _:
            b.op("Log", swapped(b, "Add", b.op("Exp", b.clip(x, -5.0, 5.0)), number(b, x, 1.0)))


def sigmoid(b: Builder) -> None:
    """1 / (1 + exp(-x)) step by step, alone or as a gate, and x / (1 + |x|)."""
    x = real(b)
    if b.maybe(0.25):
        b.op("Div", x, swapped(b, "Add", b.op("Abs", x), number(b, x, 1.0)))
        return
    below = swapped(b, "Add", b.op("Exp", b.op("Neg", x)), number(b, x, 1.0))
    y = b.op("Reciprocal", below) if b.maybe() else b.op("Div", number(b, x, 1.0), below)
    if b.maybe():
        swapped(b, "Mul", x, y)


def normalization(b: Builder) -> None:
    """LayerNormalization or RMSNormalization from its parts."""
    x = b.pick("float32", "float32", "float64", least=1)
    axes = [-1] if b.maybe(0.7) or x.rank < 2 else b.rng.choice([[-2, -1], [x.rank - 1], [0], [1]])
    centred = x
    if b.maybe(0.7):
        mean = b.reduce("ReduceMean", x, axes)
        centred = b.op("Sub", x, mean)
        if b.maybe(0.2):
            centred = b.op("Sub", x, b.reduce("ReduceMean", x, axes))
    square = b.op("Pow", centred, number(b, x, 2.0)) if b.maybe(0.6) else b.op("Mul", centred, centred)
    var = b.reduce("ReduceMean", square, axes)
    root = b.op("Sqrt", swapped(b, "Add", var, b.const(np.array(b.rng.choice([1e-5, 1e-3, 0.1]), x.dtype))))
    divided = b.maybe(0.6)
    y = b.op("Div", centred, root) if divided else swapped(b, "Mul", centred, b.op("Reciprocal", root))
    last = x.dims[-1][0] if len(set(x.dims[-1])) == 1 else 1
    shapes = [[last], [last], [1], [], [1, last]]
    if b.maybe(0.8):
        y = swapped(b, "Mul", y, b.const(b.array(b.rng.choice(shapes), x.dtype)))
    if b.maybe(0.7):
        y = swapped(b, "Add", y, b.const(b.array(b.rng.choice(shapes), x.dtype)))


def standard_normalization(b: Builder) -> None:
    """The operators themselves, with affine nodes after them."""
    x = b.pick("float32", least=2)
    last = x.shape[-1] if x.static else x.dims[-1][0]
    match b.rng.randrange(4):
        case 0 | 1 if b.opset >= 17:
            scale = b.const(np.ones(last, np.float32) if b.maybe() else b.array([last]))
            y = b.op("LayerNormalization", x, scale, axis=-1)
        case 2:
            c = x.dims[1][0]
            y = b.op("InstanceNormalization", x, b.const(b.array([c])), b.const(b.array([c])))
        case _:
            y = b.op("Softmax", x, axis=-1)
    if b.maybe(0.4):
        swapped(b, "Add", y, b.const(b.array([last])))
        return
    swapped(b, "Mul", y, b.const(b.array([last])))
    matmul = b.op("MatMul", swapped(b, "Add", y, b.const(b.array([last]))), b.const(b.array([last, 2])))
    if b.maybe():
        b.op("Add", matmul, b.const(b.array([2])))


def squared_root(b: Builder) -> None:
    """The square of a root, of what cannot be negative and of what can."""
    x = b.pick("float32", "float32", "float64", least=1)
    match b.rng.randrange(4):
        case 0:
            y = b.op("Abs", x)
        case 1:
            y = b.reduce("ReduceSumSquare", x, [-1])
        case 2:
            y = swapped(b, "Add", b.op("Mul", x, x), number(b, x, 0.5))
        case _:
            y = x if b.maybe(0.3) else b.op("Relu", x)
    root = b.op("Sqrt", y)
    b.op("Mul", root, root) if b.maybe() else b.op("Pow", root, number(b, x, 2.0))


def bounded(b: Builder) -> None:
    """A minimum and a maximum with constants, in the right order of limits and in the wrong one."""
    x = real(b)
    low, high = b.rng.choice([(-0.5, 0.75), (-0.5, 0.75), (0.0, 6.0), (0.5, -0.5)])
    if b.maybe():
        swapped(b, "Min", swapped(b, "Max", x, number(b, x, low)), number(b, x, high))
    else:
        swapped(b, "Max", swapped(b, "Min", x, number(b, x, high)), number(b, x, low))


def softmax(b: Builder) -> None:
    """exp(x - max) / sum, its logarithm step by step, and the logarithm of a Softmax."""
    x = b.pick("float32", "float32", "float64", least=1)
    if b.maybe(0.2):
        b.op("Log", b.op("Softmax", x, axis=-1))
        return
    axis = b.rng.choice([-1, -1, x.rank - 1, 0])
    shifted = b.op("Sub", x, b.reduce("ReduceMax", x, [axis]))
    e = b.op("Exp", shifted)
    total = b.reduce("ReduceSum", e, [axis])
    b.op("Div", e, total) if b.maybe(0.6) else b.op("Sub", shifted, b.op("Log", total))


def reductions(b: Builder) -> None:
    """Reductions of reductions, of axes of size 1, over nothing, and with Squeeze after them."""
    x = b.pick("float32", "float64", "int64", least=1)
    kinds = ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceSumSquare"]
    kind = b.rng.choice(kinds if x.dtype != "int64" else kinds[:4])
    if kind in ("ReduceMax", "ReduceMin", "ReduceMean") and any(0 in dim for dim in x.dims):
        raise CannotAdd("a maximum of nothing")
    axis = b.rng.randrange(-x.rank, x.rank)
    match b.rng.randrange(5):
        case 0:
            b.squeeze(b.reduce(kind, x, [axis], 1), axis)
        case 1:
            y = b.reduce(kind, x, [axis], b.rng.randrange(2))
            if y.rank:
                b.reduce(
                    kind if b.maybe(0.8) else "ReduceSum", y, [b.rng.randrange(-y.rank, y.rank)], b.rng.randrange(2)
                )
        case 2:
            b.reduce(kind, b.unsqueeze(x, 0), [0], b.rng.randrange(2))
        case 3 if x.rank == 4:
            y = b.reduce("ReduceMean", x, b.rng.choice([[2, 3], [-1, -2], [1, 2]]), b.rng.randrange(2))
        case _:
            y = b.unsqueeze(b.reduce(kind, x, [axis], 0), axis % x.rank)
            if b.maybe():
                middle(b, y)


def reduced_transpose(b: Builder) -> None:
    """A reduction of a Transpose, whose remaining axes may keep their order."""
    x = b.pick("float32", "float64", "int64", least=2)
    if any(0 in dim for dim in x.dims):
        raise CannotAdd("a maximum of nothing")
    over = b.rng.sample(range(x.rank), b.rng.choice([1, 1, x.rank - 1]))
    perm = [axis for axis in range(x.rank) if axis not in over]
    if b.maybe(0.2):
        b.rng.shuffle(perm)
    for axis in over:
        perm.insert(b.rng.randrange(len(perm) + 1), axis)
    y = b.op("Transpose", x, perm=perm)
    axes = [perm.index(axis) for axis in over]
    b.reduce(b.rng.choice(["ReduceSum", "ReduceMax", "ReduceMean"]), y, axes, int(b.maybe(0.2)))


def choices(b: Builder) -> None:
    """Where, comparisons and logic, on values that no rounding moves."""
    found = [x for x in b.visible() if x.exact and not x.constant and x.dtype in ("float32", "int64", "float64")]
    if not found:
        raise CannotAdd("nothing exact to compare")
    x = b.rng.choice(found)
    if b.maybe(0.5):
        condition = b.const(np.array(b.rng.choice([True, False, [True], [False]])))
    else:
        condition = b.op(b.rng.choice(["Greater", "Less", "Equal"]), x, b.const(b.array([], x.dtype)))
        if b.maybe(0.3):
            condition = b.op("Not", condition)
        if b.maybe(0.3):
            condition = b.op(b.rng.choice(["And", "Or"]), condition, b.const(np.array(b.maybe())))
    y = x if b.maybe(0.3) else middle(b, x)
    b.op("Where", condition, *((x, y) if b.maybe() else (y, x)))


def nested_choices(b: Builder) -> None:
    """Where in a Where by one condition, or by its opposite."""
    found = [x for x in b.visible() if x.exact and not x.constant and x.dtype in ("float32", "float64")]
    if not found:
        raise CannotAdd("nothing exact to compare")
    x = b.rng.choice(found)
    condition = b.op("Greater", x, b.const(np.array(0.1, x.dtype)))
    other = condition if b.maybe(0.8) else b.op("Not", condition)
    inner = b.op("Where", other, middle(b, x), number(b, x, 1.0))
    operands = [inner, b.op("Neg", x)]
    b.rng.shuffle(operands)
    b.op("Where", condition, *operands)


def mish(b: Builder) -> None:
    x = real(b)
    swapped(b, "Mul", x, b.op("Tanh", b.op("Softplus", x)))


def quantized(b: Builder) -> None:
    """QuantizeLinear and DequantizeLinear around something, and a dequantized constant."""
    found = [x for x in b.visible() if x.exact and not x.constant and x.dtype == "float32"]
    scale, zero = b.const(np.array(0.05, np.float32)), b.const(np.array(3, np.uint8))
    if not found or b.maybe(0.3):
        y = b.op("DequantizeLinear", b.const(b.array([3], "uint8")), scale, zero)
        b.op("Mul", b.pick("float32"), b.op("ReduceMax", y, keepdims=0))
        return
    q = b.op("QuantizeLinear", b.rng.choice(found), scale, zero)
    y = b.op("DequantizeLinear", q, scale, zero)
    if b.maybe():
        b.op("DequantizeLinear", b.op("QuantizeLinear", y, scale, zero), scale, zero)


def duplicates(b: Builder) -> None:
    """The same computation more than once, in all or in almost all."""
    x = some(b)
    for _ in range(b.rng.choice([2, 2, 3])):
        y = b.op("Softmax" if x.dtype.startswith("float") else "Neg", x, **({"axis": -1} if x.dtype != "int64" else {}))
        z = b.op("Add", y, b.const(np.array(b.rng.choice([1, 1, 1, 2]), x.dtype)))
        if b.maybe(0.7):
            b.op("Mul", z, y) if b.maybe() else b.op("Mul", y, z)


def twins(b: Builder) -> None:
    """Equal constants under several names, of one dtype or of several with the same bits."""
    values = b.array([4])
    x = b.pick("float32", rank=b.rng.choice([1, 2, 3]))
    size = x.dims[-1][0]
    if len(set(x.dims[-1])) > 1:
        raise CannotAdd("a dynamic axis")
    values = b.array([size])
    for _ in range(2):
        b.op("Add", b.op(b.rng.choice(UNARY), x), b.const(values if b.maybe(0.8) else -values, how="initializer"))
    if b.maybe(0.3):
        b.op("Cast", b.const(values.view(np.int32), how="initializer"), to=TensorProto.FLOAT)


def dropout(b: Builder) -> None:
    x = real(b)
    if b.opset >= 12 and b.maybe(0.5):
        b.op("Dropout", x, b.const(np.array(0.3, np.float32)), b.const(np.array(False)))
    else:
        b.op("Dropout", x)


PATTERNS = (
    neutral,
    neutral,
    elementwise,
    integers,
    constant_chain,
    division,
    doubled,
    doubled,
    hard_activation,
    hard_activation,
    hard_sigmoid,
    gelu,
    gelu,
    gelu,
    gelu,
    gelu,
    gates,
    gates,
    sigmoid,
    normalization,
    normalization,
    normalization,
    normalization,
    standard_normalization,
    standard_normalization,
    standard_normalization,
    softmax,
    softmax,
    squared_root,
    bounded,
    reductions,
    reduced_transpose,
    reduced_transpose,
    choices,
    nested_choices,
    mish,
    quantized,
    duplicates,
    twins,
    dropout,
)
