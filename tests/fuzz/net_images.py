"""Blocks of convolutional networks in one to three dimensions of space, and what leads from images to other kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.fuzz.builder import Builder, CannotAdd, Tensor
from tests.fuzz.nets import Block, Net, attributes, channels


def stem(net: Net) -> Tensor:
    rank = net.rng.choice((3, 4, 4, 4, 5))
    batch: str | int = net.rng.choice(("N", "N", 1, 2))
    space: list[str | int] = [net.rng.choice((4, 4, 6)) for _ in range(rank - 2)]
    if net.b.maybe(0.15):
        space[0] = "M"
    x = net.b.input("float32", [batch, net.rng.choice((1, 2, 3, 4)), *space])
    return conv(net, x)


def head(net: Net, x: Tensor) -> Tensor:
    return convolved(net, x, 3, k=1)


# -- convolutions ------------------------------------------------------------------------------------------------------


def convolved(net: Net, x: Tensor, out: int, k: int | None = None, group: int = 1) -> Tensor:
    """A convolution that keeps the size of the image."""
    size, space = channels(x, 1), x.rank - 2
    sides = [k or net.rng.choice((1, 1, 3)) for _ in range(space)]
    shape = [out, size // group, *sides]
    summed = int(np.prod(shape[1:]))
    if net.b.maybe(0.12):
        w = net.quantized(*shape, axis=0, summed=summed) if net.b.opset >= 13 else net.weight(*shape, summed=summed)
    else:
        w = net.weight(*shape, summed=summed)
    inputs = [x, w]
    if net.b.maybe():
        inputs.append(net.vector(out))
    pads = [side // 2 for side in sides] * 2
    return net.b.op("Conv", *inputs, pads=pads, **attributes(group=group if group > 1 or net.b.maybe() else None))


def conv(net: Net, x: Tensor) -> Tensor:
    return convolved(net, x, net.width())


def grouped(net: Net, x: Tensor) -> Tensor:
    group = net.divisor(channels(x, 1))
    return convolved(net, x, group * net.rng.choice((1, 2, 2, 3)), group=group)


def depthwise(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    if size > 16:
        raise CannotAdd("wide enough")
    return convolved(net, x, size * net.rng.choice((1, 1, 2)), k=3, group=size)


def transposed(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    group = net.rng.choice((1, 1, net.divisor(size), size))
    out = net.rng.choice((1, 2, 2, 3)) if group > 1 else net.width()
    stride = 2 if net.b.maybe(0.3) and x.rank < 5 else 1
    k = 2 if stride == 2 else 3
    w = net.weight(size, out, *[k] * (x.rank - 2), summed=size * k)
    inputs = [x, w, net.vector(out * group)] if net.b.maybe() else [x, w]
    pads = None if stride == 2 else [1] * (2 * (x.rank - 2))
    net.built[
        f"ConvTranspose of {'1' if group == 1 else 'as many as channels' if group == size else 'some'} groups"
    ] += 1
    return net.b.op("ConvTranspose", *inputs, group=group, strides=[stride] * (x.rank - 2), **attributes(pads=pads))


# -- one by one --------------------------------------------------------------------------------------------------------


def activated(net: Net, x: Tensor) -> Tensor:
    return net.activation(x)


def batch_norm(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    variance = net.b.const(np.abs(net.numbers(size)) + 0.5)
    return net.b.op("BatchNormalization", x, net.vector(size, 0.3, 1.0), net.vector(size), net.vector(size), variance)


def instance_norm(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    return net.b.op("InstanceNormalization", x, net.vector(size, 0.3, 1.0), net.vector(size), epsilon=0.1)


def group_norm(net: Net, x: Tensor) -> Tensor:
    """From its parts, as exporters write it."""
    size = channels(x, 1)
    group = net.divisor(size)
    y = net.b.op("Reshape", x, net.ints(0, group, -1))
    y = net.b.op("InstanceNormalization", y, net.vector(group, 0, 1.0), net.vector(group, 0), epsilon=0.1)
    y = net.b.op("Reshape", y, net.b.op("Shape", x))
    return net.b.op("Mul", y, per_channel(net, x))


def prelu(net: Net, x: Tensor) -> Tensor:
    return net.b.op("PRelu", x, per_channel(net, x))


def per_channel(net: Net, x: Tensor) -> Tensor:
    """A constant with a number for each channel."""
    front = [1] if net.b.maybe(0.3) else []
    return net.b.const(net.numbers(*front, channels(x, 1), *[1] * (x.rank - 2), scale=0.3, at=1.0))


def scaled(net: Net, x: Tensor) -> Tensor:
    return net.b.op(net.rng.choice(("Mul", "Add", "Sub", "Max")), x, per_channel(net, x))


def where(net: Net, x: Tensor) -> Tensor:
    zero = net.b.const(np.array(0, np.float32))
    return net.b.op("Where", net.b.op("Greater", x, zero), x, net.b.op("Mul", x, per_channel(net, x)))


def pooled(net: Net, x: Tensor) -> Tensor:
    space = x.rank - 2
    kind = net.rng.choice(("MaxPool", "AveragePool"))
    return net.b.op(kind, x, kernel_shape=[3] * space, pads=[1] * (2 * space))


def resized(net: Net, x: Tensor) -> Tensor:
    b, space = net.b, x.rank - 2
    mode: dict[str, Any] = {"mode": net.rng.choice(("nearest", "linear")) if x.rank == 4 else "nearest"}
    mode["coordinate_transformation_mode"] = "asymmetric"
    if mode["mode"] == "nearest":
        mode["nearest_mode"] = "floor"
    empty = b.const(np.zeros(0, np.float32), how="initializer")
    if b.maybe(0.4):
        return b.op("Resize", x, empty, b.const(np.array([1, 1, *[2] * space], np.float32)), **mode)
    sizes = [2 * channels(x, axis) for axis in range(2, x.rank)]
    net.built["Resize to sizes"] += 1
    none = None if b.opset >= 13 else empty
    if b.opset >= 18 and b.maybe():
        axes = net.rng.choice(([*range(2, x.rank)], [*range(1, x.rank)], [1 - x.rank, *range(2, x.rank)]))
        whole = [channels(x, 1)] if len(axes) == x.rank - 1 else []
        return b.op("Resize", x, none, none, net.ints(*whole, *sizes), axes=axes, **mode)
    if b.maybe():
        front = b.slice(b.op("Shape", x), [0], [2], [0], [1])
        return b.op("Resize", x, none, none, b.op("Concat", front, net.ints(*sizes), axis=0), **mode)
    return b.op("Resize", x, none, none, net.ints(*x.shape[:2], *sizes), **mode)


# -- branches ----------------------------------------------------------------------------------------------------------


def residual(net: Net, x: Tensor) -> Tensor:
    y = net.body(x, IMAGES)
    if y.dims[2:] != x.dims[2:]:
        raise CannotAdd("its space changed")
    if y.dims[1] != x.dims[1]:
        y = convolved(net, y, channels(x, 1), k=1)
    kind = net.rng.choice(("Add", "Add", "Add", "Sum", "Mul", "Max"))
    return net.b.op(kind, y, x) if net.b.maybe() else net.b.op(kind, x, y)


def squeeze_excite(net: Net, x: Tensor) -> Tensor:
    b, size, few = net.b, channels(x, 1), net.rng.choice((2, 4))
    axes = list(range(2, x.rank))
    if b.maybe():
        y = b.op("GlobalAveragePool", x) if b.maybe() else b.reduce("ReduceMean", x, axes)
        y = b.op("Relu", convolved(net, y, few, k=1))
        gate = convolved(net, y, size, k=1)
    else:
        y = b.reduce("ReduceMean", x, axes, keepdims=0)
        y = b.op("Relu", b.op("Gemm", y, net.weight(few, size, summed=size), net.vector(few), transB=1))
        y = b.op("MatMul", y, net.weight(few, size, summed=few))
        gate = b.unsqueeze(y, *axes) if b.maybe() else net.reshape(y, (y, 0), size, *[1] * len(axes))
    return b.op("Mul", x, b.op(net.rng.choice(("Sigmoid", "HardSigmoid")), gate))


def chunks(net: Net, x: Tensor) -> Tensor:
    """Split, something done to one part, all joined again in any order: C2f, ShuffleNetV2, CSP."""
    b, size = net.b, channels(x, 1)
    if size < 4:
        raise CannotAdd("too narrow")
    axis = net.rng.choice((1, 1 - x.rank))
    if b.opset >= 18 and b.maybe(0.3):
        count = net.rng.choice((2, 3))
        parts = b.ops("Split", x, axis=axis, num_outputs=count, count=count)
    else:
        first = net.rng.randint(1, size - 2) if b.maybe() else size // 2
        sizes = [first, size - first]
        if sizes[1] > 3 and b.maybe(0.3):
            sizes = [first, 2, sizes[1] - 2]
        parts = b.split(x, sizes, axis)
    parts.append(net.body(parts[-1], IMAGES))
    if any(part.dims[2:] != x.dims[2:] for part in parts):
        raise CannotAdd("its space changed")
    if b.maybe(0.2):
        parts.append(parts[0])
    net.rng.shuffle(parts)
    return b.op("Concat", *parts, axis=axis)


def dense(net: Net, x: Tensor) -> Tensor:
    y = net.body(x, IMAGES)
    if y.dims[2:] != x.dims[2:] or channels(x, 1) + channels(y, 1) > 40:
        raise CannotAdd("it does not fit")
    return net.b.op("Concat", *net.rng.choice(((x, y), (y, x))), axis=1)


def twice(net: Net, x: Tensor) -> Tensor:
    """The same tensor joined with itself, or halves of it added."""
    if channels(x, 1) > 16:
        raise CannotAdd("wide enough")
    return net.b.op("Concat", x, x, axis=1)


def folded(net: Net, x: Tensor) -> Tensor:
    size = channels(x, 1)
    if size % 2:
        raise CannotAdd("odd")
    one, other = net.b.split(x, [size // 2, size // 2], 1)
    return net.b.op(net.rng.choice(("Add", "Mul", "Max")), one, other)


def shuffle(net: Net, x: Tensor) -> Tensor:
    b, size = net.b, channels(x, 1)
    group = net.divisor(size)
    space = [(x, axis) for axis in range(2, x.rank)]
    y = net.reshape(x, (x, 0), group, size // group, *space)
    y = b.op("Transpose", y, perm=[0, 2, 1, *range(3, x.rank + 1)])
    return net.reshape(y, (x, 0), size, *space)


def branches(net: Net, x: Tensor) -> Tensor:
    """If, whose bodies capture channels; its condition is computed from the input."""
    b = net.b
    if b.parent is not None:
        raise CannotAdd("one level is enough")
    first = b.inputs[0][0]
    total = b.reduce("ReduceSum", first, list(range(first.rank)), keepdims=0)
    condition = b.op("Greater", total, b.const(np.array(0, np.float32)))
    bodies, outputs = [], []
    size = channels(x, 1)
    for _ in range(2):
        inner = b.child()
        within = Net(inner, net.built, depth=2)
        y = within.body(x, [conv, activated, scaled, depthwise, batch_norm, grouped, cut, picked], count=2)
        if y.dims[1] != x.dims[1] or y is x:
            y = convolved(within, y, size, k=1)
        inner.outputs = [y]
        bodies.append(inner.graph("body"))
        outputs.append(y)
    if outputs[0].dims != outputs[1].dims:
        raise CannotAdd("the branches differ")
    made = Tensor(b.fresh(), "float32", outputs[0].dims)
    b.add_node(
        helper.make_node("If", [condition.name], [made.name], then_branch=bodies[0], else_branch=bodies[1]), [made]
    )
    return made


def looped(net: Net, x: Tensor) -> Tensor:
    """A state that is refined in a Loop, from channels that its body captures."""
    b = net.b
    if b.parent is not None or channels(x, 1) > 16:
        raise CannotAdd("one level is enough")
    captured = net.activation(convolved(net, x, net.width(), k=1))
    inner = b.child()
    within = Net(inner, net.built, depth=3)
    state = Tensor(b.fresh("s"), "float32", x.dims)
    step, go = b.fresh("i"), b.fresh("c")
    y = convolved(within, captured, net.width(), k=1)
    y = convolved(within, inner.op("Relu", y), channels(x, 1), k=1)
    inner.nodes.append(helper.make_node("Identity", [go], [go + "_out"]))
    y = inner.op("Tanh", inner.op("Add", y, state))
    inner.outputs = [y]
    body = inner.graph("body")
    body.input.extend(
        [helper.make_tensor_value_info(step, 7, []), helper.make_tensor_value_info(go, 9, []), b.info(state)]
    )
    body.output.insert(0, helper.make_tensor_value_info(go + "_out", 9, []))
    made = Tensor(b.fresh(), "float32", x.dims)
    count = b.const(np.array(2, np.int64))
    b.add_node(helper.make_node("Loop", [count.name, "", x.name], [made.name], body=body), [made])
    return made


# -- parts -------------------------------------------------------------------------------------------------------------


def padded(net: Net, x: Tensor) -> Tensor:
    """ResNet's shortcut without weights: zero channels before and after."""
    b = net.b
    front, back = net.rng.choice(((0, 2), (2, 2), (1, 3), (0, 1)))
    value = b.const(np.array(net.rng.choice((0.0, 0.0, 0.5)), np.float32))
    if b.opset >= 18 and b.maybe():
        return b.op("Pad", x, net.ints(front, back), value, net.ints(net.rng.choice((1, 1 - x.rank))))
    pads = [0, front, *[0] * (x.rank - 2), 0, back, *[0] * (x.rank - 2)]
    return b.op("Pad", x, net.ints(*pads), value)


