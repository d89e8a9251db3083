"""A graph put in the place of a node: the common part of inlining branches, bodies and functions.

Names are values' identities in a file, so that they are what can go wrong: a name that another graph under the same
root defines too is made fresh, and what stands for an output of the node takes that output's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph.edit import Names
from onnxslim.graph.sidecar import EXTRAS, Extras
from onnxslim.graph.walk import nested
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding, Scope, as_nodes, scopes

from .remove_unused import detach

_OVERHEAD_BYTES = 20
"""A node that holds a graph takes at least so much more than that graph's nodes: tags, lengths, operator, attribute."""
_SUFFIX_BYTES = 3
"""What a fresh name is longer than the old one, as a rule."""


class Splicer:
    """Moves graphs into the place of nodes, for one model."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.names = Names.of(model)
        self.forwarding = Forwarding(model)
        self._defined: dict[ir.Graph, Counter[str]] = {}
        for scope in scopes(model):
            names = self._defined.setdefault(root(scope).graph, Counter())
            names.update(value.name or "" for value in own_values(scope.graph))

    def refusal(self, node: ir.Node, graph: ir.Graph) -> str | None:
        """Why ``graph`` may not stand in the place of ``node``; None if it may."""
        if any(each.meta.get(EXTRAS, Extras()).annotations for each in nested(graph)):
            return "it holds a quantization annotation of an outer value"
        if not self.forwarding.annotated:
            return None
        for value in (*node.outputs, *(v for g in nested(graph) for v in own_values(g))):
            if ANNOTATION in value.meta or value.name in self.forwarding.annotated:
                return "it takes part in a quantization annotation"
        return None

    def growth(self, clashing: Iterable[ir.Value], dropped: Iterable[ir.Graph]) -> str | None:
        """Whether fresh names for ``clashing`` could take more bytes than the node does, and the ``dropped`` graphs."""
        grown = sum(_SUFFIX_BYTES * (1 + len(value.uses())) for value in clashing)
        saved = _OVERHEAD_BYTES + sum(1 for g in dropped for _ in g) * _OVERHEAD_BYTES
        return "the file would grow by longer names" if grown > saved else None

    def clashing(self, scope: Scope, graph: ir.Graph, dropped: Iterable[ir.Graph] = ()) -> list[ir.Value]:
        """Values of ``graph`` that need fresh names in the scope, once the ``dropped`` graphs are gone."""
        defined = self._defined[root(scope).graph]
        gone = Counter(value.name or "" for each in dropped for g in nested(each) for value in own_values(g))
        inside = [value for g in nested(graph) for value in own_values(g) if value.name]
        return [value for value in inside if defined[value.name or ""] - gone[value.name or ""] > 1]

    def adopt(self, scope: Scope, graph: ir.Graph) -> None:
        """Counts a graph that comes from elsewhere among those of ``scope``, under names that are free there."""
        defined = self._defined[root(scope).graph]
        for each in nested(graph):
            for value in list(own_values(each)):
                if value.name and defined[value.name] > 0:
                    value.name = self.names.fresh(value.name)
                defined[value.name or ""] += 1

    def disown(self, scope: Scope, graph: ir.Graph) -> None:
        """Takes back ``adopt``."""
        defined = self._defined[root(scope).graph]
        defined.subtract(value.name or "" for each in nested(graph) for value in own_values(each))

    def splice(
        self,
        scope: Scope,
        node: ir.Node,
        graph: ir.Graph,
        dropped: Iterable[ir.Graph] = (),
        clashing: Iterable[ir.Value] | None = None,
    ) -> list[ir.Node]:
        """Moves nodes and constants of ``graph`` before ``node``, puts its outputs in place, and removes the node.

        Args:
            scope: Where ``node`` is.
            node: The node that goes.
            graph: A graph without inputs in use, which captures nothing that ``node`` does not see. Left empty.
            dropped: Other graphs that go with the node; their names are free then.
            clashing: What the method of that name gives, where it is known.

        Returns:
            The nodes that were moved.
        """
        defined = self._defined[root(scope).graph]
        dropped = list(dropped)
        clashing = self.clashing(scope, graph, dropped) if clashing is None else clashing
        defined.subtract(value.name or "" for each in dropped for g in nested(each) for value in own_values(g))
        for value in clashing:
            defined[value.name or ""] -= 1
            value.name = self.names.fresh(value.name or "")
            defined[value.name] += 1
        outputs = list(graph.outputs)
        graph.outputs.clear()
        moved = list(graph)
        graph.remove(moved)
        for value in list(graph.initializers.values()):
            moved.extend(self._move_initializer(scope, node, graph, value, outputs))
        scope.graph.insert_before(node, [each for each in moved if each.graph is None])
        for old, new in zip(node.outputs, outputs, strict=True):
            if old.name and (old.uses() or old.is_graph_output()):
                moved.extend(self._stand_in(scope, node, old, new, outputs))
        detach(node)
        scope.graph.remove(node)
        return moved

    def _move_initializer(
        self, scope: Scope, node: ir.Node, graph: ir.Graph, value: ir.Value, outputs: list[ir.Value]
    ) -> Iterator[ir.Node]:
        """The value becomes a constant of the outer graph: a node, where that can hold no initializers."""
        name, tensor = value.name or "", value.const_value
        graph.initializers.pop(name)
        if not as_nodes(scope, self.model):
            scope.graph.register_initializer(value)
            return
        assert tensor is not None
        constant = ir.node("Constant", [], {"value": tensor}, outputs=[ir.Value(name=name)], name="")
        new = constant.outputs[0]
        scope.graph.insert_before(node, constant)
        value.replace_all_uses_with(new)
        outputs[:] = [new if each is value else each for each in outputs]
        yield constant

    def _stand_in(
        self, scope: Scope, node: ir.Node, old: ir.Value, new: ir.Value, outputs: list[ir.Value]
    ) -> Iterator[ir.Node]:
        """``new`` takes the place of ``old``, under its name where it can: that is visible wherever it is used."""
        defined = self._defined[root(scope).graph]
        producer = new.producer()
        own = producer is not None and producer.graph is scope.graph and outputs.count(new) == 1
        if own and not new.is_graph_output():
            defined[new.name or ""] -= 1
            name, old.name = old.name, None
            new.name = name
            if old.is_graph_output():
                new.type, new.shape, new.doc_string = old.type, old.shape, old.doc_string
                new.metadata_props.clear()
                new.metadata_props.update(old.metadata_props)
            elif new.type is None:
                new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            return
        if self.forwarding.refusal(old, new) is None:
            self.forwarding.forward(old, new)
            return
        name, old.name = old.name, None
        identity = ir.node("Identity", [new], outputs=[ir.Value(name=name, type=old.type, shape=old.shape)], name="")
        identity.outputs[0].doc_string = old.doc_string
        identity.outputs[0].metadata_props.update(old.metadata_props)
        scope.graph.insert_before(node, identity)
        old.replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)
        yield identity


def root(scope: Scope) -> Scope:
    """The main graph or the function body that holds the scope."""
    while scope.parent is not None:
        scope = scope.parent
    return scope


def own_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Values that the graph defines."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        yield from node.outputs
