"""Fingerprints of values: equal where the subgraphs that produce them compute the same from the same inputs.

A Merkle hash: operator, version, attributes, bodies, the fingerprints of the inputs, the bytes of the weights. Names of
nodes and inner values play no part; those of the model's inputs do, since samples are keyed by them. A Constant node
counts as the weight that it holds, an Identity as its input, so that slimming keeps the statistics of what it keeps.
"""

from __future__ import annotations

import hashlib
import struct
import weakref
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

Item = ir.Value | ir.Node
_STANDARD = ("", "ai.onnx")
_weights: weakref.WeakKeyDictionary[ir.TensorProtocol, bytes] = weakref.WeakKeyDictionary()
"""Digests of tensors by identity; onnx-ir's tensors are immutable, and weights are the slow part."""


def fingerprints(model: ir.Model) -> dict[ir.Value, str]:
    """The fingerprint of every value of the main graph, in time linear in nodes and bytes of weights.

    Operators that draw random numbers are taken at their word: two with equal attributes and inputs look equal.
    """
    return _Hasher(model).main_graph()


def joined(marks: Sequence[str]) -> str:
    """The fingerprint of several values together, in their order."""
    return _digest(b"together", *(mark.encode() for mark in marks)).hex()


def model_digest(model: ir.Model) -> str:
    """One hash of all that a pass may look at: what every value computes, and every name, declared type and shape.

    `fingerprints` leave names out, so that statistics survive a renaming. A pass's decision does not: it names values,
    and options such as ``--exclude`` name nodes. Metadata and doc strings play no part.
    """
    digest = hashlib.blake2b(digest_size=16)

    def add(*parts: str) -> None:
        for part in parts:
            raw = part.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)

    def declare(kind: str, values: Iterable[ir.Value]) -> None:
        add(kind, *(text for value in values for text in (value.name or "", str(value.type), str(value.shape))))

    for value, mark in fingerprints(model).items():
        add(value.name or "", mark)
    add(str(model.ir_version), *map(str, sorted(model.graph.opset_imports.items())))
    bodies = (body for function in model.functions.values() for body in function.subgraphs())
    for graph in (*model.graphs(), *(function.graph for function in model.functions.values()), *bodies):
        declare("inputs", graph.inputs)
        declare("outputs", graph.outputs)
        declare("initializers", graph.initializers.values())
        for node in graph:
            add("node", node.domain, node.op_type, node.name or "")
            add(*("" if value is None else value.name or "" for value in node.inputs))
            declare("makes", node.outputs)
    return digest.hexdigest()


def weight_digest(tensor: ir.TensorProtocol) -> bytes:
    """Hash of dtype, shape and content, remembered as long as the tensor lives."""
    known = _weights.get(tensor)
    if known is None:
        digest = _digest(b"weight", str(tensor.dtype).encode(), str(tuple(tensor.shape.numpy())).encode())
        content = hashlib.blake2b(digest, digest_size=16)
        if tensor.dtype == ir.DataType.STRING:
            for item in np.asarray(tensor.numpy()).ravel().tolist():
                raw = item if isinstance(item, bytes) else str(item).encode()
                content.update(len(raw).to_bytes(8, "little") + raw)
        elif tensor.dtype.bitwidth < 8:
            content.update(tensor.tobytes())
        else:
            content.update(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)
        known = _weights[tensor] = content.digest()
    return known


