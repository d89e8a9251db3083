"""Models that tell how large inner values are."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.execution.executor import cut_to

SIZE = "::size"
"""Suffix of the outputs that tell how many entries a value has."""


def measured(model: ir.Model, values: Sequence[ir.Value]) -> tuple[ir.Model, list[str]]:
    """A model cut to what computes some values, whose outputs are their numbers of entries, ``int64[]``.

    Returns:
        The model, and the names of its outputs in the order of ``values``.
    """
    result = cut_to(model, values)
    graph = result.graph
    taken = {value.name for node in graph for value in node.outputs} | {value.name for value in graph.inputs}
    graph.opset_imports.setdefault("", 17)
    sizes, names = [], []
    for value in list(graph.outputs):
        name = f"{value.name}{SIZE}"
        while name in taken:
            name += "_"
        taken.add(name)
        node = ir.node("Size", [value], outputs=[ir.val(name, ir.DataType.INT64, ())])
        graph.append(node)
        sizes.append(node.outputs[0])
        names.append(name)
    graph.outputs.clear()
    graph.outputs.extend(sizes)
    return result, names
