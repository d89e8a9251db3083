"""Nothing that no output needs: nodes, initializers and local functions are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import site
from onnxslim.graph.uses import drop_inputs
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.determinism import removable_when_unused
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import annotated, scopes


@dataclass(frozen=True)
class RemoveUnused(Pass):
    """Remove nodes, initializers and functions that no output needs.

    1. A node without a used output goes, and then what only it used; in subgraphs and function bodies too. Nodes of
       unknown domains stay, wherever they are: they may do more than compute.
    2. An initializer without a use goes, unless it is a graph input or a quantization annotation names it.
    3. A local function that nothing reachable from the main graph calls goes.

    Graph inputs and opset imports stay, used or not.
    """

    name: ClassVar[str] = "remove-unused"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Removes them in place."""
        remove_functions(model, context)
        remove_nodes(model, context)
        remove_initializers(model, context)
        return context.result()


def remove_nodes(model: ir.Model, context: Context) -> None:
    """Users before what they use: inner graphs first, each from its end, so one walk finds all."""
    opaque = opaque_functions(model)
    for scope in reversed(scopes(model)):
        dead: list[ir.Node] = []
        for node in reversed(scope.graph):
            if any(output.is_graph_output() or output.uses() for output in node.outputs):
                continue
            if (reason := side_effect(node, model, opaque)) is not None:
                context.decline("remove-node", site(node), reason)
                continue
            outputs = tuple(output.name or "" for output in node.outputs)
            if not context.allow(Action("remove-node", outputs, site(node))):
                continue
            detach(node)
            dead.append(node)
        scope.graph.remove(dead)


def detach(node: ir.Node) -> None:
    """Gives up every use that the node and the graphs inside it make of values."""
    inside = [node]
    for each in inside:  # grows while it is walked
        drop_inputs(each)
        for graph in subgraphs(each.attributes.values()):
            inside.extend(graph)


def side_effect(node: ir.Node, model: ir.Model, opaque: frozenset[ir.OperatorIdentifier]) -> str | None:
    """What speaks against the removal of a node without used outputs, looking into its subgraphs and functions."""
    inside = [node]
    for each in inside:  # grows while it is walked
        if not removable_when_unused(each, model.functions):
            return f"{each.domain}::{each.op_type} may do more than compute its outputs"
        if each.op_identifier() in opaque:
            return f"the function {each.op_type} holds a node that may do more than compute its outputs"
        for graph in subgraphs(each.attributes.values()):
            inside.extend(graph)
    return None


def opaque_functions(model: ir.Model) -> frozenset[ir.OperatorIdentifier]:
    """Local functions that hold, at any depth of calls, a node of an unknown domain."""
    callers: dict[ir.OperatorIdentifier, list[ir.OperatorIdentifier]] = {}
    opaque: dict[ir.OperatorIdentifier, None] = {}
    for identifier, function in model.functions.items():
        for node in function.all_nodes():
            if node.op_identifier() in model.functions:
                callers.setdefault(node.op_identifier(), []).append(identifier)
            elif not removable_when_unused(node):
                opaque[identifier] = None
    queue = list(opaque)
    for identifier in queue:  # grows while it is walked
        for caller in callers.get(identifier, ()):
            if caller not in opaque:
                opaque[caller] = None
                queue.append(caller)
    return frozenset(opaque)


def remove_initializers(model: ir.Model, context: Context) -> None:
    """Removes initializers that nothing uses."""
    unused = [
        (scope, name, value)
        for scope in scopes(model)
        for name, value in scope.graph.initializers.items()
        if not (value.uses() or value.is_graph_input() or value.is_graph_output())
    ]
    kept = annotated(model) if unused else frozenset()
    for scope, name, value in unused:
        if name not in kept:
            bytes_ = value.const_value.nbytes if value.const_value is not None else 0
            if context.allow(Action("remove-initializer", (name,), scope.graph.name or "", f"-{bytes_:,} bytes")):
                del scope.graph.initializers[name]


def remove_functions(model: ir.Model, context: Context) -> None:
    """Removes functions that no node reachable from the main graph calls."""
    if not model.functions:
        return
    called: dict[ir.OperatorIdentifier, None] = {}
    queue = [node.op_identifier() for node in model.graph.all_nodes()]
    for identifier in queue:  # grows while it is walked
        if identifier in called or identifier not in model.functions:
            continue
        called[identifier] = None
        queue.extend(node.op_identifier() for node in model.functions[identifier].all_nodes())
    for identifier in [i for i in model.functions if i not in called]:
        label = "::".join(part for part in identifier if part)
        if context.allow(Action("remove-function", (label,), label)):
            del model.functions[identifier]
