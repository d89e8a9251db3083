"""What keeps channels where they are: the operator and the reason that are told for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from onnx import helper

from tests.ops.channels.nets import Node, Weight, groups, model, node, reasons

OVER = "what is computed over the axis would change"
TOGETHER = "it is reshaped together with other axes"
Spec = tuple[Sequence[str | Node], Mapping[str, Weight], int, tuple[str, str]]


def after_conv(*nodes: str | Node, why: tuple[str, str], opset: int = 17, **weights: Weight) -> Spec:
    """A convolution from x to a, then what keeps its channels, up to y."""
    return ["Conv x w -> a", *nodes], {"w": (8, 3, 1, 1)} | weights, opset, why


EIGHT = np.arange(1.0, 9.0, dtype=np.float32)

CASES = {
    "an output": after_conv("Relu a -> y", why=("graph", "an output of the model keeps its shape")),
    "Softmax": after_conv(node("Softmax a -> y", axis=1), why=("Softmax", OVER)),
    "Softmax before opset 13 flattens": after_conv(node("Softmax a -> y", axis=0), opset=11, why=("Softmax", OVER)),
    "LogSoftmax": after_conv(node("LogSoftmax a -> y", axis=-3), why=("LogSoftmax", OVER)),
    "ReduceMean": after_conv(node("ReduceMean a -> y", axes=[1]), why=("ReduceMean", OVER)),
    "ReduceSum of all": after_conv(node("ReduceSum a -> y", keepdims=0), why=("ReduceSum", OVER)),
    "ReduceMax over computed axes": after_conv(
        "Shape a -> s", "ReduceMin s -> e", "ReduceMax a e -> y", opset=20, why=("ReduceMax", "its axes are not known")
    ),
    "ArgMax": after_conv(node("ArgMax a -> y", axis=1), why=("ArgMax", OVER)),
    "TopK": after_conv(node("TopK a k -> y i", axis=1), k=[2], why=("TopK", OVER)),
    "LayerNormalization": after_conv(
        node("LayerNormalization a m -> y", axis=1), m=(8, 4, 4), why=("LayerNormalization", OVER)
    ),
    "LayerNormalization whose scale spreads": after_conv(
        node("LayerNormalization a m -> y", axis=-1),
        m=(8, 4, 4),
        why=("LayerNormalization", "its scales spread over other axes"),
    ),
    "LRN": after_conv(node("LRN a -> y", size=3), why=("LRN", OVER)),
    "LpNormalization": after_conv(node("LpNormalization a -> y", axis=1), why=("LpNormalization", OVER)),
    "CumSum": after_conv("CumSum a m -> y", m=np.array(1, np.int64), why=("CumSum", OVER)),
    "MaxPool with indices": after_conv(
        node("MaxPool a -> b i", kernel_shape=[2, 2]),
        "Conv b v -> y",
        v=(3, 8, 1, 1),
        why=("MaxPool", "indices into the whole tensor"),
    ),
    "BatchNormalization in training": after_conv(
        node("BatchNormalization a m m m m -> y n o", training_mode=1),
        m=EIGHT,
        why=("BatchNormalization", "it is in training mode"),
    ),
    "Gather by what is computed": after_conv(
        "Shape x -> s",
        node("Gather a s -> y", axis=1),
        why=("Gather", "entries are looked up by what is computed"),
    ),
    "Gather of one": after_conv(
        node("Gather a m -> y", axis=1), m=np.array(-1), why=("Gather", "it is taken out by its index")
    ),
    "Slice with computed bounds": after_conv(
        "Shape x -> s", "Slice s o i -> e", "Slice a o e i -> y", o=[0], i=[1], why=("Slice", "its slice is not known")
    ),
    "Slice of one": after_conv("Slice a o i i -> y", o=[0], i=[1], why=("Slice", "a part of one entry")),
    "Split of one": after_conv(node("Split a s -> y z", axis=1), s=[1, 7], why=("Split", "a part of one entry")),
    "Pad by its edge": after_conv(
        node("Pad a m -> y", mode="edge"), m=[0, 1, 0, 0, 0, 1, 0, 0], why=("Pad", "it is padded")
    ),
    "Tile, computed": after_conv(
        "Shape x -> s", "Tile a s -> y", why=("Tile", "how often it is repeated is not known")
    ),
    "Reshape of several axes": after_conv("Reshape a s -> y", s=[0, 16, 8], why=("Reshape", TOGETHER)),
    "Resize of the channels": after_conv(
        "Resize a - m -> y", m=np.array([1, 1.1, 1, 1], np.float32), why=("Resize", "Resize needs it")
    ),
    "Resize with a region": after_conv(
        node("Resize a r m -> y", coordinate_transformation_mode="tf_crop_and_resize"),
        r=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
        m=np.ones(4, np.float32),
        why=("Resize", "Resize needs it"),
    ),
    "Einsum of a diagonal": after_conv(
        node("Einsum a -> y", equation="nchh->nch"),
        why=("Einsum", "only einsums with explicit and different letters are followed"),
    ),
    "Einsum of one": after_conv(
        node("Einsum a -> y", equation="nchw->nhw"), why=("Einsum", "a sum over more or fewer than two tensors")
    ),
    "Einsum that sums one of two": after_conv(
        node("Einsum a m -> y", equation="nchw,h->nhw"), m=(4,), why=("Einsum", "a sum over one tensor")
    ),
    "blocks of scales": after_conv(
        node("DequantizeLinear q s -> m", axis=1, block_size=4),
        "Conv a m -> y",
        opset=21,
        q=np.ones((8, 8, 1, 1), np.int8),
        s=np.ones((8, 2, 1, 1), np.float32),
        why=("DequantizeLinear", "its size is not that of what it goes with, or not known"),
    ),
    "Size": after_conv("Size a -> y", why=("Size", "channels are not followed through Size")),
    "Shape that is an output": after_conv("Shape a -> y", why=("Shape", "its size is an output")),
    "GatherND": after_conv(
        "GatherND a m -> y", m=np.array([[0, 1]]), why=("GatherND", "channels are not followed through GatherND")
    ),
    "an operator of another domain": after_conv(
        helper.make_node("FusedConv", ["a", "m"], ["y"], domain="com.microsoft"),
        m=(8, 8, 1, 1),
        why=("FusedConv", "channels are not followed through FusedConv"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_stay(name: str) -> None:
    nodes, weights, opset, why = CASES[name]
    proto = model(nodes, weights, opset=opset)
    assert why in reasons(proto, "w", 0)


def test_a_loop_keeps_the_shapes_of_its_states() -> None:
    body = helper.make_graph(
        [node("Relu s -> t"), node("Identity c -> d")],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("c", 9, []),
            helper.make_tensor_value_info("s", 1, None),
        ],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("t", 1, None)],
    )
    proto = model(
        ["Conv x w -> a", node("Loop n - a -> b", body=body), "Conv b v -> y"],
        {"w": (8, 3, 1, 1), "v": (3, 8, 1, 1), "n": np.array(2, np.int64)},
    )
    assert groups(proto) == {}
    assert ("Loop", "Loop needs it") in reasons(proto, "w", 0)


def test_a_batch_that_comes_first_in_a_recurrence() -> None:
    proto = model(
        [node("GRU x w r -> h last", hidden_size=5, layout=1)],
        {"w": (1, 15, 3), "r": (1, 15, 5)},
        inputs={"x": ["N", 4, 3]},
        outputs=("last",),
    )
    assert reasons(proto, "r", 2) == {("GRU", "its shapes are not known, or the batch comes first")}


def test_time_stays_where_a_recurrence_runs_over_it() -> None:
    # Four groups of channels become steps of time: one that is gone would change those that follow.
    proto = model(
        [
            "MatMul x w -> a",
            "Reshape a s -> c",
            node("Transpose c -> d", perm=[1, 0, 2]),
            node("RNN d m r -> h", hidden_size=3),
            "MatMul h v -> y",
        ],
        {"w": (3, 8), "s": [-1, 4, 2], "m": (1, 3, 2), "r": (1, 3, 3), "v": (3, 2)},
        inputs={"x": ["N", 3]},
    )
    assert "w[1]" in groups(proto)  # the two features of each step
    assert groups(proto)["w[1]"] == 2
    assert ("RNN", "a recurrence runs over it") in reasons(proto, "c", 1)


def test_broadcasting_before_opset_7() -> None:
    proto = model(["Conv x w -> a", "PRelu a m -> y"], {"w": (4, 3, 1, 1), "m": (4,)}, opset=6)
    assert ("PRelu", "broadcasting before opset 7 is not followed") in reasons(proto, "w", 0)


def test_equal_sizes_are_not_taken_for_the_same_axis() -> None:
    # A vector of N numbers is added along the last axis, not along the first, though both have eight entries.
    proto = model(
        ["MatMul x w -> a", "Add a m -> b", "MatMul b v -> y"],
        {"w": (3, 8), "m": (8,), "v": (8, 2)},
        inputs={"x": [8, 3]},
    )
    assert groups(proto) == {"w[1]": 8}
    assert reasons(proto, "a", 0)
    assert not reasons(proto, "m", 0)


def test_factors_that_are_swapped_stay() -> None:
    # [4, 4] -> [16] -> [4, 4] with a transposition: the axis of 16 cannot follow both factors.
    proto = model(
        [
            "MatMul x w -> a",
            "Reshape a s -> c",
            node("Transpose c -> d", perm=[0, 2, 1]),
            "Reshape d t -> e",
            "Add a e -> f",
            "MatMul f v -> y",
        ],
        {"w": (3, 16), "s": [-1, 4, 4], "t": [-1, 16], "v": (16, 2)},
        inputs={"x": ["N", 3]},
    )
    # Whichever factor is followed, adding ties each of its entries to all of the other's.
    assert groups(proto) == {}
