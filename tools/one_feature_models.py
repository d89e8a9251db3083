"""Models with one feature each: whatever ONNX can say, said once, so that a loss has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import AttributeProto, TensorProto, helper

FLOAT = TensorProto.FLOAT
Build = Callable[[], onnx.ModelProto]
_BUILDERS: dict[str, Build] = {}


def one_feature_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Name of the feature, and a model that has it."""
    for dtype in sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}):
        label = TensorProto.DataType.Name(dtype).lower()
        yield f"dtype_{label}_raw", _of_dtype(dtype, raw=True)
        yield f"dtype_{label}_typed", _of_dtype(dtype, raw=False)
    for name, build in _BUILDERS.items():
        yield name, build()


def _feature(build: Build) -> Build:
    _BUILDERS[build.__name__.lstrip("_")] = build
    return build


def _value(name: str, shape: Any = (2,), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(
    nodes: list[onnx.NodeProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    initializers: list[onnx.TensorProto] | None = None,
    **more: Any,
) -> onnx.ModelProto:
    """Neg of x [2] gives y [2] unless told otherwise."""
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])] if nodes is None else nodes,
        "g",
        [_value("x")] if inputs is None else inputs,
        [_value("y")] if outputs is None else outputs,
        initializers or [],
    )
    more.setdefault("opset_imports", [helper.make_opsetid("", 21)])
    return helper.make_model(graph, ir_version=more.pop("ir_version", 10), **more)


def _entries(message: Any, **pairs: str) -> None:
    for key, value in pairs.items():
        message.metadata_props.add(key=key, value=value)


def _custom(**attributes: Any) -> onnx.ModelProto:
    node = helper.make_node("Custom", ["x"], ["y"], domain="my", **attributes)
    return _model([node], opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("my", 1)])


def _with(attribute: onnx.AttributeProto) -> onnx.ModelProto:
    model = _custom()
    model.graph.node[0].attribute.append(attribute)
    return model


