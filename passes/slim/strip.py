"""What a model says and does not compute with: doc strings, metadata, types of inner values, defaults, long names."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
from onnx_ir.serde import TensorProtoTensor

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.sidecar import EXTRAS, TYPE, Extras
from onnxslim.graph.walk import Body, bodies
from onnxslim.ops.defaults import is_default
from onnxslim.packing.decoder import PREFIX
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, annotated

LETTERS = string.ascii_letters
DIGITS = string.digits + string.ascii_letters


@dataclass(frozen=True)
class Strip(Pass):
    """Drop what a model says and does not compute with, and give what is inside it short names.

    1. Doc strings: of the model, graphs, functions, nodes, values, attributes and weights.
    2. Metadata of the same. Exporters write source lines and class names there. ``keep`` names keys that stay, such as
       class names that an application looks up.
    3. Types and shapes of inner values, which runtimes infer again. Inputs and outputs of graphs keep theirs.
    4. Attributes that say what the operator does without them, at the opset of the model.
    5. Names of inner values, weights and nodes become short ones. Inputs and outputs of the model keep theirs; so do
       defaults of inputs, and what quantization annotations name.

    What is computed does not change. Reports, ``--include`` and ``--exclude`` know nodes by name: strip last.
    """

    name: ClassVar[str] = "strip"
    tier: ClassVar[Tier] = Tier.EXACT

    keep: tuple[str, ...] = field(default=(), metadata={"help": "keys of metadata that stay"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Strips in place."""
        drop_doc_strings(model, context)
        drop_metadata(model, frozenset(self.keep), context)
        drop_value_info(model, context)
        drop_defaults(model, context)
        shorten_names(model, context)
        return context.result()


def drop_doc_strings(model: ir.Model, context: Context) -> None:
    """Drops every doc string."""
    found = [each for each in _described(model) if each.doc_string]
    attributes = [
        (node, a) for body in bodies(model) for node in body for a in node.attributes.values() if a.doc_string
    ]
    weights = [value for value in _weights(model) if value.const_value is not None and value.const_value.doc_string]
    count = len(found) + len(attributes) + len(weights)
    if not count or not context.allow(Action("drop-doc-strings", (), "model", f"{count:,} of them")):
        return
    for each in found:
        each.doc_string = None
    for node, attribute in attributes:
        node.attributes[attribute.name] = _without_doc_string(attribute)
    for value in weights:
        value.const_value = _copied(value, doc_string=None)


def drop_metadata(model: ir.Model, keep: frozenset[str], context: Context) -> None:
    """Drops metadata under all keys but those of ``keep``."""
    found = [each for each in _described(model) if each.metadata_props.keys() - keep]
    weights = [
        value
        for value in _weights(model)
        if value.const_value is not None and value.const_value.metadata_props.keys() - keep
    ]
    count = len(found) + len(weights)
    if not count or not context.allow(Action("drop-metadata", (), "model", f"of {count:,} objects")):
        return
    for each in found:
        for key in each.metadata_props.keys() - keep:
            del each.metadata_props[key]
    for value in weights:
        assert value.const_value is not None
        kept = {key: text for key, text in value.const_value.metadata_props.items() if key in keep}
        value.const_value = _copied(value, metadata_props=kept)


def drop_value_info(model: ir.Model, context: Context) -> None:
    """Drops types and shapes of what nodes give, unless it is an output of its graph."""
    found = [
        value
        for body in bodies(model)
        for node in body
        for value in node.outputs
        if not value.is_graph_output() and (value.type is not None or value.shape is not None or TYPE in value.meta)
    ]
    told = [body for body in bodies(model) if _extras(body).value_info or _extras(body).described]
    count = len(found) + sum(len(_extras(body).value_info) + len(_extras(body).described) for body in told)
    if not count or not context.allow(Action("drop-value-info", (), "model", f"of {count:,} values")):
        return
    for value in found:
        value.type = value.shape = None
        value.meta.pop(TYPE, None)
    for body in told:
        _forget_infos(body)


def drop_defaults(model: ir.Model, context: Context) -> None:
    """Drops attributes that are as the standard's default."""
    functions = model.functions
    # Whether a body is the model's or a function's does not matter where both import the same versions.
    opsets = {
        domain: version
        for domain, version in model.opset_imports.items()
        if all(each.opset_imports.get(domain, version) == version for each in functions.values())
    }
    found = [
        (node, attribute.name)
        for body in bodies(model)
        for node in body
        if node.op_identifier() not in functions
        for attribute in node.attributes.values()
        if is_default(node, attribute, opsets.get(node.domain, 0))
    ]
    if not found or not context.allow(Action("drop-defaults", (), "model", f"{len(found):,} attributes")):
        return
    for node, name in found:
        del node.attributes[name]


