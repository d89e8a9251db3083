from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from onnxslim.errors import CheckFailed, InputError
from onnxslim.graph import check_structure, load, problems, validate
from onnxslim.graph.structure import find_cycle
from onnxslim.graph.walk import bodies, nodes, tensors

BRANCHES = """<ir_version: 9, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y) { a = Abs(x)
y = If (c) <then_branch = t () => (float[2] o) { o = Relu(a) }, else_branch = e () => (float[2] p) { p = Neg(a) }> }"""


def chain(length: int) -> ir.Model:
    value = ir.val("x", ir.DataType.FLOAT, [1])
    inputs, made = [value], []
    for at in range(length):
        node = ir.node("Abs", [value], num_outputs=1)
        node.outputs[0].name = f"v{at}"
        made.append(node)
        value = node.outputs[0]
    return ir.Model(ir.Graph(inputs, [value], nodes=made, opset_imports={"": 17}, name="g"), ir_version=9)


def test_a_sound_model_has_no_problems() -> None:
    model = load(parser.parse_model(BRANCHES))
    assert problems(model) == []
    validate(model)
    check_structure(model, "slim")


def test_the_walk_reaches_everything_once() -> None:
    model = load(parser.parse_model(BRANCHES))
    assert [body.name for body in bodies(model)] == ["g", "t", "e"]
    assert [node.op_type for node in nodes(model)] == ["Abs", "If", "Relu", "Neg"]
    model.graph.register_initializer(ir.val("w", const_value=ir.tensor(np.ones(2), name="w")))
    assert [tensor.name for tensor in tensors(model)] == ["w"]


def test_a_use_before_the_definition_is_named() -> None:
    model = load(parser.parse_model(BRANCHES))
    first, last = list(model.graph)
    model.graph.remove(first)
    model.graph.insert_after(last, first)
    found = problems(model)
    assert len(found) == 2  # one for each branch
    assert "(Relu)" in found[0]
    assert "'a' is used before it is computed" in found[0]


def test_a_capture_that_its_name_would_lead_astray_is_found() -> None:
    model = load(parser.parse_model(BRANCHES))
    branch = list(bodies(model))[1]
    model.graph.node(0).outputs[0].name = "o"  # the branch defines an o too, which its Relu does not mean
    other = ir.node("Neg", [model.graph.inputs[1]], num_outputs=1)
    other.outputs[0].name = "z"
    branch.insert_before(branch[0], other)
    other.outputs[0].name = "o"
    found = problems(model)
    assert any(
        "another value than the one that its name leads to" in problem and "(Relu)" in problem for problem in found
    )


def test_two_values_of_one_name_are_found() -> None:
    model = chain(3)
    model.graph.node(2).outputs[0].name = "v0"
    assert any("'v0' is defined twice" in problem for problem in problems(model))


def test_a_value_of_no_graph_is_found() -> None:
    model = chain(3)
    model.graph.node(1).replace_input_with(0, ir.val("stray", ir.DataType.FLOAT, [1]))
    assert problems(model) == [
        "node 'node_Abs_1' (Abs) of 'v1' in graph 'g': the input 'stray' is defined by no node, input or initializer"
    ]


def test_an_output_of_a_removed_node_is_found() -> None:
    model = chain(3)
    model.graph.remove(model.graph.node(2))
    assert problems(model) == ["graph 'g': the output 'v2' is computed by nothing in it"]


def test_a_missing_operator_set_is_found() -> None:
    model = chain(1)
    model.graph.node(0).domain = "acme"
    assert any("operator set 'acme' is not imported" in problem for problem in problems(model))


def test_an_initializer_without_data_is_found() -> None:
    model = chain(1)
    model.graph.initializers["w"] = ir.val("w", ir.DataType.FLOAT, [1])
    assert problems(model) == ["graph 'g': the initializer 'w' has no data"]


def test_errors_name_the_pass_or_the_input() -> None:
    model = chain(3)
    model.graph.remove(model.graph.node(2))
    with pytest.raises(CheckFailed, match="the pass 'slim' broke the model") as failed:
        check_structure(model, "slim")
    assert failed.value.where == "graph 'g'"
    with pytest.raises(InputError, match="'v2' is computed by nothing"):
        validate(model)


def test_problems_end_at_the_limit() -> None:
    model = chain(30)
    for node in model.graph:
        node.domain = "acme"
    assert len(problems(model)) == 20
    assert len(problems(model, limit=3)) == 3


def test_a_ring_is_found_through_subgraphs() -> None:
    model = load(parser.parse_model(BRANCHES))
    branching = model.graph.node(1)
    model.graph.node(0).replace_input_with(0, branching.outputs[0])
    assert {node.op_type for node in find_cycle(model.graph)} == {"Abs", "If"}
    assert find_cycle(chain(3).graph) == []


def test_fifty_thousand_nodes_are_no_matter() -> None:
    assert problems(chain(50_000)) == []
