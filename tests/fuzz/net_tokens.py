"""Blocks of transformers and recurrent networks, of multilayer perceptrons, and what leads from them to other kinds."""

from __future__ import annotations

import numpy as np

from tests.fuzz.builder import CannotAdd, Tensor
from tests.fuzz.nets import Block, Net, attributes, channels


def stem(net: Net) -> Tensor:
    batch: str | int = net.rng.choice(("N", "N", 1, 2))
    time: str | int = net.rng.choice(("M", 4, 4, 5))
    if net.b.maybe(0.3):
        net.built["embedding"] += 1
        ids = net.b.input("int64", [batch, time])
        return net.b.op("Gather", net.weight(7, net.width(), summed=1), net.b.op("Abs", ids), axis=0)
    return linear(net, net.b.input("float32", [batch, time, net.rng.choice((2, 3, 4))]))


def head(net: Net, x: Tensor) -> Tensor:
    return product(net, x, 3)


def vector_stem(net: Net) -> Tensor:
    return gemm(net, net.b.input("float32", [net.rng.choice(("N", "N", 1, 3)), net.rng.choice((2, 3, 5))]))


def vector_head(net: Net, x: Tensor) -> Tensor:
    return product(net, x, 3)


# -- products ----------------------------------------------------------------------------------------------------------


def product(net: Net, x: Tensor, out: int, bias: bool | None = None) -> Tensor:
    """A linear layer over the last axis, in one of the ways that it is written."""
    b, size = net.b, channels(x, -1)
    way = net.rng.randrange(6)
    if way == 0 and x.rank == 3:
        y = net.reshape(x, -1, size) if b.maybe() else b.op("Reshape", x, net.ints(-1, size))
        y = b.op("Gemm", y, net.weight(out, size, summed=size), net.vector(out), transB=1)
        return net.reshape(y, (x, 0), (x, 1), out)
    if way == 1 and b.opset >= 12 and x.rank == 3:
        net.built["Einsum"] += 1
        return b.op("Einsum", x, net.weight(size, out, summed=size), equation="btc,cd->btd")
    if way == 2:
        w = b.op("Transpose", net.weight(out, size, summed=size), perm=[1, 0])
    elif way == 3 and b.opset >= 13:
        w = net.quantized(size, out, axis=net.rng.choice((0, 1)), summed=size)
    else:
        w = net.weight(size, out, summed=size)
    y = b.op("MatMul", x, w)
    if b.maybe() if bias is None else bias:
        y = b.op("Add", net.vector(out), y)
    return y


def linear(net: Net, x: Tensor) -> Tensor:
    return product(net, x, net.width())


def gemm(net: Net, x: Tensor) -> Tensor:
    b, size, out = net.b, channels(x, 1), net.width()
    across, transposed = b.maybe(0.3), b.maybe()
    if across:
        x = b.op("Transpose", x, perm=[1, 0])
    w = net.weight(out, size, summed=size) if transposed else net.weight(size, out, summed=size)
    inputs = [x, w]
    if b.maybe(0.7):
        shape = net.rng.choice(([out], [1, out], [1], []))
        inputs.append(b.const(net.numbers(*shape)))
    given = attributes(alpha=0.7 if b.maybe(0.3) else None, beta=1.3 if b.maybe(0.3) else None)
    return b.op("Gemm", *inputs, transA=int(across), transB=int(transposed), **given)


# -- one by one --------------------------------------------------------------------------------------------------------


def activated(net: Net, x: Tensor) -> Tensor:
    return net.activation(x)


def scaled(net: Net, x: Tensor) -> Tensor:
    shape = [1] * net.rng.choice(range(x.rank)) + [channels(x, -1)]
    return net.b.op(net.rng.choice(("Mul", "Add")), x, net.b.const(net.numbers(*shape, scale=0.3, at=1.0)))


def placed(net: Net, x: Tensor) -> Tensor:
    """A number for each place and channel is added."""
    if x.rank != 3:
        raise CannotAdd("no places")
    return net.b.op("Add", x, net.b.const(net.numbers(1, channels(x, 1), channels(x, 2), scale=0.3)))


