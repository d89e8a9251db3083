"""Embedding tables in few bits: rows are gathered as codes, and only what was gathered becomes floats.

``store`` calls the functions here: `tables_of` finds the tables, `round_table` (in `table_codes`) rounds one and
`insert` rewrites the Gathers that read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused
from onnxslim.ops.contrib import DOMAIN, VERSION
from onnxslim.pipeline.config import Ops

from .table_codes import TableCodes

LEAST = 1 << 16
"""Numbers in a table from which on it is worth the nodes."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A float table that nothing but Gathers of its rows reads.

    Attributes:
        value: The constant, ``float32[rows, length]``.
        consumers: The Gathers, in the main graph and in bodies.
    """

    value: ir.Value
    consumers: tuple[ir.Node, ...]

    @property
    def key(self) -> str:
        """Name of the constant: the same on a clone of the model."""
        return self.value.name or ""

    @property
    def array(self) -> np.ndarray:
        """Its numbers."""
        tensor = constant_tensor(self.value)
        assert tensor is not None
        return tensor.numpy()

    @property
    def size(self) -> int:
        """How many numbers it has."""
        tensor = constant_tensor(self.value)
        return 0 if tensor is None else tensor.size


def tables_of(model: ir.Model, decline: Callable[[ir.Node, str], None] = lambda node, reason: None) -> list[Table]:
    """The tables of all graphs of the model, in the order of their first Gather.

    Args:
        model: Bodies of If, Loop and Scan are looked into, too.
        decline: Told of the first Gather of each large table that is left alone, and why.
    """
    found: list[Table] = []
    seen: set[ir.Value] = set()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type != "Gather" or node.domain or node.inputs[0] is None or node.inputs[0] in seen:
            continue
        value, tensor = node.inputs[0], constant_tensor(node.inputs[0])
        if tensor is None or len(tensor.shape) != 2 or tensor.size < LEAST or not tensor.dtype.is_floating_point():
            continue
        seen.add(value)
        reason = _obstacle(value, tensor)
        if reason is None:
            found.append(Table(value, tuple(dict.fromkeys(use.node for use in value.uses()))))
        else:
            decline(node, reason)
    return found


def _obstacle(value: ir.Value, tensor: ir.TensorProtocol) -> str | None:
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its table is {tensor.dtype.name}, not float32"
    if value.is_graph_output():
        return "its table is an output of the model"
    for use in value.uses():
        node = use.node
        if node.op_type != "Gather" or node.domain or use.idx != 0:
            return "the table is used elsewhere too"
        if (node.attributes["axis"].as_int() if "axis" in node.attributes else 0) not in (0, -2):
            return "columns of the table are looked up, not rows"
        if node.inputs[1] is None or node.inputs[1].shape is None:
            return "the rank of its indices is not known"
    if not np.isfinite(tensor.numpy()).all():
        return "its table holds NaN or infinity"
    return None


def insert(model: ir.Model, table: Table, rounded: TableCodes, ops: Ops = "standard") -> None:
    """Lets the Gathers of a table read its codes, in place; their outputs keep their names.

    Args:
        model: Opset 13 or newer.
        table: Of this model.
        rounded: What it becomes.
        ops: ``onnxruntime`` makes int4 tables GatherBlockQuantized.
    """
    fused = rounded.form.kind == "int4" and ops == "onnxruntime"
    names = Names.of(model)
    graph = table.value.graph
    assert isinstance(graph, ir.Graph)
    name = names.fresh(f"{table.key}_{rounded.form.kind}")
    codes = add_initializer(graph, name, rounded.packed(halves=not fused))
    scale = add_initializer(graph, names.fresh(f"{name}_scale"), rounded.stored_scale(flat=fused))
    shared = _Parts(graph, names, name)
    if fused:
        model.opset_imports.setdefault(DOMAIN, VERSION)
    for node in table.consumers:
        if fused:
            made = _fused(node, codes, scale, rounded)
        elif rounded.form.kind == "int4":
            made = _unpacked(node, codes, scale, rounded, shared)
        elif rounded.form.kind != "int8":
            made = _by_block(node, codes, scale, rounded, shared)
        else:
            made = _scaled(node, codes, scale, rounded)
        _replace(node, made, names)
    drop_unused(graph, table.value)


class _Parts:
    """Small constants that the Gathers of a table share."""

    def __init__(self, graph: ir.Graph, names: Names, base: str) -> None:
        self.graph, self.names, self.base = graph, names, base
        self.made: dict[tuple[str, int], ir.Value] = {}

    def get(self, role: str, array: np.ndarray, variant: int = 0) -> ir.Value:
        if (role, variant) not in self.made:
            fresh = self.names.fresh(f"{self.base}_{role}")
            self.made[role, variant] = add_initializer(self.graph, fresh, array)
        return self.made[role, variant]


def _gather(values: ir.Value, node: ir.Node) -> ir.Node:
    return ir.node("Gather", [values, node.inputs[1]], {"axis": 0})


def _scaled(node: ir.Node, codes: ir.Value, scale: ir.Value, rounded: TableCodes) -> list[ir.Node]:
    rows = _gather(codes, node)
    floats = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT.value})
    made = [rows, floats]
    if rounded.form.axis == "row":
        made.append(_gather(scale, node))
        scale = made[-1].outputs[0]
    return [*made, ir.node("Mul", [floats.outputs[0], scale])]


def _unpacked(node: ir.Node, codes: ir.Value, scale: ir.Value, rounded: TableCodes, parts: _Parts) -> list[ir.Node]:
    """``[..., blocks, block / 2]`` bytes; a block's first half lies in the low nibbles."""
    four = parts.get("four", np.array(4, np.uint8))
    rows = _gather(codes, node)
    left = ir.node("BitShift", [rows.outputs[0], four], {"direction": "LEFT"})  # the high nibble falls out
    low = ir.node("BitShift", [left.outputs[0], four], {"direction": "RIGHT"})
    high = ir.node("BitShift", [rows.outputs[0], four], {"direction": "RIGHT"})
    both = ir.node("Concat", [low.outputs[0], high.outputs[0]], {"axis": -1})
    floats = ir.node("Cast", [both.outputs[0]], {"to": ir.DataType.FLOAT.value})
    centred = ir.node("Sub", [floats.outputs[0], parts.get("zero", np.array(8, np.float32))])
    return [rows, left, low, high, both, floats, centred, *_times_scales(node, centred, scale, rounded, parts)]


