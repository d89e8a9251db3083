"""Removing what nothing reads any more."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.edit import drop_unused


def drop_dead(graph: ir.Graph, value: ir.Value) -> None:
    """Removes a value that nothing reads any more, and what only it needed."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        node = each.producer()
        if each.uses() or each.is_graph_output():
            continue
        if node is None:
            drop_unused(graph, each)
        elif node.graph is graph and not any(y.uses() or y.is_graph_output() for y in node.outputs):
            inputs = list(node.inputs)
            graph.remove(node, safe=True)
            waiting.extend(x for x in inputs if x is not None and not x.is_graph_input())
