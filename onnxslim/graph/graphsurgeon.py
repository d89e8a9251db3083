"""The bridge to onnx-graphsurgeon: its scripts edit our models, and what it cannot hold travels around it by name.

graphsurgeon keeps no metadata, denotations, quantization annotations, function overloads or domain and version of the
model, drops several kinds of attributes and inputs that have a default, crashes on empty lists and on optional and map
types, and copies constants that a subgraph captures into each subgraph. ``to_graphsurgeon`` leaves out what would
crash; ``from_graphsurgeon(graph, original=model)`` puts back what still has its name and undoes the copies; ``losses``
names what is at stake for one model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.external_data import load_to_model
from onnx_ir.serde import serialize_tensor

from onnxslim.errors import InputError, failed
from onnxslim.graph.losses import hidden, losses, own_values, refuse
from onnxslim.graph.walk import Body, bodies

__all__ = ["Edit", "from_graphsurgeon", "losses", "to_graphsurgeon"]

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def to_graphsurgeon(model: ir.Model) -> gs.Graph:
    """The model as a graphsurgeon graph of its own; ``model`` is not changed.

    Sparse constants are dense in it and external weights are read into memory.

    Raises:
        InputError: The model has what graphsurgeon crashes on or corrupts: optional or nested sequence types, lists of
            graphs as attributes, functions that differ in their overload only.
    """
    import onnx_graphsurgeon as gs

    refuse(model)
    try:
        clone = load_to_model(model.clone())
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()[-1]
        mend = "load the model with onnxslim.load, which checks data files and sorts nodes"
        raise InputError("the model cannot be copied", where=model.graph.name or "", why=why, mend=mend) from error
    for body in bodies(clone):
        for node in body:
            for name in [attribute.name for attribute in node.attributes.values() if hidden(attribute)]:
                del node.attributes[name]
    with _quiet():
        return gs.import_onnx(ir.to_proto(clone))


def from_graphsurgeon(graph: gs.Graph, *, original: ir.Model | None = None) -> ir.Model:
    """A graphsurgeon graph as a model, its nodes in topological order.

    Args:
        graph: The graph; its constants of 4-bit, 8-bit-float and string type are made exportable in place.
        original: The model that the graph was made of. What graphsurgeon cannot hold is taken from there wherever
            values and nodes have kept their names.

    Raises:
        InputError: The graph cannot be exported, e.g. an input without a dtype, or has a cycle.
    """
    import onnx_graphsurgeon as gs

    mend = "see that inputs and outputs have a dtype and that the graph has no cycle"
    try:
        _make_exportable(graph)
        with _quiet():
            proto = gs.export_onnx(graph)
            _add_constant_outputs(graph, proto.graph)
        _drop_captured_copies(proto.graph, set(original.graph.initializers) if original is not None else set())
        model: ir.Model = ir.from_proto(proto)
        for body in bodies(model):
            body.sort()
        if original is not None:
            _restore(original, model)
        return model
    except InputError:
        raise
    except Exception as error:  # graphsurgeon raises whatever is at hand
        raise failed("the graphsurgeon graph makes no model", error, where=graph.name, mend=mend) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps graphsurgeon's logger, which writes to stdout, from repeating what the errors here say."""
    from onnx_graphsurgeon.logger import G_LOGGER

    before = G_LOGGER.severity
    G_LOGGER.severity = G_LOGGER.CRITICAL + 1
    try:
        yield
    finally:
        G_LOGGER.severity = before


# --- back -------------------------------------------------------------------------------------------------------------


def _graphs(graph: gs.Graph) -> list[gs.Graph]:
    import onnx_graphsurgeon as gs

    found = [graph, *graph.functions]
    for current in found:  # grows while it is walked
        for node in current.nodes:
            found.extend(value for value in node.attrs.values() if isinstance(value, gs.Graph))
    return found


