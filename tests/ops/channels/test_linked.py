"""What each operator links: the groups of a small model around it, and the oracles whatever is removed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest

from tests.ops.channels.nets import Node, Weight, assert_removable, groups, model, node

Spec = tuple[Sequence[str | Node], Mapping[str, Weight], Mapping[str, int]]

W, V = (8, 3, 1, 1), (3, 8, 1, 1)
ALL = {"w[0]": 8}
EIGHT = np.arange(1.0, 9.0, dtype=np.float32)


def between(
    *nodes: str | Node, opset: int = 17, groups: Mapping[str, int] = ALL, **weights: Weight
) -> tuple[Spec, int]:
    """A convolution from x to a, nodes from a to b, a convolution from b to y."""
    return (["Conv x w -> a", *nodes, "Conv b v -> y"], {"w": W, "v": V, **weights}, groups), opset


def tokens(*nodes: str | Node, groups: Mapping[str, int], opset: int = 17, **weights: Weight) -> tuple[Spec, int]:
    """A product from x to a, ``[N, 4, 8]``, nodes from a to b, a product from b to y."""
    first = node("MatMul u w -> a")
    start = [node("Transpose x -> t", perm=[0, 2, 3, 1]), node("Reshape t s -> u"), first]
    given: dict[str, Weight] = {"w": (3, 8), "v": (8, 5), "s": [0, -1, 3], **weights}
    return ([*start, *nodes, "MatMul b v -> y"], given, groups), opset


CASES = {
    # -- contractions
    "Conv": between("Conv a m -> b", m=(8, 8, 1, 1), groups={"w[0]": 8, "m[0]": 8}),
    "Conv with a bias": between("Conv a m c -> b", m=(8, 8, 1, 1), c=(8,), groups={"w[0]": 8, "m[0]": 8}),
    "Conv, depthwise": between(node("Conv a m -> b", group=8), m=(8, 1, 1, 1)),
    "Conv, depthwise with a multiplier": between(node("Conv a m -> b", group=8), m=(16, 1, 1, 1), v=(3, 16, 1, 1)),
    # Of the groups or the places within them, what tells more channels apart.
    "Conv, whole groups": between(node("Conv a m -> b", group=4), m=(8, 2, 1, 1), groups={"w[0]": 4}),
    "Conv, places of groups": between(node("Conv a m -> b", group=2), m=(8, 4, 1, 1), groups={"w[0]": 4, "m[0]": 4}),
    "ConvTranspose": between("ConvTranspose a m c -> b", m=(8, 8, 2, 2), c=(8,), groups={"w[0]": 8, "m[1]": 8}),
    "ConvTranspose, depthwise": between(node("ConvTranspose a m -> b", group=8), m=(8, 1, 2, 2)),
    "ConvTranspose, depthwise with a multiplier": between(
        node("ConvTranspose a m c -> b", group=8), m=(8, 2, 2, 2), c=(16,), v=(3, 16, 1, 1)
    ),
    "ConvTranspose, places of groups": between(
        node("ConvTranspose a m c -> b", group=2), m=(8, 4, 2, 2), c=(8,), groups={"w[0]": 4, "m[1]": 4}
    ),
    "MatMul, heads": tokens(
        "Reshape a h -> a4",
        node("Transpose a4 -> q", perm=[0, 2, 1, 3]),
        node("Transpose a4 -> k", perm=[0, 2, 3, 1]),
        "MatMul q k -> p",
        "MatMul p q -> z",
        node("Transpose z -> z4", perm=[0, 2, 1, 3]),
        "Reshape z4 h3 -> b",
        h=[0, 0, 4, 2],
        h3=[0, 0, 8],
        groups={"w[1]": 4},
    ),
    "MatMul, computed on both sides": tokens(
        "MatMul u k -> j",
        node("Transpose j -> jt", perm=[0, 2, 1]),
        "MatMul a jt -> p",
        "MatMul p a -> b",
        k=(3, 8),
        groups={"w[1]": 8},
    ),
    "MatMul, a vector": tokens("MatMul a m -> r", "Unsqueeze r i -> b", m=(8,), i=[2], v=(1, 5), groups={"w[1]": 8}),
    "Einsum": tokens(node("Einsum a m -> b", equation="btc,dc->btd"), m=(8, 8), groups={"w[1]": 8, "m[0]": 8}),
    # -- one by one
    "Relu": between("Relu a -> b"),
    "Cast": between(node("Cast a -> c", to=11), node("Cast c -> b", to=1)),
    "Mul by a number for each": between("Mul m a -> b", m=(8, 1, 1)),
    "Add of two layers": between("Conv x m -> c", "Add a c -> b", m=W),
    "Where": between("Greater a o -> g", "Where g a m -> b", o=np.float32(0), m=(1, 8, 1, 1)),
    "Sum, Mean, Max": between("Sum a m a -> c", "Mean c m -> d", "Max d m -> b", m=(8, 1, 1)),
    "Clip": between("Clip a o - -> b", o=np.float32(0)),
    "PRelu": between("PRelu a m -> b", m=(8, 1, 1)),
    "CastLike": between("CastLike a m -> b", m=(5,)),
    "Dropout": between("Dropout a -> b"),
    "DequantizeLinear of weights": between(
        node("DequantizeLinear q s z -> m", axis=0),
        "Conv a m -> b",
        q=np.arange(-32, 32, dtype=np.int8).reshape(8, 8, 1, 1),
        s=EIGHT / 99,
        z=np.arange(8, dtype=np.int8),
        groups={"w[0]": 8, "q[0]": 8},
    ),
    "QuantizeLinear of activations": between(
        node("QuantizeLinear a s z -> q", axis=-3),
        node("DequantizeLinear q s z -> b", axis=1),
        s=EIGHT / 99,
        z=np.full(8, 128, np.uint8),
    ),
    # -- normalizations
    "BatchNormalization": between("BatchNormalization a m m m n -> b", m=(8,), n=EIGHT),
    "InstanceNormalization": between("InstanceNormalization a m m -> b", m=(8,)),
    "GroupNormalization, a number for each group": between(
        node("GroupNormalization a m m -> b", num_groups=4), m=(4,), groups={"w[0]": 4}, opset=18
    ),
    "GroupNormalization, a number for each channel": between(
        node("GroupNormalization a m m -> b", num_groups=4), m=(8,), groups={"w[0]": 4}, opset=21
    ),
    "GroupNormalization of single channels": between(
        node("GroupNormalization a m m -> b", num_groups=8), m=(8,), opset=21
    ),
    "Softmax over another axis": between(node("Softmax a -> b", axis=-1)),
    "ReduceMean over other axes": between(node("ReduceMean a -> b", axes=[-1, 2])),
    "ReduceMax without the axes": between(
        node("ReduceMax a -> c", axes=[2, 3], keepdims=0), "Unsqueeze c e -> b", e=[2, 3]
    ),
    "Pooling": between(
        node("MaxPool a -> c", kernel_shape=[2, 2]),
        node("AveragePool c -> d", kernel_shape=[2, 2]),
        "GlobalMaxPool d -> e",
        "GlobalAveragePool e -> b",
    ),
    "CumSum over another axis": between("CumSum a m -> b", m=np.array(3, np.int64)),
    "LayerNormalization of rows": between(node("LayerNormalization a m -> b", axis=-1), m=(4,)),
    # -- movers
    "Transpose": between(node("Transpose a -> c", perm=[1, 0, 3, 2]), node("Transpose c -> b", perm=[1, 0, 2, 3])),
    "Concat": between("Relu a -> c", node("Concat a c -> b", axis=-3), v=(3, 16, 1, 1)),
    "Concat of a tensor with itself": between(node("Concat a a -> b", axis=1), v=(3, 16, 1, 1)),
    "Split": between(
        node("Split a s -> c d", axis=-3), node("Concat d c -> b", axis=1), s=[3, 5], groups={"w[0]": 3, "w[0]_1": 5}
    ),
    "Split, before opset 13": between(
        node("Split a -> c d", axis=1, split=[3, 5]),
        node("Concat d c -> b", axis=1),
        opset=11,
        groups={"w[0]": 3, "w[0]_1": 5},
    ),
    "Split, halves that are added": between(
        node("Split a -> c d", axis=1), "Add d c -> b", v=(3, 4, 1, 1), groups={"w[0]": 4}
    ),
    "Slice": between("Slice a s e i -> b", s=[2], e=[-1], i=[-3], v=(3, 5, 1, 1), groups={"w[0]": 3, "w[0]_1": 5}),
    "Slice backwards, every other": between(
        "Slice a s e i t -> b", s=[7], e=[-100], i=[1], t=[-2], v=(3, 4, 1, 1), groups={"w[0]": 4, "w[0]_1": 4}
    ),
    "Gather": between(
        node("Gather a m -> b", axis=1), m=[7, 0, -1, 3], v=(3, 4, 1, 1), groups={"w[0]": 2, "w[0]_1": 5}
    ),
    "Gather of one, which stays": between(
        node("Gather a m -> c", axis=1), "Unsqueeze c i -> d", "Mul a d -> b", m=np.array(2), i=[1], groups={"w[0]": 7}
    ),
    "Pad": between("Pad a m -> b", m=[0, 2, 0, 0, 0, 3, 0, 0], v=(3, 13, 1, 1), groups={"w[0]": 8, "v[1]": 5}),
    "Pad of one axis": between(
        "Pad a m - i -> b", m=[2, 1], i=[-3], v=(3, 11, 1, 1), opset=18, groups={"w[0]": 8, "v[1]": 3}
    ),
    "Tile": between("Tile a m -> b", m=[1, 2, 1, 1], v=(3, 16, 1, 1)),
    "Expand": between("Shape a -> s", "Expand m s -> c", "Add a c -> b", m=(1, 8, 1, 1)),
    "Expand, fewer entries than axes": between("Expand m s -> c", "Add a c -> b", m=(1, 1, 1), s=[8, 1, 1]),
    "ConstantOfShape": between(
        "Shape a -> s",
        "ConstantOfShape s -> c",
        node("Concat a c -> b", axis=1),
        v=(3, 16, 1, 1),
        groups={"w[0]": 8, "v[1]": 8},
    ),
    "DepthToSpace DCR": between(
        node("DepthToSpace a -> b", blocksize=2, mode="DCR"), v=(3, 2, 1, 1), groups={"w[0]": 2}
    ),
    "DepthToSpace CRD": between(
        node("DepthToSpace a -> b", blocksize=2, mode="CRD"), v=(3, 2, 1, 1), groups={"w[0]": 2}
    ),
    "SpaceToDepth": between(node("SpaceToDepth a -> b", blocksize=2), v=(3, 32, 1, 1)),
    "Resize by scales": between("Resize a - m -> b", m=np.array([1, 1, 2, 2], np.float32)),
    "Resize to sizes": between(
        "Shape a -> s",
        "Slice s o i -> t",
        node("Concat t m -> z", axis=0),
        "Resize a - - z -> b",
        o=[0],
        i=[2],
        m=[8, 8],
    ),
    "Resize of some axes": between(node("Resize a - - m -> b", axes=[1, -1, 2]), m=[8, 8, 8], opset=18),
    # -- reshapes
    "Reshape, computed": between("Shape a -> s", "Reshape a s -> b"),
    "Reshape with 0 and -1": between("Reshape a s -> c", "Reshape c t -> b", s=[0, 0, -1], t=[0, 8, 4, 4]),
    "Reshape with -1 for the batch": between("Reshape a s -> b", s=[-1, 8, 4, 4]),
    "shuffle": between(
        "Reshape a s -> c",
        node("Transpose c -> d", perm=[0, 2, 1, 3, 4]),
        "Reshape d t -> b",
        s=[0, 2, 4, 4, 4],
        t=[0, 8, 4, 4],
        groups={"w[0]": 4},
    ),
    "Flatten of what comes last": between(
        node("Transpose a -> c", perm=[0, 2, 3, 1]),
        node("Flatten c -> d"),
        "MatMul d m -> e",
        "Unsqueeze e i -> b",
        m=(128, 8),
        i=[2, 3],
        groups={"w[0]": 8, "m[1]": 8},
    ),
    "Flatten of what comes first": between(
        node("Flatten a -> d"),
        "MatMul d m -> e",
        "Unsqueeze e i -> b",
        m=(128, 8),
        i=[-1, -2],
        groups={"w[0]": 8, "m[1]": 8},
    ),
    "Squeeze": between("GlobalAveragePool a -> c", "Squeeze c i -> d", "Unsqueeze d i -> b", i=[2, 3]),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_go_through(name: str) -> None:
    (nodes, weights, expected), opset = CASES[name]
    assert_removable(model(nodes, weights, opset=opset), expected)


@pytest.mark.parametrize(("across", "transposed"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(across: int, transposed: int) -> None:
    nodes: list[str | Node] = [
        "MatMul x w -> a",
        node("Transpose a -> t", perm=[1, 0]),
        node(f"Gemm {'t' if across else 'a'} m c -> b", transA=across, transB=transposed, alpha=0.5, beta=2.0),
        "MatMul b v -> y",
    ]
    weights: dict[str, Weight] = {"w": (3, 8), "m": (6, 8) if transposed else (8, 6), "c": (1, 6), "v": (6, 2)}
    proto = model(nodes, weights, inputs={"x": ["N", 3]})
    assert_removable(proto, {"w[1]": 8, f"m[{1 - transposed}]": 6})


def recurrent(kind: str, ways: int, y: str, attributes: Mapping[str, int]) -> onnx.ModelProto:
    """One layer with initial states of a computed shape, and a product over what it gives: ``h`` or ``last``."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    direction = "bidirectional" if ways == 2 else "reverse"
    layer = f"{kind} x w r b - h0 {'h0 p' if kind == 'LSTM' else ''} -> {y if y == 'h' else '-'} last"
    perm, target = ([0, 2, 1, 3], "flat") if y == "h" else ([1, 0, 2], "flat2")
    nodes: list[str | Node] = [
        "Shape x -> s",
        node("Gather s one -> n", axis=0),
        node("Concat two n five -> t", axis=0),
        "ConstantOfShape t -> h0",
        node(layer, hidden_size=5, direction=direction, **attributes),
        node(f"Transpose {y} -> g", perm=perm),
        f"Reshape g {target} -> f",
        "MatMul f v -> y",
    ]
    weights: dict[str, Weight] = {
        "w": (ways, gates * 5, 3),
        "r": (ways, gates * 5, 5),
        "b": (ways, gates * 10),
        "p": (ways, 15),
        "v": (ways * 5, 4),
        "one": [1],
        "two": [ways],
        "five": [5],
        "flat": [0, 0, ways * 5],
        "flat2": [-1, ways * 5],
    }
    used = {name for each in nodes for name in (each if isinstance(each, Node) else node(each)).input}
    return model(nodes, {k: a for k, a in weights.items() if k in used}, inputs={"x": [4, "N", 3]})


@pytest.mark.parametrize("y", ["h", "last"])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("LSTM", {}), ("GRU", {"linear_before_reset": 0}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})],
)
def test_hidden_units(kind: str, attributes: dict[str, int], ways: int, y: str) -> None:
    proto = recurrent(kind, ways, y, attributes)
    (key,) = groups(proto)
    assert_removable(proto, {key: 5})


def test_a_slice_of_two_axes_with_steps() -> None:
    proto = model(
        ["MatMul x k -> u", "MatMul w u -> z", "Slice z s e i t -> c", "MatMul m c -> d", "MatMul d v -> y"],
        {
            **{"k": (4, 8), "w": (8, 3), "m": (2, 4), "v": (4, 2)},
            **{"s": [0, 1], "e": [8, 8], "i": [-1, 0], "t": [2, 2]},
        },
        inputs={"x": [3, 4]},
    )
    assert_removable(proto, {"k[1]": 4, "k[1]_1": 4, "w[0]": 4, "w[0]_1": 4}, seeds=12)