def _of_dtype(dtype: int, *, raw: bool) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=dtype, dims=[3])
    bits = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}.get(TensorProto.DataType.Name(dtype), 0)
    if dtype == TensorProto.STRING:
        tensor.string_data.extend([b"a", b"", "é".encode()] if raw else [b"\xff\xfe", b"b", b"\x00"])
    elif raw and TensorProto.DataType.Name(dtype).startswith("FLOAT6"):
        tensor.raw_data = bytes([0x41, 0x20, 0x00])
    elif raw:
        size = helper.tensor_dtype_to_np_dtype(dtype).itemsize
        tensor.raw_data = bytes([0x21, 0x03][: -(-3 * bits // 8)]) if bits else bytes(range(1, 3 * size + 1))
        if dtype == TensorProto.BOOL:
            tensor.raw_data = bytes([1, 0, 1])
    else:
        field = helper.tensor_dtype_to_field(dtype)
        values: list[Any] = [1, 2, 3]
        if dtype in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
            values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        elif dtype == TensorProto.BOOL:
            values = [1, 0, 1]
        elif bits:
            values = [0x21, 0x03][: -(-3 * bits // 8)]
        getattr(tensor, field).extend(values)
    node = helper.make_node("Identity", ["w"], ["y"])
    return _model([node], [], [_value("y", (3,), dtype)], [tensor])


# --- metadata, docs, annotations --------------------------------------------------------------------------------------


@_feature
def _model_header() -> onnx.ModelProto:
    model = _model(producer_name="p", producer_version="1.2", domain="org.x", model_version=7, doc_string='doc\n"q"')
    _entries(model, key="value", empty="")
    return model


@_feature
def _metadata_props_on_each_level() -> onnx.ModelProto:
    tensor = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    nodes = [helper.make_node("Add", ["x", "w"], ["t"], name="n"), helper.make_node("Neg", ["t"], ["y"])]
    model = _model(nodes, initializers=[tensor])
    model.graph.value_info.append(_value("t"))
    for part in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.output[0]):
        _entries(part, where=type(part).__name__)
    _entries(model.graph.value_info[0], where="value_info")
    _entries(model.graph.initializer[0], where="tensor")
    return model


@_feature
def _doc_string_on_everything() -> onnx.ModelProto:
    tensor = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    nodes = [
        helper.make_node("Add", ["x", "w"], ["t"], doc_string="node"),
        helper.make_node("LeakyRelu", ["t"], ["y"], alpha=0.5),
    ]
    model = _model(nodes, initializers=[tensor], doc_string="model")
    model.graph.doc_string = "graph"
    model.graph.value_info.append(_value("t"))
    for name in ("input", "output", "value_info", "initializer"):
        getattr(model.graph, name)[0].doc_string = name
    model.graph.node[1].attribute[0].doc_string = "attribute"
    return model


@_feature
def _denotations() -> onnx.ModelProto:
    model = _model(inputs=[_value("x", ("N", 3))], outputs=[_value("y", ("N", 3))])
    kind = model.graph.input[0].type
    kind.denotation = "IMAGE"
    kind.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    kind.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    return model


@_feature
def _denotation_of_a_sequence_element() -> onnx.ModelProto:
    model = _sequence_type()
    model.graph.input[0].type.denotation = "OUTER"
    model.graph.input[0].type.sequence_type.elem_type.denotation = "INNER"
    return model


@_feature
def _quantization_annotation() -> onnx.ModelProto:
    scale = onnx.numpy_helper.from_array(np.array(0.5, np.float32), "x_scale")
    model = _model(initializers=[scale])
    for name in ("x", "y"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="x_scale")
    return model


@_feature
def _node_device_configurations() -> onnx.ModelProto:
    model = _model(ir_version=11)
    model.configuration.add(name="pair", num_devices=2, device=["cpu:0", "cpu:1"])
    item = model.graph.node[0].device_configurations.add(configuration_id="pair", pipeline_stage=1)
    spec = item.sharding_spec.add(tensor_name="x", device=[0, 1])
    spec.sharded_dim.add(axis=0).simple_sharding.add(dim_value=2, num_shards=2)
    return model


@_feature
def _training_info() -> onnx.ModelProto:
    weights = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    model = _model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[weights])
    info = model.training_info.add()
    step = helper.make_node("Neg", ["w"], ["new_w"])
    info.algorithm.CopyFrom(helper.make_graph([step], "algorithm", [], [_value("new_w")]))
    info.update_binding.add(key="w", value="new_w")
    return model


# --- types and shapes -------------------------------------------------------------------------------------------------


def _identity_of(kind: onnx.TypeProto) -> onnx.ModelProto:
    values = [helper.make_value_info(name, kind) for name in ("x", "y")]
    return _model([helper.make_node("Identity", ["x"], ["y"])], [values[0]], [values[1]])


@_feature
def _symbolic_and_unknown_dims() -> onnx.ModelProto:
    return _model(
        inputs=[_value("x", ("N", None, 3, "a b", "N + 1"))], outputs=[_value("y", ("N", None, 3, "a b", ""))]
    )


@_feature
def _scalar_and_unknown_rank() -> onnx.ModelProto:
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["s"], ["z"])]
    return _model(nodes, [_value("x", None), _value("s", ())], [_value("y", None), _value("z", ())])


@_feature
def _zero_and_negative_dims() -> onnx.ModelProto:
    return _model(inputs=[_value("x", (0, 2))], outputs=[_value("y", (0, 2))])


@_feature
def _sequence_type() -> onnx.ModelProto:
    return _identity_of(helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, ("N", 2))))


@_feature
def _sequence_of_sequences() -> onnx.ModelProto:
    inner = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, (2,)))
    return _identity_of(helper.make_sequence_type_proto(inner))


@_feature
def _optional_type() -> onnx.ModelProto:
    return _identity_of(helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, (2,))))