def _make_exportable(graph: gs.Graph) -> None:
    """Wraps arrays that graphsurgeon writes wrongly once they were looked at: packed, small-float and string ones."""
    import onnx_graphsurgeon as gs
    from onnx_graphsurgeon.ir.tensor import LazyValues

    for current in _graphs(graph):
        constants: dict[int, Any] = {}
        for node in current.nodes:
            for tensor in [*node.inputs, *node.outputs, *node.attrs.values()]:
                if isinstance(tensor, gs.Constant):
                    constants[id(tensor)] = tensor
        for tensor in [*constants.values(), *(t for t in current.outputs if isinstance(t, gs.Constant))]:
            values = tensor._values
            if not isinstance(values, np.ndarray) or (values.dtype.kind in "fiubc" and values.dtype.isbuiltin == 1):
                continue
            if values.dtype.kind in "OSU":
                proto = onnx.TensorProto(name=tensor.name, data_type=onnx.TensorProto.STRING, dims=values.shape)
                proto.string_data.extend(x if isinstance(x, bytes) else str(x).encode() for x in values.reshape(-1))
            else:
                proto = serialize_tensor(ir.Tensor(values, name=tensor.name))
            tensor._values = LazyValues(proto)


def _add_constant_outputs(graph: gs.Graph, proto: onnx.GraphProto) -> None:
    """Constants that are outputs and feed no node: graphsurgeon forgets their data."""
    import onnx_graphsurgeon as gs
    from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

    present = {tensor.name for tensor in proto.initializer}
    for tensor in graph.outputs:
        if isinstance(tensor, gs.Constant) and tensor.name not in present:
            proto.initializer.append(OnnxExporter.export_tensor_proto(tensor))
            present.add(tensor.name)


def _drop_captured_copies(graph: onnx.GraphProto, outer: Iterable[str]) -> None:
    """Removes a subgraph's copies of constants that it captures; those of the original main graph go back there."""
    main = {tensor.name: tensor for tensor in graph.initializer}
    hoistable = set(outer)
    stack: list[tuple[onnx.GraphProto, dict[str, onnx.TensorProto]]] = [(graph, main)]
    while stack:
        current, visible = stack.pop()
        for node in current.node:
            for attribute in node.attribute:
                if attribute.type != onnx.AttributeProto.GRAPH or attribute.ref_attr_name:
                    continue
                inner, own = attribute.g, []
                for tensor in inner.initializer:
                    if tensor.name in hoistable and tensor.name not in visible:
                        graph.initializer.append(tensor)
                        main[tensor.name] = visible[tensor.name] = graph.initializer[-1]
                    known = visible.get(tensor.name, main.get(tensor.name))
                    if known is None or known != tensor:
                        own.append(tensor)
                if len(own) < len(inner.initializer):
                    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in own]
                    del inner.initializer[:]
                    inner.initializer.extend(kept)
                stack.append((inner, visible | {tensor.name: tensor for tensor in inner.initializer}))


def _restore(old: ir.Model, new: ir.Model) -> None:
    for key in ("domain", "model_version", "doc_string", "device_configurations"):
        setattr(new, key, getattr(old, key))
    new.metadata_props.update(old.metadata_props)
    new.meta.update(old.meta)
    overloads = {(domain, name): overload for domain, name, overload in old.functions if overload}
    if overloads:
        functions = list(new.functions.values())
        new.functions.clear()
        for function in functions:
            function.overload = overloads.get((function.domain, function.name), "")
            new.functions[function.identifier()] = function
        for body in bodies(new):
            for node in body:
                node.overload = overloads.get((node.domain, node.op_type), "")
    pairs: list[tuple[Body, Body]] = [(old.graph, new.graph)]
    pairs += [(old.functions[key], function) for key, function in new.functions.items() if key in old.functions]
    for before, after in pairs:  # grows while it is walked
        pairs.extend(_restore_body(before, after))
        if isinstance(before, ir.Function) and isinstance(after, ir.Function):
            for name, attribute in before.attributes.items():
                if name in after.attributes and after.attributes[name].type == ir.AttributeType.UNDEFINED:
                    after.attributes[name] = attribute


