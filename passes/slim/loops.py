"""What passes need to know of Loops and Scans: where they are, and how often their bodies run."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.analysis.dims import lower
from onnxslim.graph.walk import holds_graphs
from onnxslim.rewriter.scopes import Scope, scopes


@dataclass(frozen=True, eq=False)
class Repeated:
    """A Loop or Scan, where it is, and its body."""

    node: ir.Node
    scope: Scope
    body: ir.Graph


def repeated(model: ir.Model, *op_types: str) -> list[Repeated]:
    """Nodes of these operators (``Loop``, ``Scan``) with a body of their own, outer ones first."""
    found = []
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_type not in op_types or node.domain or not holds_graphs(node):
                continue
            body = node.attributes.get("body")
            if body is not None and not body.is_ref() and node.op_identifier() not in model.functions:
                found.append(Repeated(node, scope, body.as_graph()))
    return found


def fewest_trips(loop: Repeated, facts: ShapeFacts) -> int:
    """A number of times that the body runs at least: 0 where nothing is known."""
    node = loop.node
    if node.op_type == "Scan":
        count = node.attributes["num_scan_inputs"].as_int()
        axes = node.attributes["scan_input_axes"].as_ints() if "scan_input_axes" in node.attributes else [0] * count
        shapes = [facts.shape(x) if x is not None else None for x in node.inputs[len(node.inputs) - count :]]
        known = [shape[axis] for shape, axis in zip(shapes, axes, strict=True) if shape is not None]
        return max([0, *(int(lower(dim)) for dim in known)])
    if starts(loop, facts) is not True:
        return 0
    limit = node.inputs[0]
    if limit is None:
        return 1
    elements = facts.value(limit)
    return 0 if elements is None else int(max(0, min(1, lower(elements.reshape(-1)[0]))))


def starts(loop: Repeated, facts: ShapeFacts) -> bool | None:
    """Whether a Loop's condition is true before the first iteration; None where that is not known."""
    condition = loop.node.inputs[1] if len(loop.node.inputs) > 1 else None
    if condition is None:
        return True
    elements = facts.value(condition)
    known = elements is not None and list(elements.flat) in ([0], [1])
    return bool(elements.reshape(-1)[0]) if known and elements is not None else None
