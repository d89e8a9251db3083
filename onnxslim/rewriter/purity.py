"""Purity of whole nodes: what they hold in subgraphs and call in functions included."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir

from onnxslim.graph.walk import callees_first, nested, subgraphs
from onnxslim.ops.determinism import HOLDS_SUBGRAPH, impurity

from .scopes import Scope

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def pure_functions(model: ir.Model) -> frozenset[ir.OperatorIdentifier]:
    """Local functions whose bodies hold pure nodes only, at any depth of calls."""
    pure: set[ir.OperatorIdentifier] = set()
    for identifier in callees_first(model):
        function = model.functions[identifier]
        scope = Scope(function.graph, function.opset_imports, None, in_function=True)
        if all(deep_impurity(node, scope, model, pure) is None for node in function):
            pure.add(identifier)
    return frozenset(pure)


def deep_impurity(node: ir.Node, scope: Scope, model: ir.Model, pure: Container[ir.OperatorIdentifier]) -> str | None:
    """Why the node may not be merged with its twin; None if it may. ``pure``: functions known to be so."""
    if node.op_identifier() in model.functions:
        return None if node.op_identifier() in pure else "it calls a function that is not pure"
    held = list(subgraphs(node.attributes.values())) if node.attributes else []
    if not held:
        return impurity(node, scope.opset(node.domain))
    for graph in held:
        for each in nested(graph):
            for inner in each:
                if inner.op_identifier() in model.functions:
                    if inner.op_identifier() not in pure:
                        return "it calls a function that is not pure"
                elif (reason := _own_impurity(inner, scope)) is not None:
                    return reason
    return _own_impurity(node, scope)


def _own_impurity(node: ir.Node, scope: Scope) -> str | None:
    """The node's own, whatever it holds; a graph that is a function's parameter may be anything."""
    if any(attribute.is_ref() and attribute.type in _GRAPHS for attribute in node.attributes.values()):
        return HOLDS_SUBGRAPH
    reason = impurity(node, scope.opset(node.domain))
    return None if reason == HOLDS_SUBGRAPH else reason
