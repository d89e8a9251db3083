"""Equal constants are stored once, equal computations are done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, site
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.signature import attributes_key, tensor_key, tensor_sample
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.purity import deep_impurity, pure_functions
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding, Scope, scopes, versions_in
from onnxslim.rewriter.size import tensor_bytes

from .remove_unused import detach

_SUFFIX_BYTES = 3
"""What a fresh name is longer than the old one, as a rule."""


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Merge initializers with the same bits and nodes that compute the same.

    1. Two initializers are one where dtype, shape and every bit agree; only tensors that agree in dtype and shape are
       read and hashed, where they lie. Defaults of graph inputs are no constants and stay.
    2. Two nodes are one where operator, inputs and attributes (with their defaults) agree and the operator is pure.
       So are calls of functions and nodes with subgraphs, if all that they hold is pure and says the same, whatever
       its names. Random operators and unknown domains stay.
    3. Equal constants of two branches move to the innermost graph around both.
    4. A subgraph uses what its outer graphs computed before it; never the other way round.
    """

    name: ClassVar[str] = "common-subexpressions"
    tier: ClassVar[Tier] = Tier.EXACT

    initializers: bool = field(default=True, metadata={"help": "merge initializers"})
    nodes: bool = field(default=True, metadata={"help": "merge nodes"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Merges them in place."""
        forwarding = Forwarding(model)
        if self.initializers:
            merge_initializers(model, forwarding, context)
            forwarding.settle()
        if self.nodes:
            merge_nodes(model, forwarding, context)
            forwarding.settle()
        return context.result()


def merge_initializers(model: ir.Model, forwarding: Forwarding, context: Context) -> None:
    """Ties each initializer to the first equal one that its graph sees, or that can be moved to where it sees it."""
    every, names = scopes(model), Names.of(model)
    groups: dict[Hashable, list[tuple[Scope, ir.Value]]] = {}
    for scope in every:
        for value in scope.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and not value.is_graph_input() and not value.is_graph_output():
                groups.setdefault((tensor.dtype, tuple(tensor.shape.numpy())), []).append((scope, value))
    for group in groups.values():
        if len(group) < 2:
            continue
        first: dict[Hashable, list[tuple[Scope, ir.Value]]] = {}
        samples = [tensor_sample(value.const_value) for _, value in group if value.const_value is not None]
        alike = Counter(samples)
        for (scope, value), sample in zip(group, samples, strict=True):
            if alike[sample] < 2:
                continue
            assert value.const_value is not None
            owners = first.setdefault(tensor_key(value.const_value), [])
            kept = next((v for s, v in owners if sees(scope, s)), None)
            if kept is None and owners and model.ir_version >= 4:
                kept = _share(scope, owners, names, forwarding, context)
            if kept is None or not _merge_values("tie-initializers", scope, value, kept, forwarding, context):
                owners.append((scope, value))


def _merge_values(
    rule: str, scope: Scope, value: ir.Value, kept: ir.Value, forwarding: Forwarding, context: Context
) -> bool:
    name = value.name or ""
    reason = forwarding.refusal(value, kept)
    if reason is None and (value.metadata_props or value.doc_string or value.meta):
        reason = "it carries metadata of its own"
    if reason is not None:
        context.decline(rule, name, reason)
        return False
    assert value.const_value is not None
    detail = f"as {kept.name}, -{value.const_value.nbytes:,} bytes"
    if not context.allow(Action(rule, (name,), scope.graph.name or "", detail)):
        return False
    forwarding.forward_later(value, kept)
    del scope.graph.initializers[name]
    return True


def _share(
    scope: Scope, owners: list[tuple[Scope, ir.Value]], names: Names, forwarding: Forwarding, context: Context
) -> ir.Value | None:
    """Moves an equal constant of another branch to the innermost graph around both; None where there is none."""
    for i, (place, value) in enumerate(owners):
        outer: Scope | None = place
        while outer is not None and not sees(scope, outer):
            outer = outer.parent
        bare = not (value.metadata_props or value.doc_string or value.meta)
        if outer is None or (outer.in_function and outer.parent is None) or not bare:
            continue
        name, tensor = value.name or "", value.const_value
        renamed = forwarding.is_reused(name)
        longer = _SUFFIX_BYTES * (1 + len(value.uses())) if renamed else 0
        if tensor is None or name in forwarding.annotated or longer > tensor_bytes(tensor, name):
            continue
        if not context.allow(Action("share-initializer", (name,), outer.graph.name or "")):
            return None
        if renamed:
            value.name = names.fresh(name)
        place.graph.initializers.pop(value.name or "")
        outer.graph.register_initializer(value)
        owners[i] = (outer, value)
        return value
    return None


def sees(inner: Scope, outer: Scope) -> bool:
    """Whether values of ``outer`` are visible in ``inner``."""
    scope: Scope | None = inner
    while scope is not None:
        if scope is outer:
            return True
        scope = scope.parent
    return False


def merge_nodes(model: ir.Model, forwarding: Forwarding, context: Context) -> None:
    """One walk in order of execution; a table of known nodes for each open graph."""
    every, pure = scopes(model), pure_functions(model)
    by_graph = {scope.graph: scope for scope in every}
    for root in every:
        if root.parent is not None:
            continue
        known: list[dict[Hashable, ir.Node]] = []
        for scope, node in _in_order(root, by_graph, known):
            _merge_node(scope, node, known, model, pure, forwarding, context)


def _in_order(
    root: Scope, by_graph: dict[ir.Graph, Scope], known: list[dict[Hashable, ir.Node]]
) -> Iterator[tuple[Scope, ir.Node]]:
    """Nodes of the graph, each after those of its subgraphs; opens and closes a table in ``known`` for each graph."""
    stack: list[tuple[Scope, Iterator[ir.Node]]] = [(root, iter(tuple(root.graph)))]
    waiting: list[list[ir.Graph]] = [[]]
    known.append({})
    while stack:
        scope, nodes = stack[-1]
        if waiting[-1]:
            inner = by_graph[waiting[-1].pop(0)]
            stack.append((inner, iter(tuple(inner.graph))))
            waiting.append([])
            known.append({})
            continue
        node = next(nodes, None)
        if node is None:
            stack.pop()
            waiting.pop()
            known.pop()
            continue
        if node.attributes:
            waiting[-1] = list(subgraphs(node.attributes.values()))
        yield scope, node


def _merge_node(
    scope: Scope,
    node: ir.Node,
    known: list[dict[Hashable, ir.Node]],
    model: ir.Model,
    pure: frozenset[ir.OperatorIdentifier],
    forwarding: Forwarding,
    context: Context,
) -> None:
    forwarding.settle(node)
    key = _node_key(scope, node, model, pure)
    if key is None:
        return
    twin = next((table[key] for table in reversed(known) if key in table), None)
    if twin is None:
        known[-1][key] = node
        return
    pairs = [(old, new) for old, new in zip(node.outputs, twin.outputs, strict=True) if old.name]
    for old, new in pairs:
        reason = forwarding.refusal(old, new)
        if reason is not None:
            context.decline("merge-nodes", site(node), reason)
            return
    action = Action("merge-nodes", tuple(old.name or "" for old, _ in pairs), site(node), f"as {site(twin)}")
    if not context.allow(action):
        return
    for old, new in pairs:
        forwarding.forward_later(old, new)
    detach(node)
    scope.graph.remove(node)


def _node_key(scope: Scope, node: ir.Node, model: ir.Model, pure: frozenset[ir.OperatorIdentifier]) -> Hashable | None:
    if deep_impurity(node, scope, model, pure) is not None or any(ANNOTATION in y.meta for y in node.outputs):
        return None
    versions = versions_in(scope, model)
    attributes = attributes_key(node, versions(node), (versions, {}))
    if attributes is None:
        return None
    inputs = tuple(-1 if x is None else id(x) for x in node.inputs)
    while inputs and inputs[-1] == -1:
        inputs = inputs[:-1]
    present = tuple(bool(y.name) for y in node.outputs)
    return (node.domain, node.op_type, node.overload, inputs, attributes, present)
