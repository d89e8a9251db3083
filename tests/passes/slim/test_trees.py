"""Trees: what is trimmed gives the same bits, and TreeEnsemble gives what the older operators do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.graph import load, to_proto
from onnxslim.ops import trees
from onnxslim.ops.tree_attributes import read
from onnxslim.passes.slim.lift_trees import LiftTrees
from onnxslim.passes.slim.slim import Slim
from onnxslim.passes.slim.trim_trees import TrimTrees
from onnxslim.pipeline.context import Context
from tests.passes.slim.classical import ensemble, fixture, grid, grown, operators, outputs, rows

FORESTS = {
    "boosting_missing": ["TreeEnsemble", "Gemm", "ArgMax", "Sigmoid"],
    "boosting_of_three": ["TreeEnsemble", "Softmax", "ArgMax", "Identity"],
    "boosting_of_two": ["TreeEnsemble", "Gemm", "ArgMax", "Sigmoid", "Identity"],
    "boosting_regressor": ["TreeEnsemble"],
    "forest_of_three": ["TreeEnsemble", "ArgMax"],
    "forest_of_two": ["TreeEnsemble", "Gemm", "ArgMax"],
    "forest_of_words": ["TreeEnsemble", "ArgMax", "Gather"],
    "forest_regressor": ["TreeEnsemble"],
}
"""Models each leaf of which has one weight, and what they become."""


def bytes_of(model: ir.Model) -> int:
    return len(to_proto(model).SerializeToString())


def applied(rewrite: Any, model: ir.Model) -> tuple[ir.Model, Context]:
    context = Context()
    rewrite.run(model, context)
    onnx.checker.check_model(to_proto(model), full_check=True)
    return model, context


def reasons(context: Context) -> str:
    return "; ".join(declined.reason for declined in context.declined)


def forest_of(model: ir.Model) -> trees.Forest:
    (node,) = (node for node in model.graph if node.op_type.startswith("TreeEnsemble"))
    found = read(node)
    assert isinstance(found, trees.Forest), found
    return found


def labels_and_scores(found: list[Any]) -> tuple[list[Any], np.ndarray]:
    return [list(each) for each in found[:-1]], np.asarray(found[-1])


@pytest.mark.parametrize("name", [*FORESTS, "forest_mixed"])
def test_a_trimmed_forest_gives_the_same_bits_in_fewer_bytes(name: str) -> None:
    before, x = outputs(fixture(name), rows(name)), rows(name)
    model, context = applied(TrimTrees(), fixture(name))
    (node,) = (node for node in model.graph if node.op_type.startswith("TreeEnsemble"))
    assert "nodes_hitrates" not in node.attributes
    assert bytes_of(model) < 0.92 * bytes_of(fixture(name))
    assert context.actions
    for a, b in zip(before, outputs(model, x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not applied(TrimTrees(), model)[1].actions


@pytest.mark.parametrize(("name", "wanted"), FORESTS.items())
def test_a_forest_is_lifted_to_tree_ensemble(name: str, wanted: list[str]) -> None:
    before = outputs(fixture(name), rows(name))
    model, _ = applied(LiftTrees(always=True), fixture(name))
    assert sorted(operators(model)) == sorted(wanted)
    assert model.opset_imports["ai.onnx.ml"] == 5
    assert bytes_of(model) < 0.5 * bytes_of(fixture(name))
    labels, scores = labels_and_scores(before)
    new_labels, new_scores = labels_and_scores(outputs(model, rows(name)))
    assert labels == new_labels
    np.testing.assert_allclose(new_scores, scores, rtol=1e-5, atol=1e-6)
    assert not applied(LiftTrees(always=True), model)[1].actions


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("forest_mixed", "a leaf has weights for several targets"),
        ("boosting_of_two", "one row would take longer"),
        ("forest_of_two", "one row would take longer"),
    ],
)
def test_a_forest_stays_where_it_cannot_be_stated_or_would_be_slower(name: str, reason: str) -> None:
    model, context = applied(LiftTrees(), fixture(name))
    assert operators(model) == operators(fixture(name))
    assert reason in reasons(context)
    assert len(model.graph.inputs[0].uses()) == 1


def test_slimming_lifts_a_regressor_and_is_done() -> None:
    model, _ = applied(Slim(), fixture("forest_regressor"))
    assert operators(model) == ["TreeEnsemble"]
    np.testing.assert_array_equal(
        outputs(model, rows("forest_regressor"))[0],
        outputs(fixture("forest_regressor"), rows("forest_regressor"))[0],
    )
    assert not applied(Slim(), model)[1].actions


def test_onnxruntime_joins_tests_for_equality_so_that_they_stay() -> None:
    """Trimmed, tree 161 is ``x == 3``, and below its false way ``x == 3 or NaN``, which onnxruntime takes for one."""
    proto = ensemble("TreeEnsembleRegressor", grown(1, "target", 1, depth=2, count=200), n_targets=1)
    model, _ = applied(TrimTrees(), load(proto))
    assert len(forest_of(model).branches) == len(forest_of(load(proto)).branches)
    np.testing.assert_array_equal(outputs(model, grid())[0], outputs(proto, grid())[0])
    _, context = applied(LiftTrees(always=True), load(proto))
    assert "tests for equality" in reasons(context)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_random_trees_give_the_same_bits(seed: int, aggregate: str) -> None:
    """Modes and ways of NaN at random, features that are decided above, equal leaves."""
    stated = grown(seed, "target", 1, ordered=seed % 3 == 0, tracks=(0.5, 0.0, 1.0)[seed % 3])
    proto = ensemble("TreeEnsembleRegressor", stated, n_targets=1, aggregate_function=aggregate)
    model, _ = applied(TrimTrees(), load(proto))
    assert len(forest_of(model).branches) < len(forest_of(load(proto)).branches)
    np.testing.assert_array_equal(outputs(model, grid())[0], outputs(proto, grid())[0])
    lifted, _ = applied(LiftTrees(), model)
    assert operators(lifted) == ["TreeEnsemble"]
    np.testing.assert_array_equal(outputs(lifted, grid())[0], outputs(proto, grid())[0])
    assert not applied(TrimTrees(), lifted)[1].actions


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("base", [[], [0.5, -0.25, 0.125, 1.0]])
def test_random_classifiers_agree(seed: int, post: str, base: list[float]) -> None:
    kind = "TreeEnsembleClassifier"
    extra: dict[str, Any] = {"base_values": base} if base else {}
    stated: dict[str, Any] = {"classlabels_int64s": [7, 3, 5, 9], "post_transform": post, **extra}
    proto = ensemble(kind, grown(seed, "class", 4, per_leaf=1 + seed % 3, ordered=True), outputs=4, **stated)
    model, _ = applied(TrimTrees(), load(proto))
    for a, b in zip(outputs(proto, grid()), outputs(model, grid()), strict=True):
        np.testing.assert_array_equal(a, b)
    lifted, context = applied(LiftTrees(always=True), load(proto))
    assert (
        "TreeEnsemble" in operators(lifted)
        or "several targets" in reasons(context)
        or "weight at all" in reasons(context)
        or "tree of its own" in reasons(context)
    )
    label, scores = outputs(lifted, grid())
    np.testing.assert_array_equal(label, outputs(proto, grid())[0])
    np.testing.assert_allclose(scores, outputs(proto, grid())[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [[], [0.5]])
@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_two_classes_with_one_weight(post: str, base: list[float], shift: float) -> None:
    """What the operator computes depends on whether a weight is negative."""
    stated = grown(3, "class", 1, ordered=True)
    stated["class_weights"] = [weight / 5 + shift for weight in stated["class_weights"]]
    extra: dict[str, Any] = {"base_values": base} if base else {}
    proto = ensemble(
        "TreeEnsembleClassifier", stated, outputs=2, classlabels_int64s=[0, 1], post_transform=post, **extra
    )
    lifted, context = applied(LiftTrees(always=True), load(proto))
    if post == "LOGISTIC" and shift == 0:
        assert "without a negative weight" in reasons(context)
        return
    assert "Gemm" in operators(lifted)
    label, scores = outputs(lifted, grid())
    np.testing.assert_array_equal(label, outputs(proto, grid())[0])
    np.testing.assert_allclose(scores, outputs(proto, grid())[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "wanted"), [(50, "TreeEnsembleClassifier"), (1000, "TreeEnsemble")])
def test_many_trees_pay_for_the_nodes_behind_them(count: int, wanted: str) -> None:
    stated = grown(1, "class", 1, depth=2, count=count, ordered=True)
    proto = ensemble("TreeEnsembleClassifier", stated, outputs=2, classlabels_int64s=[0, 1], post_transform="NONE")
    model, _ = applied(Slim(), load(proto))
    assert wanted in operators(model)
    label, scores = outputs(model, grid())
    np.testing.assert_array_equal(label, outputs(proto, grid())[0])
    np.testing.assert_allclose(scores, outputs(proto, grid())[1], rtol=1e-5, atol=1e-4)


CHAIN = {
    "nodes_treeids": [0] * 5,
    "nodes_nodeids": list(range(5)),
    "nodes_featureids": [0, 0, 0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [3.0, 5.0, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 2, 0, 0, 0],
    "nodes_falsenodeids": [4, 3, 0, 0, 0],
    "target_treeids": [0, 0, 0],
    "target_nodeids": [2, 3, 4],
    "target_ids": [0, 0, 0],
    "target_weights": [1.0, 2.0, 3.0],
}
"""x <= 3, and below it x <= 5."""


@pytest.mark.parametrize(
    ("tracks", "left"),
    [
        ([0, 0], 1),  # NaN never comes to the second branch
        ([1, 1], 1),  # it comes, and goes the way of the numbers
        ([1, 0], 2),  # it comes, and goes the other way
    ],
)
def test_nan_keeps_a_branch_that_it_alone_needs(tracks: list[int], left: int) -> None:
    stated = {**CHAIN, "nodes_missing_value_tracks_true": [*tracks, 0, 0, 0]}
    proto = ensemble("TreeEnsembleRegressor", stated, n_targets=1)
    model, _ = applied(TrimTrees(), load(proto))
    assert len(forest_of(model).branches) == left
    np.testing.assert_array_equal(outputs(model, grid())[0], outputs(proto, grid())[0])


def test_a_tree_that_always_says_the_same_is_one_leaf() -> None:
    proto = ensemble("TreeEnsembleRegressor", {**CHAIN, "target_weights": [2.0, 2.0, 2.0]}, n_targets=1)
    model, _ = applied(TrimTrees(), load(proto))
    assert forest_of(model).branches == []
    lifted, _ = applied(LiftTrees(), model)
    assert len(forest_of(lifted).branches) == 1
    np.testing.assert_array_equal(outputs(lifted, grid())[0], outputs(proto, grid())[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes_falsenodeids": [4, 2, 0, 0, 0]}, "no trees"),
        ({"nodes_falsenodeids": [4, 9, 0, 0, 0]}, "leads to none"),
        ({"target_nodeids": [2, 2, 4]}, "two weights for one target"),
        ({"target_nodeids": [2, 1, 4]}, "no leaf has a weight"),
        ({"nodes_values": [3.0]}, "differ in length"),
        ({"nodes_nodeids": [0, 1, 2, 2, 4]}, "one number"),
    ],
)
def test_what_is_no_tree_is_left_alone(change: dict[str, Any], reason: str) -> None:
    model = load(ensemble("TreeEnsembleRegressor", {**CHAIN, **change}, n_targets=1))
    before = to_proto(model).SerializeToString()
    for rewrite in (TrimTrees(), LiftTrees(always=True)):
        context = Context()
        rewrite.run(model, context)
        assert reason in reasons(context)
    assert to_proto(model).SerializeToString() == before


def test_another_operator_of_the_domain_forbids_to_raise_its_version() -> None:
    proto = ensemble("TreeEnsembleRegressor", CHAIN, n_targets=1, opset=1)
    proto.graph.node.append(
        onnx.helper.make_node(
            "LabelEncoder", ["s"], ["z"], domain="ai.onnx.ml", classes_strings=["a", "b"], default_int64=-1
        )
    )
    proto.graph.input.append(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.STRING, [2]))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.INT64, [2]))
    model, context = applied(LiftTrees(always=True), load(proto))
    assert "TreeEnsembleRegressor" in operators(model)
    assert "LabelEncoder means something else" in reasons(context)


def test_features_of_another_type_stay() -> None:
    proto = ensemble("TreeEnsembleRegressor", CHAIN, n_targets=1)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    _, context = applied(LiftTrees(always=True), load(proto))
    assert "float32" in reasons(context)


def test_a_refused_lift_leaves_nothing_behind() -> None:
    model = fixture("forest_regressor")
    before = to_proto(model).SerializeToString()
    LiftTrees().run(model, Context(limit=0))
    assert to_proto(model).SerializeToString() == before
    assert len(model.graph.inputs[0].uses()) == 1
