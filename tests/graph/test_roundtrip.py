from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tools.bench_roundtrip import Outcome, examine, main, one_feature_cases, plain
from tools.node_models import Case, node_cases
from tools.proto_facts import differences, facts

FEATURES = {case.name: case for case in one_feature_cases()}
REFUSED = {
    "external_data_outside_of_the_folder": "has no folder",
    "sparse_initializer_in_external_form": "has no folder",
}
"""Feature -> a word of the refusal; everything else must survive."""
SAMPLE = 100


@pytest.fixture(scope="module")
def nodes() -> list[Case]:
    return node_cases()


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_each_feature_survives_or_is_refused_by_name(feature: str) -> None:
    outcome = examine(FEATURES[feature])
    if feature in REFUSED:
        assert outcome.proto == "refused"
        assert REFUSED[feature] in outcome.details[0]
    else:
        assert outcome.proto == "same", outcome.details
        assert outcome.outputs in ("same", "not run"), outcome.details


def test_a_sample_of_the_node_models_keeps_its_meaning_and_its_outputs(nodes: list[Case]) -> None:
    assert len(nodes) > 1_800
    outcomes = [examine(case) for case in nodes[:: len(nodes) // SAMPLE]]
    wrong = [o for o in outcomes if o.proto != "same" or o.outputs not in ("same", "random", "not run")]
    assert not wrong
    assert sum(outcome.outputs == "same" for outcome in outcomes) > SAMPLE // 2


@pytest.mark.slow
def test_the_whole_corpus() -> None:
    assert main([]) == 0


def damaged(change: str) -> Outcome:
    case = FEATURES["subgraph_with_everything"]

    def trip(model: onnx.ModelProto) -> onnx.ModelProto:
        copy = plain(model)
        branch = copy.graph.node[0].attribute[0].g
        match change:
            case "metadata":
                branch.node[0].ClearField("metadata_props")
            case "shape":
                branch.value_info[0].type.tensor_type.ClearField("shape")
            case "annotation":
                branch.ClearField("quantization_annotation")
            case "data":
                branch.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros(2, np.float32), "inner"))
            case "operator":
                for attribute in copy.graph.node[0].attribute:
                    attribute.g.node[0].op_type = "Exp"
            case "broken":
                copy.graph.node[0].input[0] = "missing"
        return copy

    return examine(case, trip)


@pytest.mark.parametrize("change", ["metadata", "shape", "annotation", "data", "operator", "broken"])
def test_the_comparison_notices_damage(change: str) -> None:
    outcome = damaged(change)
    assert outcome.proto == "different"
    assert outcome.details
    assert outcome.outputs == {"operator": "different", "broken": "broken"}.get(change, "same")


def test_the_comparison_knows_what_has_no_meaning() -> None:
    left = helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    right = onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    assert left != right
    assert not list(differences(facts(left), facts(right)))
    nodes = [helper.make_node("Foo", ["x"], ["y"], a=1, b=2), helper.make_node("Foo", ["x"], ["y", ""], b=2, a=1)]
    assert not list(differences(facts(nodes[0]), facts(nodes[1])))
    swapped = [helper.make_node("Foo", names, ["y"]) for names in (["a", "b"], ["b", "a"])]
    assert list(differences(facts(swapped[0]), facts(swapped[1])))


def test_a_crash_is_reported_as_one() -> None:
    def crash(_: onnx.ModelProto) -> onnx.ModelProto:
        raise KeyError("oops")

    assert examine(next(iter(FEATURES.values())), crash).proto == "crashed"
