"""Which nodes decide, by the values that they compute, how long something else is.

The durations of a text-to-speech model, the entries that NonZero finds, the boxes that NonMaxSuppression keeps: where
such a value moves a little, whole axes change their sizes, and the outputs cannot be compared any more.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.walk import subgraphs
from onnxslim.ops.sizing import sizing_inputs

_STANDARD = ("", "ai.onnx")
_OF_SHAPES = frozenset({"Shape", "Size"})
"""What they give follows from shapes; who decides those is found where it does."""


def length_deciders(model: ir.Model) -> set[ir.Node]:
    """The nodes, of the main graph and of its bodies, whose values decide sizes of other values.

    All that a size is computed from counts, up to the inputs and constants; what is computed from shapes alone does
    not. Functions are taken for operators that are not known: all that they read may decide sizes.
    """
    owners: dict[ir.Graph, ir.Node] = {}
    stack: list[ir.Value] = []
    for graph in model.graphs():
        for node in graph:
            bodies = list(subgraphs(node.attributes.values()))
            owners |= dict.fromkeys(bodies, node)
            sizing = sizing_inputs(node)
            stack += sizing
            if node.op_type == "Loop" or (bodies and len(sizing) == len(node.inputs)):
                stack += [
                    value for body in bodies for value in (body.outputs[:1] if node.op_type == "Loop" else body.outputs)
                ]
    seen: set[ir.Value] = set()
    found: set[ir.Node] = set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        maker = value.producer()
        if maker is None:
            body = value.graph if value.is_graph_input() else None
            if isinstance(body, ir.Graph) and body in owners:
                stack += _sources(owners[body], body, value)
            continue
        if maker in found or (maker.op_type in _OF_SHAPES and maker.domain in _STANDARD):
            continue
        found.add(maker)
        stack += [each for each in maker.inputs if each is not None]
        stack += [each for body in subgraphs(maker.attributes.values()) for each in body.outputs]
    return found


def _sources(owner: ir.Node, body: ir.Graph, parameter: ir.Value) -> list[ir.Value]:
    """Where a parameter of a body comes from: of a Loop, one input and what the turn before made of it."""
    sources: list[ir.Value | None] = list(owner.inputs)
    if owner.op_type == "Loop" and owner.domain in _STANDARD:
        place = next(i for i, each in enumerate(body.inputs) if each is parameter)
        sources = [*owner.inputs[place : place + 1], *(body.outputs[place - 1 : place] if place else ())]
    return [each for each in sources if each is not None]
