from __future__ import annotations

import re
from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, parser

from onnxslim.errors import InputError
from onnxslim.graph import load, to_proto

OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("c", 1)]


def model_with(graph: onnx.GraphProto, **fields: object) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=11, **fields)


def tensor_value(name: str, shape: list[int | str | None] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def relu() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"], name="n"), helper.make_node("Add", ["a", "w"], ["y"])],
        "g",
        [tensor_value("x", ["N", 2])],
        [tensor_value("y", ["N", 2])],
        [helper.make_tensor("w", 1, [2], [1.0, 2.0])],
    )


def map_type() -> onnx.TypeProto:
    proto = onnx.TypeProto()
    proto.map_type.key_type = TensorProto.INT64
    proto.map_type.value_type.CopyFrom(helper.make_tensor_type_proto(1, []))
    return proto


def opaque_type() -> onnx.TypeProto:
    proto = onnx.TypeProto(denotation="d")
    proto.opaque_type.domain, proto.opaque_type.name = "c", "Thing"
    return proto


def untyped() -> onnx.TypeProto:
    proto = onnx.TypeProto()
    proto.tensor_type.shape.dim.add(dim_param="N")
    return proto


def types() -> onnx.ModelProto:
    kinds = [map_type(), opaque_type(), untyped()]
    kinds += [helper.make_sequence_type_proto(map_type()), helper.make_optional_type_proto(opaque_type())]
    nodes = [helper.make_node("C", [f"i{at}"], [f"m{at}", f"o{at}"], domain="c") for at in range(len(kinds))]
    return model_with(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_value_info(f"i{at}", kind) for at, kind in enumerate(kinds)],
            [helper.make_value_info(f"o{at}", kind) for at, kind in enumerate(kinds)],
            value_info=[helper.make_value_info(f"m{at}", kind) for at, kind in enumerate(kinds)],
        )
    )


def type_attributes() -> onnx.ModelProto:
    node = helper.make_node("C", ["x"], ["y"], domain="c")
    plain = helper.make_tensor_type_proto(1, ["N"])
    for name, kind in (("a", map_type()), ("b", opaque_type()), ("c", plain)):
        node.attribute.add(name=name, type=onnx.AttributeProto.TYPE_PROTO, tp=kind, doc_string="doc")
    node.attribute.add(name="d", type=onnx.AttributeProto.TYPE_PROTOS, type_protos=[plain, map_type()])
    return model_with(helper.make_graph([node], "g", [tensor_value("x", [1])], [tensor_value("y", [1])]))


def byte_strings() -> onnx.ModelProto:
    node = helper.make_node("C", ["x"], ["y"], domain="c", one=b"\xff\xfe", many=[b"a", b"\xff"])
    node.attribute.add(name="none", type=onnx.AttributeProto.STRINGS)
    return model_with(helper.make_graph([node], "g", [tensor_value("x", [1])], [tensor_value("y", [1])]))


def all_metadata() -> onnx.ModelProto:
    model = model_with(relu(), doc_string="m", producer_name="p", producer_version="1", domain="d", model_version=7)
    graph = model.graph
    graph.doc_string = "g"
    graph.value_info.append(tensor_value("a", ["N", 2]))
    for item in (
        model,
        graph,
        graph.node[0],
        graph.initializer[0],
        graph.input[0],
        graph.output[0],
        graph.value_info[0],
    ):
        item.metadata_props.add(key="k2", value="b")
        item.metadata_props.add(key="k1", value="ä")
    for item in (graph.node[0], graph.initializer[0], graph.input[0], graph.output[0], graph.value_info[0]):
        item.doc_string = "doc"
    graph.input[0].type.denotation = "IMAGE"
    graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    return model