def cut(net: Net, x: Tensor) -> Tensor:
    """A Slice of the channels."""
    size = channels(x, 1)
    step = net.rng.choice((1, 1, 1, 2, -1, -2, 3))
    first, last = sorted(net.rng.sample(range(size + 1), 2))
    starts, ends = (first, last) if step > 0 else (last - 1, first - 1 if first else -size - 5)
    if step > 0 and net.b.maybe(0.3):
        starts, ends = first - size, net.rng.choice((last, 2**31 - 1, 2**63 - 1))
    axis = net.rng.choice((1, 1 - x.rank))
    return net.b.slice(x, [starts], [ends], [axis], [step])


def picked(net: Net, x: Tensor) -> Tensor:
    """A Gather of the channels: in another order, some only, some twice."""
    size = channels(x, 1)
    match net.rng.randrange(4):
        case 0:
            indices = net.rng.sample(range(size), size)
        case 1:
            indices = net.rng.sample(range(size), net.rng.randint(1, size))
        case 2:
            indices = [net.rng.randrange(-size, size) for _ in range(net.rng.randint(1, size))]
        case _:
            one = net.b.op("Gather", x, net.b.const(np.array(net.rng.randrange(-size, size), np.int64)), axis=1)
            one = net.b.unsqueeze(one, 1)
            return net.b.op("Concat", x, net.b.op("Mul", x, one), axis=1) if size <= 12 else net.b.op("Add", x, one)
    axis = net.rng.choice((1, 1 - x.rank))
    dtype = net.rng.choice(("int64", "int32"))
    return net.b.op("Gather", x, net.b.const(np.array(indices, dtype)), axis=axis)


