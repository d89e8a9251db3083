"""What parts of a model take in its file, in bytes of protobuf."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir

from onnxslim.graph.listed import DEFAULTS_IR
from onnxslim.graph.tensors import is_raw
from onnxslim.graph.walk import subgraphs

LARGE = 1024
"""Bytes of a tensor from which on it is not serialized to be measured."""


def framed(size: int) -> int:
    """A message of ``size`` bytes with its tag and length."""
    return 1 + varint(size) + size


def varint(number: int) -> int:
    """Bytes of a non-negative number on the wire: seven bits each.

    >>> varint(127), varint(128)
    (1, 2)
    """
    return max(1, -(-number.bit_length() // 7))


def tensor_bytes(tensor: ir.TensorProtocol, name: str = "") -> int:
    """The tensor as an initializer called ``name``. Weights outside the file count too: they are part of the model."""
    raw = getattr(tensor, "raw", None)
    if isinstance(raw, onnx.TensorProto) and not (tensor.nbytes >= LARGE and is_raw(raw)):
        # A TensorProto is written as it was read. It is measured by serializing it: not the large ones.
        own = framed(len(raw.name.encode())) if raw.name else 0
        return framed(raw.ByteSize() - own + framed(len(name.encode())))
    dims = sum(1 + varint(d) for d in tensor.shape.numpy())
    dims += framed(len(tensor.doc_string.encode())) if tensor.doc_string else 0
    for key, text in tensor.metadata_props.items():
        dims += 1 + framed(framed(len(key.encode())) + framed(len(text.encode())))
    if tensor.dtype == ir.DataType.STRING:
        data = sum(framed(len(s)) for s in tensor.numpy().reshape(-1).tolist())
    else:
        data = framed(tensor.nbytes)
    return framed(dims + 2 + data + framed(len(name.encode())))


def listing_bytes(tensor: ir.TensorProtocol, name: str, model: ir.Model) -> int:
    """What it takes besides to list the initializer as an input, as IR version 3 asks for; else 0."""
    if model.ir_version >= DEFAULTS_IR:
        return 0
    shape = framed(sum(framed(1 + varint(dim)) for dim in tensor.shape.numpy()))
    return framed(framed(len(name.encode())) + framed(framed(2 + shape)))


def node_bytes(node: ir.Node) -> int:
    """The node with its attributes. Its subgraphs count too."""
    if node.op_type == "Constant" and "value" in node.attributes and not node.attributes["value"].is_ref():
        own = framed(len((node.name or "").encode())) if node.name else 0
        tensor = tensor_bytes(node.attributes["value"].value)  # as_tensor() checks a protocol: slow
        output = framed(len((node.outputs[0].name or "").encode()))
        return framed(own + output + framed(len(b"Constant")) + framed(framed(len(b"value")) + 3 + tensor - 2))
    return framed(int(ir.serde.serialize_node(node).ByteSize()))


def constant_node_bytes(tensor: ir.TensorProtocol, name: str) -> int:
    """The tensor as a Constant node without a name that gives the value ``name``."""
    return framed(framed(len(name.encode())) + framed(len(b"Constant")) + framed(10 + tensor_bytes(tensor) - 2))


def import_bytes(domain: str, version: int) -> int:
    """The import of an operator set."""
    return framed(framed(len(domain.encode())) + 1 + varint(version))


def model_bytes(model: ir.Model) -> int:
    """The model in one file, but for its header, interface and doc strings, which no rewrite touches."""
    total = sum(tensor_bytes(v.const_value, v.name or "") for v in model.graph.initializers.values() if v.const_value)
    total += sum(framed(int(ir.serde.serialize_function(function).ByteSize())) for function in model.functions.values())
    for node in model.graph:
        total += node_bytes(node)
        for value in node.outputs:
            if value.type is not None:
                total += framed(int(ir.serde.serialize_value(value).ByteSize()))
    return total


def _metadata_bytes(metadata: Mapping[str, str]) -> int:
    """No more than the entries take; exporters write whole stack traces."""
    return sum(6 + len(key) + len(text) for key, text in metadata.items())


def least_bytes(model: ir.Model) -> int:
    """No more than ``model_bytes``, and found without serializing anything: names and tensors, where they stand."""
    total = 0
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        waiting = [graph]
        for each in waiting:  # grows while it is walked
            for value in each.initializers.values():
                if value.const_value is not None:
                    total += tensor_bytes(value.const_value, value.name or "")
            for node in each:
                total += 4 + len(node.op_type) + len(node.name or "")
                total += sum(2 + len(x.name or "") for x in (*node.inputs, *node.outputs) if x is not None)
                total += len(node.doc_string or "") + _metadata_bytes(node.metadata_props)
                total += sum(_metadata_bytes(y.metadata_props) for y in node.outputs)
                for attribute in node.attributes.values():
                    total += 4 + len(attribute.name)
                    if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                        total += tensor_bytes(attribute.value)
                waiting.extend(subgraphs(node.attributes.values()))
    return total
