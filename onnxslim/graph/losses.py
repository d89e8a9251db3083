"""What a model has that graphsurgeon cannot hold: what it refuses, and what is hidden from it or lost on the way."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.errors import InputError
from onnxslim.graph.sidecar import TYPE, Carried
from onnxslim.graph.walk import Body, bodies

QUANTIZATION = "quant_parameter_tensor_names"
"""Key of a value's ``meta`` under which onnx-ir keeps its quantization annotation."""
_LISTS = (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS)
_HIDDEN = (
    ir.AttributeType.TENSORS,
    ir.AttributeType.TYPE_PROTO,
    ir.AttributeType.TYPE_PROTOS,
    ir.AttributeType.UNDEFINED,
)


def losses(model: ir.Model) -> list[str]:
    """What a trip through graphsurgeon hides of this model or loses, one line each.

    What is said to be kept by name is restored only where the edit leaves the names of values alone.
    """
    found = _Finds()
    by_name = "kept by name, hidden from the function: "
    used = {value for body in bodies(model) for node in body for value in node.inputs}
    for name, value in model.graph.initializers.items():
        if value not in used and not value.is_graph_output():
            found.add(by_name + "constants that nothing uses", name)
    for key in ("domain", "model_version", "doc_string", "metadata_props", "device_configurations"):
        if getattr(model, key):
            found.add(f"hidden from the function: {key} of the model", "")
    for body in bodies(model):
        where = f"{body.name or 'graph'}"
        if body.metadata_props:
            found.add(by_name + "metadata_props of graphs and functions", where)
        if isinstance(body, ir.Function) and body.overload:
            found.add(by_name + "overloads of functions", f"{body.domain}.{body.name}:{body.overload}")
        if isinstance(body, ir.Graph):
            for value in body.initializers.values():
                if value.is_graph_input():
                    found.add(by_name + "inputs that have a default", value.name)
                if value.const_value is not None and value.const_value.meta:
                    found.add(by_name + "the sparse form of constants", value.name)
        for value in own_values(body):
            if value.metadata_props or value.doc_string:
                found.add(by_name + "metadata_props and doc strings of values", value.name)
            if QUANTIZATION in value.meta:
                found.add(by_name + "quantization annotations", value.name)
            if _denotations(value):
                found.add(by_name + "denotations of types and dimensions", value.name)
            if not isinstance(value.type, ir.TensorType | None) and value.shape is not None:
                found.add(by_name + "shapes of sequences and sparse tensors", value.name)
            if isinstance(body, ir.Function) and value.type is not None:
                found.add(by_name + "types of values in functions", value.name)
        for node in body:
            site = node.name or node.op_type
            if node.metadata_props or node.doc_string or node.device_configurations:
                found.add(by_name + "metadata_props, doc strings and devices of nodes", site)
            for attribute in node.attributes.values():
                if attribute.doc_string:
                    found.add(by_name + "doc strings of attributes", f"{attribute.name} of {site}")
                if hidden(attribute):
                    found.add(by_name + "attributes that graphsurgeon cannot hold", f"{attribute.name} of {site}")
    return found.lines()


class _Finds:
    """Counts what was found of each kind, with an example."""

    def __init__(self) -> None:
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str | None) -> None:
        self._examples.setdefault(kind, []).append(example or "")

    def lines(self) -> list[str]:
        lines = []
        for kind in self._examples:
            examples = [example for example in self._examples[kind][:3] if example]
            more = len(self._examples[kind]) - len(examples)
            rest = f" and {more} more" if examples and more else ""
            lines.append(kind + (f" ({', '.join(examples)}{rest})" if examples else ""))
        return lines


def hidden(attribute: ir.Attr) -> bool:
    """Whether graphsurgeon would drop the attribute or crash on it."""
    if attribute.is_ref():
        return attribute.type in _HIDDEN
    if attribute.type in _HIDDEN:
        return True
    if attribute.type in _LISTS and len(attribute.value) == 0:
        return True
    if attribute.type == ir.AttributeType.STRING:
        return isinstance(attribute.value, bytes | Carried)
    return attribute.type == ir.AttributeType.STRINGS and any(isinstance(item, bytes) for item in attribute.value)


def refuse(model: ir.Model) -> None:
    """Raises InputError, naming the place, for what graphsurgeon crashes on or corrupts."""
    what = "graphsurgeon cannot hold this model"
    mend = "edit it with onnx-ir (onnxslim.Pass) instead"
    names = set()
    for domain, name, _ in model.functions:
        if (domain, name) in names:
            why = "it tells functions apart by domain and name, not by overload"
            raise InputError(what, where=f"function {domain}.{name}", why=why, mend=mend)
        names.add((domain, name))
    for body in bodies(model):
        for value in own_values(body):
            kind = value.type
            if TYPE in value.meta and kind is None and (value.is_graph_input() or value.is_graph_output()):
                raise InputError(
                    what, where=f"value {value.name}", why="it crashes on map, opaque and incomplete types", mend=mend
                )
            if isinstance(kind, ir.OptionalType):
                raise InputError(what, where=f"value {value.name}", why="it crashes on optional types", mend=mend)
            if isinstance(kind, ir.SequenceType) and not isinstance(kind.elem_type, ir.TensorType):
                raise InputError(what, where=f"value {value.name}", why="it corrupts nested sequences", mend=mend)
        for node in body:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPHS:
                    where = f"attribute {attribute.name} of {node.op_type} {node.name or ''}".strip()
                    raise InputError(what, where=where, why="it drops lists of graphs", mend=mend)


def own_values(body: Body) -> Iterator[ir.Value]:
    """What the body itself defines: inputs, constants, outputs of nodes."""
    inputs = set(body.inputs)
    yield from body.inputs
    if isinstance(body, ir.Graph):
        yield from (value for value in body.initializers.values() if value not in inputs)
    for node in body:
        yield from node.outputs


def _denotations(value: ir.Value) -> bool:
    dims = range(len(value.shape)) if value.shape is not None else ()
    named = any(value.shape.get_denotation(index) for index in dims) if value.shape is not None else False
    return named or bool(getattr(value.type, "denotation", None))