def tiled(net: Net, x: Tensor) -> Tensor:
    if channels(x, 1) > 12:
        raise CannotAdd("wide enough")
    return net.b.op("Tile", x, net.ints(1, 2, *[1] * (x.rank - 2)))


def expanded(net: Net, x: Tensor) -> Tensor:
    """A constant spread over the image; its target is computed, or has fewer entries than the image axes."""
    b = net.b
    mask = per_channel(net, x)
    match net.rng.randrange(3):
        case 0:
            return b.op("Mul", x, b.op("Expand", mask, b.op("Shape", x)))
        case 1:
            one = b.const(np.array([1.25], np.float32))
            target = net.ints(channels(x, 1), *[1] * (x.rank - 2))
            return b.op("Add", x, b.op("Expand", one, target))
        case _:
            target = b.op("Concat", net.dim(x, 0), net.ints(1, *[1] * (x.rank - 2)), axis=0)
            return b.op("Add", x, b.op("Expand", mask, target))


def filled(net: Net, x: Tensor) -> Tensor:
    """A ConstantOfShape joined or added."""
    b = net.b
    made = b.op("ConstantOfShape", b.op("Shape", x), value=helper.make_tensor("v", 1, [1], [0.5]))
    return b.op("Concat", x, made, axis=1) if b.maybe() and channels(x, 1) <= 12 else b.op("Add", x, made)


