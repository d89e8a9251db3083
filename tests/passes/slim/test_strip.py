from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import onnxslim
from onnxslim.graph import load, parse, to_bytes, to_proto
from onnxslim.graph.walk import bodies
from onnxslim.passes.slim.strip import Strip
from onnxslim.passes.sparse.decode import Decode
from onnxslim.pipeline import Context
from tests.rewriting import assert_rewrites

LONG = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
exported (float[N, 4] images, bool flag) => (float[N, 4] features_of_the_last_layer)
<float[4] encoder_layer_0_weight = {1, 2, 3, 4}, float[4] images_default = {5, 6, 7, 8}> {
    encoder_Mul_output_0 = Mul (images, encoder_layer_0_weight)
    encoder_If_output_0 = If (flag) <
        then_branch = then_graph () => (float[N, 4] then_output_of_it) {
            inner_value_of_then = Relu (encoder_Mul_output_0)
            then_output_of_it = my.halve (inner_value_of_then)
        },
        else_branch = else_graph () => (float[N, 4] else_output_of_it) <float[4] else_weight_inside = {1, 1, 2, 2}> {
            else_output_of_it = Add (encoder_Mul_output_0, else_weight_inside)
        }
    >
    features_of_the_last_layer = Sub (encoder_If_output_0, images_default)
}
<domain: "my", opset_import: ["" : 17]>
halve (input_of_function) => (output_of_function) {
    half_of_function = Constant <value_float = 0.5> ()
    output_of_function = Mul (input_of_function, half_of_function)
}
"""
"""Subgraphs that capture values, and a function; each name inside is longer than it needs to be."""


def told(text: str = LONG) -> onnx.ModelProto:
    """The model with doc strings, metadata and a type wherever there may be one."""
    proto = to_proto(parse(text))
    proto.graph.value_info.append(helper.make_tensor_value_info("encoder_Mul_output_0", 1, ["N", 4]))
    nodes = [*proto.graph.node, *(node for f in proto.functions for node in f.node)]
    for item in (proto, proto.graph, *proto.functions, *nodes, *proto.graph.initializer, *proto.graph.value_info):
        item.doc_string = "what the exporter says"
        item.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File ...")
        item.metadata_props.add(key="names", value="cat, dog")
    for at, node in enumerate(proto.graph.node):
        node.name = f"/encoder/layer.{at}/a_name_of_a_node"
    proto.graph.node[1].attribute[0].doc_string = "then"
    return proto


def names(model: ir.Model) -> list[str]:
    return [value.name or "" for body in bodies(model) for node in body for value in node.outputs]


def test_nothing_is_said_that_is_not_computed_with() -> None:
    before = told()
    result = assert_rewrites(before=before, after=LONG, rewrite=Strip())
    assert [action.rule for action in result.actions] == [
        "drop-doc-strings", "drop-metadata", "drop-value-info", "shorten-names", "shorten-names",
    ]  # fmt: skip
    model = load(before)
    kept = to_bytes(model)
    stripped = model.clone()
    Strip().run(stripped, Context())
    content = to_bytes(stripped)
    assert to_bytes(model) == kept  # the tensors, which a clone shares, are not renamed either
    for text in (b"exporter", b"stack_trace", b"cat, dog", b"encoder", b"inner_value", b"of_function"):
        assert text in kept
        assert text not in content
    proto = to_proto(stripped)
    assert [each.name for each in (*proto.graph.input, *proto.graph.output)] == [
        "images", "flag", "features_of_the_last_layer",
    ]  # fmt: skip
    assert not proto.graph.value_info
    assert max(map(len, set(names(stripped)) - {"features_of_the_last_layer"})) == 1
    assert len(set(names(stripped))) == len(names(stripped))  # also across graphs: nothing is shadowed
    assert [node.name for node in proto.graph.node] == [node.output[0] for node in proto.graph.node[:2]] + [
        "features_of_the_last_layer"
    ]
    Strip().run(stripped, Context())
    assert to_bytes(stripped) == content


def test_each_kind_can_be_refused_and_keys_can_be_kept() -> None:
    everything = Context()
    Strip().run(load(told()), everything)
    for action in everything.actions:
        model, context = load(told()), Context(refused=frozenset({action.key}))
        Strip().run(model, context)
        assert len(context.actions) == len(everything.actions) - 1
        onnx.checker.check_model(to_proto(model))
    model = load(told())
    Strip(keep=("names",)).run(model, Context())
    assert dict(model.metadata_props) == {"names": "cat, dog"}
    assert b"stack_trace" not in to_bytes(model)


def test_what_is_known_by_its_name_keeps_it() -> None:
    proto = told()
    annotation = proto.graph.quantization_annotation.add(tensor_name="encoder_Mul_output_0")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="encoder_layer_0_weight")
    proto.graph.input.append(helper.make_tensor_value_info("images_default", TensorProto.FLOAT, [4]))
    model = load(proto)
    Strip().run(model, Context())
    assert set(model.graph.initializers) == {"encoder_layer_0_weight", "images_default"}
    assert "encoder_Mul_output_0" in names(model)
    proto.training_info.add().initialization_binding.add(key="images_default", value="images_default")
    context = Context()
    Strip().run(load(proto), context)
    assert [each.rule for each in context.declined] == ["shorten-names"]


@pytest.mark.parametrize("encoding", ["standard", "folded"])
def test_packed_weights_are_found_again(encoding: str) -> None:
    generator = np.random.default_rng(0)
    weight = generator.choice([0, 0, 0, 0.5], (64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a_long_name"], ["y"], name="node_of_it")],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 64])],
        [helper.make_tensor_value_info("y", 1, ["N", 64])],
        [onnx.numpy_helper.from_array(weight, "a_long_name")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stripped, report = onnxslim.sparsify(model, encoding=encoding, strip=True, bench=False)
    assert [step.name for step in report.steps] == ["slim", "strip", "encode"]
    assert b"a_long_name" not in to_bytes(stripped)
    Strip().run(stripped, Context())
    Decode().run(stripped, Context())
    (found,) = (value.const_value for value in stripped.graph.initializers.values())
    assert found is not None
    assert np.array_equal(found.numpy(), weight)


def test_attributes_that_are_defaults_go() -> None:
    said = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 5, 5] x) => (float[1, 3] y) <float[3, 2, 1, 1] w = {1, 2, 3, 4, 5, 6}> {
        c = Conv <group = 1, strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0], kernel_shape = [1, 1]> (x, w)
        p = GlobalAveragePool (c)
        y = Flatten <axis = 1> (p)
    }"""
    left = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 5, 5] x) => (float[1, 3] y) <float[3, 2, 1, 1] w = {1, 2, 3, 4, 5, 6}> {
        c = Conv <kernel_shape = [1, 1]> (x, w)
        p = GlobalAveragePool (c)
        y = Flatten (p)
    }"""
    result = assert_rewrites(before=said, after=left, rewrite=Strip())
    assert [action.detail for action in result.actions] == ["5 attributes"]


def test_attributes_of_a_function_of_another_opset_stay() -> None:
    text = LONG.replace("encoder_Mul_output_0 = Mul", "old = Flatten <axis = 1> (images) encoder_Mul_output_0 = Mul")
    same, context = parse(text), Context()
    Strip().run(same, context)
    assert any(action.rule == "drop-defaults" for action in context.actions)
    other, context = parse(text), Context()
    next(iter(other.functions.values())).opset_imports[""] = 16
    Strip().run(other, context)
    assert not any(action.rule == "drop-defaults" for action in context.actions)