def layer_norm(net: Net, x: Tensor) -> Tensor:
    b, size = net.b, channels(x, -1)
    if b.opset >= 17 and b.maybe():
        return b.op("LayerNormalization", x, net.vector(size, 0.3, 1.0), net.vector(size), axis=-1, epsilon=0.1)
    centred = b.op("Sub", x, b.reduce("ReduceMean", x, [-1]))
    variance = b.reduce("ReduceMean", b.op("Mul", centred, centred), [-1])
    root = b.op("Sqrt", b.op("Add", variance, b.const(np.array(0.1, np.float32))))
    return b.op("Mul", b.op("Div", centred, root), net.vector(size, 0.3, 1.0))


def scaled_by_width(net: Net, x: Tensor) -> Tensor:
    """By a root of the number of channels, which is computed: it means what it meant once some are gone."""
    b = net.b
    return b.op("Mul", x, b.op("Sqrt", b.op("Cast", net.dim(x, x.rank - 1), to=1)))


def softmax_over_time(net: Net, x: Tensor) -> Tensor:
    if x.rank != 3 or net.b.opset < 13:
        raise CannotAdd("the old Softmax flattens")
    return net.b.op("Mul", x, net.b.op("Softmax", x, axis=1))


def convolved_in_time(net: Net, x: Tensor) -> Tensor:
    """A depthwise convolution over the places, as Conformers have."""
    b, size = net.b, channels(x, -1)
    if x.rank != 3:
        raise CannotAdd("no places")
    y = b.op("Transpose", x, perm=[0, 2, 1])
    y = b.op("Conv", y, net.weight(size, 1, 3, summed=3), pads=[1, 1], group=size)
    return b.op("Transpose", y, perm=[0, 2, 1])


# -- branches ----------------------------------------------------------------------------------------------------------


def _joined(net: Net, x: Tensor, y: Tensor) -> Tensor:
    if y.dims[:-1] != x.dims[:-1]:
        raise CannotAdd("its places changed")
    if y.dims[-1] != x.dims[-1]:
        y = product(net, y, channels(x, -1))
    return net.b.op("Add", x, y) if net.b.maybe() else net.b.op("Add", y, x)


def token_residual(net: Net, x: Tensor) -> Tensor:
    return _joined(net, x, net.body(x, TOKENS))


def vector_residual(net: Net, x: Tensor) -> Tensor:
    return _joined(net, x, net.body(x, VECTORS))


def feed_forward(net: Net, x: Tensor) -> Tensor:
    y = net.activation(product(net, x, net.rng.choice((8, 12, 16))))
    return net.b.op("Add", x, product(net, y, channels(x, -1)))


def gated(net: Net, x: Tensor) -> Tensor:
    """GLU: one product, split in two."""
    b, half = net.b, net.rng.choice((4, 6, 8))
    axis = net.rng.choice((-1, x.rank - 1))
    one, other = b.split(product(net, x, 2 * half), [half, half], axis)
    return b.op("Mul", one, b.op("Sigmoid", other))


def joined(net: Net, x: Tensor) -> Tensor:
    if channels(x, -1) > 12:
        raise CannotAdd("wide enough")
    others = [x, net.b.op("Neg", x), product(net, x, net.width())]
    return net.b.op("Concat", x, net.rng.choice(others), axis=-1)


def rotated(net: Net, x: Tensor) -> Tensor:
    """Rotary embedding, without what depends on the place."""
    b, half = net.b, channels(x, -1) // 2
    if channels(x, -1) % 2 or not half:
        raise CannotAdd("odd")
    one = b.slice(x, [0], [half], [-1], [1])
    other = b.slice(x, [half], [2**63 - 1], [-1], [1])
    turned = b.op("Concat", b.op("Neg", other), one, axis=-1)
    cos, sin = (b.const(net.numbers(2 * half, scale=0.3, at=1.0)) for _ in range(2))
    return b.op("Add", b.op("Mul", x, cos), b.op("Mul", turned, sin))