@_feature
def _optional_sequence_type() -> onnx.ModelProto:
    inner = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, (2,)))
    return _identity_of(helper.make_optional_type_proto(inner))


@_feature
def _sparse_tensor_type() -> onnx.ModelProto:
    return _identity_of(helper.make_sparse_tensor_type_proto(FLOAT, (2, "N")))


@_feature
def _map_type() -> onnx.ModelProto:
    return _identity_of(helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, (2,))))


@_feature
def _sequence_of_maps() -> onnx.ModelProto:
    inner = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, ()))
    return _identity_of(helper.make_sequence_type_proto(inner))


@_feature
def _opaque_type() -> onnx.ModelProto:
    kind = onnx.TypeProto()
    kind.opaque_type.domain, kind.opaque_type.name = "my", "Thing"
    return _identity_of(kind)


@_feature
def _untyped_output() -> onnx.ModelProto:
    model = _model()
    model.graph.output[0].ClearField("type")
    return model


@_feature
def _element_type_unknown() -> onnx.ModelProto:
    model = _model()
    model.graph.output[0].type.tensor_type.elem_type = 0
    return model


# --- attributes -------------------------------------------------------------------------------------------------------


@_feature
def _attributes_of_each_plain_type() -> onnx.ModelProto:
    tensor = onnx.numpy_helper.from_array(np.arange(2, dtype=np.int64), "named")
    return _custom(i=-1, f=0.1, s="é", t=tensor, ints=[1, 2], floats=[0.5, float("inf")], strings=["a", ""])


@_feature
def _empty_list_attributes() -> onnx.ModelProto:
    model = _custom()
    for kind in ("INTS", "FLOATS", "STRINGS", "TENSORS", "GRAPHS", "TYPE_PROTOS"):
        model.graph.node[0].attribute.append(AttributeProto(name=kind.lower(), type=kind))
    return model


@_feature
def _zero_and_empty_attributes() -> onnx.ModelProto:
    return _custom(i=0, f=0.0, s="", nan=float("nan"), negative_zero=-0.0)


@_feature
def _string_attribute_not_utf8() -> onnx.ModelProto:
    return _with(AttributeProto(name="s", type=AttributeProto.STRING, s=b"\xff\xfe"))


@_feature
def _strings_attribute_not_utf8() -> onnx.ModelProto:
    return _with(AttributeProto(name="s", type=AttributeProto.STRINGS, strings=[b"ok", b"\xff\xfe"]))


@_feature
def _tensors_attribute() -> onnx.ModelProto:
    tensors = [onnx.numpy_helper.from_array(np.ones(size, np.float32), f"t{size}") for size in (1, 2)]
    return _with(AttributeProto(name="a", type=AttributeProto.TENSORS, tensors=tensors))


@_feature
def _graphs_attribute() -> onnx.ModelProto:
    graphs = [helper.make_graph([helper.make_node("Neg", ["x"], ["q"])], f"g{i}", [], [_value("q")]) for i in (1, 2)]
    return _with(AttributeProto(name="a", type=AttributeProto.GRAPHS, graphs=graphs))


@_feature
def _type_attributes() -> onnx.ModelProto:
    kinds = [helper.make_tensor_type_proto(FLOAT, ("N",)), helper.make_tensor_type_proto(TensorProto.INT8, None)]
    model = _with(AttributeProto(name="one", type=AttributeProto.TYPE_PROTO, tp=kinds[0]))
    more = AttributeProto(name="more", type=AttributeProto.TYPE_PROTOS, type_protos=kinds)
    model.graph.node[0].attribute.append(more)
    return model


@_feature
def _sparse_tensors_attribute() -> onnx.ModelProto:
    return _with(AttributeProto(name="a", type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[_sparse(), _sparse()]))


@_feature
def _sparse_tensor_attribute_of_a_custom_node() -> onnx.ModelProto:
    return _with(AttributeProto(name="a", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=_sparse()))


# --- sparse tensors ---------------------------------------------------------------------------------------------------


