"""Refitting finds weights again: those that were disturbed, and those that make up for channels that are gone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from onnxslim.errors import CannotRun
from onnxslim.execution import open_session
from onnxslim.fitting import Problem
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.passes.prune import refit as refitting
from onnxslim.passes.prune.apply import constants_of, kept_ids, remove_channels
from onnxslim.passes.prune.layers import Layer, layers_of
from onnxslim.passes.prune.refit import refit
from tests.ops.channels.nets import IMAGE, Node, Weight, model, node
from tests.passes.prune.nets import decibels, feeds, loaded, measured, samples

Case = tuple[list[str | Node], Mapping[str, Weight], Mapping[str, list[str | int]]]
ROWS: dict[str, list[str | int]] = {"x": ["N", 5]}
PIXELS: dict[str, list[str | int]] = {"x": ["N", 4, 6, 6]}
LAYERS: dict[str, Case] = {
    "convolution": (["Conv x v b -> y"], {"v": (6, 4, 3, 3), "b": (6,)}, PIXELS),
    "padded, strided, dilated": (
        [node("Conv x v b -> y", pads=[1, 2, 0, 1], strides=[2, 1], dilations=[1, 2])],
        {"v": (6, 4, 3, 2), "b": (6,)},
        PIXELS,
    ),
    "without bias": (["Conv x v -> y"], {"v": (6, 4, 3, 3)}, PIXELS),
    "grouped": ([node("Conv x v b -> y", group=2)], {"v": (6, 2, 3, 3), "b": (6,)}, PIXELS),
    "depthwise": ([node("Conv x v b -> y", group=4)], {"v": (4, 1, 3, 3), "b": (4,)}, PIXELS),
    "depthwise, two outputs of each": ([node("Conv x v b -> y", group=4)], {"v": (8, 1, 3, 3), "b": (8,)}, PIXELS),
    "one axis": (["Conv x v b -> y"], {"v": (6, 4, 3), "b": (6,)}, {"x": ["N", 4, 9]}),
    "three axes": (["Conv x v b -> y"], {"v": (3, 4, 2, 2, 2), "b": (3,)}, {"x": ["N", 4, 4, 4, 4]}),
    "gemm": (["Gemm x v b -> y"], {"v": (5, 7), "b": (7,)}, ROWS),
    "gemm transB": ([node("Gemm x v b -> y", transB=1)], {"v": (7, 5), "b": (7,)}, ROWS),
    "gemm square": ([node("Gemm x v b -> y", transB=1)], {"v": (5, 5), "b": (5,)}, ROWS),
    "gemm transA": ([node("Gemm x v b -> y", transA=1)], {"v": (5, 7), "b": (7,)}, {"x": [5, "N"]}),
    "matmul": (["MatMul x v -> y"], {"v": (5, 7)}, {"x": ["N", 3, 5]}),
    "matmul and add": (["MatMul x v -> z", "Add z b -> y"], {"v": (5, 7), "b": (7,)}, {"x": ["N", 3, 5]}),
    "add and matmul": (["MatMul x v -> z", "Add b z -> y"], {"v": (5, 7), "b": (1, 7)}, {"x": ["N", 3, 5]}),
}


def disturbed(model: ir.Model) -> ir.Model:
    """With other weights and biases."""
    generator, made = np.random.default_rng(1), model.clone()
    for name, value in constants_of(made).items():
        tensor = constant_tensor(value)
        assert tensor is not None
        if name in ("v", "b"):
            array = tensor.numpy()
            set_constant(value, (array * 0.8 + generator.normal(0, 0.3, array.shape)).astype(array.dtype))
    return made


def layer_of(model: ir.Model) -> Layer:
    return Layer(
        next(each for each in model.graph if each.op_type in ("Conv", "Gemm", "MatMul")).outputs[0].name or "", None
    )


@pytest.mark.parametrize("name", LAYERS)
def test_disturbed_weights_are_found_again(name: str) -> None:
    proto = model(LAYERS[name][0], LAYERS[name][1], inputs=LAYERS[name][2])
    original, given = loaded(proto), samples(proto, 32)
    pruned = disturbed(original)
    assert decibels(original, pruned, given) < 20
    assert refit(original, pruned, [layer_of(original)], feeds(given), memory=1 << 28, threads=1) == 1
    unseen = samples(proto, 48)[32:]
    assert decibels(original, pruned, unseen) > 55


def redundant(weights: Mapping[str, Weight], nodes: list[str | Node], **inputs: list[str | int]) -> onnx.ModelProto:
    """Channel 3 of w is twice channel 0 less channel 1."""
    proto = model(nodes, weights, inputs=inputs)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("w", "k"):
            array[3] = 2 * array[0] - array[1]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


W: dict[str, Weight] = {"w": (6, 3, 1, 1), "k": (6,)}
NETS = {
    "convolution": redundant(
        W | {"v": (4, 6, 3, 3), "b": (4,)}, ["Conv x w k -> a", "Conv a v b -> y"], x=["N", 3, 6, 6]
    ),
    "reshaped": redundant(
        W | {"s": [0, -1], "v": (24, 4), "b": (4,)},
        ["Conv x w k -> a", "Reshape a s -> r", "MatMul r v -> z", "Add z b -> y"],
        x=["N", 3, 2, 2],
    ),
    "through a depthwise one": redundant(
        W | {"d": np.ones((6, 1, 2, 2), np.float32), "v": (4, 6, 1, 1)},
        ["Conv x w k -> a", node("Conv a d -> e", group=6), "Conv e v -> y"],
        x=["N", 3, 6, 6],
    ),
    "two readers": redundant(
        W | {"v": (4, 6, 1, 1), "u": (4, 6, 1, 1)},
        ["Conv x w k -> a", "Conv a v -> b", "Conv a u -> c", "Relu b -> d", "Add c d -> y"],
        x=["N", 3, 6, 6],
    ),
    "a weight of two readers": redundant(
        W | {"v": (4, 6, 1, 1), "b": (4,)},
        ["Conv x w k -> a", "Neg a -> n", "Conv a v b -> c", "Conv n v b -> d", "Relu c -> e", "Sub e d -> y"],
        x=["N", 3, 6, 6],
    ),
    "one output": redundant(
        W | {"v": (1, 6, 1, 1), "b": (1,)}, ["Conv x w k -> a", "Conv a v b -> y"], x=["N", 3, 4, 4]
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_what_redundant_channels_told_is_found_again(name: str) -> None:
    proto = NETS[name]
    original, pruned, given = loaded(proto), loaded(proto), samples(proto, 32, size=2)
    channels, _, _ = measured(original, given)
    removal = {next(group.key for group in channels.groups if group.weights[0].value.name == "w"): [3]}
    layers = list(layers_of(original, channels, kept_ids(channels, removal)))
    channels, _, _ = measured(pruned, given)
    remove_channels(pruned, channels, removal)
    assert decibels(original, pruned, given) < 20
    refit(original, pruned, layers, feeds(given), memory=1 << 28, threads=1)
    assert decibels(original, pruned, samples(proto, 48, size=2)[32:]) > 50


RECURRENT = model(
    [
        *("Gemm x w k -> s0", "Tanh s0 -> h0", "Gemm h0 v -> r0", "Add r0 s0 -> s1", "Tanh s1 -> h1"),
        *("Gemm h1 v -> r1", "Add r1 s0 -> s2", "Tanh s2 -> h2", "Gemm h2 u -> y"),
    ],
    {"w": (5, 12), "k": (12,), "v": np.random.default_rng(3).normal(0, 0.3, (12, 12)).astype(np.float32), "u": (12, 4)},
    inputs=ROWS,
)


def test_the_steps_of_a_recurrence_are_fitted_together_where_they_are_better_for_it() -> None:
    original, given = loaded(RECURRENT), samples(RECURRENT, 32)
    channels, _, _ = measured(original, given)
    assert not list(layers_of(original, channels, kept_ids(channels, {})))
    keep = kept_ids(channels, {channels.groups[0].key: [0, 1, 2]})
    layers = {layer.key: layer for layer in layers_of(original, channels, keep)}
    assert layers["r0"].others == ("r1",)
    pruned = disturbed(original)
    before = decibels(original, pruned, given)
    assert refit(original, pruned, [Layer("r0", None, ("r1",))], feeds(given), memory=1 << 28, threads=1) == 1
    assert decibels(original, pruned, samples(RECURRENT, 48)[32:]) > before + 20


def test_a_recurrence_that_is_no_better_for_it_keeps_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    original, given = loaded(RECURRENT), samples(RECURRENT, 32)
    pruned = disturbed(original)
    before = constant_tensor(pruned.graph.initializers["v"])
    assert before is not None

    def worse(problem: Problem) -> bool:
        problem.put(problem.weights * 3)
        return True

    monkeypatch.setattr(refitting, "solve_on_unfitted", worse)
    assert refit(original, pruned, [Layer("r0", None, ("r1",))], feeds(given), memory=1 << 28, threads=1) == 0
    after = constant_tensor(pruned.graph.initializers["v"])
    assert after is not None
    assert np.array_equal(before.numpy(), after.numpy())


def test_a_product_that_is_left_with_one_output_has_its_bias_once() -> None:
    nodes: list[str | Node] = ["MatMul x v -> z", "Add z b -> a", "Relu a -> r", "MatMul r u -> y"]
    proto = model(nodes, {"v": (5, 4), "b": (4,), "u": (4, 2)}, inputs=ROWS)
    original, pruned, given = loaded(proto), loaded(proto), samples(proto, 32)
    channels, _, _ = measured(pruned, given)
    remove_channels(pruned, channels, {"v[1]": [0, 1, 3]})
    kept = np.array([False, False, True, False])
    made = disturbed(pruned)
    assert refit(original, made, [Layer("z", kept)], feeds(given), memory=1 << 28, threads=1) == 1
    before, after = (constants_of(each) for each in (original, made))
    for name, axis in (("v", 1), ("b", 0)):
        wanted, found = constant_tensor(before[name]), constant_tensor(after[name])
        assert wanted is not None
        assert found is not None
        np.testing.assert_allclose(found.numpy(), np.compress(kept, wanted.numpy(), axis=axis), atol=5e-3)


def test_errors_of_earlier_layers_are_made_up_for_by_later_ones() -> None:
    proto = model(
        ["Conv x w -> a", "Conv a v -> y"], {"w": (6, 3, 1, 1), "v": (4, 6, 1, 1)}, inputs={"x": ["N", 3, 5, 5]}
    )
    original, pruned, given = loaded(proto), loaded(proto), samples(proto, 32)
    value = pruned.graph.initializers["w"]
    assert value.const_value is not None
    mixing = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0].astype(np.float32)
    set_constant(value, np.einsum("ij,jkhw->ikhw", mixing, value.const_value.numpy()))
    assert refit(original, pruned, [Layer("y", None)], feeds(given), memory=1 << 28, threads=1) == 1
    assert decibels(original, pruned, given) > 50


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_samples_to_judge_by_change_nothing(count: int) -> None:
    proto = model(["Conv x v -> y"], {"v": (6, 4, 3, 3)}, inputs=PIXELS)
    original = loaded(proto)
    given = feeds(samples(proto, count))
    assert refit(original, disturbed(original), [Layer("y", None)], given, memory=1 << 28, threads=1) == 0


def test_weights_that_cannot_be_bettered_stay_to_the_bit() -> None:
    proto = model(["Conv x v b -> y"], {"v": (6, 4, 3, 3), "b": (6,)}, inputs=PIXELS)
    original = loaded(proto)
    same = original.clone()
    refit(original, same, [Layer("y", None)], feeds(samples(proto, 32)), memory=1 << 28, threads=1)
    assert decibels(original, same, samples(proto, 4)) > 100


NORMAL: Mapping[str, Weight] = {
    "w": (6, 4, 1, 1),
    "s": np.linspace(0.5, 2, 6, dtype=np.float32),
    "t": (6,),
    "m": (6,),
    "q": np.linspace(0.3, 3, 6, dtype=np.float32),
}


def normalized() -> onnx.ModelProto:
    return model(
        ["Conv x w -> a", "Relu a -> r", "BatchNormalization r s t m q -> n", "Relu n -> y"], NORMAL, inputs=PIXELS
    )


@pytest.mark.parametrize("change", ["its own", "what comes in", "a channel less"])
def test_a_normalization_that_stands_alone_is_fitted(change: str) -> None:
    proto = normalized()
    original, pruned, given = loaded(proto), loaded(proto), samples(proto, 32)
    kept = None
    weights = constants_of(pruned)
    for name, factor in (("s", 0.5), ("t", -2.0)) if change == "its own" else (("w", 1.7),):
        tensor = constant_tensor(weights[name])
        assert tensor is not None
        set_constant(weights[name], tensor.numpy() * np.float32(factor))
    if change == "a channel less":
        kept = np.arange(6) != 2
        for name in NORMAL:
            tensor = constant_tensor(weights[name])
            assert tensor is not None
            set_constant(weights[name], np.compress(kept, tensor.numpy(), axis=0))
    assert refit(original, pruned, [Layer("n", kept)], feeds(given), memory=1 << 28, threads=1) == 1
    for sample in feeds(samples(proto, 40)[32:]):
        before, after = (open_session(each).run(sample)["y"] for each in (original, pruned))
        np.testing.assert_allclose(after, before if kept is None else before[:, kept], atol=2e-2)
    again = pruned.clone()
    assert refit(pruned, again, [Layer("n", None)], feeds(given), memory=1 << 28, threads=1) == 0


def test_a_normalization_behind_lost_channels_is_a_layer() -> None:
    proto = normalized()
    original = loaded(proto)
    channels, _, _ = measured(original, samples(proto, 4))
    assert not channels.groups  # all end in the output
    proto = model(
        ["Conv x w -> a", "Relu a -> r", "BatchNormalization r s t m q -> n", "Relu n -> b", "Conv b v -> y"],
        {**NORMAL, "v": (2, 6, 1, 1)},
        inputs=PIXELS,
    )
    original = loaded(proto)
    channels, _, _ = measured(original, samples(proto, 4))
    found = list(layers_of(original, channels, kept_ids(channels, {"w[0]": [1]})))
    assert [layer.key for layer in found] == ["n", "y"]
    assert found[0].rows is not None
    assert found[0].rows.tolist() == [True, False, True, True, True, True]


OTHERS: dict[str, Case] = {
    "scaled": ([node("Gemm x v b -> y", alpha=0.5)], {"v": (5, 7), "b": (7,)}, ROWS),
    "a bias that is computed": (["Relu b -> c", "Gemm x v c -> y"], {"v": (5, 7), "b": (7,)}, ROWS),
    "batched weights": (["MatMul x v -> y"], {"v": (3, 5, 7)}, {"x": [3, 4, 5]}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_forms_are_left_alone(name: str) -> None:
    proto = model(OTHERS[name][0], OTHERS[name][1], inputs=OTHERS[name][2])
    original, given = loaded(proto), feeds(samples(proto, 32))
    made = disturbed(original)
    before = made.graph.initializers["v"].const_value
    assert refit(original, made, [layer_of(original)], given, memory=1 << 28, threads=1) == 0
    assert made.graph.initializers["v"].const_value is before


def test_values_that_are_not_finite_are_not_fitted() -> None:
    proto = model(["Log x -> l", "Conv l v -> y"], {"v": (6, 4, 1, 1)}, inputs=PIXELS)
    original = loaded(proto)
    given = feeds(samples(proto, 16))
    for feed in given:
        feed["x"] = np.maximum(feed["x"], 0)
    assert refit(original, disturbed(original), [Layer("y", None)], given, memory=1 << 28, threads=1) == 0


def test_channels_that_are_always_zero_do_no_harm() -> None:
    proto = model([node("Conv x v b -> y", group=4)], {"v": (4, 1, 3, 3), "b": (4,)}, inputs=PIXELS)
    dead = model([node("Conv x v -> y", group=4)], {"v": (4, 1, 3, 3)}, inputs=PIXELS)
    for each in (proto, dead):
        original = loaded(each)
        given = feeds(samples(each, 32))
        for feed in given:
            feed["x"][:, 2] = 0
        made = disturbed(original)
        assert refit(original, made, [Layer("y", None)], given, memory=1 << 28, threads=1) == 1
        found, left = made.graph.initializers["v"].const_value, disturbed(original).graph.initializers["v"].const_value
        assert found is not None
        assert left is not None
        np.testing.assert_allclose(found.numpy()[2], left.numpy()[2], atol=1e-6)


def test_half_floats_are_fitted_in_whole_ones() -> None:
    proto = model(["Conv x v b -> y"], {"v": (6, 4, 3, 3), "b": (6,)}, inputs={"x": ["N", 4, 40, 40]})
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    original, given = loaded(proto), samples(proto, 16)
    for feed in feeds(given):
        feed["x"] *= np.float16(100)  # squares add up to far more than 65,504
    made = disturbed(original)
    assert refit(original, made, [Layer("y", None)], feeds(given), memory=1 << 28, threads=1) == 1
    assert decibels(original, made, given) > 50
    tensor = made.graph.initializers["v"].const_value
    assert tensor is not None
    assert tensor.dtype == ir.DataType.FLOAT16


def test_where_memory_is_short_there_are_fewer_samples_or_no_fit() -> None:
    nodes: list[str | Node] = ["Conv x w -> a", "Relu a -> r", "Conv r v -> y"]
    proto = model(nodes, {"w": (40, 3, 1, 1), "v": (4, 40, 1, 1)}, inputs={"x": ["N", 3, 16, 16]})
    original, given = loaded(proto), feeds(samples(proto, 32))
    said: list[str] = []
    memory = 2 * 8 * 4 * 40 * 256 * 4  # the values of eight samples on both sides
    made = disturbed(original)
    assert refit(original, made, [Layer("y", None)], given, memory=memory, threads=1, progress=said.append) == 1
    assert said == ["refit layer 1 of 1 on 7 samples"] or said == ["refit layer 1 of 1 on 8 samples"]
    assert refit(original, disturbed(original), [Layer("y", None)], given, memory=40 * 41 * 8 * 3, threads=1) == 0


def test_few_rows_are_fitted_without_their_matrix() -> None:
    proto = model(["Gemm x v b -> y"], {"v": (700, 6), "b": (6,)}, inputs={"x": [4, 700]})
    original, given = loaded(proto), feeds(samples(proto, 32))
    made = [disturbed(original), disturbed(original)]
    small = 700 * 701 * 8 * 2  # two matrices are not enough
    assert refit(original, made[0], [Layer("y", None)], given, memory=1 << 28, threads=1) == 1
    assert refit(original, made[1], [Layer("y", None)], given, memory=small, threads=1) == 1
    assert decibels(made[0], made[1], samples(proto, 4)) > 90


def test_a_model_that_cannot_be_cut_says_so() -> None:
    nodes: list[str | Node] = [
        "Conv x w -> a",
        "SequenceConstruct a -> s",
        "Conv a v -> c",
        "SequenceAt s i -> d",
        "Add c d -> y",
    ]
    proto = model(nodes, {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "i": []}, inputs=IMAGE)
    proto.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.array(0), "i"))
    original = loaded(proto)
    with pytest.raises(CannotRun, match="no tensor"):
        refit(original, original.clone(), [Layer("c", None)], feeds(samples(proto, 8)), memory=1 << 28, threads=1)


def test_layers_are_those_whose_inputs_change() -> None:
    nodes: list[str | Node] = [
        "Conv x w -> a",
        "Conv x u -> b",
        "Conv b t -> c",
        "Conv a v -> d",
        "Add c d -> e",
        "Conv e z -> y",
    ]
    weights: dict[str, Weight] = {
        "w": (6, 3, 1, 1),
        "u": (6, 3, 1, 1),
        "t": (5, 6, 1, 1),
        "v": (5, 6, 1, 1),
        "z": (2, 5, 1, 1),
    }
    proto = model(nodes, weights, inputs=IMAGE)
    whole = loaded(proto)
    channels, _, _ = measured(whole, samples(proto))
    key = {group.weights[0].value.name: group.key for group in channels.groups}

    def told(removal: dict[str, list[int]]) -> dict[str, list[bool] | None]:
        found = layers_of(whole, channels, kept_ids(channels, removal))
        return {layer.key: None if layer.rows is None else layer.rows.tolist() for layer in found}

    assert told({key["w"]: [0]}) == {"d": None, "y": None}
    assert told({key["t"]: [1, 2]}) == {"y": None}
    assert told({key["w"]: [0], key["t"]: [1]}) == {"d": [True, False, True, True, True], "y": None}
