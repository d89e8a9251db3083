"""Checks on a model proto before it becomes IR: what the IR could not represent or would lose is refused by name."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import onnx
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped, unused-ignore]

from onnxslim.errors import InputError
from onnxslim.graph.external import DataFolder
from onnxslim.graph.tensors import AGAIN, check_rank, check_tensor
from onnxslim.graph.walk import BodyProto, body_protos

_A = onnx.AttributeProto
_VALUE_FIELD = {
    _A.FLOAT: "f",
    _A.INT: "i",
    _A.STRING: "s",
    _A.TENSOR: "t",
    _A.GRAPH: "g",
    _A.SPARSE_TENSOR: "sparse_tensor",
    _A.TYPE_PROTO: "tp",
    _A.FLOATS: "floats",
    _A.INTS: "ints",
    _A.STRINGS: "strings",
    _A.TENSORS: "tensors",
    _A.GRAPHS: "graphs",
    _A.SPARSE_TENSORS: "sparse_tensors",
    _A.TYPE_PROTOS: "type_protos",
}
_TYPE_OF_FIELD = {field: code for code, field in _VALUE_FIELD.items()}
_TEXTS = ("name", "doc_string", "domain", "op_type", "overload")


def check_proto(proto: onnx.ModelProto, data: DataFolder, held: Container[str] = ()) -> None:
    """Checks header, names, attributes and tensors of a model; external locations are made definite in ``proto``.

    Args:
        proto: The model.
        data: Where external data may lie.
        held: Initializers of the main graph whose bytes are elsewhere, and have been found to fit.

    Raises:
        InputError: The model is not one that onnx defines, or needs a newer onnx; the message names the place.
    """
    _check_header(proto)
    for body in body_protos(proto):
        where = f"function {body.name!r}" if isinstance(body, onnx.FunctionProto) else f"graph {body.name!r}"
        _check_message(body, where)
        _check_names(body, where)
        if isinstance(body, onnx.FunctionProto):
            _check_imports(body.opset_import, where)
            _check_attributes(body.attribute_proto, where, data)
        else:
            for tensor in body.initializer:
                if body is not proto.graph or tensor.name not in held:
                    check_tensor(tensor, data, f"initializer {tensor.name!r}, {where}")
                _check_message(tensor, f"initializer {tensor.name!r}, {where}")
            for info in (*body.input, *body.output, *body.value_info):
                _check_message(info, f"value {info.name!r}, {where}")
                check_rank(len(info.type.tensor_type.shape.dim), f"the value {info.name!r}", where)
        for node in body.node:
            if node.attribute or node.metadata_props:
                _check_attributes(node.attribute, f"node {node.name!r} ({node.op_type}), {where}", data)


def _check_header(proto: onnx.ModelProto) -> None:
    _check_message(proto, "the model")
    if not proto.HasField("graph"):
        raise InputError(
            "the model has no graph", where="the model", why="the file is truncated, or is no ONNX model", mend=AGAIN
        )
    if not 1 <= proto.ir_version <= onnx.IR_VERSION:
        raise InputError(
            f"the model has IR version {proto.ir_version}, onnx {onnx.__version__} knows 1 to {onnx.IR_VERSION}",
            where="the model",
            mend="upgrade onnx, or export the model for an older IR version" if proto.ir_version > 0 else AGAIN,
        )
    _check_imports(proto.opset_import, "the model")
    if proto.ir_version >= 3 and not proto.opset_import:
        raise InputError(
            "the model imports no operator set", where="the model", why="the file may be truncated", mend=AGAIN
        )
    if proto.configuration and proto.ir_version < 11:
        raise InputError("device configurations need IR version 11", where="the model", mend="set ir_version to 11")
    _check_functions(proto)


def _check_imports(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> None:
    known = onnx.defs.C.schema_version_map()
    seen: dict[str, int] = {}
    for item in imports:
        domain = "" if item.domain == "ai.onnx" else item.domain
        if seen.setdefault(domain, item.version) != item.version:
            raise InputError(
                f"two versions of operator set {item.domain!r} are imported", where=where, mend="keep one of them"
            )
        if domain in known and not 1 <= item.version <= known[domain][1]:
            raise InputError(
                f"operator set {item.domain or 'ai.onnx'!r} {item.version} is unknown",
                where=where,
                why=f"onnx {onnx.__version__} knows 1 to {known[domain][1]}",
                mend="upgrade onnx, or export the model for an older opset",
            )


def _check_functions(proto: onnx.ModelProto) -> None:
    seen = set()
    for function in proto.functions:
        key = (function.domain, function.name, function.overload)
        if key in seen:
            raise InputError(
                f"two functions are named {function.name!r}",
                where=f"domain {function.domain!r}",
                mend="remove one of them",
            )
        seen.add(key)


def _check_message(message: Any, where: str) -> None:
    """Unknown fields, texts that are not UTF-8, metadata keys with two values."""
    if len(UnknownFieldSet(message)):
        number = UnknownFieldSet(message)[0].field_number
        raise InputError(
            f"field {number} of {message.DESCRIPTOR.name} is not known to onnx {onnx.__version__} and would be lost",
            where=where,
            mend="upgrade onnx",
        )
    for field in _TEXTS:
        if isinstance(getattr(message, field, ""), bytes):
            raise _not_text(getattr(message, field), field, where)
    metadata: dict[str, str] = {}
    for entry in getattr(message, "metadata_props", ()):
        if isinstance(entry.key, bytes) or isinstance(entry.value, bytes):
            raise _not_text(entry.key, "metadata", where)
        if metadata.setdefault(entry.key, entry.value) != entry.value:
            raise InputError(f"metadata key {entry.key!r} has two values", where=where, mend="keep one of them")


def _not_text(text: str | bytes, field: str, where: str) -> InputError:
    return InputError(
        f"the {field} {text!r} is not UTF-8",
        where=repr(where),
        why="names are text in ONNX",
        mend="rename it and export again",
    )


def _check_names(body: BodyProto, where: str) -> None:
    """One definition for each name of a scope."""
    defined: set[str] = set()
    if isinstance(body, onnx.GraphProto):
        inputs = [info.name for info in body.input]
        constants = [tensor.name for tensor in body.initializer] + [
            sparse.values.name for sparse in body.sparse_initializer
        ]
    else:
        inputs, constants = list(body.input), []
    for kind, names in (("graph inputs", inputs), ("initializers", constants)):
        seen: set[str] = set()
        for name in names:
            if not name:
                raise InputError(f"one of the {kind} has no name", where=where, mend=AGAIN)
            if isinstance(name, bytes):
                raise _not_text(name, "name", where)
            if name in seen:
                raise InputError(f"two {kind} are named {name!r}", where=where, mend="rename one of them")
            seen.add(name)
        defined |= seen
    for node in body.node:
        _check_message(node, f"node {node.name!r}, {where}")
        for name in (*node.input, *node.output):
            if isinstance(name, bytes):
                raise _not_text(name, "name", f"node {node.name!r} ({node.op_type}), {where}")
        for name in node.output:
            if name and name in defined:
                raise InputError(
                    f"the value {name!r} is defined twice",
                    where=f"node {node.name!r} ({node.op_type}), {where}",
                    why="each name has one definition in a graph",
                    mend="rename one of the two",
                )
            defined.add(name)
    outputs = body.output if isinstance(body, onnx.FunctionProto) else [info.name for info in body.output]
    for name in outputs:
        if name not in defined or not name:
            raise InputError(
                f"the output {name!r} is computed by nothing",
                where=where,
                why="no node, input or initializer of the same graph has that name",
                mend="remove the output, or add an Identity where it comes from an outer graph",
            )


def _check_attributes(attributes: Iterable[onnx.AttributeProto], where: str, data: DataFolder) -> None:
    seen: set[str] = set()
    for attribute in attributes:
        place = f"attribute {attribute.name!r}, {where}"
        _check_message(attribute, place)
        if attribute.name in seen:
            raise InputError(f"two attributes are named {attribute.name!r}", where=where, mend="remove one of them")
        seen.add(attribute.name)
        filled = [field.name for field, _ in attribute.ListFields() if field.name in _TYPE_OF_FIELD]
        if attribute.type == _A.UNDEFINED and len(filled) == 1 and not attribute.ref_attr_name:
            attribute.type = _TYPE_OF_FIELD[filled[0]]  # models of IR version 1 leave the type out
        expected = _VALUE_FIELD.get(attribute.type)
        if (attribute.ref_attr_name and filled) or (not attribute.ref_attr_name and expected is None):
            raise InputError("an attribute has no value, or both a value and a reference", where=place, mend=AGAIN)
        if attribute.ref_attr_name and attribute.type in (_A.GRAPH, _A.GRAPHS):
            raise InputError(
                "a graph that a function gets as an attribute is not supported",
                where=place,
                why="onnxruntime opens no such model either",
                mend="inline the function",
            )
        if any(field != expected for field in filled):
            raise InputError(f"an attribute of type {expected} holds {' and '.join(filled)}", where=place, mend=AGAIN)
        if not attribute.ref_attr_name:
            for tensor in [attribute.t] if expected == "t" else attribute.tensors:
                check_tensor(tensor, data, place)
