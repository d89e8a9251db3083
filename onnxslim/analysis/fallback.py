"""What onnx itself infers of one node, for operators without a rule of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, Symbols
from onnxslim.analysis.facts import UNKNOWN, Fact
from onnxslim.analysis.operator import Operator
from onnxslim.ops.onnx_inference import aborts_onnx


def infer_by_onnx(op: Operator, opsets: Mapping[str, int]) -> Sequence[Fact] | None:
    """Runs onnx's inference for one node; None where it has none or refuses.

    Symbolic dims go in under names of their own and come out as what they were; every other dim that onnx cannot
    tell is a new unknown. Only types of the inputs go in, and their numbers where all of them are known.
    """
    node, domain = op.node, "" if op.node.domain == "ai.onnx" else op.node.domain
    if not onnx.defs.has(node.op_type, op.version, domain):
        return None
    schema = onnx.defs.get_schema(node.op_type, op.version, domain)
    if not schema.has_type_and_shape_inference_function:
        return None
    if any(attr.is_ref() or attr.type in _GRAPHS for attr in node.attributes.values()):
        return None
    reason = aborts_onnx(node)
    if reason:
        raise ValueError(f"onnx cannot infer {node.op_type}: {reason}")
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    names: dict[str, Dim] = {}
    proto = onnx.NodeProto(op_type=node.op_type, domain=domain)
    for i, fact in enumerate(op.inputs):
        name = "" if fact is None else f"i{i}"
        proto.input.append(name)
        if fact is None:
            continue
        if fact.dtype is None:
            return None
        types[name] = _type(fact, names)
        if fact.value is not None and fact.value.size and all(isinstance(e, int | float) for e in fact.value.flat):
            data[name] = onnx.numpy_helper.from_array(fact.value.astype(fact.dtype.numpy()), name)
    proto.output.extend("" if not value.name else f"o{i}" for i, value in enumerate(node.outputs))
    proto.attribute.extend(ir.serde.serialize_attribute(attr) for attr in node.attributes.values())
    imports = [onnx.helper.make_opsetid(name, version) for name, version in opsets.items()]
    try:
        found = onnx.shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=imports)
    except (*_REFUSALS, RuntimeError, KeyError, ValueError) as refused:
        # onnx refuses a node that is invalid as well as forms that it does not know; nothing is known of either.
        raise ValueError(f"onnx cannot infer {node.op_type}: {str(refused)[:200]}") from refused
    # onnx 1.23 multiplies symbolic dims to 0 (Attention): believe no 0 that symbols may have led to.
    least = 1 if names else 0
    return [_fact(found.get(f"o{i}"), names, op.symbols, least) for i in range(len(node.outputs))]


_REFUSALS = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError)
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _type(fact: Fact, names: dict[str, Dim]) -> onnx.TypeProto:
    assert fact.dtype is not None
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(fact.dtype)
    if fact.shape is None:
        return proto
    proto.tensor_type.shape.SetInParent()
    for dim in fact.shape:
        place = proto.tensor_type.shape.dim.add()
        if isinstance(dim, Expr):
            place.dim_param = str(dim)
            names[place.dim_param] = dim
        else:
            place.dim_value = int(dim)
    return proto


def _fact(proto: onnx.TypeProto | None, names: Mapping[str, Dim], symbols: Symbols, least: int) -> Fact:
    if proto is None or not proto.HasField("tensor_type"):
        return UNKNOWN
    dtype = ir.DataType(proto.tensor_type.elem_type) if proto.tensor_type.elem_type else None
    if not proto.tensor_type.HasField("shape"):
        return Fact(dtype)
    dims: list[Dim] = []
    for place in proto.tensor_type.shape.dim:
        if place.HasField("dim_value") and place.dim_value >= least:
            dims.append(place.dim_value)
        else:
            dims.append(names[place.dim_param] if place.dim_param in names else symbols.dim())
    return Fact(dtype, tuple(dims))