class _Hasher:
    """One walk over a model, depth first with its own stack."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.done: dict[Item, bytes] = {}
        self.depth: dict[ir.Graph, int] = {model.graph: 0}
        self.opsets: dict[ir.Graph, dict[str, int]] = {model.graph: model.graph.opset_imports}
        for function in model.functions.values():
            self.depth[function.graph] = 0
            self.opsets[function.graph] = function.opset_imports

    def main_graph(self) -> dict[ir.Value, str]:
        graph = self.model.graph
        values = [*graph.inputs, *graph.initializers.values(), *(out for node in graph for out in node.outputs)]
        for value in values:
            self._visit(value)
        return {value: self.done[value].hex() for value in values}

    def _visit(self, root: Item) -> None:
        stack = [root]
        while stack:
            item = stack[-1]
            if item in self.done:
                stack.pop()
                continue
            waiting = [need for need in self._needs(item) if need not in self.done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            self.done[item] = self._value(item) if isinstance(item, ir.Value) else self._node(item)

    def _needs(self, item: Item) -> Iterator[Item]:
        """What must be hashed first: the node of a value; the inputs of a node and the outputs of its bodies."""
        if isinstance(item, ir.Value):
            producer = item.producer()
            if producer is not None:
                yield producer
            return
        yield from (value for value in item.inputs if value is not None)
        depth = self.depth.get(item.graph, 0) if isinstance(item.graph, ir.Graph) else 0
        for body in _bodies(item):
            if body not in self.depth:
                self.depth[body] = depth + 1
                self.opsets[body] = self._opsets(item)
            yield from body.outputs
        function = self.model.functions.get(item.op_identifier())
        if function is not None:
            yield from function.outputs

    def _value(self, value: ir.Value) -> bytes:
        producer = value.producer()
        if producer is not None:
            name = producer.op_type if producer.domain in _STANDARD else ""
            if name == "Identity" and producer.inputs and producer.inputs[0] is not None:
                return self.done[producer.inputs[0]]
            tensor = producer.attributes.get_tensor("value") if name == "Constant" else None
            if tensor is not None:
                return weight_digest(tensor)
            return _digest(b"output", self.done[producer], str(value.index()).encode())
        weight = weight_digest(value.const_value) if value.const_value is not None else b""
        if not value.is_graph_input():
            return weight or _digest(b"unknown", (value.name or "").encode())
        graph = value.graph
        if graph is self.model.graph:
            return _digest(b"input", (value.name or "").encode(), weight)
        # Parameters of a body are told apart by how deep it is nested and by their place.
        assert isinstance(graph, ir.Graph)
        place = next(i for i, parameter in enumerate(graph.inputs) if parameter is value)
        return _digest(b"parameter", str(self.depth.get(graph, 0)).encode(), str(place).encode(), weight)

    def _node(self, node: ir.Node) -> bytes:
        domain = "" if node.domain in _STANDARD else node.domain
        version = node.version if node.version is not None else self._opsets(node).get(node.domain, 0)
        parts = [b"node", domain.encode(), node.op_type.encode(), node.overload.encode(), str(version).encode()]
        parts.append(str(len(node.outputs)).encode())
        parts += [b"" if value is None else self.done[value] for value in node.inputs]
        for name, attribute in sorted(node.attributes.items()):
            parts += [b"attribute", name.encode(), str(int(attribute.type)).encode(), *self._attribute(attribute)]
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            parts += [b"function", *(self.done[value] for value in function.outputs)]
            for name, attribute in sorted(function.attributes.items()):  # defaults
                content = () if attribute.value is None else self._attribute(attribute)
                parts += [b"default", name.encode(), *content]
        return _digest(*parts)

    def _attribute(self, attribute: ir.Attr) -> Iterator[bytes]:
        if attribute.is_ref():
            yield b"ref:" + (attribute.ref_attr_name or "").encode()
            return
        kinds = ir.AttributeType
        value = attribute.value
        many = value if isinstance(value, (list, tuple)) else (value,)
        for item in many:
            if attribute.type in (kinds.FLOAT, kinds.FLOATS):
                yield struct.pack("<d", item)
            elif attribute.type in (kinds.TENSOR, kinds.TENSORS):
                yield weight_digest(item)
            elif attribute.type in (kinds.GRAPH, kinds.GRAPHS):
                yield _digest(b"body", str(len(item.inputs)).encode(), *(self.done[out] for out in item.outputs))
            else:
                yield item if isinstance(item, bytes) else str(item).encode()

    def _opsets(self, node: ir.Node) -> dict[str, int]:
        graph = node.graph
        if isinstance(graph, ir.Graph) and graph in self.opsets:
            return self.opsets[graph]
        return self.model.graph.opset_imports


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
