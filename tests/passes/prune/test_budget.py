"""Budgets: what is told to be saved is what is saved, and what is left is what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import models_zoo
from onnxslim.analysis import infer_shapes, model_cost
from onnxslim.analysis.channels import Group, find_channels
from onnxslim.analysis.cost import bound
from onnxslim.execution import Feed
from onnxslim.graph import load
from onnxslim.passes.prune.apply import kept_ids, remove_channels
from onnxslim.passes.prune.budget import Costs, cheapest, kept_of, least_of, macs_of, steps_of, times_of, uniform
from onnxslim.passes.prune.importance import Ranking
from tests.ops.channels.nets import Node, Weight, model, node
from tests.passes.prune.nets import feeds, loaded, samples

DIGITS = models_zoo.get("digits_cnn")

SEQUENCE: dict[str, list[str | int]] = {"x": ["N", "S", 6]}


def attention() -> onnx.ModelProto:
    """Two products of activations, four heads of two."""
    nodes: list[str | Node] = ["MatMul x q -> q1", "MatMul x k -> k1", "MatMul x v -> v1"]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [f"Reshape {name}1 heads -> {name}2", node(f"Transpose {name}2 -> {name}3", perm=perm)]
    nodes += ["MatMul q3 k3 -> s", node("Softmax s -> p", axis=-1), "MatMul p v3 -> o"]
    nodes += [node("Transpose o -> o1", perm=[0, 2, 1, 3]), "Reshape o1 flat -> o2", "MatMul o2 w -> y"]
    weights: dict[str, Weight] = {"q": (6, 8), "k": (6, 8), "v": (6, 8), "w": (8, 3)}
    return model(nodes, weights | {"heads": [0, 0, 4, 2], "flat": [0, 0, 8]}, inputs=SEQUENCE)


def recurrent() -> onnx.ModelProto:
    nodes: list[str | Node] = [
        "MatMul x w -> a",
        node("LSTM a v r -> h", hidden_size=8),
        "Squeeze h one -> b",
        "MatMul b u -> y",
    ]
    weights: dict[str, Weight] = {"w": (6, 8), "v": (1, 32, 8), "r": (1, 32, 8), "u": (8, 3), "one": [1]}
    return model(nodes, weights, inputs={"x": [5, 2, 6]})


def branching() -> onnx.ModelProto:
    """A convolution within a branch."""

    def body(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node(f"Conv a v -> {name}")], name, [], [out])

    nodes: list[str | Node] = [
        "Conv x w -> a",
        node("ReduceSum x -> total", keepdims=0),
        "Greater total zero -> positive",
        helper.make_node("If", ["positive"], ["y"], then_branch=body("one"), else_branch=body("other")),
    ]
    return model(nodes, {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1), "zero": np.float32(0)})


NETS: dict[str, onnx.ModelProto] = {
    "convolutions": model(
        ["Conv x w -> a", "Conv a v -> y"], {"w": (8, 3, 3, 3), "v": (4, 8, 1, 1)}, inputs={"x": ["N", 3, 6, 6]}
    ),
    "depthwise": model(
        ["Conv x w -> a", node("Conv a d -> b", group=8), "Conv b v -> y"],
        {"w": (8, 3, 1, 1), "d": (8, 1, 3, 3), "v": (4, 8, 1, 1)},
        inputs={"x": ["N", 3, 6, 6]},
    ),
    "transposed": model(["ConvTranspose x w -> a", "Conv a v -> y"], {"w": (3, 8, 2, 2), "v": (4, 8, 1, 1)}),
    "gemm": model(
        ["Gemm x w -> a", node("Gemm a v -> y", transB=1)], {"w": (5, 8), "v": (4, 8)}, inputs={"x": ["N", 5]}
    ),
    "residual": model(
        ["Conv x w -> a", "Conv a u -> b", "Relu b -> c", "Conv c t -> d", "Add a d -> e", "Conv e v -> y"],
        {"w": (8, 3, 1, 1), "u": (12, 8, 1, 1), "t": (8, 12, 1, 1), "v": (4, 8, 1, 1)},
    ),
    "attention": attention(),
    "recurrent": recurrent(),
    "einsum": model(
        ["MatMul x w -> a", node("Einsum a v -> y", equation="nsc,co->nso")],
        {"w": (6, 8), "v": (8, 4)},
        inputs=SEQUENCE,
    ),
    "branches": branching(),
}


def macs(made: ir.Model, feed: Mapping[str, np.ndarray]) -> float:
    """Of the leaves: of an If both branches."""
    facts = infer_shapes(made)
    nodes = model_cost(made, facts, bound(made, facts, {name: array.shape for name, array in feed.items()})).nodes
    return float(sum(cost.macs or 0 for each, cost in nodes.items() if each.op_type != "If"))


@pytest.mark.parametrize("name", NETS)
def test_what_is_foretold_is_what_the_pruned_model_costs(name: str) -> None:
    proto = NETS[name]
    (feed,) = feeds(samples(proto, 1, size=5))
    whole = loaded(proto)
    channels = find_channels(whole)
    costs = macs_of(whole, channels, feed)
    assert costs.total == macs(whole, feed) > 0
    assert channels.groups
    for group in channels.groups:
        pruned = loaded(proto)
        there = find_channels(pruned)
        removal = {group.key: list(range(len(group) // 2))}
        foretold = costs(kept_ids(channels, removal))
        remove_channels(pruned, there, removal)
        assert foretold == pytest.approx(macs(pruned, feed))
        assert foretold < costs.total


def test_open_dims_are_as_large_as_the_input() -> None:
    proto = NETS["convolutions"]
    small, large = (feeds(samples(proto, 1, size=size))[0] for size in (1, 7))
    whole = loaded(proto)
    channels = find_channels(whole)
    one, many, none = (macs_of(whole, channels, feed).total for feed in (small, large, None))
    assert many == 7 * one == 7 * none


def group(count: int, *widths: int) -> Group:
    """The first group of convolutions whose channels take that many entries in the weights that read them."""
    nodes: list[str | Node] = ["Conv x w -> a"]
    weights: dict[str, Weight] = {"w": (count, 3, 1, 1)}
    for i, width in enumerate(widths):
        nodes += [f"Resize a - scale{i} -> b{i}", f"Flatten b{i} -> c{i}", f"MatMul c{i} v{i} -> y{i}"]
        weights |= {f"scale{i}": np.array([1, 1, 1, width], np.float32), f"v{i}": (count * width, 2)}
    outputs = [f"y{i}" for i in range(len(widths))]
    proto = model(nodes, weights, inputs={"x": ["N", 3, 1, 1]}, outputs=outputs)
    (found,) = find_channels(loaded(proto)).groups
    return found


@pytest.mark.parametrize(
    ("widths", "round_to", "step"), [([1], 4, 4), ([4], 4, 4), ([1, 6], 8, 8), ([2], 1, 1), ([1, 2], 4, 4)]
)
def test_every_contraction_keeps_multiples(widths: list[int], round_to: int, step: int) -> None:
    assert steps_of(group(16, *widths), round_to) == step


def test_atoms_of_several_channels_take_smaller_steps() -> None:
    channels = find_channels(loaded(NETS["attention"]))
    heads = next(each for each in channels.groups if len(each) == 4)
    assert steps_of(heads, 4) == 2
    assert steps_of(heads, 2) == 1


def test_the_least_is_counted_in_channels_also_where_heads_go() -> None:
    whole = loaded(NETS["attention"])
    channels = find_channels(whole)
    heads = next(each for each in channels.groups if len(each) == 4)  # of two channels each
    assert [least_of(heads, least) for least in (1, 2, 3, 4, 8, 9)] == [1, 1, 2, 2, 4, 5]
    assert kept_of(heads, 1, 1, 4) == 2
    costs, made = macs_of(whole, channels, None), rankings(channels.groups, 1)
    counts = cheapest(channels.groups, made, dict.fromkeys(made, 1.0), costs, channels, 0.001, 1, 4)
    assert counts[heads.key] == 2


def test_a_consumer_of_several_places_makes_no_more_channels() -> None:
    assert least_of(group(16, 4), 4) == 4


@pytest.mark.parametrize(
    ("count", "wanted", "round_to", "least", "kept"),
    [
        (64, 32, 4, 4, 32),
        (64, 33, 4, 4, 32),
        (64, 34.1, 4, 4, 36),
        (64, 1, 4, 4, 4),
        (64, 1, 4, 9, 12),
        (64, 1, 1, 3, 3),
        (64, 0.1, 1, 1, 1),
        (6, 5, 4, 4, 4),
        (6, 7, 4, 4, 6),
        (6, 1, 8, 1, 6),
        (3, 1, 4, 4, 3),
        (10, 5, 4, 64, 10),
    ],
)
def test_what_is_kept_of_a_group(count: int, wanted: float, round_to: int, least: int, kept: int) -> None:
    assert kept_of(group(count, 1), wanted, round_to, least) == kept


def test_the_same_share_of_all() -> None:
    channels = find_channels(load(DIGITS.path()))
    counts = uniform(channels.groups, 0.5, 4, 4)
    for each in channels.groups:
        assert (len(each) - counts[each.key]) % 4 == 0
        assert abs(counts[each.key] - len(each) / 2) <= 2


def rankings(groups: tuple[Group, ...], seed: int) -> dict[str, Ranking]:
    """Errors that grow faster and faster."""
    generator = np.random.default_rng(seed)
    return {
        each.key: Ranking(
            generator.permutation(len(each)), np.concatenate([[0], np.sort(generator.random(len(each))).cumsum()])
        )
        for each in groups
    }


@pytest.mark.parametrize("share", [0.9, 0.6, 0.25])
@pytest.mark.parametrize("round_to", [1, 4])
def test_macs_are_met_within_a_step(share: float, round_to: int) -> None:
    whole = load(DIGITS.path())
    channels = find_channels(whole)
    feed = next(iter(DIGITS.samples("calibration"))).feed
    costs, groups, made = macs_of(whole, channels, feed), channels.groups, rankings(channels.groups, 0)
    counts = cheapest(groups, made, dict.fromkeys(made, 1.0), costs, channels, share, round_to, 4)
    gone = {key: made[key].order[:count].tolist() for key, count in counts.items()}
    left = costs(kept_ids(channels, gone))
    assert left <= share * costs.total
    back = [
        costs(kept_ids(channels, gone | {each.key: gone[each.key][: -steps_of(each, round_to)]}))
        for each in groups
        if gone[each.key]
    ]
    assert max(back) > share * costs.total  # what was taken last was needed
    for each in groups:
        assert (len(each) - counts[each.key]) % round_to == 0
        assert len(each) - counts[each.key] >= 4
    remove_channels(whole, channels, gone)
    assert macs(whole, feed) == pytest.approx(left)


def test_what_costs_most_accuracy_goes_last() -> None:
    whole = loaded(NETS["residual"])
    channels = find_channels(whole)
    (feed,) = feeds(samples(NETS["residual"], 1))
    costs, made = macs_of(whole, channels, feed), rankings(channels.groups, 1)
    dear, cheap = (each.key for each in channels.groups)
    for first, second in ((dear, cheap), (cheap, dear)):
        counts = cheapest(channels.groups, made, {first: 1e6, second: 1.0}, costs, channels, 0.8, 1, 1)
        assert counts[first] == 0
        assert counts[second] > 0


def test_a_budget_that_cannot_be_met_takes_all_that_may_go() -> None:
    whole = loaded(NETS["residual"])
    channels = find_channels(whole)
    costs, made = macs_of(whole, channels, None), rankings(channels.groups, 1)
    counts = cheapest(channels.groups, made, dict.fromkeys(made, 1.0), costs, channels, 0.001, 4, 5)
    assert {each.key: len(each) - counts[each.key] for each in channels.groups} == dict.fromkeys(made, 8)


def test_times_are_of_the_profile_and_fall_with_the_channels() -> None:
    whole = load(DIGITS.path())
    channels = find_channels(whole)
    given: list[Feed] = feeds(list(DIGITS.samples("calibration").first(2)))
    costs = times_of(whole, channels, given, 1)
    assert isinstance(costs, Costs)
    assert 1 < costs.total < 1e6
    half = {each.key: list(range(len(each) // 2)) for each in channels.groups}
    assert 0.1 * costs.total < costs(kept_ids(channels, half)) < costs.total
    assert [value.name for value in whole.graph.outputs] == ["logits"]
