"""What a file can say and onnx-ir cannot: taken out before it becomes IR, kept beside it, put back when it is written.

| in the file | beside the IR |
|---|---|
| sparse initializers, ``Constant.sparse_value`` | dense tensors with a mark (``onnxslim.graph.sparse``) |
| map, opaque and incomplete types of values | ``TypeProto`` bytes in the value's ``meta`` |
| attributes with sparse tensors, such types, or strings that are not UTF-8 | a STRING attribute with a ``Carried`` |
| ``training_info``; types and annotations of values that a graph does not define | ``Extras`` in the graph's ``meta`` |

Marks live in ``meta`` of graphs, values and tensors, which ``ir.Model.clone`` copies.

Long because what is lifted and what is restored mirror each other, kind by kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir
from onnx_ir.serde import TensorProtoTensor

from onnxslim.errors import InputError
from onnxslim.graph.external import DataFolder
from onnxslim.graph.sparse import MARK, MAX_DENSE_BYTES, decode, encode
from onnxslim.graph.tensors import data_type
from onnxslim.graph.walk import Body, BodyProto, bodies, body_protos, tensors

TYPE = "onnxslim.type"
"""Key of the ``TypeProto`` bytes in a value's ``meta``; they count while the value has no type of its own."""
EXTRAS = "onnxslim.extras"
"""Key of the ``Extras`` in a graph's ``meta``."""
_A = onnx.AttributeProto


class Carried(str):
    """An attribute that onnx-ir cannot represent: its ``AttributeProto``, a byte a character."""

    __slots__ = ()

    @property
    def proto(self) -> onnx.AttributeProto:
        """The attribute."""
        proto = onnx.AttributeProto()
        proto.ParseFromString(self.encode("latin-1"))
        return proto


@dataclass(frozen=True)
class Extras:
    """What a graph says beyond its IR."""

    value_info: tuple[bytes, ...] = ()
    """Types of values that the graph does not define, such as captured ones."""
    annotations: tuple[bytes, ...] = ()
    """Quantization annotations of such values."""
    described: frozenset[str] = frozenset()
    """Initializers with an entry in ``value_info``."""
    training: tuple[bytes, ...] = ()
    """``training_info`` of the model; of the main graph only."""
    typed: bool = False
    """Whether some value has a type under ``TYPE``."""


@dataclass
class Lifted:
    """What was taken out of one body, to be attached to its IR."""

    dense: dict[str, ir.TensorProtocol] = field(default_factory=dict)
    attributes: dict[int, list[ir.Attr]] = field(default_factory=dict)
    """By index of the node; -1 for a function's own."""
    types: dict[str, bytes] = field(default_factory=dict)
    extras: Extras = field(default_factory=Extras)


