"""Removal: what is told to operators, what is refused, and that the oracle agrees on real models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxslim
from models_zoo import get
from onnxslim.analysis.channels import find_channels
from onnxslim.execution.random import random_feeds
from onnxslim.execution.session import open_session
from onnxslim.graph import load, problems, to_bytes
from onnxslim.passes.prune.apply import remove_channels, silence_channels
from tests.fuzz.prune_check import difference, zero_atoms
from tests.ops.channels.nets import STEM, Node, Weight, assert_removable, feeds, groups, model, node

W, V = (8, 3, 1, 1), (3, 8, 1, 1)


def removed(proto: onnx.ModelProto, removal: dict[str, list[int]]) -> onnx.ModelProto:
    """The model without channels; it is as the oracle says."""
    data = proto.SerializeToString()
    after, silent = load(data), load(data)
    remove_channels(after, find_channels(after), removal)
    assert problems(after) == []
    silence_channels(silent, find_channels(silent), removal)
    results = [
        [open_session(to_bytes(each), optimize=False).run(feed) for feed in feeds(proto)] for each in (silent, after)
    ]
    assert not difference(results[0], results[1])
    result: onnx.ModelProto = onnx.ModelProto.FromString(to_bytes(after))
    onnx.checker.check_model(result, full_check=True)
    return result


def integers(proto: onnx.ModelProto, op_type: str, slot: int) -> list[int]:
    """What a node reads."""
    name = next(each for each in proto.graph.node if each.op_type == op_type).input[slot]
    tensor = next(each for each in proto.graph.initializer if each.name == name)
    return [int(each) for each in numpy_helper.to_array(tensor).reshape(-1)]


def attribute(proto: onnx.ModelProto, op_type: str, name: str) -> object:
    made = next(each for each in proto.graph.node if each.op_type == op_type)
    return next(helper.get_attribute_value(each) for each in made.attribute if each.name == name)


def shapes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}


# -- integers that stand for sizes -------------------------------------------------------------------------------------


def told(name: str, slot: int, expected: list[int], *nodes: str | Node, opset: int = 17, **weights: Weight) -> None:
    """Channels 1, 2 and 6 of eight go; an integer input of the only operator of its kind is this then."""
    proto = model([STEM, *nodes, "Conv b v -> y"], {"w": W, "v": V} | weights, opset=opset)
    channels = find_channels(load(proto.SerializeToString()))
    gone = {1, 2, 6}
    removal = {
        group.key: [i for i, place in enumerate(group.weights[0].positions[:, 0].tolist()) if place in gone]
        for group in channels.groups
        if group.weights[0].value.name == "w"
    }
    assert integers(removed(proto, removal), name, slot) == expected


def test_reshape_targets_are_told() -> None:
    told("Reshape", 1, [-1, 5, 4, 4], "Reshape a s -> b", s=[-1, 8, 4, 4])


def test_what_a_reshape_copies_or_infers_stays_so() -> None:
    told("Reshape", 1, [0, 0, 4, -1], "Reshape a s -> b", s=[0, 0, 4, -1])


def test_a_copied_size_that_goes_with_another_axis_is_told() -> None:
    # Of [2, 2, 8] -> [4, 0, 4] the 0 copies the second axis, which goes with the first of the result.
    last = node("Einsum m u -> y", equation="ka,abc->kbc")
    proto = model(
        ["MatMul w x -> z", "Reshape z s -> u", last],
        {"w": (2, 2, 5), "s": [4, 0, 4], "m": (3, 4)},
        inputs={"x": [5, 8]},
    )
    assert groups(proto) == {"w[1]": 2}
    after = removed(proto, {"w[1]": [0]})
    assert integers(after, "Reshape", 1) == [2, 2, 4]


def test_split_sizes_are_told() -> None:
    told("Split", 1, [1, 4], node("Split a s -> c d", axis=1), node("Concat c d -> b", axis=1), s=[3, 5])


def test_split_into_equal_parts_no_longer_is() -> None:
    nodes: list[str | Node] = [node("Split a -> c d", axis=1, num_outputs=2), node("Concat c d -> b", axis=1)]
    told("Split", 1, [2, 3], *nodes, opset=18)


def test_slices_are_told() -> None:
    nodes: list[str | Node] = ["Slice a s e i -> c", node("Concat a c -> b", axis=1)]
    told("Slice", 1, [1], *nodes, s=[2], e=[2**31 - 1], i=[1], v=(3, 14, 1, 1))
    told("Slice", 2, [5], *nodes, s=[2], e=[2**31 - 1], i=[1], v=(3, 14, 1, 1))


def test_a_slice_whose_steps_get_uneven_takes_by_index() -> None:
    proto = model(
        [STEM, "Slice a s e i t -> c", node("Concat a c -> b", axis=1), "Conv b v -> y"],
        {"w": W, "v": (3, 12, 1, 1), "s": [0], "e": [8], "i": [1], "t": [2]},
    )
    assert groups(proto) == {"w[0]": 4, "w[0]_1": 4}
    after = removed(proto, {"w[0]_1": [0]})  # channel 1: what was taken at 0, 2, 4, 6 is now at 0, 1, 3, 5
    assert integers(after, "Gather", 1) == [0, 1, 3, 5]


def test_gathers_are_told() -> None:
    told("Gather", 1, [4, 0, 3, 2, 1], node("Gather a m -> b", axis=1), m=[7, 0, -3, 4, 1, 3, 2, 6])


def test_a_gather_of_one_is_told_where_it_is_now() -> None:
    nodes: list[str | Node] = [node("Gather a m -> c", axis=1), "Unsqueeze c i -> d", "Mul a d -> b"]
    told("Gather", 1, [2], *nodes, m=np.array(-4), i=[1])


def test_pads_are_told() -> None:
    proto = model([STEM, "Pad a m -> b", "Conv b v -> y"], {"w": W, "v": (3, 13, 1, 1), "m": [0, 2, 0, 0, 0, 3, 0, 0]})
    after = removed(proto, {"w[0]": [0], "v[1]": [1, 2, 3]})
    assert integers(after, "Pad", 1) == [0, 1, 0, 0, 0, 1, 0, 0]
    assert shapes(after)["v"] == [3, 9, 1, 1]


@pytest.mark.parametrize("pads", [[0, 2, -1, 0, 0, 3, 0, -1], [0, 2, 0, 9, 0, 3, -2, 0]])
def test_pads_of_axes_that_keep_all_entries_stay(pads: list[int]) -> None:
    proto = model([STEM, "Pad a m -> b", "Conv b v -> y"], {"w": W, "v": (3, 13, 1, 1), "m": pads})
    after = removed(proto, {"w[0]": [0], "v[1]": [1]})
    assert integers(after, "Pad", 1) == [0, 1, *pads[2:]]


def test_sizes_of_a_resize_are_told() -> None:
    told("Resize", 3, [5, 8, 8], node("Resize a - - m -> b", axes=[1, 2, 3]), m=[8, 8, 8], opset=18)


def test_expand_targets_are_told_also_with_fewer_entries_than_axes() -> None:
    told("Expand", 1, [5, 1, 1], "Expand m s -> c", "Add a c -> b", m=(1, 1, 1), s=[8, 1, 1])


def test_groups_of_a_depthwise_convolution() -> None:
    proto = model(
        [STEM, node("Conv a m -> b", group=8), "Conv b v -> y"], {"w": W, "m": (16, 1, 1, 1), "v": (3, 16, 1, 1)}
    )
    after = removed(proto, {"w[0]": [0, 7]})
    assert (
        attribute(after, "Conv", "dilations")
        if False
        else shapes(after) == {"w": [6, 3, 1, 1], "m": [12, 1, 1, 1], "v": [3, 12, 1, 1]}
    )
    assert helper.get_attribute_value(after.graph.node[1].attribute[0]) == 6


def test_whole_groups_of_a_convolution() -> None:
    proto = model([STEM, node("Conv a m -> b", group=4), "Conv b v -> y"], {"w": W, "m": (8, 2, 1, 1), "v": V})
    after = removed(proto, {"w[0]": [1]})
    assert helper.get_attribute_value(after.graph.node[1].attribute[0]) == 3
    assert shapes(after)["m"] == [6, 2, 1, 1]


def test_places_of_all_groups_of_a_convolution() -> None:
    proto = model([STEM, node("Conv a m -> b", group=2), "Conv b v -> y"], {"w": W, "m": (8, 4, 1, 1), "v": V})
    after = removed(proto, {"w[0]": [1, 2]})
    assert helper.get_attribute_value(after.graph.node[1].attribute[0]) == 2
    assert shapes(after)["m"] == [8, 2, 1, 1]


def test_shapes_that_are_computed_tell_the_old_sizes_to_arithmetic() -> None:
    # The scale of attention is that of before; the shape of a state is that of after.
    proto = model(
        [
            STEM,
            "Shape a -> s",
            node("Gather s one -> n", axis=0),
            node("Cast n -> f", to=1),
            "Div a f -> b",
            "Conv b v -> y",
        ],
        {"w": W, "v": V, "one": np.array(1)},
    )
    removed(proto, {"w[0]": [0, 1, 2, 3]})


@pytest.mark.parametrize("opset", [7, 8, 9, 23])
def test_shapes_tell_the_old_sizes_at_any_opset(opset: int) -> None:
    proto = model(
        [STEM, "Shape a -> s", node("Cast s -> f", to=1), "ReduceMax f -> m", "Div a m -> b", "Conv b v -> y"],
        {"w": W, "v": V},
        opset=opset,
    )
    removed(proto, {"w[0]": [0, 1, 2]})


@pytest.mark.parametrize(("start", "end"), [(1, 2), (0, 2), (-3, None), (1, -1), (2, None)])
def test_parts_of_a_shape(start: int, end: int | None) -> None:
    given = {"start": start} | ({} if end is None else {"end": end})
    proto = model(
        [
            STEM,
            node("Shape a -> s", **given),
            "ReduceProd s -> p",
            node("Cast p -> f", to=1),
            "Div a f -> g",
            "Reshape g z -> b",
            "Conv b v -> y",
        ],
        {"w": W, "v": V, "z": [-1, 8, 4, 4]},
    )
    removed(proto, {"w[0]": [0, 1, 2, 3]})


def test_states_of_a_computed_shape() -> None:
    proto = model(
        [
            "Shape x -> s",
            node("Gather s one -> n", axis=0),
            node("Concat one n five -> t", axis=0),
            "ConstantOfShape t -> h0",
            node("GRU x w r - - h0 -> h", hidden_size=5),
            "MatMul h v -> y",
        ],
        {"w": (1, 15, 3), "r": (1, 15, 5), "v": (5, 2), "one": [1], "five": [5]},
        inputs={"x": [4, "N", 3]},
    )
    (key,) = groups(proto)
    after = removed(proto, {key: [0, 4]})
    assert attribute(after, "GRU", "hidden_size") == 3
    assert shapes(after)["r"] == [1, 9, 3]


def test_a_dynamic_batch_stays_computed() -> None:
    proto = model(
        [
            STEM,
            "Shape a -> s",
            node("Gather s zero -> n", axis=0),
            node("Concat n rest -> t", axis=0),
            "Reshape a t -> b",
            "Conv b v -> y",
        ],
        {"w": W, "v": V, "zero": [0], "rest": [8, 4, 4]},
    )
    after = removed(proto, {"w[0]": [5]})  # run at two batches
    assert sum(each.op_type == "Concat" for each in after.graph.node) == 2


def test_declared_shapes_are_told() -> None:
    proto = model([STEM, "Relu a -> b", "Conv b v -> y"], {"w": W, "v": V})
    proto.graph.value_info.append(helper.make_tensor_value_info("a", 1, ["N", 8, 4, 4]))
    after = removed(proto, {"w[0]": [5]})
    (info,) = (each for each in after.graph.value_info if each.name == "a")
    assert info.type.tensor_type.shape.dim[1].dim_value == 7


def test_scales_of_quantized_weights_follow() -> None:
    proto = model(
        [node("DequantizeLinear q s z -> m", axis=0), "Conv x m -> a", "Conv a v -> y"],
        {
            "q": np.arange(24, dtype=np.int8).reshape(8, 3, 1, 1),
            "s": np.arange(1, 9, dtype=np.float32),
            "z": np.arange(8, dtype=np.int8),
            "v": V,
        },
    )
    after = removed(proto, {"q[0]": [0, 3]})
    assert {name: dims[0] for name, dims in shapes(after).items() if name != "v"} == {"q": 6, "s": 6, "z": 6}


def test_integer_parameters_are_never_pruned() -> None:
    proto = model(
        [
            STEM,
            "Pad a p -> c",
            "Transpose c -> d",
            "Transpose d -> e",
            node("Gather e g -> b", axis=1),
            "Conv b v -> y",
        ],
        {"w": W, "v": V, "p": [0] * 8, "g": list(range(8))},
    )
    sites = {
        site.value.name for group in find_channels(load(proto.SerializeToString())).groups for site in group.weights
    }
    assert sites == {"w", "v"}


@pytest.mark.parametrize("opset", [11, 17])
def test_a_squeeze_without_axes_leaves_the_last_channel(opset: int) -> None:
    proto = model(
        [STEM, "GlobalAveragePool a -> c", "Squeeze c -> d", "MatMul d v -> y"],
        {"w": (2, 3, 1, 1), "v": (2, 3)},
        inputs={"x": [2, 3, 4, 4]},
        opset=opset,
    )
    removed(proto, {"w[0]": [1]})


def test_integers_that_nothing_reads_any_more_are_dropped() -> None:
    proto = model([STEM, "Reshape a s -> b", "Conv b v -> y"], {"w": W, "v": V, "s": [-1, 8, 4, 4]})
    assert set(shapes(removed(proto, {"w[0]": [1]}))) == {"w", "v", "s_pruned"}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("removal", "said"),
    [
        ({"nothing": [0]}, "there is no group 'nothing'"),
        ({"w[0]": list(range(8))}, "8 of the 8 channels"),
        ({"w[0]": [8]}, "cannot go"),
        ({"w[0]": [-1]}, "cannot go"),
    ],
)
def test_a_removal_that_makes_no_sense(removal: dict[str, list[int]], said: str) -> None:
    loaded = load(model([STEM, "Conv a v -> y"], {"w": W, "v": V}).SerializeToString())
    before = to_bytes(loaded)
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        remove_channels(loaded, find_channels(loaded), removal)
    assert to_bytes(loaded) == before


# -- oracles -----------------------------------------------------------------------------------------------------------


def test_exactly_zero_channels_can_go() -> None:
    proto = model(
        [STEM, "BatchNormalization a m m m n -> c", "Relu c -> b", "Conv b v -> y"],
        {"w": W, "v": V, "m": (8,), "n": np.arange(1.0, 9.0, dtype=np.float32)},
    )
    removal = {"w[0]": [1, 4]}
    zero, after = load(proto.SerializeToString()), load(proto.SerializeToString())
    zero_atoms(zero, find_channels(zero), removal)
    remove_channels(after, find_channels(after), removal)
    results = [[open_session(to_bytes(each)).run(feed) for feed in feeds(proto)] for each in (zero, after)]
    assert not difference(results[0], results[1])


def test_a_graph_output_keeps_its_shape() -> None:
    proto = model([STEM, "Conv a m -> b", "Conv b v -> y"], {"w": W, "m": (8, 8, 1, 1), "v": V}, outputs=("y", "b"))
    assert_removable(proto, {"w[0]": 8})
    after = removed(proto, {"w[0]": [0]})
    run = open_session(after.SerializeToString()).run(feeds(proto)[1])
    assert run["b"].shape == (2, 8, 4, 4)


@pytest.mark.parametrize("name", ["digits_cnn", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet", "ppocr_cls", "ppocrv4_rec"])
def test_half_of_a_real_model(name: str) -> None:
    original = onnxslim.load(get(name).path())
    channels = find_channels(original)
    rng = np.random.default_rng(0)
    removal = {
        group.key: np.sort(rng.choice(len(group), len(group) // 2, replace=False)).tolist() for group in channels.groups
    }
    pruned, silent = original.clone(), original.clone()
    remove_channels(pruned, find_channels(pruned), removal)
    silence_channels(silent, find_channels(silent), removal)
    assert problems(pruned) == []
    wanted = [value.name for value in original.graph.outputs if value.name]
    given = random_feeds(original)[:2]
    results = [[open_session(each).run(feed, wanted) for feed in given] for each in (silent, pruned)]
    assert not difference(results[0], results[1])
    assert len(to_bytes(pruned)) < 0.6 * len(to_bytes(original))


def test_the_body_of_a_loop_is_told_by_constants_of_the_main_graph() -> None:
    body = helper.make_graph(
        [
            node("Reshape a s -> r"),
            node("Conv r v -> u"),
            node("Add u h -> t"),
            node("Identity c -> d"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("c", 9, []),
            helper.make_tensor_value_info("h", 1, ["N", 3, 4, 4]),
        ],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("t", 1, ["N", 3, 4, 4])],
        [numpy_helper.from_array(np.array([-1, 8, 4, 4]), "s")],
    )
    # The name that the removal would like is taken within the body.
    body.node.insert(0, node("Identity h -> s_pruned"))
    proto = model([STEM, node("Loop n - x -> y", body=body)], {"w": W, "v": V, "n": np.array(2, np.int64)})
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["N", 3, 4, 4]))
    after = removed(proto, {"w[0]": [0, 2, 7]})
    assert shapes(after)["w"] == [5, 3, 1, 1]
    assert integers_named(after, "s_pruned_1") == [-1, 5, 4, 4]


def integers_named(proto: onnx.ModelProto, name: str) -> list[int]:
    return [int(each) for each in numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == name))]