def _sparse(
    name: str = "",
    dtype: Any = np.float32,
    index: Any = np.int64,
    *,
    linear: bool = True,
    raw: bool = True,
    stored: int = 2,
) -> onnx.SparseTensorProto:
    """[2, 4] with values at 1 and 6."""
    flat = np.array([1, 6][:stored], dtype=index)
    rows = flat if linear else np.stack([flat // 4, flat % 4], axis=1).astype(index)
    sparse = onnx.SparseTensorProto(dims=[2, 4])
    values = onnx.numpy_helper.from_array(np.array([3, 5][:stored]).astype(dtype), name)
    indices = onnx.numpy_helper.from_array(rows, "")
    if not raw:
        values = helper.make_tensor(name, values.data_type, values.dims, onnx.numpy_helper.to_array(values))
        indices = helper.make_tensor("", indices.data_type, indices.dims, onnx.numpy_helper.to_array(indices).ravel())
    sparse.values.CopyFrom(values)
    sparse.indices.CopyFrom(indices)
    return sparse


def _with_sparse(sparse: onnx.SparseTensorProto, dtype: int = FLOAT) -> onnx.ModelProto:
    model = _model([helper.make_node("Identity", ["w"], ["y"])], [], [_value("y", (2, 4), dtype)])
    model.graph.sparse_initializer.append(sparse)
    return model


def _sparse_features() -> None:
    layouts: dict[str, dict[str, Any]] = {
        "linear": {},
        "coo": {"linear": False},
        "typed": {"raw": False},
        "coo_typed": {"linear": False, "raw": False},
        "int32_indices": {"index": np.int32},
        "int8_indices": {"index": np.int8},
        "nothing_stored": {"stored": 0},
        "int8": {"dtype": np.int8},
        "float16": {"dtype": np.float16},
        "double_typed": {"dtype": np.float64, "raw": False},
    }
    for label, options in layouts.items():
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(options.get("dtype", np.float32)))

        def initializer(options: dict[str, Any] = options, dtype: int = dtype) -> onnx.ModelProto:
            return _with_sparse(_sparse("w", **options), dtype)

        def constant(options: dict[str, Any] = options, dtype: int = dtype) -> onnx.ModelProto:
            nodes = [
                helper.make_node("Constant", [], ["w"], sparse_value=_sparse(**options)),
                helper.make_node("Identity", ["w"], ["y"]),
            ]
            return _model(nodes, [], [_value("y", (2, 4), dtype)])

        _BUILDERS[f"sparse_initializer_{label}"] = initializer
        _BUILDERS[f"sparse_constant_{label}"] = constant


_sparse_features()


@_feature
def _sparse_in_a_subgraph() -> onnx.ModelProto:
    model = _if()
    branch = model.graph.node[0].attribute[0].g
    branch.sparse_initializer.append(_sparse("sw"))
    branch.node.append(helper.make_node("Neg", ["sw"], ["unused"]))
    return model


@_feature
def _sparse_initializer_in_external_form() -> onnx.ModelProto:
    sparse = _sparse("w")
    sparse.values.ClearField("raw_data")
    sparse.values.data_location = TensorProto.EXTERNAL
    sparse.values.external_data.add(key="location", value="../outside.bin")
    return _with_sparse(sparse)


# --- graphs, subgraphs, functions -------------------------------------------------------------------------------------


def _if() -> onnx.ModelProto:
    branches = {}
    for label, operator in (("then", "Neg"), ("else", "Abs")):
        out = _value(f"{label}_y")
        node = helper.make_node(operator, ["x"], [f"{label}_y"])
        branches[f"{label}_branch"] = helper.make_graph([node], label, [], [out])
    node = helper.make_node("If", ["c"], ["y"], **branches)
    return _model([node], [_value("x"), _value("c", (), TensorProto.BOOL)])


@_feature
def _nested_subgraphs() -> onnx.ModelProto:
    model = _if()
    for _ in range(3):
        outer = _if()
        branch = outer.graph.node[0].attribute[0].g
        branch.node[0].CopyFrom(model.graph.node[0])
        branch.node[0].output[0] = branch.output[0].name = f"{branch.output[0].name}_{_}"
        model = outer
    return model


@_feature
def _subgraph_with_everything() -> onnx.ModelProto:
    model = _if()
    graph = model.graph.node[0].attribute[0].g
    graph.doc_string = "branch"
    _entries(graph, level="subgraph")
    _entries(graph.node[0], level="node")
    graph.node[0].doc_string = "node"
    graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "inner"))
    graph.node.append(helper.make_node("Add", ["inner", "x"], ["unused"], name="n"))
    graph.value_info.append(_value("unused"))
    _entries(graph.value_info[0], level="value_info")
    graph.quantization_annotation.add(tensor_name="unused").quant_parameter_tensor_names.add(key="S", value="inner")
    return model


