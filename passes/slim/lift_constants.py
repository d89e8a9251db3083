"""Constant -> initializer: weights where every tool looks for them, in fewer bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph import edit
from onnxslim.graph.edit import add_initializer, site
from onnxslim.graph.stored import stored
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, Scope, annotated, as_nodes, scopes
from onnxslim.rewriter.size import listing_bytes, node_bytes, tensor_bytes


@dataclass(frozen=True)
class LiftConstants(Pass):
    """Turn Constant nodes into initializers of the same name.

    1. In the main graph and its subgraphs; function bodies can hold no initializers, nor can subgraphs of IR version 3.
    2. Only where the file does not grow: a long ``value_ints`` is shorter than a tensor, and stays. In IR version 3
       every initializer is listed as an input too, which counts.
    3. A Constant that is an output of its graph stays a node.
    """

    name: ClassVar[str] = "lift-constants"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Lifts them in place."""
        places = [scope for scope in scopes(model) if not as_nodes(scope, model)]
        constants = [[node for node in each.graph if node.op_type == "Constant" and not node.domain] for each in places]
        kept = annotated(model) if any(constants) else frozenset()
        for scope, found in zip(places, constants, strict=True):
            lift(model, scope, found, kept, context)
        return context.result()


def lift(model: ir.Model, scope: Scope, constants: Sequence[ir.Node], kept: frozenset[str], context: Context) -> None:
    """Lifts the Constant nodes of one graph, but for those whose output is named in ``kept``."""
    graph = scope.graph
    lifted: list[tuple[ir.Node, ir.TensorProtocol]] = []
    for node in constants:
        output = node.outputs[0]
        tensor = node_tensor(node)
        if tensor is None or tensor.meta:
            context.decline("lift-constant", site(node), "it is stored in a sparse form, or not known")
        elif output.is_graph_output():
            context.decline("lift-constant", site(node), "it is an output of its graph")
        elif ANNOTATION in output.meta or output.name in kept:
            context.decline("lift-constant", site(node), "it takes part in a quantization annotation")
        elif output.name in graph.initializers or _grows(model, node, tensor):
            context.decline("lift-constant", site(node), "the file would grow")
        elif context.allow(Action("lift-constant", (output.name or "",), site(node))):
            lifted.append((node, stored(tensor)))
    graph.remove([node for node, _ in lifted])
    for node, tensor in lifted:
        name, node.outputs[0].name = node.outputs[0].name or "", None
        tensor.name = name
        node.outputs[0].replace_all_uses_with(add_initializer(graph, name, tensor))


def _grows(model: ir.Model, node: ir.Node, tensor: ir.TensorProtocol) -> bool:
    """Whether it is longer as an initializer: it may be where no tensor states it, and where it must be listed."""
    name = node.outputs[0].name or ""
    listing = listing_bytes(tensor, name, model)
    if "value" in node.attributes and not listing:
        return False
    return tensor_bytes(tensor, name) + listing > node_bytes(node)


def constant_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor that the value always is, also where a Constant node states it as a list; None where it is none."""
    tensor = edit.constant_tensor(value)
    producer = value.producer()
    if tensor is None and producer is not None and producer.op_type == "Constant" and producer.domain == "":
        return node_tensor(producer)
    return tensor


def node_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """The dense tensor that a Constant node gives, whichever attribute states it; None where it is sparse."""
    if len(node.attributes) != 1:
        return None
    (attribute,) = node.attributes.values()
    if attribute.is_ref():
        return None
    match attribute.name:
        case "value":
            tensor: ir.TensorProtocol = attribute.value  # as_tensor() checks a protocol: slow
            return tensor if attribute.type == ir.AttributeType.TENSOR else None
        case "value_int" | "value_ints":
            return ir.tensor(np.array(attribute.value, np.int64))
        case "value_float" | "value_floats":
            return ir.tensor(np.array(attribute.value, np.float32))
        case "value_string":
            return ir.StringTensor([attribute.as_string().encode()], shape=ir.Shape([]))
        case "value_strings":
            strings = [s.encode() for s in attribute.as_strings()]
            return ir.StringTensor(strings, shape=ir.Shape([len(strings)]))
    return None
