"""Which outputs lie behind a step: a rounding, a choice, a comparison of floats that depend on the inputs.

There a difference in the last bit may become one of a whole step, so that two right models can differ by much.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.ops.steps import is_step

FEW = 16
"""Elements up to which a float constant is taken for a parameter: arithmetic on sizes may round, and is no data."""
_MEASURES = frozenset({"Shape", "Size"})
"""Operators whose outputs do not depend on the values of their inputs."""


def stepped_outputs(model: ir.Model) -> set[str]:
    """Names of the outputs of the main graph that depend on a step.

    A body that steps counts for all outputs of its node, and so does one of a function.
    """
    moving = {value for value in model.graph.inputs if value.dtype is not None and value.dtype.is_floating_point()}
    moving |= {value for value in model.graph.initializers.values() if _is_weight(value)}
    stepped: set[ir.Value] = set()
    stepping = {key for key, function in model.functions.items() if any(is_step(node) for node in function.all_nodes())}
    for node in model.graph:
        if node.op_type in _MEASURES and node.domain == "":
            continue
        inputs = [value for value in node.inputs if value is not None]
        moves = any(value in moving for value in inputs) or bool(_bodies(node))
        steps = is_step(node) or node.op_identifier() in stepping
        steps = steps or any(is_step(inner) for graph in _bodies(node) for inner in graph.all_nodes())
        if (moves and steps) or any(value in stepped for value in inputs):
            stepped.update(node.outputs)
        if moves:
            moving.update(v for v in node.outputs if v.dtype is None or v.dtype.is_floating_point())
    return {value.name or "" for value in model.graph.outputs if value in stepped}


def _bodies(node: ir.Node) -> list[ir.Graph]:
    return [
        graph
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) and not attribute.is_ref()
        for graph in (attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else [attribute.as_graph()])
    ]


def _is_weight(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.dtype.is_floating_point() and tensor.size > FEW