def depth_to_space(net: Net, x: Tensor) -> Tensor:
    if x.rank != 4 or channels(x, 1) % 4:
        raise CannotAdd("no blocks")
    mode = net.rng.choice(("DCR", "CRD"))
    net.built[f"DepthToSpace {mode}"] += 1
    return net.b.op("DepthToSpace", x, blocksize=2, mode=mode)


def space_to_depth(net: Net, x: Tensor) -> Tensor:
    if x.rank != 4 or channels(x, 1) > 8 or any(size % 2 for axis in (2, 3) for size in x.dims[axis]):
        raise CannotAdd("no blocks")
    return net.b.op("SpaceToDepth", x, blocksize=2)


# -- over channels, which pins them ------------------------------------------------------------------------------------


def spatial_gate(net: Net, x: Tensor) -> Tensor:
    """CBAM's: mean and maximum over the channels."""
    b = net.b
    both = b.op("Concat", b.reduce("ReduceMean", x, [1]), b.reduce("ReduceMax", x, [1]), axis=1)
    return b.op("Mul", x, b.op("Sigmoid", convolved(net, both, 1)))


def channel_softmax(net: Net, x: Tensor) -> Tensor:
    if net.b.maybe():
        return net.b.op("Softmax", x, axis=1)
    return net.b.op("Softmax", x, axis=net.rng.choice((-1, x.rank - 1)))


