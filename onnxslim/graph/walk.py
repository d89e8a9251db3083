"""Walks over all that a model holds, without recursion and in one order for the IR and for the proto.

``bodies`` and ``body_protos`` list graphs and functions breadth first, subgraphs in the order of nodes and attributes.
onnx-ir keeps that order in both directions, so the i-th body of one is the i-th of the other, and what the IR cannot
carry is put back by that correspondence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import onnx
import onnx_ir as ir

from onnxslim.errors import InputError

Body: TypeAlias = ir.Graph | ir.Function
BodyProto: TypeAlias = onnx.GraphProto | onnx.FunctionProto

_GRAPH, _GRAPHS = ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS
MAX_DEPTH = 32
"""Levels of nested graphs: a protobuf parser stops at 100 messages, in onnx and onnxruntime too."""


def bodies(model: ir.Model) -> Iterator[Body]:
    """The main graph, the functions, then all their subgraphs."""
    queue: list[Body] = [model.graph, *model.functions.values()]
    for body in queue:  # grows while it is walked
        yield body
        if isinstance(body, ir.Function):
            queue.extend(subgraphs(body.attributes.values()))
        for node in body:
            if holds_graphs(node):
                queue.extend(subgraphs(node.attributes.values()))


def holds_graphs(node: ir.Node) -> bool:
    """Whether the node may have subgraphs: asked of every node, again and again, where ``subgraphs`` would be slow."""
    for attribute in node.attributes.data.values():  # the plain dict inside: its view is written in Python
        kind = attribute.type
        if kind is _GRAPH or kind is _GRAPHS:
            return True
    return False


def subgraphs(attributes: Iterable[ir.Attr]) -> Iterator[ir.Graph]:
    """The graphs that the attributes hold."""
    for attribute in attributes:
        if attribute.is_ref() or attribute.value is None:
            continue
        if attribute.type is _GRAPH:
            yield attribute.value
        elif attribute.type is _GRAPHS:
            yield from attribute.value


def nested(graph: ir.Graph) -> list[ir.Graph]:
    """The graph and all graphs inside it, outer ones first."""
    found = [graph]
    for each in found:  # grows while it is walked
        for node in each:
            if node.attributes:
                found.extend(subgraphs(node.attributes.values()))
    return found


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the model: main graph, functions, subgraphs."""
    for body in bodies(model):
        yield from body


def callees_first(model: ir.Model) -> list[ir.OperatorIdentifier]:
    """Functions in an order where each comes after all that it calls. They do not call themselves: load checks it."""
    order: dict[ir.OperatorIdentifier, None] = {}
    calls = {
        identifier: [n.op_identifier() for n in function.all_nodes() if n.op_identifier() in model.functions]
        for identifier, function in model.functions.items()
    }
    for start in calls:
        stack = [start]
        while stack:
            missing = [callee for callee in calls[stack[-1]] if callee not in order]
            if missing:
                stack.append(missing[0])
            else:
                order[stack.pop()] = None
    return list(order)


def attribute_tensors(attributes: Iterable[ir.Attr]) -> Iterator[ir.TensorProtocol]:
    """The tensors that the attributes hold."""
    for attribute in attributes:
        if attribute.is_ref() or attribute.value is None:
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            yield attribute.value
        elif attribute.type == ir.AttributeType.TENSORS:
            yield from attribute.value


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor of the model: initializers and attributes, everywhere. A shared tensor comes more than once."""
    for body in bodies(model):
        if isinstance(body, ir.Function):
            yield from attribute_tensors(body.attributes.values())
        else:
            for value in body.initializers.values():
                if value.const_value is not None:
                    yield value.const_value
        for node in body:
            if node.attributes:
                yield from attribute_tensors(node.attributes.values())


def body_protos(proto: onnx.ModelProto) -> Iterator[BodyProto]:
    """The same order as ``bodies``, in a proto.

    Raises:
        InputError: Subgraphs are nested deeper than ``MAX_DEPTH``.
    """
    queue: list[tuple[BodyProto, int]] = [(proto.graph, 1), *((function, 1) for function in proto.functions)]
    for body, depth in queue:
        if depth > MAX_DEPTH:
            raise InputError(
                f"subgraphs are nested more than {MAX_DEPTH} deep",
                where=f"graph {body.name!r}",
                why="protobuf parsers, also those of onnx and onnxruntime, stop at 100 nested messages",
                mend="export the model with flatter control flow",
            )
        yield body
        attributes = list(body.attribute_proto) if isinstance(body, onnx.FunctionProto) else []
        for node in body.node:
            attributes.extend(node.attribute)
        for attribute in attributes:
            if attribute.ref_attr_name:
                continue
            if attribute.type == onnx.AttributeProto.GRAPH:
                queue.append((attribute.g, depth + 1))
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                queue.extend((graph, depth + 1) for graph in attribute.graphs)


def tensor_protos(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every dense tensor of a proto, in initializers and attributes."""
    for body in body_protos(proto):
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
        else:
            for attribute in body.attribute_proto:
                yield from _held(attribute)
        for node in body.node:
            for attribute in node.attribute:
                yield from _held(attribute)


def _held(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.type == onnx.AttributeProto.TENSOR and not attribute.ref_attr_name:
        yield attribute.t
    elif attribute.type == onnx.AttributeProto.TENSORS:
        yield from attribute.tensors