def quantization() -> onnx.ModelProto:
    model = model_with(relu())
    for name in ("x", "w", "a", "y", "elsewhere"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    return model


def foreign_value_info() -> onnx.ModelProto:
    model = model_with(relu())
    model.graph.value_info.extend([tensor_value("w", [2]), tensor_value("elsewhere", [9])])
    model.graph.value_info[1].doc_string = "captured"
    return model


def training() -> onnx.ModelProto:
    model = model_with(relu())
    info = model.training_info.add()
    info.algorithm.CopyFrom(relu())
    info.algorithm.ClearField("initializer")
    info.update_binding.add(key="w", value="y")
    return model


def functions() -> onnx.ModelProto:
    text = """<ir_version: 11, opset_import: ["" : 21, "f" : 1], metadata_props: ["a": "b"]>
    g (float[N] x) => (float[N] y) { y = f.F <alpha = 0.5> (x) }
    <domain: "f", overload: "", opset_import: ["" : 21], doc_string: "doc">
    F <beta, alpha: float = 1.0> (a) => (b) { c = LeakyRelu <alpha: float = @alpha> (a)  b = C <k = @beta> (c) }"""
    model = parser.parse_model(
        text.replace(', metadata_props: ["a": "b"]', "").replace("b = C <k = @beta> (c)", "b = Relu(c)")
    )
    function = model.functions[0]
    function.metadata_props.add(key="k", value="v")
    function.value_info.append(tensor_value("c", ["N"]))
    other = model.functions.add()
    other.CopyFrom(function)
    other.overload = "second"
    call = model.graph.node.add()
    call.CopyFrom(model.graph.node[0])
    call.overload, call.output[0] = "second", "z"
    return model


def devices() -> onnx.ModelProto:
    model = model_with(relu())
    model.configuration.add(name="c", num_devices=2, device=["a", "b"])
    placed = model.graph.node[0].device_configurations.add(configuration_id="c", pipeline_stage=1)
    placed.sharding_spec.add(tensor_name="x", device=[0, 1])
    return model


def passed_through() -> onnx.ModelProto:
    graph = helper.make_graph([], "g", [tensor_value("x", ["N"])], [tensor_value("x", ["N"])])
    graph.input[0].doc_string = graph.output[0].doc_string = "the input"
    return model_with(graph)


def initializer_output() -> onnx.ModelProto:
    graph = relu()
    graph.output.append(tensor_value("w", [2]))
    return model_with(graph)


def overridable_initializer() -> onnx.ModelProto:
    graph = relu()
    graph.input.append(tensor_value("w", [2]))
    return model_with(graph)


MAKERS = [
    types,
    type_attributes,
    byte_strings,
    all_metadata,
    quantization,
    foreign_value_info,
    training,
    functions,
    devices,
]
MAKERS += [passed_through, initializer_output, overridable_initializer]
UNORDERED = ("metadata_props", "quantization_annotation", "value_info", "attribute")


def canonical(message: onnx.ModelProto) -> object:
    """All that a message says: maps in order of their keys, and the domain, doc or name that is empty left out."""
    fields: dict[str, object] = {}
    for field, content in message.ListFields():
        if field.message_type is None:
            kept = list(content) if field.is_repeated else content
            if kept != "":
                fields[field.name] = kept
        elif field.is_repeated:
            items = [canonical(item) for item in content]
            fields[field.name] = sorted(items, key=str) if field.name in UNORDERED else items
        else:
            fields[field.name] = canonical(content)
    return fields


@pytest.mark.parametrize("clone", [False, True], ids=["model", "clone"])
@pytest.mark.parametrize("make", MAKERS)
def test_nothing_is_lost_on_the_way(make: Callable[[], onnx.ModelProto], clone: bool) -> None:
    proto = make()
    model = load(proto)
    back = to_proto(model.clone() if clone else model)
    assert canonical(back) == canonical(proto)
    assert canonical(to_proto(load(back))) == canonical(proto)


def test_a_type_that_a_pass_infers_is_written() -> None:
    model = load(types())
    value = model.graph.outputs[0]
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([3])
    assert to_proto(model).graph.output[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_a_captured_description_that_became_wrong_is_dropped() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[N] y) { a = Abs(x)
    y = If (c) <then_branch = t () => (float[2] o) { o = Abs(a) },
    else_branch = e () => (float[2] p) { p = Neg(a) }> }"""
    proto = parser.parse_model(text)
    branch = proto.graph.node[1].attribute[0].g
    branch.value_info.append(tensor_value("a", [2]))
    model = load(proto)
    assert [info.name for info in to_proto(model).graph.node[1].attribute[0].g.value_info] == ["a"]
    value = model.graph.node(0).outputs[0]
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1])
    assert not to_proto(model).graph.node[1].attribute[0].g.value_info


def test_training_information_that_binds_a_removed_initializer_is_refused() -> None:
    model = load(training())
    model.graph.initializers["w"].name = "renamed"
    with pytest.raises(InputError, match=re.escape("binds the initializer 'w'")):
        to_proto(model)


def test_carried_attributes_differ_where_their_bytes_do() -> None:
    nodes = load(type_attributes()).graph.node(0).attributes
    assert nodes["a"].value != nodes["b"].value
    assert nodes["a"].value == load(type_attributes()).graph.node(0).attributes["a"].value


def test_models_of_ir_version_1_may_leave_out_the_type_of_an_attribute() -> None:
    proto = model_with(relu())
    proto.ir_version = 1
    proto.ClearField("opset_import")
    proto.graph.node[0].attribute.add(name="k", i=3)
    assert load(proto).graph.node(0).attributes["k"].value == 3