# -- products ----------------------------------------------------------------------------------------------------------


def channels_last(net: Net, x: Tensor) -> Tensor:
    """1x1 convolution as a product in NHWC, or an Einsum."""
    b, size, out, space = net.b, channels(x, 1), net.width(), "hwd"[: x.rank - 2]
    if b.opset >= 12 and b.maybe(0.3):
        net.built["Einsum"] += 1
        return b.op("Einsum", x, net.weight(out, size, summed=size), equation=f"nc{space},oc->no{space}")
    last = list(range(2, x.rank))
    y = b.op("Transpose", x, perm=[0, *last, 1])
    y = b.op("MatMul", y, net.weight(size, out, summed=size))
    y = b.op("Add", y, net.vector(out))
    return b.op("Transpose", y, perm=[0, x.rank - 1, *range(1, x.rank - 1)])


def non_local(net: Net, x: Tensor) -> Tensor:
    """Attention between the places of an image."""
    b, size, inner = net.b, channels(x, 1), net.rng.choice((2, 4))
    q, k, v = (net.reshape(convolved(net, x, inner, k=1), (x, 0), inner, -1) for _ in range(3))
    scores = b.op("Softmax", b.op("MatMul", b.op("Transpose", q, perm=[0, 2, 1]), k), axis=2)
    y = b.op("MatMul", v, b.op("Transpose", scores, perm=[0, 2, 1]))
    y = net.reshape(y, (x, 0), inner, *[(x, axis) for axis in range(2, x.rank)])
    return b.op("Add", x, convolved(net, y, size, k=1))


