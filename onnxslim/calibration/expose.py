"""Models cut down to what computes some inner values, with those as outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

SIZE = "::size"
"""Suffix of the outputs that tell how many entries a value has."""


def exposed(model: ir.Model, values: Sequence[ir.Value]) -> ir.Model:
    """A copy of ``model`` whose outputs are ``values``, without the nodes that these do not need. Weights are shared.

    All inputs stay. The declared shapes of the new outputs are left out: they may be wrong, and nothing needs them.
    """
    graph = ir.convenience.extract(model.graph, list(model.graph.inputs), list(values))
    for value in graph.outputs:
        if not value.is_graph_input():
            value.shape = None
    functions = [function.clone() for function in model.functions.values()]
    return ir.Model(graph, ir_version=model.ir_version, functions=functions)


def measured(model: ir.Model, values: Sequence[ir.Value]) -> tuple[ir.Model, list[str]]:
    """Like `exposed`, but the outputs are the numbers of entries, ``int64[]``: the values themselves are not kept.

    Returns:
        The model, and the names of its outputs in the order of ``values``.
    """
    result = exposed(model, values)
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