def some(net: Net, x: Tensor) -> Tensor:
    """A part of the channels, or all in another order."""
    size = channels(x, -1)
    if net.b.maybe():
        first, last = sorted(net.rng.sample(range(size + 1), 2))
        return net.b.slice(x, [first - size], [last], [x.rank - 1], [1])
    return net.b.op("Gather", x, net.ints(*net.rng.sample(range(size), net.rng.randint(1, size))), axis=-1)


def first_token(net: Net, x: Tensor) -> Tensor:
    """A learned token before the others, as classifiers of images have."""
    b = net.b
    if x.rank != 3 or max(x.dims[1]) > 6:
        raise CannotAdd("no places")
    token = b.const(net.numbers(1, 1, channels(x, 2)))
    target = b.op("Concat", net.dim(x, 0), net.ints(1, channels(x, 2)), axis=0)
    return b.op("Concat", b.op("Expand", token, target), x, axis=1)


def mixed(net: Net, x: Tensor) -> Tensor:
    """A perceptron over the places, as MLP-Mixer has."""
    b = net.b
    if x.rank != 3:
        raise CannotAdd("no places")
    y = b.op("Transpose", x, perm=[0, 2, 1])
    y = net.activation(product(net, y, net.width()))
    return b.op("Add", x, b.op("Transpose", product(net, y, channels(x, 1)), perm=[0, 2, 1]))


def outer(net: Net, x: Tensor) -> Tensor:
    """An Einsum of computed heads, whose letter stays in the result."""
    b = net.b
    if x.rank != 3 or b.opset < 12:
        raise CannotAdd("no places")
    net.built["Einsum"] += 1
    heads, size = net.rng.choice(((2, 4), (4, 2), (3, 3)))
    q, k, v = (net.reshape(product(net, x, heads * size), (x, 0), (x, 1), heads, size) for _ in range(3))
    scores = b.op("Tanh", b.op("Einsum", q, k, equation="bthd,bshd->bhts"))
    y = b.op("Einsum", scores, v, equation="bhts,bshd->bthd")
    if b.maybe():
        return b.op("Einsum", y, net.weight(heads, size, 6, summed=heads * size), equation="bthd,hde->bte")
    return net.reshape(y, (x, 0), (x, 1), heads * size)


# -- attention ---------------------------------------------------------------------------------------------------------


def _heads(net: Net, x: Tensor, y: Tensor, heads: int, size: int, last: bool = False) -> Tensor:
    """``[N, T, heads * size]`` -> ``[N, heads, T, size]``, or with the last two swapped."""
    y = net.reshape(y, (x, 0), (x, 1), heads, size)
    return net.b.op("Transpose", y, perm=[0, 2, 3, 1] if last else [0, 2, 1, 3])


def _attend(net: Net, x: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor) -> Tensor:
    """Of ``[N, heads, T, size]``, the keys as ``[N, heads, size, T]``."""
    b = net.b
    if b.opset >= 13 and b.maybe(0.2):
        net.built["Einsum"] += 1
        scores = b.op("Einsum", q, k, equation="nhid,nhdj->nhij")
    else:
        scores = b.op("MatMul", q, k)
    scores = b.op("Softmax", b.op("Mul", scores, scale), axis=3)
    return b.op("MatMul", scores, v)