IMAGES: tuple[Block, ...] = (
    *(conv, conv, conv, grouped, grouped, depthwise, depthwise, transposed, transposed),
    *(activated, activated, batch_norm, batch_norm, instance_norm, group_norm, prelu, scaled, where, pooled, resized),
    *(residual, residual, residual, squeeze_excite, squeeze_excite, chunks, chunks, dense, twice, folded, shuffle),
    *(shuffle, branches, looped, padded, cut, cut, picked, picked, tiled, expanded, expanded, filled),
    *(depth_to_space, space_to_depth, spatial_gate, channel_softmax, channels_last, non_local),
)


# -- to other kinds ----------------------------------------------------------------------------------------------------


def flattened(net: Net, x: Tensor) -> Tensor:
    """All of it into one axis, channels first or last; a product follows."""
    b = net.b
    total = int(np.prod([channels(x, axis) for axis in range(1, x.rank)]))
    if total > 400:
        raise CannotAdd("too much")
    if b.maybe():
        net.built["flatten of channels that come last"] += 1
        x = b.op("Transpose", x, perm=[0, *range(2, x.rank), 1])
    y = b.op("Flatten", x, axis=1) if b.maybe() else net.reshape(x, (x, 0), total)
    return b.op("Gemm", y, net.weight(8, total, summed=total), transB=1)


def averaged(net: Net, x: Tensor) -> Tensor:
    b, axes = net.b, list(range(2, x.rank))
    match net.rng.randrange(5):
        case 4:
            if 1 in (*x.dims[0], *x.dims[1]):
                raise CannotAdd("more than the space would go")
            net.built["Squeeze without axes"] += 1
            return b.op("Squeeze", b.op("GlobalAveragePool", x))
        case 0:
            return b.op("Flatten", b.op("GlobalAveragePool", x))
        case 1:
            return b.squeeze(b.op("GlobalMaxPool", x), *(axis - x.rank for axis in axes))
        case 2:
            return net.reshape(b.op("GlobalAveragePool", x), (x, 0), channels(x, 1))
        case _:
            return b.reduce("ReduceMean", x, [axis - x.rank for axis in axes], keepdims=0)


def to_tokens(net: Net, x: Tensor) -> Tensor:
    b, size = net.b, channels(x, 1)
    if b.maybe():
        return b.op("Transpose", net.reshape(x, (x, 0), size, -1), perm=[0, 2, 1])
    y = b.op("Transpose", x, perm=[0, *range(2, x.rank), 1])
    return b.op("Reshape", y, net.ints(0, -1, size)) if x.rank > 3 else y


def columns(net: Net, x: Tensor) -> Tensor:
    """As text recognizers do: channels and height are the features of a column."""
    b = net.b
    if x.rank != 4 or channels(x, 1) * channels(x, 2) > 64:
        raise CannotAdd("too high")
    order: Any = net.rng.choice(([0, 3, 1, 2], [0, 3, 2, 1]))
    y = b.op("Transpose", x, perm=order)
    return net.reshape(y, (x, 0), (x, 3), channels(x, 1) * channels(x, 2))


TURNS: tuple[tuple[str, Block], ...] = (
    ("vector", flattened),
    ("vector", averaged),
    ("tokens", to_tokens),
    ("tokens", columns),
)

__all__ = ["IMAGES", "TURNS", "Builder", "head", "stem"]
