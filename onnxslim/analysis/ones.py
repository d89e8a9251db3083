"""Sizes that are 1 in every run that succeeds though nothing says so: what an operator demands of two inputs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, divide
from onnxslim.analysis.facts import ShapeFacts
from onnxslim.graph.walk import subgraphs

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def sizes_of_one(model: ir.Model, facts: ShapeFacts) -> dict[ir.Graph, frozenset[Dim]]:
    """Graph -> sizes of its values that a run through it fails with unless they are 1; only graphs that have some.

    A recurrent layer wants a state for each sequence. Where steps of time were flattened into the batch of the input
    but not into that of the state, there is one step: an exporter squeezed an axis that was 1 when it looked.

    Args:
        model: What its own nodes demand holds in the bodies below them too, and not the other way.
        facts: Of the model.
    """
    found: dict[ir.Graph, frozenset[Dim]] = {}
    queue: list[tuple[ir.Graph, frozenset[Dim]]] = [(model.graph, frozenset())]
    for graph, outer in queue:  # grows while it is walked
        known = outer | {one for pair in _equal(graph, facts) if (one := _ratio(*pair)) is not None}
        if known:
            found[graph] = known
        queue.extend((body, known) for node in graph for body in subgraphs(node.attributes.values()))
    return found


def _equal(graph: ir.Graph, facts: ShapeFacts) -> Iterator[tuple[Dim, Dim]]:
    for node in graph:
        if node.op_type in RECURRENT and node.domain in ("", "ai.onnx") and not node.attributes.get_int("layout", 0):
            sequence = None if node.inputs[0] is None else facts.shape(node.inputs[0])
            for state in node.inputs[5:7]:
                shape = None if state is None else facts.shape(state)
                if sequence is not None and shape is not None and len(sequence) == len(shape) == 3:
                    yield sequence[1], shape[1]


def _ratio(one: Dim, other: Dim) -> Expr | None:
    """What must be 1 for the two to be equal, and not both 0."""
    if one == other:
        return None
    ratio = divide(one, other) or divide(other, one)
    return ratio if isinstance(ratio, Expr) else None