def attention(net: Net, x: Tensor) -> Tensor:
    b = net.b
    if x.rank != 3:
        raise CannotAdd("no places")
    heads, size = net.rng.choice(((2, 4), (2, 3), (3, 4), (4, 2)))
    width = heads * size
    way = net.rng.choice(("apart", "split", "stacked", "shared"))
    net.built[f"attention, {way}"] += 1
    if way == "apart":
        q, k, v = (product(net, x, width) for _ in range(3))
        q, k, v = _heads(net, x, q, heads, size), _heads(net, x, k, heads, size, True), _heads(net, x, v, heads, size)
    elif way == "split":
        parts = b.split(product(net, x, 3 * width), [width] * 3, 2)
        q, k, v = (_heads(net, x, part, heads, size, i == 1) for i, part in enumerate(parts))
    elif way == "stacked":
        y = net.reshape(product(net, x, 3 * width), (x, 0), (x, 1), 3, heads, size)
        y = b.op("Transpose", y, perm=[2, 0, 3, 1, 4])
        if b.maybe():
            q, k, v = (b.op("Gather", y, b.const(np.array(i, np.int64)), axis=0) for i in range(3))
        else:
            q, k, v = (b.squeeze(part, 0) for part in b.split(y, [1, 1, 1], 0))
        k = b.op("Transpose", k, perm=[0, 1, 3, 2])
    else:
        # One key and value for all heads.
        q = _heads(net, x, product(net, x, width), heads, size)
        k = b.unsqueeze(b.op("Transpose", product(net, x, size), perm=[0, 2, 1]), 1)
        v = b.unsqueeze(product(net, x, size), 1)
        if b.maybe():
            target = b.op("Concat", net.dim(x, 0), net.ints(heads), net.dim(x, 1), net.ints(size), axis=0)
            v = b.op("Expand", v, target)
    if b.maybe(0.3):
        sized = b.op("Cast", net.dim(q, 3), to=1)
        scale = b.op("Reciprocal", b.op("Sqrt", sized))
    else:
        scale = b.const(np.array(size**-0.5, np.float32))
    y = b.op("Transpose", _attend(net, x, q, k, v, scale), perm=[0, 2, 1, 3])
    y = net.reshape(y, (x, 0), (x, 1), width)
    y = product(net, y, channels(x, 2))
    return b.op("Add", x, y)


def gated_by_time(net: Net, x: Tensor) -> Tensor:
    """A product of two computed tensors over their channels: without heads."""
    b, inner = net.b, net.rng.choice((4, 6))
    if x.rank != 3:
        raise CannotAdd("no places")
    q, k = product(net, x, inner), product(net, x, inner)
    scores = b.op("MatMul", q, b.op("Transpose", k, perm=[0, 2, 1]))
    return b.op("MatMul", b.op("Tanh", scores), x)


# -- recurrence --------------------------------------------------------------------------------------------------------

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(net: Net, x: Tensor) -> Tensor:
    """One to two layers in either direction or both."""
    b = net.b
    if x.rank != 3:
        raise CannotAdd("no places")
    y = b.op("Transpose", x, perm=[1, 0, 2])
    kind = net.rng.choice(("LSTM", "GRU", "RNN"))
    for _ in range(net.rng.choice((1, 1, 2))):
        y = _layer(net, y, kind)
    return b.op("Transpose", y, perm=[1, 0, 2])


def _layer(net: Net, x: Tensor, kind: str) -> Tensor:
    b, size, hidden = net.b, channels(x, 2), net.rng.choice((3, 4, 6))
    direction = net.rng.choice(("forward", "reverse", "bidirectional", "bidirectional"))
    ways, gates = 2 if direction == "bidirectional" else 1, GATES[kind]
    net.built[f"{kind} {direction}"] += 1
    w = net.weight(ways, gates * hidden, size, summed=size)
    r = net.weight(ways, gates * hidden, hidden, summed=hidden)
    bias = b.const(net.numbers(ways, 2 * gates * hidden, scale=0.3)) if b.maybe(0.8) else None
    states: list[Tensor | None] = [None] * (2 if kind == "LSTM" else 1)
    if b.maybe():
        net.built["initial states"] += 1
        states = [_state(net, x, ways, hidden) for _ in states]
    inputs = [x, w, r, bias, None, *states]
    if kind == "LSTM" and b.maybe(0.4):
        net.built["peepholes"] += 1
        inputs.append(b.const(net.numbers(ways, 3 * hidden, scale=0.3)))
    while inputs[-1] is None:
        inputs.pop()
    given = {"hidden_size": hidden, "direction": direction}
    if kind == "GRU":
        given["linear_before_reset"] = net.rng.randrange(2)
        net.built[f"linear_before_reset={given['linear_before_reset']}"] += 1
    outputs = b.ops(kind, *inputs, count=3 if kind == "LSTM" else 2, **given)
    y = outputs[0]
    if b.maybe(0.15):
        # The last states of all directions for every place.
        last = b.unsqueeze(net.reshape(b.op("Transpose", outputs[1], perm=[1, 0, 2]), (x, 1), ways * hidden), 0)
        return b.op("Expand", last, b.op("Concat", net.dim(x, 0), net.ints(1, 1), axis=0))
    if ways == 1:
        return b.squeeze(y, 1)
    y = b.op("Transpose", y, perm=[0, 2, 1, 3])
    return net.reshape(y, (x, 0), (x, 1), 2 * hidden)


