"""Mixing: what a channel told is told by others, up to the damping, where it is a function of theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxslim.passes.prune.apply import kept_ids, remove_channels
from onnxslim.passes.prune.mix import mix_channels
from tests.ops.channels.nets import Node, model, node
from tests.passes.prune.nets import decibels, loaded, measured, samples

IMAGE: dict[str, list[str | int]] = {"x": ["N", 3, 4, 4]}
ROWS: dict[str, list[str | int]] = {"x": ["N", 5]}


def redundant(
    proto: onnx.ModelProto, weight: str, axis: int = 0, bias: str = "", shift: float = 0.0
) -> onnx.ModelProto:
    """Channel 3 becomes twice channel 0 less channel 1, plus a constant."""
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == weight:
            moved = np.moveaxis(array, axis, 0)
            moved[3] = 2 * moved[0] - moved[1]
        elif tensor.name == bias:
            array[3] = 2 * array[0] - array[1] + shift
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def mixed(proto: onnx.ModelProto, mixing: bool = True) -> float:
    """Decibels that are left when channel 3 of the first weight goes."""
    original, pruned, given = loaded(proto), loaded(proto), samples(proto, count=64, size=256)
    channels, reads, moments = measured(pruned, given)
    key = next(group.key for group in channels.groups if group.weights[0].value.name == "w")
    removal = {key: [3]}
    assert mix_channels(reads if mixing else [], moments, kept_ids(channels, removal)) == (1 if mixing else 0)
    remove_channels(pruned, channels, removal)
    return decibels(original, pruned, given)


LINEAR: dict[str, tuple[onnx.ModelProto, int]] = {
    "convolutions": (
        model(["Conv x w -> a", "Conv a v -> y"], {"w": (6, 3, 1, 1), "v": (4, 6, 3, 3)}, inputs=IMAGE),
        0,
    ),
    "transposed": (
        model(["Conv x w -> a", "ConvTranspose a v -> y"], {"w": (6, 3, 1, 1), "v": (6, 4, 2, 2)}, inputs=IMAGE),
        0,
    ),
    "products": (model(["MatMul x w -> a", "MatMul a v -> y"], {"w": (5, 6), "v": (6, 4)}, inputs=ROWS), 1),
    "transB": (
        model(
            [node("Gemm x w -> a", transB=1), node("Gemm a v -> y", transB=1)], {"w": (6, 5), "v": (4, 6)}, inputs=ROWS
        ),
        0,
    ),
    "weights on the left": (
        model(["MatMul w x -> a", "MatMul v a -> y"], {"w": (6, 5), "v": (4, 6)}, inputs={"x": [5, "N"]}),
        0,
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_function_of_the_others_is_not_missed(name: str) -> None:
    proto, axis = LINEAR[name]
    assert mixed(redundant(proto, "w", axis)) > 38
    assert mixed(proto, mixing=False) < 15


AFFINE: dict[str, tuple[list[str | Node], dict[str, tuple[int, ...]], dict[str, list[str | int]], int]] = {
    "convolutions": (
        ["Conv x w k -> a", "Conv a v b -> y"],
        {"w": (6, 3, 1, 1), "k": (6,), "v": (4, 6, 2, 2), "b": (4,)},
        {"x": ["N", 3, 4, 4]},
        0,
    ),
    "gemm": (
        ["Gemm x w k -> a", "Gemm a v b -> y"],
        {"w": (5, 6), "k": (6,), "v": (6, 4), "b": (4,)},
        {"x": ["N", 5]},
        1,
    ),
    "matmul and add": (
        ["MatMul x w -> u", "Add u k -> a", "MatMul a v -> z", "Add b z -> y"],
        {"w": (5, 6), "k": (6,), "v": (6, 4), "b": (4,)},
        {"x": ["N", 5]},
        1,
    ),
    "one output": (
        ["MatMul x w -> u", "Add u k -> a", "MatMul a v -> z", "Add z b -> y"],
        {"w": (5, 6), "k": (6,), "v": (6, 1), "b": (1,)},
        {"x": ["N", 5]},
        1,
    ),
}


@pytest.mark.parametrize("name", AFFINE)
def test_a_constant_part_goes_to_the_bias(name: str) -> None:
    nodes, weights, inputs, axis = AFFINE[name]
    proto = redundant(model(nodes, weights, inputs=inputs), "w", axis, "k", shift=9.0)
    assert mixed(proto) > 38


def test_without_a_bias_a_constant_part_is_made_up_for_as_well_as_can_be() -> None:
    proto = model(["Conv x w k -> a", "Conv a v -> y"], {"w": (6, 3, 1, 1), "k": (6,), "v": (4, 6, 1, 1)}, inputs=IMAGE)
    redundant(proto, "w", 0, "k", shift=9.0)
    assert mixed(proto, mixing=False) + 3 < mixed(proto) < 38


@pytest.mark.parametrize("scale", ["alpha", "beta"])
def test_a_scaled_bias_is_left_alone(scale: str) -> None:
    weights = {"w": (5, 6), "v": (6, 4), "b": (4,)}
    proto = model(["MatMul x w -> a", node("Gemm a v b -> y", **{scale: 0.5})], weights, inputs=ROWS)
    assert mixed(redundant(proto, "w", 1)) > 38


def test_a_bias_along_another_axis_is_none_of_the_product() -> None:
    # v a is [4, 4]: b is added along the axis that x gave, not along the outputs of v.
    weights = {"w": (6, 5), "k": (6, 1), "v": (4, 6), "b": (4,)}
    proto = model(["MatMul w x -> u", "Add u k -> a", "MatMul v a -> z", "Add z b -> y"], weights, inputs={"x": [5, 4]})
    pruned, given = loaded(proto), samples(proto)
    channels, reads, moments = measured(pruned, given)
    mix_channels(reads, moments, kept_ids(channels, {channels.groups[0].key: [3]}))
    after = pruned.graph.initializers["b"].const_value
    assert after is not None
    assert after.numpy().tolist() == numpy_helper.to_array(proto.graph.initializer[3]).tolist()


SHARED: dict[str, tuple[list[str | Node], dict[str, tuple[int, ...]], dict[str, list[str | int]], int, float]] = {
    "convolutions": (
        ["Conv x w -> a", "Conv a v -> b", "Neg a -> c", "Conv c v -> d", node("Concat b d -> y", axis=1)],
        {"w": (6, 3, 1, 1), "v": (4, 6, 3, 3)},
        IMAGE,
        0,
        38,
    ),
    "gemm with one bias": (
        ["Gemm x w k -> a", "Gemm a v b -> c", "Neg a -> n", "Gemm n v b -> d", node("Concat c d -> y", axis=1)],
        {"w": (5, 6), "k": (6,), "v": (6, 4), "b": (4,)},
        ROWS,
        1,
        38,
    ),
    "products of any rank": (
        ["MatMul x w -> a", "MatMul a v -> c", node("Unsqueeze a -> t", axes=[0]), "MatMul t v -> d", "Add c d -> y"],
        {"w": (5, 6), "v": (6, 4)},
        ROWS,
        1,
        38,
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_weights_that_several_nodes_read_are_mixed_once_for_all_of_them(name: str) -> None:
    nodes, weights, inputs, axis, least = SHARED[name]
    proto = redundant(model(nodes, weights, inputs=inputs, opset=11), "w", axis, "k")
    _, reads, moments = measured(loaded(proto), samples(proto))
    assert [len(read.nodes) for read in reads] == [2]
    assert len(moments) == 1
    assert mixed(proto) > least > mixed(proto, mixing=False)


def test_a_weight_that_something_else_sees_too_is_left() -> None:
    nodes, weights, inputs, _, _ = SHARED["convolutions"]
    proto = model(nodes, weights, inputs=inputs, opset=11)
    channels, (read,), moments = measured(loaded(proto), samples(proto))
    part = replace(read, contractions=read.contractions[:1])
    assert not part.whole
    assert mix_channels([part], moments, kept_ids(channels, {channels.groups[0].key: [3]})) == 0


def test_what_was_not_measured_is_left() -> None:
    proto = LINEAR["convolutions"][0]
    channels, reads, _ = measured(loaded(proto), samples(proto))
    assert mix_channels(reads, {}, kept_ids(channels, {channels.groups[0].key: [3]})) == 0


def test_a_channel_that_never_varies_goes_into_the_bias() -> None:
    weights = {"w": (6, 3, 1, 1), "k": (6,), "v": (4, 6, 1, 1), "b": (4,)}
    proto = model(["Conv x w k -> u", "Relu u -> a", "Conv a v b -> y"], weights, inputs=IMAGE)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == "w":
            array[3] = 0
        if tensor.name == "k":
            array[3] = 2.5
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert mixed(proto) > 100