def lift(proto: onnx.ModelProto, data: DataFolder) -> list[Lifted]:
    """Takes out of ``proto`` what onnx-ir cannot carry.

    Args:
        proto: A model that passed ``check_proto``; edited.
        data: Where external values of sparse tensors may lie.

    Returns:
        What was taken out, in the order of ``bodies``.

    Raises:
        InputError: A sparse tensor is corrupt or too large, or a type is unknown.
    """
    for opset in proto.opset_import:
        if opset.domain == "ai.onnx":
            opset.domain = ""
    budget = MAX_DENSE_BYTES
    result = []
    experimental = {f"{function.domain}::{function.name}" for function in proto.functions}
    for body in body_protos(proto):
        lifted = Lifted()
        where = f"function {body.name!r}" if isinstance(body, onnx.FunctionProto) else f"graph {body.name!r}"
        if isinstance(body, onnx.GraphProto):
            for sparse in body.sparse_initializer:
                tensor = decode(sparse, data, f"sparse initializer {sparse.values.name!r}, {where}", budget)
                budget -= tensor.nbytes
                lifted.dense[sparse.values.name] = tensor
                body.initializer.add(name=sparse.values.name, data_type=sparse.values.data_type, dims=sparse.dims)
            body.ClearField("sparse_initializer")
            _keep_input_infos(body)
            lifted.types = _lift_types((*body.value_info, *body.input, *body.output), where)
        else:
            lifted.types = _lift_types(body.value_info, where)
            _lift_attributes(body.attribute_proto, -1, lifted, where)
        for index, node in enumerate(body.node):
            if not node.attribute:
                continue
            place = f"node {node.name!r} ({node.op_type}), {where}"
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                for at, attribute in enumerate(node.attribute):
                    if (
                        attribute.name == "sparse_value"
                        and attribute.type == _A.SPARSE_TENSOR
                        and not attribute.ref_attr_name
                    ):
                        tensor = decode(attribute.sparse_tensor, data, f"sparse_value, {place}", budget)
                        budget -= tensor.nbytes
                        doc = attribute.doc_string or None
                        lifted.attributes[index] = [ir.AttrTensor("value", tensor, doc_string=doc)]
                        del node.attribute[at]
                        break
            _lift_attributes(node.attribute, index, lifted, place)
        lifted.extras = _extras(body, bool(lifted.types), experimental)
        result.append(lifted)
    if proto.training_info:
        result[0].extras = Extras(
            **{**vars(result[0].extras), "training": tuple(info.SerializeToString() for info in proto.training_info)}
        )
        proto.ClearField("training_info")
    return result


def _keep_input_infos(graph: onnx.GraphProto) -> None:
    """An output that is an input too is described by the input: onnx-ir would let the output's words replace them."""
    inputs = {info.name: info for info in graph.input}
    for info in graph.output:
        if info.name in inputs:
            info.CopyFrom(inputs[info.name])


def _lift_types(infos: Iterable[onnx.ValueInfoProto], where: str) -> dict[str, bytes]:
    types: dict[str, bytes] = {}
    for info in infos:
        if not info.HasField("type"):
            continue
        if _carries(info.type, f"value {info.name!r}, {where}"):
            types.pop(info.name, None)
        else:
            types[info.name] = info.type.SerializeToString()
            info.ClearField("type")
    return types


def _carries(proto: onnx.TypeProto, where: str) -> bool:
    """Whether onnx-ir represents the type."""
    while True:
        kind = proto.WhichOneof("value")
        if kind in ("sequence_type", "optional_type"):
            proto = getattr(proto, kind).elem_type
        elif kind in ("tensor_type", "sparse_tensor_type"):
            code = getattr(proto, kind).elem_type
            if code:
                data_type(code, where)
            return bool(code)
        else:
            return False


def _lift_attributes(attributes: Iterable[onnx.AttributeProto], index: int, lifted: Lifted, where: str) -> None:
    for attribute in list(attributes):
        if not attribute.ref_attr_name and not _representable(attribute, where):
            carried = Carried(attribute.SerializeToString().decode("latin-1"))
            lifted.attributes.setdefault(index, []).append(ir.Attr(attribute.name, ir.AttributeType.STRING, carried))
            attributes.remove(attribute)  # type: ignore[attr-defined]