def _by_block(node: ir.Node, codes: ir.Value, scale: ir.Value, rounded: TableCodes, parts: _Parts) -> list[ir.Node]:
    """``[..., blocks, block]`` bytes."""
    rows = _gather(codes, node)
    floats = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT.value})
    return [rows, floats, *_times_scales(node, floats, scale, rounded, parts)]


def _times_scales(
    node: ir.Node, numbers: ir.Node, scale: ir.Value, rounded: TableCodes, parts: _Parts
) -> list[ir.Node]:
    """Blocks times their scales, as rows."""
    made = [_gather(scale, node)]
    if rounded.scale.dtype == np.float16:
        made.append(ir.node("Cast", [made[-1].outputs[0]], {"to": ir.DataType.FLOAT.value}))
    product = ir.node("Mul", [numbers.outputs[0], made[-1].outputs[0]])
    places = node.inputs[1]
    assert places is not None
    assert places.shape is not None
    rank = len(places.shape)
    shape = parts.get("shape", np.array([0] * rank + [rounded.codes.shape[1]], np.int64), rank)
    return [*made, product, ir.node("Reshape", [product.outputs[0], shape])]


def _fused(node: ir.Node, codes: ir.Value, scale: ir.Value, rounded: TableCodes) -> list[ir.Node]:
    """Rows have the type of their scales."""
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": rounded.form.block, "bits": 4}
    made = [ir.node("GatherBlockQuantized", [codes, node.inputs[1], scale], attributes, domain=DOMAIN)]
    if rounded.scale.dtype == np.float16:
        made.append(ir.node("Cast", [made[0].outputs[0]], {"to": ir.DataType.FLOAT.value}))
    return made


def _replace(node: ir.Node, made: list[ir.Node], names: Names) -> None:
    old, new = node.outputs[0], made[-1].outputs[0]
    name = old.name or ""
    for each in made[:-1]:
        each.name = each.outputs[0].name = names.fresh(f"{name}_{each.op_type.lower()}")
    made[-1].name = names.fresh(f"{name}_dequantized")
    node.prepend(made)
    new.shape, new.type = old.shape, old.type or ir.TensorType(ir.DataType.FLOAT)
    old.name, new.name = names.fresh(f"{name}_before"), name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph = node.graph
    assert graph is not None
    graph.remove(node, safe=True)
