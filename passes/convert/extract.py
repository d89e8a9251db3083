"""A part of a model: other inputs, other outputs, and no more than lies between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts, infer_shapes
from onnxslim.errors import InputError, did_you_mean
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names
from onnxslim.graph.uses import drop_inputs
from onnxslim.graph.walk import subgraphs
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass

DTYPES = {
    "fp16": ir.DataType.FLOAT16,
    "fp32": ir.DataType.FLOAT,
    "int32": ir.DataType.INT32,
    "int64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
}
"""Dtypes as OnnxSlim's callers write them."""


@dataclass(frozen=True)
class Extract(Pass):
    """Give the model other inputs or outputs, each a value of the main graph, and remove what they do not need.

    A dtype that differs from the value's own puts a Cast beside it; the input or output bears the name that was given.
    Inputs that the outputs do not need go. It changes the interface: run it before a pipeline, not within one.
    """

    name: ClassVar[str] = "extract"
    tier: ClassVar[Tier] = Tier.EXACT

    inputs: tuple[str, ...] = field(default=(), metadata={"help": "NAME or NAME:DTYPE; none keeps the inputs"})
    outputs: tuple[str, ...] = field(default=(), metadata={"help": "NAME or NAME:DTYPE; none keeps the outputs"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Edits in place.

        Raises:
            InputError: An unknown name or dtype, a name given twice, or an output that needs an input not listed.
        """
        graph = model.graph
        values = {value.name: value for value in _values(graph) if value.name}
        ins = [_port(text, values, "inputs") for text in self.inputs]
        outs = [_port(text, values, "outputs") for text in self.outputs]
        for ports, where in ((ins, "inputs"), (outs, "outputs")):
            if len({id(value) for value, _ in ports}) < len(ports):
                raise InputError("a name is given twice", where=where)
        if not ins and not outs:
            return context.result()
        if not context.allow(Action(self.name, tuple(value.name or "" for value, _ in outs), graph.name or "")):
            return context.result()
        facts, names = infer_shapes(model), Names.of(model)
        if ins:
            made = [_make_input(graph, value, dtype, facts, names) for value, dtype in ins]
            stand_ins = {value: new for (value, _), new in zip(ins, made, strict=True)}
            outs = [(stand_ins.get(value, value), dtype) for value, dtype in outs]
            left_out = [value for value in graph.inputs if value not in made]
            graph.inputs.clear()
            graph.inputs.extend(made)
        else:
            left_out = []
        if outs:
            new = [_make_output(graph, value, dtype, facts, names) for value, dtype in outs]
            graph.outputs.clear()
            graph.outputs.extend(new)
        needed = _prune(graph)
        missing = [value.name or "" for value in left_out if value in needed and not value.is_initializer()]
        if missing:
            raise InputError(
                f"the outputs still need {', '.join(map(repr, missing))}",
                where="inputs",
                mend="list these inputs too, or name outputs that do without",
            )
        return context.result()


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _port(text: str, values: dict[str, ir.Value], where: str) -> tuple[ir.Value, ir.DataType | None]:
    """The value named, and the dtype where one is. A name may contain colons."""
    if text in values:
        return values[text], None
    name, colon, suffix = text.rpartition(":")
    if not colon or name not in values:
        raise InputError(
            f"the main graph has no value {(name if colon and suffix in DTYPES else text)!r}",
            where=where,
            mend=did_you_mean(name if colon else text, values),
        )
    if suffix not in DTYPES:
        raise InputError(f"{suffix!r} is no dtype", where=f"{where}: {text}", mend=did_you_mean(suffix, DTYPES))
    return values[name], DTYPES[suffix]


def _make_input(
    graph: ir.Graph, value: ir.Value, wanted: ir.DataType | None, facts: ShapeFacts, names: Names
) -> ir.Value:
    """An input in the place of a value; what made the value is left for ``_prune``."""
    own = value.dtype or facts.dtype(value)
    dtype = wanted or own
    if dtype is None:
        raise InputError(
            "the dtype of the new input is not known", where=value.name or "", mend=f"write {value.name}:fp32"
        )
    kind = ir.TensorType(dtype) if wanted is not None or value.type is None else value.type
    if value.is_graph_input() and (own is None or own == dtype):
        value.type = kind
        return value
    if value.shape is None:
        facts.apply([value])
    name = value.name or ""
    if value.is_initializer():
        del graph.initializers[name]
    value.name = names.fresh(name)
    made = ir.Value(name=name, type=kind, shape=value.shape, doc_string=value.doc_string)
    stand_in = made
    if own is not None and own != dtype:
        cast = ir.node("Cast", [made], {"to": int(own)}, outputs=[ir.Value(name=names.fresh(f"{name}_cast"))])
        cast.name = names.fresh(f"{name}_Cast")
        graph.insert_before(graph[0], cast)
        stand_in = cast.outputs[0]
        stand_in.type, stand_in.shape = ir.TensorType(own), value.shape
    value.replace_all_uses_with(stand_in, replace_graph_outputs=True)
    return made


def _make_output(
    graph: ir.Graph, value: ir.Value, wanted: ir.DataType | None, facts: ShapeFacts, names: Names
) -> ir.Value:
    if value.shape is None or value.type is None:
        facts.apply([value])
    own = value.dtype or facts.dtype(value)
    if own is None and wanted is None:
        raise InputError(
            "the dtype of the new output is not known", where=value.name or "", mend=f"write {value.name}:fp32"
        )
    if own is None or wanted is None or own == wanted:
        value.type = value.type or ir.TensorType(own or wanted or ir.DataType.FLOAT)
        return value
    name = value.name or ""
    if value.is_graph_input():
        raise InputError("an input cannot be an output of another dtype", where=name, mend="leave the dtype out")
    value.name = names.fresh(name)
    if value.is_initializer():
        graph.initializers[value.name] = graph.initializers.pop(name)
    made = ir.Value(name=name, type=ir.TensorType(wanted), shape=value.shape, doc_string=value.doc_string)
    cast = ir.node("Cast", [value], {"to": int(wanted)}, outputs=[made])
    cast.name = names.fresh(f"{name}_Cast")
    graph.append(cast)
    return made


def _prune(graph: ir.Graph) -> set[ir.Value]:
    """Removes nodes, constants and inputs that no output needs; returns the values that are needed."""
    needed: set[ir.Value] = set()
    queue: list[ir.Value] = list(graph.outputs)
    live: set[ir.Node] = set()
    while queue:
        value = queue.pop()
        if value in needed:
            continue
        needed.add(value)
        node = value.producer()
        if node is None or node in live:
            continue
        live.add(node)
        queue.extend(x for x in node.inputs if x is not None)
        queue.extend(_captured(node))
    dead = [node for node in graph if node not in live]
    for node in dead:
        drop_inputs(node)
    graph.remove(dead)
    kept: Sequence[ir.Value] = [value for value in graph.inputs if value in needed]
    graph.inputs.clear()
    graph.inputs.extend(kept)
    for name, value in list(graph.initializers.items()):
        if value not in needed:
            del graph.initializers[name]
    return needed


def _captured(node: ir.Node) -> Iterable[ir.Value]:
    """What the node's subgraphs use; values of their own do no harm."""
    queue = list(subgraphs(node.attributes.values())) if node.attributes else []
    for graph in queue:  # grows while it is walked
        yield from graph.outputs
        for inner in graph:
            yield from (x for x in inner.inputs if x is not None)
            if inner.attributes:
                queue.extend(subgraphs(inner.attributes.values()))