def _representable(attribute: onnx.AttributeProto, where: str) -> bool:
    if attribute.type in (_A.SPARSE_TENSOR, _A.SPARSE_TENSORS):
        return False
    if attribute.type == _A.TYPE_PROTO:
        return _carries(attribute.tp, f"attribute {attribute.name!r}, {where}")
    if attribute.type == _A.TYPE_PROTOS:
        return all(_carries(item, f"attribute {attribute.name!r}, {where}") for item in attribute.type_protos)
    if attribute.type == _A.STRINGS:
        try:
            for item in attribute.strings:
                item.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def _extras(body: BodyProto, typed: bool, experimental: set[str]) -> Extras:
    """Descriptions of values that the body does not define."""
    if not body.value_info and not typed and not (isinstance(body, onnx.GraphProto) and body.quantization_annotation):
        return Extras()
    own = {name for node in body.node for name in node.output}
    if isinstance(body, onnx.FunctionProto):
        own.update(body.input)
        foreign = [info for info in body.value_info if info.name not in own]
        return Extras(tuple(info.SerializeToString() for info in foreign), typed=typed)
    constants = {tensor.name for tensor in body.initializer}
    own.update(constants, (info.name for info in body.input))
    foreign = [
        info for info in body.value_info if info.name not in own and info.name.rpartition("/")[0] not in experimental
    ]
    return Extras(
        tuple(info.SerializeToString() for info in foreign),
        tuple(item.SerializeToString() for item in body.quantization_annotation if item.tensor_name not in own),
        frozenset(info.name for info in body.value_info if info.name in constants),
        typed=typed,
    )


def attach(model: ir.Model, lifted: list[Lifted]) -> None:
    """Keeps beside the model's IR what was lifted out of its proto."""
    for body, item in zip(bodies(model), lifted, strict=True):
        _graph(body).meta[EXTRAS] = item.extras
        for name, tensor in item.dense.items():
            _graph(body).initializers[name].const_value = tensor
        if item.attributes:
            for index, node in enumerate(body):
                for attribute in item.attributes.get(index, ()):
                    node.attributes.add(attribute)
            if isinstance(body, ir.Function):
                for attribute in item.attributes.get(-1, ()):
                    body.attributes.add(attribute)
        if item.types:
            for value in _values(body):
                if value.name in item.types:
                    value.meta[TYPE] = item.types[value.name]
    for held in tensors(model):
        if isinstance(held, TensorProtoTensor) and held.metadata_props:
            del held.raw.metadata_props[:]  # else onnx-ir would write them twice


def _graph(body: Body) -> ir.Graph:
    return body.graph if isinstance(body, ir.Function) else body


def _values(body: Body) -> Iterable[ir.Value]:
    yield from body.inputs
    yield from _graph(body).initializers.values()
    for node in body:
        yield from node.outputs