def shorten_names(model: ir.Model, context: Context) -> None:
    """Gives short names, each once in the model, to what is neither an input nor an output of it."""
    if _extras(model.graph).training or any(_extras(body).annotations for body in bodies(model)):
        context.decline("shorten-names", "model", "training information or quantization annotations name its values")
        return
    pinned = annotated(model)
    interface = {*model.graph.inputs, *model.graph.outputs}
    inner, kept = [], set(pinned)
    for value in _values(model):
        if value in interface or value.name in pinned or ANNOTATION in value.meta:
            kept.add(value.name or "")
        elif value.name:
            inner.append(value)
    fresh = (name for name in _short_names() if name not in kept)
    new = list(zip(inner, fresh, strict=False))
    if sum(len(value.name or "") for value in inner) > sum(len(name) for _, name in new):
        total = sum(len((value.name or "").encode()) - len(name) for value, name in new)
        if context.allow(Action("shorten-names", (), "values", f"of {len(new):,}, -{total:,} bytes")):
            _rename(model, new)
    _shorten_node_names(model, context)


def _rename(model: ir.Model, new: list[tuple[ir.Value, str]]) -> None:
    """Two walks, since a new name may be the old one of another value."""
    for at, (value, _) in enumerate(new):
        if value.const_value is not None:
            value.const_value = _copied(value)  # tensors are shared with the model before
        value.name = f"\0{at}"
    for value, name in new:
        value.name = name
    for body in bodies(model):
        _forget_infos(body)


def _shorten_node_names(model: ir.Model, context: Context) -> None:
    """A node is called as its first output, where that is shorter and nobody else is called so."""
    taken = {node.name for body in bodies(model) for node in body}
    new: dict[ir.Node, str] = {}
    for body in bodies(model):
        for node in body:
            name = next((value.name for value in node.outputs if value.name), "")
            if (
                node.name
                and name
                and len(name) < len(node.name)
                and name not in taken
                and not node.name.startswith(PREFIX)  # by which `decode` finds what is packed
            ):
                new[node] = name
                taken.add(name)
    saved = sum(len((node.name or "").encode()) - len(name.encode()) for node, name in new.items())
    if new and context.allow(Action("shorten-names", (), "nodes", f"of {len(new):,}, -{saved:,} bytes")):
        for node, name in new.items():
            node.name = name


def _short_names() -> Iterator[str]:
    """``a``, ``b``, ..., ``Z``, ``a0``, ...: identifiers, the shortest first."""
    for length in itertools.count():
        for rest in itertools.product(DIGITS, repeat=length):
            for first in LETTERS:
                yield first + "".join(rest)


def _graph(body: Body) -> ir.Graph:
    return body.graph if isinstance(body, ir.Function) else body


def _extras(body: Body) -> Extras:
    return _graph(body).meta.get(EXTRAS) or Extras()


def _forget_infos(body: Body) -> None:
    """Drops what the file says of values that the graph does not define, and of its weights."""
    if EXTRAS in _graph(body).meta:
        _graph(body).meta[EXTRAS] = dataclasses.replace(_extras(body), value_info=(), described=frozenset())


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Every value, each once, in the order of bodies and nodes."""
    seen: dict[ir.Value, None] = {}
    for body in bodies(model):
        seen.update(dict.fromkeys(body.inputs))
        seen.update(dict.fromkeys(_graph(body).initializers.values()))
        for node in body:
            seen.update(dict.fromkeys(node.outputs))
    yield from seen


def _weights(model: ir.Model) -> list[ir.Value]:
    return [value for body in bodies(model) for value in _graph(body).initializers.values()]


def _described(model: ir.Model) -> Iterator[ir.Model | ir.Graph | ir.Function | ir.Node | ir.Value]:
    """All that may bear a doc string and metadata, but for attributes and tensors."""
    yield model
    for body in bodies(model):
        yield body
        yield from body
    yield from _values(model)


def _without_doc_string(attribute: ir.Attr) -> ir.Attr:
    if attribute.is_ref():
        return ir.RefAttr(attribute.name, attribute.ref_attr_name or "", attribute.type)
    return ir.Attr(attribute.name, attribute.type, attribute.value)


def _copied(value: ir.Value, **changes: object) -> ir.TensorProtocol:
    """The tensor of a weight as an object of its own, so that it can be changed; the data is shared where it is large.

    Args:
        value: The weight.
        changes: Of ``doc_string`` and ``metadata_props``.
    """
    tensor = value.const_value
    assert tensor is not None
    told: dict[str, Any] = {"doc_string": tensor.doc_string, "metadata_props": dict(tensor.metadata_props), **changes}
    made: ir.TensorProtocol
    shape = ir.Shape(tensor.shape.numpy())
    if isinstance(tensor, ir.ExternalTensor):
        made = ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=shape,
            name=tensor.name or "",
            base_dir=tensor.base_dir,
            **told,
        )
    elif tensor.dtype == ir.DataType.STRING:
        made = ir.StringTensor(tensor.numpy(), shape=shape, name=tensor.name, **told)
    elif isinstance(tensor, TensorProtoTensor):
        proto = onnx.TensorProto()
        proto.CopyFrom(tensor.raw)
        proto.doc_string = str(told["doc_string"] or "")
        if not proto.doc_string:
            proto.ClearField("doc_string")
        made = TensorProtoTensor(proto)
        made.metadata_props.clear()
        made.metadata_props.update(told["metadata_props"])
    else:
        made = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=shape, name=tensor.name, **told)
    made.meta.update(tensor.meta)
    return made