def _state(net: Net, x: Tensor, ways: int, hidden: int) -> Tensor:
    """Zeros of a computed shape, or weights or an input of the model that are spread over the batch."""
    b = net.b
    target = b.op("Concat", net.ints(ways), net.dim(x, 1), net.ints(hidden), axis=0)
    if b.maybe(0.6):
        return b.op("ConstantOfShape", target)
    if b.parent is None and b.maybe():
        net.built["a state that is an input"] += 1
        return b.op("Expand", b.input("float32", [ways, 1, hidden]), target)
    return b.op("Expand", b.const(net.numbers(ways, 1, hidden)), target)


TOKENS: tuple[Block, ...] = (
    *(linear, linear, activated, scaled, placed, layer_norm, scaled_by_width, softmax_over_time, convolved_in_time),
    *(token_residual, token_residual, feed_forward, feed_forward, gated, joined, rotated, some),
    *(
        attention,
        attention,
        attention,
        attention,
        gated_by_time,
        first_token,
        mixed,
        outer,
        outer,
        recurrent,
        recurrent,
        recurrent,
    ),
)


def normalized(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    variance = net.b.const(np.abs(net.numbers(size)) + 0.5)
    return net.b.op("BatchNormalization", x, net.vector(size), net.vector(size), net.vector(size), variance)


VECTORS: tuple[Block, ...] = (
    *(linear, gemm, gemm, gemm, activated, scaled, normalized, vector_residual, vector_residual, feed_forward),
    *(gated, joined, rotated, some, layer_norm),
)


# -- to other kinds ----------------------------------------------------------------------------------------------------


def as_image(net: Net, x: Tensor) -> Tensor:
    return net.b.op("Transpose", x, perm=[0, 2, 1])


def averaged(net: Net, x: Tensor) -> Tensor:
    return net.b.reduce("ReduceMean", x, [1], keepdims=0)


def first_or_last(net: Net, x: Tensor) -> Tensor:
    return net.b.op("Gather", x, net.b.const(np.array(net.rng.choice((0, -1)), np.int64)), axis=1)


def all_places(net: Net, x: Tensor) -> Tensor:
    total = channels(x, 1) * channels(x, 2)
    return product(net, net.reshape(x, (x, 0), total), 8)


TURNS: tuple[tuple[str, Block], ...] = (
    ("image", as_image),
    ("vector", averaged),
    ("vector", first_or_last),
    ("vector", all_places),
)


def drawn(net: Net, x: Tensor) -> Tensor:
    """A generator's beginning: a product, seen as an image."""
    size = net.rng.choice((4, 6))
    return net.reshape(product(net, x, size * 4), (x, 0), size, 2, 2)


def unsqueezed(net: Net, x: Tensor) -> Tensor:
    return net.b.unsqueeze(x, 1)


def parted(net: Net, x: Tensor) -> Tensor:
    """Parts of the channels as places."""
    part = net.divisor(channels(x, 1))
    return net.reshape(x, (x, 0), part, channels(x, 1) // part)


FROM_VECTORS: tuple[tuple[str, Block], ...] = (("image", drawn), ("tokens", unsqueezed), ("tokens", parted))
