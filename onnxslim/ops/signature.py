"""When two nodes say the same: attributes with their defaults, in a form that can be compared and hashed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

import onnx
import onnx_ir as ir

from onnxslim.ops.determinism import schema

VersionOf: TypeAlias = Callable[[ir.Node], int]

_INLINE_BYTES = 64
_SAMPLES = 16


def tensor_key(tensor: ir.TensorProtocol) -> tuple[Hashable, ...]:
    """Equal for tensors of the same dtype, shape and bits, and for no others (up to SHA-256).

    Weights mapped from a file are hashed where they lie; nothing is copied but packed 4-bit tensors and strings.

    >>> import numpy as np
    >>> zero, minus = (tensor_key(ir.tensor(np.array([x], np.float32))) for x in (0.0, -0.0))
    >>> zero == minus
    False
    """
    shape = tuple(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.STRING:
        strings = [bytes(s) if isinstance(s, bytes) else str(s).encode() for s in tensor.numpy().reshape(-1).tolist()]
        return (tensor.dtype, shape, tuple(strings))
    if tensor.nbytes <= _INLINE_BYTES:
        return (tensor.dtype, shape, tensor.tobytes())
    if tensor.dtype.itemsize < 1:
        return (tensor.dtype, shape, hashlib.sha256(tensor.tobytes()).digest())
    array = tensor.numpy()
    if not array.flags.c_contiguous:
        return (tensor.dtype, shape, hashlib.sha256(tensor.tobytes()).digest())
    return (tensor.dtype, shape, hashlib.sha256(array.reshape(-1).view("u1").data).digest())


def tensor_sample(tensor: ir.TensorProtocol) -> Hashable:
    """Equal for tensors of equal bits, and seldom for others: a few bytes of a large one, so that few are hashed."""
    if tensor.dtype == ir.DataType.STRING or tensor.dtype.itemsize < 1 or tensor.nbytes <= _INLINE_BYTES:
        return None
    flat = tensor.numpy().reshape(-1)
    return flat[:: max(1, flat.size // _SAMPLES)][: 2 * _SAMPLES].tobytes()


def graph_key(graph: ir.Graph, version_of: VersionOf) -> Hashable:
    """Equal for graphs without inputs that compute the same in the same order, whatever their names.

    Values of outer graphs are known by identity, so that keys compare within one process and one state of the model.
    The key is None where an attribute cannot be compared.

    Args:
        graph: The graph.
        version_of: The operator set version of a node in it; 0 where the operator is not the standard's.
    """
    return _graph_key(graph, version_of, {})


def _graph_key(graph: ir.Graph, version_of: VersionOf, numbers: dict[ir.Value, int]) -> Hashable:
    """``numbers`` are given to the values of the graphs around, in order of definition; recursion ends with nesting."""
    for value in graph.inputs:
        numbers[value] = len(numbers)
    parts: list[Hashable] = [tuple(str(value.type) for value in graph.inputs)]
    for value in graph.initializers.values():
        if value.const_value is None or value.is_graph_input():
            return None
        numbers[value] = len(numbers)
        parts.append(tensor_key(value.const_value))
    for node in graph:
        attributes = attributes_key(node, version_of(node), (version_of, numbers))
        if attributes is None:
            return None
        inputs = tuple(-1 if x is None else numbers.get(x, ("outer", id(x))) for x in node.inputs)
        parts.append(
            (node.domain, node.op_type, node.overload, inputs, attributes, tuple(bool(y.name) for y in node.outputs))
        )
        for value in node.outputs:
            numbers[value] = len(numbers)
    return (*parts, tuple(numbers.get(y, ("outer", id(y))) for y in graph.outputs))


def attributes_key(
    node: ir.Node, opset: int, inside: tuple[VersionOf, dict[ir.Value, int]] | None = None
) -> tuple[Hashable, ...] | None:
    """The node's attributes, sorted, with the schema's defaults filled in; None where one cannot be compared.

    Args:
        node: The node.
        opset: Version of the node's domain that the graph imports.
        inside: For subgraphs, versions as in ``graph_key`` and numbers of what they may capture beside outer values;
            None refuses subgraphs.
    """
    given: dict[str, Hashable] = dict(default_keys(node.op_type, opset, node.domain))
    for name, attribute in node.attributes.items():
        if inside is not None and attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            value = _graph_key(attribute.as_graph(), inside[0], dict(inside[1]))
        else:
            value = attribute_key(attribute)
        if value is None:
            return None
        given[name] = value
    return tuple(sorted(given.items()))


@functools.cache
def default_keys(op_type: str, opset: int, domain: str) -> Mapping[str, Hashable]:
    """Of each attribute with a default in the operator's schema the `attribute_key` of that; empty without a schema."""
    op = schema(op_type, opset, domain)
    if op is None:
        return {}
    found: dict[str, Hashable] = {}
    for name, attribute in op.attributes.items():
        default = attribute.default_value
        if default is None or default.type == onnx.AttributeProto.UNDEFINED:
            continue
        value = attribute_key(ir.serde.deserialize_attribute(default))
        if value is not None:
            found[name] = value
    return found


def attribute_key(attribute: ir.Attr) -> Hashable | None:
    """Equal for attributes of equal kind and value; None where it holds a graph, and cannot be compared."""
    kind = attribute.type
    if attribute.is_ref():
        return (int(kind), "ref", attribute.ref_attr_name or "")
    if kind == ir.AttributeType.FLOAT:
        return (int(kind), float(attribute.as_float()).hex())
    if kind == ir.AttributeType.FLOATS:
        return (int(kind), *(float(x).hex() for x in attribute.as_floats()))
    if kind == ir.AttributeType.TENSOR:
        return (int(kind), repr(tensor_key(attribute.as_tensor())))
    if kind in (ir.AttributeType.INT, ir.AttributeType.STRING):
        return (int(kind), repr(attribute.value))
    if kind in (ir.AttributeType.INTS, ir.AttributeType.STRINGS):
        return (int(kind), *(repr(x) for x in attribute.value))
    return None
