"""Products of one value as one: X W1 + b1, X W2 + b2, ... -> Split(X [W1 W2 ...] + [b1 b2 ...]).

Query, key and value of an attention are such products. Each column of a product is computed by itself, from integers
with a scale of its own in int8, so that the numbers stay what they are. Where each goes on to a Reshape into heads, the
Reshape is done once, too, and what is split is the heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts, infer_shapes
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, read_once, site
from onnxslim.pipeline import Action, Context

from .dead import drop_dead

NAME = "merge-products"
OPSET = 13
"""From which on Split takes the sizes of its outputs as an input."""
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class SiblingProduct:
    """A MatMul by a constant matrix, and what its result alone goes through.

    Attributes:
        node: The MatMul.
        weight: ``[rows, columns]``; in int8 also its scale and zero point, ``[columns]`` each.
        bias: ``[columns]`` and the Add of it, where there is one.
        heads: The Reshape of the last dim into (heads, size) where there is one, with these numbers.
    """

    node: ir.Node
    weight: Arrays
    bias: tuple[ir.Node, np.ndarray] | None
    heads: tuple[ir.Node, int, int] | None

    @property
    def kind(self) -> tuple[object, ...]:
        """What products have in common that can be one."""
        rows, dtypes = self.weight[0].shape[0], tuple(array.dtype for array in self.weight)
        return rows, dtypes, None if self.bias is None else self.bias[1].dtype

    @property
    def columns(self) -> int:
        """Of the weight."""
        return int(self.weight[0].shape[1])

    @property
    def result(self) -> ir.Value:
        """What the product and its bias make."""
        return (self.node if self.bias is None else self.bias[0]).outputs[0]


def merge_products(model: ir.Model, context: Context) -> None:
    """Merges the products of each value, in place.

    Args:
        model: Float or in QDQ form.
        context: Is asked before each merger.
    """
    if model.opset_imports.get("", 0) < OPSET:
        context.decline(NAME, "model", f"below opset {OPSET}")
        return
    facts, names = infer_shapes(model), Names.of(model)
    for members in groups_of(model, facts, context):
        first = members[0].node
        detail = f"{len(members)} products of one value, {sum(each.columns for each in members):,} columns"
        outputs = tuple(each.node.outputs[0].name or "" for each in members)
        if context.allow(Action(NAME, outputs, site(first), detail)):
            _merge(model.graph, names, members)


def groups_of(model: ir.Model, facts: ShapeFacts, context: Context) -> Iterator[list[SiblingProduct]]:
    """Products that can be one, each group in graph order."""
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in model.graph:
        if (node.domain, node.op_type) == ("", "MatMul") and node.inputs[0] is not None:
            readers.setdefault(node.inputs[0], []).append(node)
    for nodes in readers.values():
        if len(nodes) < 2:
            continue
        kinds: dict[object, list[SiblingProduct]] = {}
        for node in nodes:
            found = product_of(node, facts)
            if isinstance(found, str):
                context.decline(NAME, site(node), found)
            else:
                kinds.setdefault(found.kind, []).append(found)
        for members in kinds.values():
            if len(members) > 1:
                yield members
            else:
                context.decline(NAME, site(members[0].node), "the other products of the value are of another kind")


def product_of(node: ir.Node, facts: ShapeFacts) -> SiblingProduct | str:
    """A product that may be merged with others; a reason where it may not."""
    weight = weight_of(node.inputs[1])
    if isinstance(weight, str):
        return weight
    y, bias = node.outputs[0], None
    if y.is_graph_output():
        return "its result is an output of the model"
    uses = list(y.uses())
    if len(uses) == 1 and (uses[0].node.domain, uses[0].node.op_type) == ("", "Add"):
        tensor = constant_tensor(uses[0].node.inputs[1 - uses[0].idx])
        if tensor is not None and tuple(tensor.shape.numpy()) == weight[0].shape[1:]:
            bias = (uses[0].node, tensor.numpy())
            y = bias[0].outputs[0]
            if y.is_graph_output():
                return "its result is an output of the model"
    return SiblingProduct(node, weight, bias, _heads(y, weight[0].shape[1], facts))


def weight_of(value: ir.Value | None) -> Arrays | str:
    """The matrix that nothing else needs; in int8 with its scale and zero point, one of each a column."""
    if value is None or not read_once(value):
        return "something else needs its weight, too"
    tensor, source = constant_tensor(value), value.producer()
    if tensor is None and source is not None and (source.domain, source.op_type) == ("", "DequantizeLinear"):
        parts = [constant_tensor(x) for x in source.inputs]
        if any(part is None for part in parts) or source.inputs[0] is None or not read_once(source.inputs[0]):
            return "its int8 weight is computed, or something else needs it, too"
        arrays = [part.numpy() for part in parts if part is not None]
        if arrays[0].ndim != 2 or any(array.ndim > 1 for array in arrays[1:]):
            return "its weight is no matrix with one scale a column"
        if arrays[1].ndim == 1 and source.attributes.get_int("axis", 1) not in (1, -1):
            return "its weight has one scale a row"
        zero = arrays[2] if len(arrays) > 2 else np.zeros((), arrays[0].dtype)
        columns = arrays[0].shape[1:]
        return arrays[0], np.broadcast_to(arrays[1], columns), np.broadcast_to(zero, columns)
    if tensor is None or len(tensor.shape) != 2 or tensor.meta:
        return "its weight is no constant matrix"
    return (tensor.numpy(),)


def _heads(y: ir.Value, columns: int, facts: ShapeFacts) -> tuple[ir.Node, int, int] | None:
    uses = list(y.uses())
    if len(uses) != 1 or uses[0].idx or (uses[0].node.domain, uses[0].node.op_type) != ("", "Reshape"):
        return None
    reshape = uses[0].node
    target, before, after = constant_tensor(reshape.inputs[1]), facts.shape(y), facts.shape(reshape.outputs[0])
    if target is None or before is None or after is None or reshape.outputs[0].is_graph_output():
        return None
    heads, size = target.numpy().reshape(-1)[-2:].tolist() if target.size > 2 else (0, 0)
    split = after[:-2] == before[:-1] and after[-2:] == (heads, size) and heads * size == columns
    return (reshape, heads, size) if split and heads > 0 else None


def _merge(graph: ir.Graph, names: Names, members: Sequence[SiblingProduct]) -> None:
    first = members[0].node
    base = names.fresh("merged")  # short: these names are bytes that there were not before

    def constant(role: str, arrays: Sequence[np.ndarray]) -> ir.Value:
        return add_initializer(graph, names.fresh(f"{base}_{role}"), np.concatenate(arrays, axis=-1))

    roles = ("weight", "scale", "zero_point")
    parts = [
        constant(role, arrays)
        for role, arrays in zip(roles, zip(*(each.weight for each in members), strict=True), strict=False)
    ]
    nodes = list[ir.Node]()
    weight = parts[0]
    if len(parts) > 1:
        nodes.append(ir.node("DequantizeLinear", parts, {"axis": 1}))
        weight = nodes[-1].outputs[0]
    nodes.append(ir.node("MatMul", [first.inputs[0], weight]))
    biases = [each.bias[1] for each in members if each.bias is not None]
    if biases:
        nodes.append(ir.node("Add", [nodes[-1].outputs[0], constant("bias", biases)]))
    heads = [each.heads for each in members if each.heads is not None]
    olds, sizes = [each.result for each in members], [each.columns for each in members]
    axis = -1
    if len(heads) == len(members) and _one_target(heads):
        target = constant_tensor(heads[0][0].inputs[1])
        assert target is not None
        shape = target.numpy().copy()
        olds, sizes, axis = [each[0].outputs[0] for each in heads], [each[1] for each in heads], -2
        shape[-2] = sum(sizes)
        to_heads = ir.node("Reshape", [nodes[-1].outputs[0], constant("heads", [shape])])
        to_heads.attributes.update(heads[0][0].attributes)
        nodes.append(to_heads)
    split = add_initializer(graph, names.fresh(f"{base}_sizes"), np.array(sizes, np.int64))
    nodes.append(ir.node("Split", [nodes[-1].outputs[0], split], {"axis": axis}, num_outputs=len(members)))
    for node in nodes:
        node.name = names.fresh(f"{base}_{node.op_type}")
        for value in node.outputs:
            value.name = names.fresh(node.name)
    first.prepend(nodes)
    for old, new in zip(olds, nodes[-1].outputs, strict=True):
        new.type, new.shape = old.type, old.shape
        old.replace_all_uses_with(new)
    for each in members:
        _remove(graph, [each.node, *(part[0] for part in (each.bias, each.heads if axis == -2 else None) if part)])


def _one_target(heads: Sequence[tuple[ir.Node, int, int]]) -> bool:
    """Whether all of them have heads of one size, and the same target before."""
    rests = set()
    for reshape, _, size in heads:
        target = constant_tensor(reshape.inputs[1])
        assert target is not None
        rests.add((*target.numpy().tolist()[:-2], size, reshape.attributes.get_int("allowzero", 0)))
    return len(rests) == 1


def _remove(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Removes a chain of nodes, and the constants that only they needed."""
    read = [value for node in nodes for value in node.inputs if value is not None]
    graph.remove(nodes, safe=True)
    for value in read:
        drop_dead(graph, value)
