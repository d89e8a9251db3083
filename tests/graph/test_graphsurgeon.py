from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
import pytest

from onnxslim.errors import InputError
from onnxslim.graph import from_graphsurgeon, load, parse, show, to_graphsurgeon, to_proto
from onnxslim.graph.graphsurgeon import losses
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.graphsurgeon import GraphSurgeonPass
from tests.rewriting import assert_rewrites, assert_same_graph
from tools.one_feature_models import one_feature_models
from tools.proto_facts import differences, facts

FEATURES = dict(one_feature_models())
REFUSED = {
    "functions_that_differ_in_overload": "overload",
    "graphs_attribute": "lists of graphs",
    "empty_list_attributes": "lists of graphs",
    "map_type": "map, opaque",
    "opaque_type": "map, opaque",
    "optional_sequence_type": "optional types",
    "optional_type": "optional types",
    "sequence_of_maps": "map, opaque",
    "sequence_of_sequences": "nested sequences",
    "untyped_output": "dtype|incomplete",
    "element_type_unknown": "incomplete",
}
"""Feature -> a word of the refusal, where load itself takes the model."""

ADD = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x) => (float[N,2] y) <float[2] w = {1.0, 2.0}>
{ t = Add (x, w) y = Relu (t) }"""
SUB = ADD.replace("Add", "Sub")


def trip(model: ir.Model) -> ir.Model:
    return from_graphsurgeon(to_graphsurgeon(model), original=model)


def add_becomes_sub(graph: gs.Graph) -> None:
    for node in graph.nodes:
        if node.op == "Add":
            node.op = "Sub"


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_each_feature_survives_or_is_refused_by_name(feature: str) -> None:
    proto = FEATURES[feature]
    try:
        model = load(proto)
    except InputError:
        return  # refused before graphsurgeon; test_roundtrip holds that list
    text = show(model)
    if feature in REFUSED:
        with pytest.raises(InputError, match=REFUSED[feature]):
            trip(model)
    else:
        assert not list(differences(facts(to_proto(model)), facts(to_proto(trip(model)))))
    assert show(model) == text, "the original was changed"


def test_losses_of_a_plain_model_are_none_and_of_a_rich_one_are_named() -> None:
    assert losses(parse(ADD)) == []
    named = "\n".join(losses(load(FEATURES["metadata_props_on_each_level"])))
    assert "metadata_props of the model" in named
    assert "metadata_props and doc strings of values (x" in named
    assert "devices of nodes (n)" in named
    assert "quantization annotations (x, y)" in "\n".join(losses(load(FEATURES["quantization_annotation"])))
    assert "doc strings of attributes (alpha" in "\n".join(losses(load(FEATURES["doc_string_on_everything"])))
    assert "denotations" in "\n".join(losses(load(FEATURES["denotations"])))
    assert "the sparse form of constants (w)" in "\n".join(losses(load(FEATURES["sparse_initializer_linear"])))


def test_without_the_original_only_what_graphsurgeon_holds_comes_back() -> None:
    model = load(FEATURES["model_header"])
    bare = from_graphsurgeon(to_graphsurgeon(model))
    assert (bare.producer_name, bare.domain, bare.metadata_props) == ("p", None, {})
    assert (trip(model).domain, trip(model).model_version) == ("org.x", 7)


def test_a_script_runs_as_a_pass() -> None:
    result = assert_rewrites_without_parity(ADD, SUB, GraphSurgeonPass(add_becomes_sub))
    assert [action.rule for action in result.actions] == ["graphsurgeon"]
    assert result.actions[0].site == "add_becomes_sub"


def assert_rewrites_without_parity(before: str, after: str, rewrite: GraphSurgeonPass) -> Any:
    model = parse(before)
    result = rewrite.run(model, Context())
    assert_same_graph(model, after)
    return result


def test_a_script_that_returns_another_graph_and_keeps_the_meaning() -> None:
    def doubled_negation(graph: gs.Graph) -> gs.Graph:
        copy = graph.copy()
        node = next(node for node in copy.nodes if node.op == "Neg")
        node.o().outputs[0].inputs.clear()
        node.o().op, node.inputs[0].name = node.o().op, node.inputs[0].name
        copy.nodes[-1].inputs = [node.inputs[0]]
        copy.nodes[-1].op = "Identity"
        copy.nodes[-1].outputs = [copy.outputs[0]]
        return copy.cleanup()

    assert_rewrites(
        before='<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { t = Neg (x) y = Neg (t) }',
        after='<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Identity (x) }',
        rewrite=GraphSurgeonPass(doubled_negation),
    )


def test_the_pass_keeps_the_models_header_and_warns_of_what_it_hides() -> None:
    model = parse(ADD)
    model.metadata_props["author"] = "me"
    model.graph[0].metadata_props["layer"] = "1"
    model.doc_string = "doc"
    with pytest.warns(UserWarning, match=r"graphsurgeon \(add_becomes_sub\).*metadata_props of the model"):
        GraphSurgeonPass(add_becomes_sub).run(model, Context())
    assert (model.metadata_props, model.doc_string) == ({"author": "me"}, "doc")
    assert model.graph[1].op_type == "Relu"


def test_metadata_of_an_untouched_node_stays_and_of_a_replaced_one_goes() -> None:
    model = parse(ADD)
    for node in model.graph:
        node.metadata_props["was"] = node.op_type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        GraphSurgeonPass(add_becomes_sub).run(model, Context())
    assert {node.op_type: dict(node.metadata_props) for node in model.graph} == {"Sub": {}, "Relu": {"was": "Relu"}}


def test_a_refused_action_runs_nothing() -> None:
    def fail(graph: gs.Graph) -> None:
        raise AssertionError("must not run")

    model = parse(ADD)
    result = GraphSurgeonPass(fail).run(model, Context(limit=0))
    assert not result.modified
    assert_same_graph(model, ADD)


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda graph: graph.nodes[99], "IndexError"),
        (lambda graph: graph.inputs[0].__setattr__("dtype", None), "makes no model"),
        (lambda graph: graph.nodes[0].inputs.__setitem__(1, graph.nodes[1].outputs[0]), "cycle"),
    ],
)
def test_a_failing_script_is_one_message_and_the_model_stays(function: Any, part: str) -> None:
    model = parse(ADD)
    with pytest.raises(InputError, match=part):
        GraphSurgeonPass(function).run(model, Context())
    assert_same_graph(model, ADD)


def test_nodes_appended_out_of_order_are_sorted() -> None:
    def put_a_neg_before_the_add(graph: gs.Graph) -> None:
        fresh = gs.Variable("fresh", np.float32, graph.inputs[0].shape)
        add = graph.nodes[0]
        graph.nodes.append(gs.Node("Neg", inputs=[graph.inputs[0]], outputs=[fresh]))
        add.inputs[0] = fresh

    after = ADD.replace("t = Add (x, w)", "n = Neg (x) t = Add (n, w)")
    assert_rewrites_without_parity(ADD, after, GraphSurgeonPass(put_a_neg_before_the_add))


@pytest.mark.parametrize(
    "dtype", ["int4", "uint4", "float8e4m3fnuz", "float8e4m3fn", "bfloat16", "float4e2m1", "string"]
)
def test_looking_at_the_values_of_a_constant_does_not_corrupt_it(dtype: str) -> None:
    def look(graph: gs.Graph) -> None:
        for tensor in graph.tensors().values():
            if isinstance(tensor, gs.Constant):
                assert tensor.values is not None

    proto = FEATURES[f"dtype_{dtype}_raw"]
    model = load(proto)
    GraphSurgeonPass(look).run(model, Context())
    assert not list(differences(facts(proto), facts(to_proto(model))))


def test_captured_constants_are_not_copied_into_subgraphs() -> None:
    model = load(FEATURES["subgraph_captures_a_constant"])
    back = trip(model)
    assert list(back.graph.initializers) == ["w"]
    branches = [attribute.as_graph() for attribute in back.graph[0].attributes.values()]
    assert [len(branch.initializers) for branch in branches] == [0, 0]


def test_external_weights_are_read_and_changed_ones_are_kept(tmp_path: Path) -> None:
    proto = to_proto(parse(ADD))
    onnx.save(
        proto,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        convert_attribute=True,
    )

    def double(graph: gs.Graph) -> None:
        constant = graph.nodes[0].inputs[1]
        constant.values = constant.values * 2

    model = load(tmp_path / "m.onnx")
    GraphSurgeonPass(double).run(model, Context())
    assert_same_graph(model, ADD.replace("{1.0, 2.0}", "{2.0, 4.0}"))


def test_twenty_thousand_nodes() -> None:
    value = ir.Value(name="v0", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    nodes, current = [], value
    for position in range(20_000):
        node = ir.node("Neg", [current], name=f"n{position}")
        current = node.outputs[0]
        current.name, current.type, current.shape = f"v{position + 1}", value.type, value.shape
        nodes.append(node)
    model = ir.Model(ir.Graph([value], [current], nodes=nodes, opset_imports={"": 17}, name="g"), ir_version=8)
    assert len(trip(model).graph) == 20_000
