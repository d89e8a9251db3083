"""Embedding tables in int8: W[i] -> Cast(Wq[i]) * scale, one scale per column.

The rows are gathered as integers: a DequantizeLinear before the Gather would dequantize the whole table in every run,
and one after it, along the last axis, was measured 15 times slower than a Cast and a product.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused

from .grid import weight_grid

LEAST = 1 << 16
"""Numbers in a table from which on it is worth a node."""
SUFFIX = "_quantized"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A Gather of rows of a table."""

    node: ir.Node

    @property
    def key(self) -> str:
        """Name of the node's output: the same on a clone of the model."""
        return self.node.outputs[0].name or ""

    @property
    def size(self) -> int:
        """Numbers in the table."""
        tensor = constant_tensor(self.node.inputs[0])
        return 0 if tensor is None else tensor.size


def table_of(node: ir.Node) -> ir.Value | str | None:
    """The table that a Gather looks rows up in; a reason where it cannot be int8, None where there is none."""
    if node.op_type != "Gather" or node.domain:
        return None
    table, places = node.inputs[0], node.inputs[1]
    tensor = constant_tensor(table)
    if table is None or tensor is None or places is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    if len(tensor.shape) != 2 or tensor.size < LEAST or constant_tensor(places) is not None:
        return None
    if (node.attributes["axis"].as_int() if "axis" in node.attributes else 0) != 0:
        return "columns of the table are looked up, not rows"
    if node.outputs[0].is_graph_output():
        return "its output is the model's"
    if any(use.node.op_type != "Gather" or use.idx != 0 for use in table.uses()):
        return "the table is used elsewhere too"
    if not np.isfinite(tensor.numpy()).all():
        return "its weights hold NaN or infinity"
    return table


def insert_tables(model: ir.Model, keys: Collection[str], bits: int) -> None:
    """Makes the tables of these Gathers int8, in place.

    Args:
        model: Opset 13 or newer.
        keys: Names of the outputs of Gathers of the main graph for which `table_of` gives a table.
        bits: Of the integers.
    """
    names = Names.of(model)
    done: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    for node in list(model.graph):
        if not node.outputs or node.outputs[0].name not in keys:
            continue
        table = table_of(node)
        assert isinstance(table, ir.Value)
        if table not in done:
            done[table] = _store(model.graph, names, table, bits)
        integers, scale = done[table]
        result = node.outputs[0]
        uses = [(use.node, use.idx) for use in result.uses()]
        rows = ir.node("Gather", [integers, node.inputs[1]], {"axis": 0})
        floats = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT.value})
        back = ir.node("Mul", [floats.outputs[0], scale])
        for each, role in ((rows, "quantized"), (floats, "cast"), (back, "dequantized")):
            each.name = each.outputs[0].name = names.fresh(f"{result.name}_{role}")
        node.prepend([rows, floats, back])
        for reader, index in uses:
            reader.replace_input_with(index, back.outputs[0])
        node.graph.remove(node, safe=True)  # type: ignore[union-attr]
    for table in done:
        drop_unused(model.graph, table)


def _store(graph: ir.Graph, names: Names, table: ir.Value, bits: int) -> tuple[ir.Value, ir.Value]:
    tensor = constant_tensor(table)
    assert tensor is not None
    array = tensor.numpy()
    grid = weight_grid(array, 1, bits=bits)
    name = names.fresh(f"{table.name}{SUFFIX}")
    return (
        add_initializer(graph, name, grid.quantize(array)),
        add_initializer(graph, names.fresh(f"{name}_scale"), grid.scale),
    )
