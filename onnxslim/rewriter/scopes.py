"""Where nodes live: the main graph, function bodies and subgraphs; and when one value may stand for another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.graph.listed import DEFAULTS_IR
from onnxslim.graph.uses import WIDE, replace_inputs
from onnxslim.graph.walk import bodies, holds_graphs, subgraphs

ANNOTATION = "quant_parameter_tensor_names"
"""Where onnx-ir keeps ``quantization_annotation``: in ``value.meta``, naming other values."""


@dataclass(frozen=True, eq=False)
class Scope:
    """A graph with what its nodes see."""

    graph: ir.Graph
    opsets: Mapping[str, int]
    """Versions of the main graph or the function that the graph belongs to."""
    parent: Scope | None
    in_function: bool
    """Function bodies hold no initializers, and attributes there may be parameters."""

    def opset(self, domain: str = "") -> int:
        """The version of a domain; 0 where it is not imported."""
        version = self.opsets.get(domain)
        if version is None and domain in ("", "ai.onnx"):
            version = self.opsets.get("ai.onnx" if domain == "" else "")
        return version or 0


def scopes(model: ir.Model) -> list[Scope]:
    """Every graph of the model, a parent before its subgraphs."""
    found = [Scope(model.graph, model.graph.opset_imports, None, in_function=False)]
    found += [Scope(f.graph, f.opset_imports, None, in_function=True) for f in model.functions.values()]
    for scope in found:  # grows while it is walked
        for node in scope.graph:
            if holds_graphs(node):
                found += [Scope(g, scope.opsets, scope, scope.in_function) for g in subgraphs(node.attributes.values())]
    return found


def as_nodes(scope: Scope, model: ir.Model) -> bool:
    """Whether a new constant must be a Constant node there: function bodies hold no initializers.

    Up to IR version 3 neither do subgraphs: every initializer must be an input of its graph.
    """
    return scope.in_function or (scope.parent is not None and model.ir_version < DEFAULTS_IR)


def versions_in(scope: Scope, model: ir.Model) -> Callable[[ir.Node], int]:
    """Operator set version of a node in the scope; 0 for a call of a local function, whatever its name."""
    return lambda node: 0 if node.op_identifier() in model.functions else scope.opset(node.domain)


def annotated(model: ir.Model) -> frozenset[str]:
    """Names that quantization annotations refer to: they must neither vanish nor change."""
    names: set[str] = set()
    for body in bodies(model):
        graph = body.graph if isinstance(body, ir.Function) else body
        for value in (*graph.inputs, *graph.initializers.values(), *(y for node in graph for y in node.outputs)):
            if ANNOTATION in value.meta:
                names.update(value.meta[ANNOTATION].values())
    return frozenset(names)


class Forwarding:
    """Lets one value stand for another, where interface and scoping allow it."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._waiting: dict[ir.Node, dict[int, ir.Value]] = {}
        """Inputs of wide nodes that are to become other values when ``settle`` is called."""
        self._moved: dict[ir.Value, ir.Value] = {}

    @functools.cached_property
    def annotated(self) -> frozenset[str]:
        """Names that quantization annotations refer to, when first asked."""
        return annotated(self._model)

    @functools.cached_property
    def _reused(self) -> frozenset[str]:
        """Names that more than one graph under a root defined when first asked; later names are fresh ones."""
        return _reused_names(self._model)

    def refusal(self, old: ir.Value, new: ir.Value) -> str | None:
        """Why ``new`` cannot stand for ``old`` everywhere; None if it can."""
        if ANNOTATION in old.meta or old.name in self.annotated:
            return "it takes part in a quantization annotation"
        crosses = any(use.node.graph is not new.graph for use in old.uses())
        if crosses and new.name in self._reused:
            return f"the name {new.name!r} means another value in a subgraph"
        if not old.is_graph_output():
            return None
        if new.graph is not old.graph:
            return "it gives a value of the outer graph to an output"
        if new.producer() is None:
            return "it joins an input or a constant to an output"
        if new.is_graph_output():
            return "both values are outputs"
        if new.name in self.annotated or ANNOTATION in new.meta:
            return "it takes part in a quantization annotation"
        if old.name in self._reused and any(use.node.graph is not new.graph for use in new.uses()):
            return f"the name {old.name!r} means another value in a subgraph"
        return None

    def is_reused(self, name: str) -> bool:
        """Whether more than one graph under a root defines the name."""
        return name in self._reused

    def forward_later(self, old: ir.Value, new: ir.Value) -> None:
        """``forward``, but what wide nodes read is only changed by ``settle``: to do it one by one is quadratic."""
        wide = [use for use in old.uses() if len(use.node.inputs) > WIDE]
        if old.is_graph_output() or not wide:
            self.forward(old, new)
            return
        for use in old.uses():
            if len(use.node.inputs) > WIDE:
                self._waiting.setdefault(use.node, {})[use.idx] = new
            else:
                use.node.replace_input_with(use.idx, new)
        self._moved[old] = new

    def settle(self, node: ir.Node | None = None) -> None:
        """Gives wide nodes, or one of them, the inputs that ``forward_later`` has promised."""
        for each in list(self._waiting) if node is None else [node]:
            changes = self._waiting.pop(each, {})
            for index, value in changes.items():
                while value in self._moved:
                    value = self._moved[value]
                changes[index] = value
            replace_inputs(each, changes)

    def forward(self, old: ir.Value, new: ir.Value) -> None:
        """Puts ``new`` in all places of ``old``. An output keeps its name, type, symbols, doc string and metadata."""
        if old.is_graph_output():
            name, old.name = old.name, None
            new.name = name
            new.type, new.shape, new.doc_string = old.type, old.shape, old.doc_string
            new.metadata_props.clear()
            new.metadata_props.update(old.metadata_props)
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def _reused_names(model: ir.Model) -> frozenset[str]:
    """Names that more than one graph under the same root defines."""
    owner: dict[tuple[ir.Graph, str], ir.Graph] = {}
    reused: set[str] = set()
    for scope in scopes(model):
        root = scope
        while root.parent is not None:
            root = root.parent
        graph = scope.graph
        for value in (*graph.inputs, *graph.initializers.values(), *(y for node in graph for y in node.outputs)):
            if value.name and owner.setdefault((root.graph, value.name), graph) is not graph:
                reused.add(value.name)
    return frozenset(reused)