def restore(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Puts back into ``proto``, which onnx-ir made of ``model``, what the IR could not carry.

    Raises:
        InputError: Training information binds an initializer that the model no longer has.
    """
    for body, written in zip(bodies(model), body_protos(proto), strict=True):
        extras = _graph(body).meta.get(EXTRAS) or Extras()
        lowered = model.ir_version >= 5 and isinstance(body, ir.Graph)
        if lowered and any(MARK in _meta(value.const_value) for value in _graph(body).initializers.values()):
            _restore_sparse(_graph(body), written)
        for node, node_proto in zip(body, written.node, strict=True):
            if node.attributes:
                _restore_attributes(node.attributes.values(), node_proto.attribute, sparse=_may_be_sparse(node))
        if isinstance(body, ir.Function):
            _restore_attributes(body.attributes.values(), written.attribute_proto, sparse=False)
        _restore_infos(body, written, extras)
    training = (model.graph.meta.get(EXTRAS) or Extras()).training
    for item in training:
        info = proto.training_info.add()
        info.ParseFromString(item)
        _check_bindings(info, model)


def _meta(tensor: ir.TensorProtocol | None) -> dict[str, object]:
    return {} if tensor is None else tensor.meta  # type: ignore[return-value]


def _may_be_sparse(node: ir.Node) -> bool:
    return node.op_type == "Constant" and node.domain == "" and (node.version or 11) >= 11


def _restore_sparse(graph: ir.Graph, written: onnx.GraphProto) -> None:
    marked = {name: value.const_value for name, value in graph.initializers.items() if MARK in _meta(value.const_value)}
    for at in reversed(range(len(written.initializer))):
        if written.initializer[at].name in marked:
            del written.initializer[at]
    for name, tensor in marked.items():
        assert tensor is not None
        sparse = encode(tensor, tensor.meta[MARK])
        sparse.values.name = name
        written.sparse_initializer.append(sparse)


def _restore_attributes(attributes: Iterable[ir.Attr], written: Iterable[onnx.AttributeProto], *, sparse: bool) -> None:
    for attribute in attributes:
        tensor = attribute.value if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref() else None
        to_sparse = sparse and attribute.name == "value" and MARK in _meta(tensor)
        if not to_sparse and not isinstance(attribute.value, Carried):
            continue
        target = next(item for item in written if item.name == attribute.name)
        if to_sparse:
            assert tensor is not None
            target.ClearField("t")
            target.name, target.type = "sparse_value", _A.SPARSE_TENSOR
            target.sparse_tensor.CopyFrom(encode(tensor, tensor.meta[MARK]))
        else:
            target.CopyFrom(attribute.value.proto)
            target.name = attribute.name


def _restore_infos(body: Body, written: BodyProto, extras: Extras) -> None:
    if extras.typed:
        _restore_types(body, written)
    own = {value.name for value in _values(body)} if extras.value_info or extras.annotations else set()
    if isinstance(written, onnx.GraphProto):
        constants = _graph(body).initializers
        kept = [
            info
            for info in written.value_info
            if info.name not in constants or info.name in extras.described or info.doc_string or info.metadata_props
        ]
        if len(kept) != len(written.value_info):
            copies = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
            del written.value_info[:]
            written.value_info.extend(copies)
        annotations = {item.tensor_name: item.SerializeToString() for item in written.quantization_annotation}
        for raw in extras.annotations:
            annotation = onnx.TensorAnnotation.FromString(raw)
            if annotation.tensor_name not in own:
                annotations.setdefault(annotation.tensor_name, raw)
        if len(annotations) != len(written.quantization_annotation):
            del written.quantization_annotation[:]
            for raw in annotations.values():
                written.quantization_annotation.add().ParseFromString(raw)
    if extras.value_info:
        captured = {value.name: value for node in body for value in node.inputs if value is not None}
        for raw in extras.value_info:
            info = onnx.ValueInfoProto.FromString(raw)
            if info.name not in own and _agrees(info, captured.get(info.name)):
                written.value_info.append(info)


def _agrees(info: onnx.ValueInfoProto, value: ir.Value | None) -> bool:
    """Whether a description read from the file still fits a captured value, whose graph may have been rewritten."""
    if value is None or value.shape is None or info.type.WhichOneof("value") != "tensor_type":
        return True
    dims = info.type.tensor_type.shape.dim if info.type.tensor_type.HasField("shape") else None
    if value.dtype is not None and value.dtype.value != info.type.tensor_type.elem_type:
        return False
    return dims is None or (
        len(dims) == len(value.shape)
        and all(
            not isinstance(own, int) or not dim.HasField("dim_value") or own == dim.dim_value
            for own, dim in zip(value.shape, dims, strict=True)
        )
    )


def _restore_types(body: Body, written: BodyProto) -> None:
    infos = {info.name: info for info in written.value_info}
    if isinstance(written, onnx.GraphProto):
        infos.update((info.name, info) for info in (*written.input, *written.output))
    for value in _values(body):
        if value.type is None and value.name and TYPE in value.meta:
            info = infos.get(value.name)
            if info is None:
                info = written.value_info.add(name=value.name)
            info.type.ParseFromString(value.meta[TYPE])


def _check_bindings(info: onnx.TrainingInfoProto, model: ir.Model) -> None:
    local = {tensor.name for tensor in info.algorithm.initializer}
    for binding in (*info.initialization_binding, *info.update_binding):
        if binding.key not in local and binding.key not in model.graph.initializers:
            raise InputError(
                f"training information binds the initializer {binding.key!r}, which the rewritten model no longer has",
                where="training_info",
                why="a pass folded, renamed or removed it",
                mend="remove training_info from the model, as it is of no use to inference",
            )
