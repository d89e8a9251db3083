"""Where a model computes on rows: regions of operators that treat each row alike, and the biases of their products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.ops.elementwise import BROADCASTING, ELEMENTWISE
from onnxslim.pipeline import Action, Context

NAME = "rows"
LARGEST = 2**30
"""Of a bias in integers: what is left of int32 holds the sums of products over 32,000 rows of a weight."""
UNARY = frozenset((*ELEMENTWISE, "Gelu", "Mish"))
SHAPE_SLICES = 15
"""Opset from which on Shape gives a part of the dims, and a Reshape makes dims of 0."""


@dataclass(eq=False)
class RowRegion:
    """Nodes that compute on rows, all under the same leading dims.

    Attributes:
        lead: The leading dims.
        nodes: In graph order.
        biases: MatMul -> the Add of its bias and that bias.
    """

    lead: tuple[object, ...]
    nodes: list[ir.Node] = field(default_factory=list)
    biases: dict[ir.Node, tuple[ir.Node, ir.Value]] = field(default_factory=dict)

    @property
    def action(self) -> Action:
        """What the report says of it."""
        first = next(iter(self.biases))
        detail = f"{len(self.biases)} biases are added by their products, {len(self.nodes)} nodes on matrices"
        return Action(NAME, (first.outputs[0].name or "",), site(first), detail)


def regions_of(model: ir.Model, facts: ShapeFacts, context: Context) -> Iterator[RowRegion]:
    """The regions with a bias that a product can add; others are left out with the reason."""
    leads: dict[ir.Node, tuple[object, ...]] = {}
    for node in model.graph:
        if row_operands(node, facts):
            shape = facts.shape(node.outputs[0])
            assert shape is not None
            leads[node] = shape[:-1]
    for members in _connected(leads, facts):
        inside = _trimmed(members, facts)
        region = RowRegion(leads[members[0]], [node for node in members if node in inside])
        for node in region.nodes:
            if node.op_type == "MatMul":
                found = bias_of(node)
                if isinstance(found, str):
                    context.decline(NAME, site(node), found)
                elif found[0] in inside:
                    region.biases[node] = found
        if not region.biases:
            continue
        if fixed(region.lead) is None and model.opset_imports.get("", 0) < SHAPE_SLICES:
            reason = f"below opset {SHAPE_SLICES} the leading dims of each run cannot be restored"
            context.decline(NAME, region.action.site, reason)
            continue
        yield region


def fixed(lead: Sequence[object]) -> list[int] | None:
    """Leading dims as a constant target of a Reshape names them; None where it cannot."""
    dims = [dim if isinstance(dim, int) else -1 for dim in lead]
    return dims if dims.count(-1) <= 1 and 0 not in dims else None


def bias_of(product: ir.Node) -> tuple[ir.Node, ir.Value] | str:
    """The Add behind a MatMul and the constant that it adds; a reason where a Gemm cannot do both."""
    y, weight = product.outputs[0], product.inputs[1]
    uses = list(y.uses())
    if len(uses) != 1 or y.is_graph_output() or uses[0].node.op_type != "Add" or uses[0].node.domain:
        return "no bias alone is added to the product"
    add = uses[0].node
    bias = add.inputs[1 - uses[0].idx]
    tensor = constant_tensor(bias)
    if bias is None or tensor is None or len(tensor.shape) != 1 or tensor.dtype != ir.DataType.FLOAT:
        return "what is added to the product is no constant vector"
    matrix = constant_tensor(weight)
    if matrix is None:
        source = weight.producer() if weight is not None else None
        matrix = None if source is None or not source.inputs else constant_tensor(source.inputs[0])
    if matrix is None or len(matrix.shape) != 2:
        return "the weight is no constant matrix"
    if matrix.shape.numpy()[1] != tensor.size:
        return "what is added to the product is not one number a column"
    if constant_tensor(weight) is not None:
        return add, bias
    scale = sum_scale(product)
    if isinstance(scale, str):
        return scale
    integers = np.rint(tensor.numpy().astype(np.float64) / scale)
    if not (np.abs(integers) <= LARGEST).all():
        return "the bias does not fit into the integers that the int8 kernel adds"
    return add, bias


def sum_scale(product: ir.Node) -> np.ndarray | str:
    """The scale of the sums of an int8 product, ``float32[]`` or ``float32[columns]``; a reason where there is none."""
    scales = []
    for value, ranks in zip(product.inputs, ((0,), (0, 1)), strict=True):
        source = value.producer() if value is not None else None
        if source is None or (source.domain, source.op_type) != ("", "DequantizeLinear"):
            return "only one side of the product is int8, or its weight is computed"
        scale = constant_tensor(source.inputs[1])
        if scale is None or scale.dtype != ir.DataType.FLOAT or len(scale.shape) not in ranks:
            return "the scales of the product are no constants"
        scales.append(scale.numpy())
    product_scale = np.asarray(scales[0] * scales[1], np.float32)  # of two scalars numpy makes no array
    return product_scale if (product_scale > 0).all() else "a scale of the product underflows"


def _connected(leads: dict[ir.Node, tuple[object, ...]], facts: ShapeFacts) -> Iterator[list[ir.Node]]:
    """Groups of nodes that hand rows on to each other, in graph order."""
    group: dict[ir.Node, ir.Node] = {node: node for node in leads}

    def head(node: ir.Node) -> ir.Node:
        while group[node] is not node:
            group[node] = node = group[group[node]]
        return node

    for node, lead in leads.items():
        for index in row_operands(node, facts):
            value = node.inputs[index]
            producer = value.producer() if value is not None else None
            if producer is not None and leads.get(producer) == lead:
                group[head(node)] = head(producer)
    found: dict[ir.Node, list[ir.Node]] = {}
    for node in leads:
        found.setdefault(head(node), []).append(node)
    yield from found.values()


def _trimmed(nodes: list[ir.Node], facts: ShapeFacts) -> set[ir.Node]:
    """The nodes without those at the border that would make more values cross it."""
    inside, changed = set(nodes), True
    while changed:
        changed = False
        for node in nodes:
            if node not in inside or node.op_type == "MatMul":
                continue
            operands = [node.inputs[index] for index in row_operands(node, facts)]
            foreign = sum(value is not None and value.producer() not in inside for value in operands)
            users = [use.node in inside for use in node.outputs[0].uses()]
            last = node.outputs[0].is_graph_output() or not any(users)
            if (foreign == len(operands) > 1) or (foreign and last):
                inside.remove(node)
                changed = True
    return inside


def row_operands(node: ir.Node, facts: ShapeFacts) -> tuple[int, ...]:
    """Which inputs are tensors of rows, if the node computes each row of its only output from those rows alone.

    All of these have the leading dims of the output, two or more; its other inputs are the same for each row. Empty
    where that is not known.
    """
    if node.domain or len(node.outputs) != 1 or not node.inputs or node.inputs[0] is None:
        return ()
    y = facts.shape(node.outputs[0])
    if y is None or len(y) < 3 or not isinstance(y[-1], int) or y[-1] == 0:
        return ()
    if node.op_type in BROADCASTING:
        rows = tuple(index for index, x in enumerate(node.inputs) if _is_rows(x, y, facts))
        rest = [x for index, x in enumerate(node.inputs) if index not in rows and x is not None]
        return rows if all(facts.rank(x) in (0, 1) for x in rest) else ()
    if not _is_rows(node.inputs[0], y, facts):
        return ()
    others = [x for x in node.inputs[1:] if x is not None]
    if node.op_type in UNARY:
        return (0,)
    if node.op_type == "MatMul":
        return (0,) if facts.rank(others[0]) == 2 else ()
    if node.op_type == "LayerNormalization":
        last = node.attributes.get_int("axis", -1) in (-1, len(y) - 1)
        return (0,) if last and all(facts.rank(x) == 1 for x in others) else ()
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        scale = constant_tensor(others[0])
        return (0,) if scale is not None and not len(scale.shape) else ()
    return ()


def _is_rows(value: ir.Value | None, y: tuple[object, ...], facts: ShapeFacts) -> bool:
    shape = None if value is None else facts.shape(value)
    if shape is None or len(shape) != len(y) or shape[:-1] != y[:-1]:
        return False
    return isinstance(shape[-1], int) and shape[-1] > 0
