"""Rows of a table that lie side by side: T[r, r+1, .., r+n] -> a Slice of T, as for the positions of a BERT.

The numbers looked up are a Slice of consecutive constants, so the rows are that Slice of the table. An int8 table is
then made float where the model is loaded, Slice(Cast(T) * scale), instead of row by row in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, read_once, site
from onnxslim.pipeline import Action, Context

from .dead import drop_dead

NAME = "slice-tables"
LARGEST = 1 << 22
"""Numbers of an int8 table that are float in memory at most."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """A Gather of rows side by side.

    Attributes:
        node: The Gather.
        places: The Slice of consecutive numbers.
        table: The rows that these number, behind the leading dim of 1 that the numbers may have.
        scaling: The Cast and the product that make floats of the rows, where they do.
    """

    node: ir.Node
    places: ir.Node
    table: np.ndarray
    scaling: tuple[ir.Node, ir.Node] | None


def slice_tables(model: ir.Model, context: Context) -> None:
    """Slices tables instead of looking their rows up, in place.

    Args:
        model: Of any opset.
        context: Is asked before each rewrite.
    """
    names = Names.of(model)
    for node in list(model.graph):
        found = lookup_of(node)
        if isinstance(found, str):
            context.decline(NAME, site(node), found)
        elif found is not None:
            detail = f"{found.table.shape[-2]} rows side by side"
            if context.allow(Action(NAME, (node.outputs[0].name or "",), site(node), detail)):
                _slice(model.graph, names, found)


def lookup_of(node: ir.Node) -> Lookup | str | None:
    """Where a Gather takes rows side by side; a reason where it must stay, None where it takes others."""
    if (node.domain, node.op_type) != ("", "Gather") or node.inputs[1] is None:
        return None
    table, places, axis = constant_tensor(node.inputs[0]), node.inputs[1].producer(), node.attributes.get_int("axis", 0)
    if axis != 0 or table is None or len(table.shape) != 2 or table.meta or places is None:
        return None
    if (places.domain, places.op_type) != ("", "Slice") or len(places.inputs) < 4:
        return None
    numbers, axes, steps = (constant_tensor(places.inputs[k]) if k < len(places.inputs) else None for k in (0, 3, 4))
    if numbers is None or numbers.size < 2 or numbers.size != numbers.shape.numpy()[-1] or len(numbers.shape) > 2:
        return None
    rank, row = len(numbers.shape), numbers.numpy().reshape(-1).astype(np.int64)
    if not (np.diff(row) == 1).all():
        return None
    if axes is None or axes.numpy().reshape(-1).tolist() not in ([rank - 1], [-1]):
        return "its numbers are cut along another dim than that they run along"
    if len(places.inputs) > 4 and places.inputs[4] is not None and (steps is None or steps.numpy().tolist() != [1]):
        return "its numbers are not taken one by one"
    if row[0] < 0 or row[-1] >= table.shape.numpy()[0]:
        return "some of its numbers count from the end, or are no rows of the table"
    assert node.inputs[0] is not None
    if not read_once(node.inputs[0]) or node.outputs[0].is_graph_output():
        return "something else needs the table, or the rows are an output of the model"
    rows = table.numpy()[row[0] : row[-1] + 1].reshape(*(1,) * (rank - 1), len(row), -1)
    return Lookup(node, places, rows, _scaling(node.outputs[0]) if table.size <= LARGEST else None)


def _scaling(rows: ir.Value) -> tuple[ir.Node, ir.Node] | None:
    found = []
    for op_type in ("Cast", "Mul"):
        uses = list(rows.uses())
        if len(uses) != 1 or (uses[0].node.domain, uses[0].node.op_type) != ("", op_type):
            return None
        found.append(uses[0].node)
        rows = found[-1].outputs[0]
        if rows.is_graph_output():
            return None
    cast, product = found
    scale = constant_tensor(product.inputs[1])
    is_float = cast.attributes["to"].as_int() == ir.DataType.FLOAT.value
    return (cast, product) if is_float and scale is not None and len(scale.shape) <= 1 else None


def _slice(graph: ir.Graph, names: Names, lookup: Lookup) -> None:
    node, old = lookup.node, lookup.node.outputs[0]
    value = add_initializer(graph, names.fresh("rows_of_table"), np.ascontiguousarray(lookup.table))
    nodes, gone = list[ir.Node](), [node]
    if lookup.scaling is not None:
        cast, product = lookup.scaling
        nodes.append(ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}))
        nodes.append(ir.node("Mul", [nodes[0].outputs[0], product.inputs[1]]))
        value, old, gone = nodes[-1].outputs[0], product.outputs[0], [node, cast, product]
    numbers = constant_tensor(lookup.places.inputs[3])  # int32 or int64, and all of a Slice are of one type
    assert numbers is not None
    axis = add_initializer(graph, names.fresh("rows_axis"), np.array([lookup.table.ndim - 2], numbers.numpy().dtype))
    nodes.append(ir.node("Slice", [value, *lookup.places.inputs[1:3], axis]))
    for each in nodes:
        each.name = each.outputs[0].name = names.fresh("sliced")
    made = nodes[-1].outputs[0]
    made.type, made.shape = old.type, old.shape
    node.prepend(nodes)
    old.replace_all_uses_with(made)
    read = [x for each in gone for x in each.inputs if x is not None]
    graph.remove(gone, safe=True)
    for x in read:
        drop_dead(graph, x)