def _restore_body(old: Body, new: Body) -> list[tuple[Body, Body]]:
    """Restores one body and returns the subgraphs that stand in the same place in both."""
    new.metadata_props.update(old.metadata_props)
    new.meta.update(old.meta)
    new.doc_string = new.doc_string or old.doc_string
    values = {value.name: value for value in own_values(old) if value.name}
    for value in own_values(new):
        if value.name in values:
            _restore_value(values[value.name], value)
    if isinstance(old, ir.Graph) and isinstance(new, ir.Graph):
        inputs = {value.name for value in new.inputs}
        for name, value in old.initializers.items():
            # graphsurgeon knows only what a node uses, so the edit cannot have meant these.
            if not value.uses() and not value.is_graph_output() and name not in inputs and name not in new.initializers:
                new.initializers[name] = _unused(value)
        for position, value in enumerate(old.inputs):
            default = new.initializers.get(value.name or "")
            if value.is_initializer() and default is not None and value.name not in inputs:
                new.inputs.insert(min(position, len(new.inputs)), default)
    pairs: list[tuple[Body, Body]] = []
    nodes = {_key(node): node for node in old}
    for node in new:
        before = nodes.get(_key(node))
        if before is None:
            continue
        node.metadata_props.update(before.metadata_props)
        node.doc_string = node.doc_string or before.doc_string
        node.device_configurations = before.device_configurations
        if isinstance(new, ir.Function):
            for value in node.outputs:
                if value.name in values and value.type is None:
                    value.type, value.shape = values[value.name].type, values[value.name].shape
        for attribute in before.attributes.values():
            present = node.attributes.get(attribute.name)
            if present is not None and not present.doc_string:
                present.doc_string = attribute.doc_string
            if present is None:
                if hidden(attribute):
                    node.attributes.add(attribute)
            elif attribute.type == present.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                pairs.append((attribute.value, present.value))
            elif attribute.type == present.type == ir.AttributeType.TENSOR and _same_tensor(attribute, present):
                node.attributes.add(attribute)
    return pairs


def _key(node: ir.Node) -> tuple[str, str, str | None]:
    """What a node is known by on the way back: its operator and its first named output."""
    return node.domain, node.op_type, next((value.name for value in node.outputs if value.name), node.name)


def _restore_value(old: ir.Value, new: ir.Value) -> None:
    shapeless = new.shape is None and not isinstance(new.type, ir.TensorType)
    if new.type == old.type and (_dims(new) == _dims(old) or shapeless):
        new.type, new.shape = old.type, old.shape
    new.metadata_props.update(old.metadata_props)
    new.doc_string = new.doc_string or old.doc_string
    new.meta.update(old.meta)
    if _same_data(old.const_value, new.const_value):
        new.const_value = old.const_value  # its marks, and no second copy of its data


def _unused(old: ir.Value) -> ir.Value:
    value = ir.Value(name=old.name, type=old.type, shape=old.shape, const_value=old.const_value)
    _restore_value(old, value)
    return value


def _dims(value: ir.Value) -> list[Any] | None:
    return None if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _same_tensor(old: ir.Attr, new: ir.Attr) -> bool:
    return not old.is_ref() and not new.is_ref() and _same_data(old.value, new.value)


def _same_data(old: ir.TensorProtocol | None, new: ir.TensorProtocol | None) -> bool:
    if old is None or new is None or old.dtype != new.dtype or old.shape != new.shape:
        return False
    if old.dtype == ir.DataType.STRING:
        return bool(np.array_equal(old.numpy(), new.numpy()))
    return old.tobytes() == new.tobytes()


Edit = Callable[["gs.Graph"], "gs.Graph | None"]
"""Edits a graphsurgeon graph in place, or returns another."""
