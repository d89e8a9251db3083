"""Every tensor as a plain initializer again: what `encode` did, undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import add_initializer, constant_tensor
from onnxslim.graph.sparse import MARK
from onnxslim.packing import behind, decoded_values, restored
from onnxslim.pipeline import Action, Context, Pass, PassResult

from .encode import RECORD, drop_dead


@dataclass(frozen=True)
class Decode(Pass):
    """Turn sparse and packed tensors into plain initializers, bit for bit.

    For tools that do not know sparse tensors, and before anything that changes weights. Sparse tensors of whatever
    origin are made dense; nodes that unpack are known by the name that `Encode` gives them.
    """

    name: ClassVar[str] = "decode"
    tier: ClassVar[Tier] = Tier.NUMERIC
    """Of the outputs, as for `Encode`."""

    @property
    def unpacks(self) -> bool:
        """Whether it makes plain weights of packed ones."""
        return True

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Decodes all graphs in place."""
        for graph in list(model.graphs()):
            for value in [value for value in (*graph.initializers.values(), *_constants(graph)) if _is_sparse(value)]:
                if context.allow(Action("decode", (value.name or "",), value.name or "", "sparse")):
                    _make_dense(graph, value)
            _unpack(graph, list(decoded_values(graph)), model.opset_imports.get("", 0), context)
        if context.actions:
            model.metadata_props.pop(RECORD, None)
        return context.result()


def _constants(graph: ir.Graph) -> list[ir.Value]:
    return [node.outputs[0] for node in graph if node.op_type == "Constant" and len(node.outputs) == 1]


def _is_sparse(value: ir.Value) -> bool:
    tensor = constant_tensor(value) or value.const_value
    return tensor is not None and MARK in tensor.meta


def _make_dense(graph: ir.Graph, value: ir.Value) -> None:
    tensor = constant_tensor(value) or value.const_value
    assert tensor is not None
    plain = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)
    node = value.producer()
    if node is None:
        value.const_value = plain
    elif value.is_graph_output():
        node.attributes["value"] = ir.AttrTensor("value", plain)
    else:
        _replace(graph, value, plain)


def _unpack(graph: ir.Graph, values: list[ir.Value], opset: int, context: Context) -> None:
    for value in [value for value in values if value.is_graph_output()]:
        context.decline("decode", value.name or "", "it is an output of its graph")
        values.remove(value)
    for value in [value for value in values if behind([value]) is None]:  # only its name is that of a decoder
        context.decline("decode", value.name or "", "it depends on an input")
        values.remove(value)
    if not values:
        return
    try:
        arrays = restored(values, opset)
    except OnnxSlimError as error:
        context.decline("decode", graph.name or "graph", str(error))
        return
    assert arrays is not None
    for value, array in zip(values, arrays, strict=True):
        name = value.name or ""
        if context.allow(Action("decode", (name,), name, "packed")):
            _replace(graph, value, ir.Tensor(array, name=name))


def _replace(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    name = value.name or ""
    found = behind([value])
    node = value.producer()
    assert found is not None or node is not None
    nodes, constants = found or ([], [])
    value.name = None
    made = add_initializer(graph, name, tensor)
    ir.convenience.replace_all_uses_with(value, made)
    drop_dead(graph, nodes or ([node] if node is not None else []), constants)
