"""What a proto means, field by field, so that two of them can be compared.

Order counts everywhere except where ONNX gives it no meaning: opset imports, metadata, initializers, value_info,
functions, annotations, attributes. A tensor means its bits, in whichever field they are stored. An unset scalar equals
its default; an unset message (a shape that is not known) does not equal an empty one. The domain ``ai.onnx`` is ``""``,
outputs that are omitted at a node's end are the same as empty names, and a value_info that only repeats the type of a
constant says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx_ir.serde import TensorProtoTensor

_UNORDERED = frozenset(
    {
        "metadata_props",
        "opset_import",
        "initializer",
        "sparse_initializer",
        "value_info",
        "functions",
        "quantization_annotation",
        "quant_parameter_tensor_names",
        "external_data",
        "attribute",
        "attribute_proto",
        "configuration",
    }
)
_PAYLOAD = frozenset(
    {"raw_data", "float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data", "data_location"}
)
_KEYS = ("name", "key", "tensor_name", "domain")


def facts(message: Any) -> dict[str, Any]:
    """Field name -> value of any protobuf message; for repeated fields of named things a mapping by name."""
    found: dict[str, Any] = {}
    for descriptor in message.DESCRIPTOR.fields:
        name = descriptor.name
        if isinstance(message, onnx.TensorProto) and name in _PAYLOAD:
            continue
        value = getattr(message, name)
        if descriptor.is_repeated:
            items = [facts(item) if hasattr(item, "DESCRIPTOR") else item for item in value]
            if items:
                found[name] = _named(items) if name in _UNORDERED and descriptor.message_type else items
        elif descriptor.message_type is not None:
            if message.HasField(name):
                found[name] = facts(value)
        elif value != descriptor.default_value or (descriptor.containing_oneof and message.HasField(name)):
            found[name] = repr(value) if isinstance(value, float) else value  # NaN equals itself
    if isinstance(message, onnx.TensorProto):
        found["data"] = _payload(message)
    elif isinstance(message, onnx.NodeProto):
        while found.get("output") and not found["output"][-1]:
            found["output"] = found["output"][:-1]
    elif isinstance(message, onnx.GraphProto):
        _drop_repeated_types(found)
    if found.get("domain") == "ai.onnx":
        del found["domain"]
    return found


def _drop_repeated_types(graph: dict[str, Any]) -> None:
    types = {}
    for tensor in graph.get("initializer", {}).values():
        kind = onnx.helper.make_tensor_type_proto(tensor["data_type"], tensor.get("dims", []))
        types[tensor["name"]] = {"name": tensor["name"], "type": facts(kind)}
    declared = graph.pop("value_info", {})
    kept = {label: item for label, item in declared.items() if types.get(item["name"]) != item}
    if kept:
        graph["value_info"] = kept


def differences(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Paths at which two of the above differ, with both values."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            if key not in left or key not in right:
                side = "lost" if key in left else "appeared"
                yield f"{path}.{key} {side}: {str(left.get(key, right.get(key)))[:200]}"
            else:
                yield from differences(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
    elif left != right and repr(left) != repr(right):
        yield f"{path}: {str(left)[:200]} became {str(right)[:200]}"


def _named(items: list[dict[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for item in items:
        source = item.get("values", item)  # a sparse tensor is named by its values
        parts = [str(source[key]) for key in _KEYS if key in source] + [str(item.get("overload", ""))]
        label = "/".join(parts)
        while label in named:
            label += "'"
        named[label] = item
    return named


def _payload(tensor: onnx.TensorProto) -> Any:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_type == onnx.TensorProto.STRING:
        return list(tensor.string_data)
    if tensor.data_type == onnx.TensorProto.UNDEFINED:
        return b""
    return TensorProtoTensor(tensor).tobytes()
