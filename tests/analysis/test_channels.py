"""Components, groups and their names, what is known of them; the speed of finding them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from onnxslim.analysis.channels import components, coupling, find_channels
from onnxslim.graph import load
from onnxslim.passes.prune.apply import remove_channels
from tests.fuzz.prune_check import check
from tests.ops.channels.nets import (
    IMAGE,
    STEM,
    assert_removable,
    channels_of,
    feeds,
    groups,
    model,
    named,
    node,
    reasons,
)


@pytest.mark.parametrize("seed", range(30))
def test_components_are_those_of_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 400))
    edges = int(rng.integers(0, 2 * count))
    left, right = rng.integers(0, count, (2, edges))
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(zip(left.tolist(), right.tolist(), strict=True))
    expected = np.zeros(count, np.int64)
    for part in nx.connected_components(graph):
        expected[list(part)] = min(part)
    assert components(count, left, right).tolist() == expected.tolist()


def test_components_of_a_long_chain() -> None:
    order = np.random.default_rng(0).permutation(100_000)
    start = time.monotonic()
    assert not components(len(order), order[:-1], order[1:]).any()
    assert time.monotonic() - start < 5


def test_an_axis_with_several_groups_has_a_key_for_each() -> None:
    proto = model(
        [STEM, node("Split a s -> c d", axis=1), "Conv c m -> e", "Conv d n -> f", "Add e f -> y"],
        {"w": (8, 3, 1, 1), "s": [3, 5], "m": (2, 3, 1, 1), "n": (2, 5, 1, 1)},
    )
    assert_removable(proto, {"w[0]": 3, "w[0]_1": 5})
    first, second = channels_of(proto).groups
    assert [str(site) for site in first.weights] == ["w[0]", "m[1]"]
    assert second.weights[0].positions.reshape(-1).tolist() == [3, 4, 5, 6, 7]
    assert str(first) == "w[0]: 3 channels of w[0], m[1]"


def test_one_channel_is_not_depthwise() -> None:
    proto = model(
        [node("Conv x w -> a", group=1), "Conv a v -> y"],
        {"w": (8, 1, 3, 3), "v": (3, 8, 1, 1)},
        inputs={"x": ["N", 1, 4, 4]},
    )
    assert_removable(proto, {"w[0]": 8})


def test_weights_in_constant_nodes() -> None:
    proto = model([STEM, "Conv a v -> y"], {"w": (8, 3, 1, 1), "v": (3, 8, 1, 1)})
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in proto.graph.initializer]
    nodes = [*constants, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert_removable(proto, {"w[0]": 8})


def test_tied_weights_couple_layers() -> None:
    proto = model(
        [STEM, "Conv a m -> b", "Relu b -> c", "Conv c m -> d", "Conv d v -> y"],
        {"w": (8, 3, 1, 1), "m": (8, 8, 1, 1), "v": (3, 8, 1, 1)},
    )
    assert_removable(proto, {"w[0]": 8})
    (group,) = channels_of(proto).groups
    assert [str(site) for site in group.weights] == ["w[0]", "m[0]", "m[1]", "v[1]"]


def test_a_tensor_that_is_split_joined_and_used_again() -> None:
    proto = model(
        [
            STEM,
            node("Split a s -> c d", axis=1),
            "Conv d m -> e",
            node("Concat c d e -> f", axis=1),
            "Conv f v -> g",
            "Conv a u -> h",
            "Add g h -> y",
        ],
        {"w": (8, 3, 1, 1), "s": [4, 4], "m": (4, 4, 1, 1), "v": (3, 12, 1, 1), "u": (3, 8, 1, 1)},
    )
    assert_removable(proto, {"w[0]": 4, "w[0]_1": 4, "m[0]": 4})


def test_an_initializer_that_is_an_input_too_stays() -> None:
    proto = model([STEM, "Add a m -> b", "Conv b v -> y"], {"w": (8, 3, 1, 1), "m": (8, 1, 1), "v": (3, 8, 1, 1)})
    assert groups(proto) == {"w[0]": 8}
    proto.graph.input.append(helper.make_tensor_value_info("m", 1, [8, 1, 1]))
    assert groups(proto) == {}
    assert reasons(proto, "w", 0) == {("graph", "an input of the model keeps its shape")}


STATE: Mapping[str, Sequence[str | int]] = {"r": ["T", "N", 5], "h": [1, "N", 4]}
LSTM = {"w": (1, 16, 5), "u": (1, 16, 4), "v": (4, 3)}


def test_a_state_that_is_an_input_is_read_in_part() -> None:
    layer = node("LSTM r w u - - h h -> a", hidden_size=4)
    proto = model([layer, "MatMul a v -> y"], LSTM, inputs=STATE)
    assert_removable(proto, {"u[1]": 4})
    pruned = load(proto)
    remove_channels(pruned, find_channels(pruned), {"u[1]": [0, 2]})
    (state,) = (value for value in pruned.graph.inputs if value.name == "h")
    assert ir.serde.serialize_value(state) == proto.graph.input[1]
    (gather,) = (each for each in pruned.graph if each.op_type == "Gather")
    assert gather.inputs[0] is state
    assert [use.node.op_type for use in state.uses()] == ["Gather"]


def test_what_no_layer_makes_is_not_taken_from_an_input() -> None:
    assert groups(model(["Add x m -> a", "Conv a v -> y"], {"m": (3, 1, 1), "v": (5, 3, 1, 1)})) == {}


def test_a_layer_added_to_an_input() -> None:
    nodes = ["Conv x w -> a", "Add a x2 -> b", "Conv b v -> y"]
    weights = {"w": (6, 3, 1, 1), "v": (5, 6, 1, 1)}
    assert_removable(model(nodes, weights, inputs={**IMAGE, "x2": ["N", 6, 4, 4]}), {"w[0]": 6})


@pytest.mark.parametrize(("batch", "found"), [("N", {"w[0]": 5, "u[1]": 4}), ("M", {"u[1]": 4})])
def test_steps_in_the_batch_of_a_recurrence_are_one(batch: str, found: dict[str, int]) -> None:
    """[N, 5, T] becomes [1, N * T, 5]: with a state for each of N the layer runs only where T is 1."""
    proto = model(
        [
            "Conv r w -> a",
            "Reshape a s -> b",
            node("LSTM b m u - - h h -> c", hidden_size=4),
            "MatMul c v -> y",
        ],
        {"w": (5, 3, 1), "s": [1, -1, 5], "m": (1, 16, 5), "u": (1, 16, 4), "v": (4, 3)},
        inputs={"r": ["N", 3, "T"], "h": [1, batch, 4]},
    )
    assert groups(proto) == found
    if found != {"u[1]": 4}:
        one = {"r": np.ones((2, 3, 1), np.float32), "h": np.ones((1, 2, 4), np.float32)}
        one["r"][1] *= np.array([[0.5], [-2.0], [3.0]], np.float32)
        finding = check(proto, [one], 0)
        assert not finding.wrong, finding
        assert finding.removed


def test_a_value_that_is_used_and_an_output() -> None:
    nodes = [STEM, "Conv a m -> b", "Conv b v -> y"]
    weights = {"w": (8, 3, 1, 1), "m": (8, 8, 1, 1), "v": (3, 8, 1, 1)}
    assert_removable(model(nodes, weights, outputs=("y", "b")), {"w[0]": 8})


def test_branches_capture_channels_and_agree_on_those_that_they_give() -> None:
    def branch(weight: str, out: str) -> onnx.GraphProto:
        return helper.make_graph(
            [node(f"Conv a {weight} -> {out}")],
            out,
            [],
            [helper.make_tensor_value_info(out, 1, None)],
        )

    proto = model(
        [
            STEM,
            "ReduceMax x -> r",
            "Squeeze r -> q",
            "Greater q o -> c",
            node("If c -> b", then_branch=branch("m", "p"), else_branch=branch("n", "p")),
            "Conv b v -> y",
        ],
        {"w": (8, 3, 1, 1), "m": (6, 8, 1, 1), "n": (6, 8, 1, 1), "v": (3, 6, 1, 1), "o": np.array(1, np.float32)},
    )
    assert_removable(proto, {"w[0]": 8, "v[1]": 6})


def test_the_coupling_of_groups() -> None:
    proto = model([STEM, "Conv a m -> b", "Conv b v -> y"], {"w": (8, 3, 1, 1), "m": (6, 8, 1, 1), "v": (3, 6, 1, 1)})
    graph = coupling(channels_of(proto))
    assert dict(graph.nodes(data="channels")) == {"w[0]": 8, "m[0]": 6}
    assert list(graph.edges) == [("w[0]", "m[0]")] or list(graph.edges) == [("m[0]", "w[0]")]


def test_why_rows_stay() -> None:
    proto = model([STEM, node("Softmax a -> b", axis=1), "Conv b v -> y"], {"w": (8, 3, 1, 1), "v": (3, 8, 1, 1)})
    channels = channels_of(proto)
    rows = {(value.name, axis): len(ids) for value, axis, ids in channels.rows()}
    assert rows == {("w", 0): 8, ("v", 0): 3}
    assert channels.histogram() == {
        ("Softmax", "what is computed over the axis would change"): 8,
        ("graph", "an output of the model keeps its shape"): 3,
    }


def test_the_heads_of_attention_go_as_a_whole() -> None:
    proto = model(
        [
            "MatMul x w -> a",
            "Reshape a s -> b",
            node("Transpose b -> q", perm=[0, 2, 1, 3]),
            node("Transpose b -> k", perm=[0, 2, 3, 1]),
            "MatMul q k -> p",
            node("Softmax p -> r", axis=-1),
            "MatMul r q -> z",
            node("Transpose z -> z4", perm=[0, 2, 1, 3]),
            "Reshape z4 t -> c",
            "MatMul c v -> y",
        ],
        {"w": (3, 12), "s": [0, 0, 2, 6], "t": [0, 0, 12], "v": (12, 3)},
        inputs={"x": ["N", 4, 3]},
    )
    # There are more places within heads than heads, but heads can be computed one by one.
    (group,) = channels_of(proto).groups
    assert len(group) == 2
    assert group.weights[0].positions.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_fifty_thousand_channels_in_seconds() -> None:
    layers, width = 50, 1024
    names = [f"w{i}" for i in range(layers)]
    proto = model(
        [node(f"Conv h{i} w{i} -> h{i + 1}") for i in range(layers)],
        dict.fromkeys(names, (1, 1, 1, 1)),
        inputs={"h0": ["N", width, 1, 1]},
        outputs=(f"h{layers}",),
    )
    for tensor in proto.graph.initializer:  # the data is not looked at
        tensor.dims[:] = [width, width, 1, 1]
        tensor.raw_data = bytes(4 * width * width) if tensor.name == "w0" else proto.graph.initializer[0].raw_data
    start = time.monotonic()
    channels = channels_of(proto)
    assert time.monotonic() - start < 10
    assert sum(len(group) for group in channels.groups) == (layers - 1) * width


def test_values_can_be_asked_for_by_axis() -> None:
    proto = model([STEM, "Conv a v -> y"], {"w": (8, 3, 1, 1), "v": (3, 8, 1, 1)})
    channels = channels_of(proto)
    assert named(channels, "a").name == "a"
    assert len(feeds(proto)) == 2