@_feature
def _subgraph_captures_a_constant() -> onnx.ModelProto:
    model = _if()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "w"))
    for attribute in model.graph.node[0].attribute:
        attribute.g.node[0].CopyFrom(helper.make_node("Add", ["x", "w"], [attribute.g.output[0].name]))
    return model


@_feature
def _loop_and_scan() -> onnx.ModelProto:
    text = """<ir_version: 10, opset_import: ["" : 21]> g (int64 n, bool c, float[2] x) => (float[2] y, float[K,2] z)
    { y, z = Loop (n, c, x) <body = b (int64 i, bool ci, float[2] a) => (bool co, float[2] ao, float[2] scan)
      { co = Identity (ci) ao = Add (a, x) scan = Neg (ao) }> }"""
    return onnx.parser.parse_model(text)


@_feature
def _value_info_of_intermediate_values() -> onnx.ModelProto:
    model = _model([helper.make_node("Neg", ["x"], ["t"]), helper.make_node("Abs", ["t"], ["y"])])
    model.graph.value_info.append(_value("t", ("K",)))
    return model


@_feature
def _value_info_of_inputs_and_of_nothing() -> onnx.ModelProto:
    model = _model(initializers=[onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")])
    model.graph.value_info.extend([_value("w"), _value("nobody")])
    return model


@_feature
def _unnamed_everything() -> onnx.ModelProto:
    model = _model([helper.make_node("Neg", ["x"], ["t"]), helper.make_node("Neg", ["t"], ["y"])])
    model.graph.ClearField("name")
    return model


@_feature
def _repeated_node_names() -> onnx.ModelProto:
    return _model([helper.make_node("Neg", ["x"], ["t"], name="n"), helper.make_node("Neg", ["t"], ["y"], name="n")])


@_feature
def _names_that_onnx_ir_would_invent() -> onnx.ModelProto:
    nodes = [helper.make_node("Neg", ["x"], ["val_0"]), helper.make_node("Neg", ["val_0"], ["y"], name="node_Neg_0")]
    return _model(nodes)


@_feature
def _empty_optional_inputs_and_outputs() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Clip", ["x", "", "top"], ["t"]),
        helper.make_node("Dropout", ["t", "", ""], ["y", ""]),
    ]
    return _model(nodes, initializers=[onnx.numpy_helper.from_array(np.array(1, np.float32), "top")])


@_feature
def _input_with_default() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    default = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    return _model(nodes, [_value("w"), _value("x")], initializers=[default])


@_feature
def _unused_input_with_default_as_ir_3_wants() -> onnx.ModelProto:
    default = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    imports = [helper.make_opsetid("", 7)]
    return _model(None, [_value("w"), _value("x")], initializers=[default], ir_version=3, opset_imports=imports)


@_feature
def _unused_constant() -> onnx.ModelProto:
    return _model(initializers=[onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")])


@_feature
def _constant_is_an_output() -> onnx.ModelProto:
    weights = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    return _model(outputs=[_value("y"), _value("w")], initializers=[weights])


@_feature
def _input_is_an_output() -> onnx.ModelProto:
    return _model(outputs=[_value("y"), _value("x")])


@_feature
def _output_twice_used() -> onnx.ModelProto:
    nodes = [helper.make_node("Neg", ["x"], ["t"]), helper.make_node("Abs", ["t"], ["y"])]
    return _model(nodes, outputs=[_value("t"), _value("y")])


@_feature
def _no_nodes() -> onnx.ModelProto:
    return _model([], outputs=[_value("x")])


@_feature
def _nodes_out_of_order() -> onnx.ModelProto:
    return _model([helper.make_node("Abs", ["t"], ["y"]), helper.make_node("Neg", ["x"], ["t"])])


@_feature
def _domain_written_as_ai_onnx() -> onnx.ModelProto:
    model = _model(opset_imports=[helper.make_opsetid("ai.onnx", 21)])
    model.graph.node[0].domain = "ai.onnx"
    return model


@_feature
def _unused_opset_imports() -> onnx.ModelProto:
    return _model(opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


def _function(overload: str = "") -> onnx.FunctionProto:
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    attribute = AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="alpha")
    node.attribute.append(attribute)
    imports = [helper.make_opsetid("", 21)]
    function = helper.make_function("my", "F", ["a"], ["b"], [node], imports, ["alpha"], doc_string="function")
    function.overload = overload
    return function


def _calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    nodes = []
    for position, function in enumerate(functions):
        last = position == len(functions) - 1
        source, target = "x" if position == 0 else f"t{position - 1}", "y" if last else f"t{position}"
        node = helper.make_node("F", [source], [target], domain="my", alpha=0.1 * (position + 1))
        node.overload = function.overload
        nodes.append(node)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("my", 1)]
    return _model(nodes, functions=list(functions), opset_imports=imports)


@_feature
def _plain_function() -> onnx.ModelProto:
    return _calling(_function())


@_feature
def _function_with_overload() -> onnx.ModelProto:
    return _calling(_function("one"))


@_feature
def _functions_that_differ_in_overload() -> onnx.ModelProto:
    return _calling(_function("one"), _function("two"))


@_feature
def _function_with_defaults_metadata_and_value_info() -> onnx.ModelProto:
    function = _function()
    function.attribute_proto.append(helper.make_attribute("beta", 2))
    function.node.append(helper.make_node("Neg", ["b"], ["c"], name="n", doc_string="node"))
    function.value_info.append(_value("b"))
    _entries(function, level="function")
    _entries(function.node[0], level="node")
    return _calling(function)


@_feature
def _function_not_called() -> onnx.ModelProto:
    return _model(functions=[_function()], opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("my", 1)])


@_feature
def _function_with_a_subgraph() -> onnx.ModelProto:
    node = helper.make_node("Neg", ["b"], ["unused"])
    function = _function()
    branch = helper.make_graph([node], "branch", [], [_value("unused")])
    condition = helper.make_node("Constant", [], ["k"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    function.node.extend([condition, helper.make_node("If", ["k"], ["d"], then_branch=branch, else_branch=branch)])
    return _calling(function)


@_feature
def _function_value_info_as_dynamo_wrote_it() -> onnx.ModelProto:
    model = _calling(_function())
    model.ir_version = 9
    model.graph.value_info.append(_value("my::F/b"))
    return model


@_feature
def _external_data_outside_of_the_folder() -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../outside.bin")
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[tensor])


@_feature
def _segmented_tensor() -> onnx.ModelProto:
    tensor = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    tensor.segment.begin, tensor.segment.end = 0, 1
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[tensor])


@_feature
def _text_that_is_not_ascii() -> onnx.ModelProto:
    model = _model([helper.make_node("Neg", ["x"], ["ü ß\n"], name="節"), helper.make_node("Abs", ["ü ß\n"], ["y"])])
    model.graph.name = 'quote " backslash \\'
    return model
