"""Constant subgraph -> constants, wherever the file does not grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import add_initializer, site
from onnxslim.graph.uses import drop_inputs
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding, Scope, annotated, as_nodes, scopes
from onnxslim.rewriter.shape_facts import shape_facts

from .lift_constants import constant_tensor
from .region import MAX_GROWTH, Region, WorkBudget, find_region

HELD_SHARE = 2
"""Part of the memory budget, one in so many, that the values of a constant region may take."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Evaluate what does not depend on the inputs, as far as it does not make the file larger.

    1. The region of a graph that depends on constants alone is found and evaluated once, node by node: one that cannot
       be evaluated, or whose output would be too large, bars only what follows it.
    2. A node becomes constants where these take no more bytes than the nodes and constants that die with it
       (after onnxscript's net-bytes rule, PR 2025). A large value inside the region costs nothing if a smaller one
       comes of it: it is folded through.
    3. Where single nodes do not pay but the whole region does (one weight cut into parts), the region is folded.
    4. ``spare`` bytes, which earlier steps have saved, are spent where a fold removes nodes but takes more bytes: up to
       256 KiB for each fold, so that no giant comes of it.
    5. Values take half of the memory budget at most: what has no room is left to the runtime.
    6. Shape, Size and what is computed from them fold where inference knows every number.

    Random operators, unknown domains, function calls, control flow, and QuantizeLinear and DequantizeLinear, which the
    runtime matches, stay. So does what is used in a subgraph: a branch that is never taken may fit no shape but an
    unknown one. An output of the graph becomes a Constant node. Initializers that are inputs are no constants.
    """

    name: ClassVar[str] = "fold-constants"
    tier: ClassVar[Tier] = Tier.NUMERIC

    max_bytes: int = field(default=256 << 20, metadata={"help": "bytes that one evaluated node may give", "least": 0})
    spare: int = field(default=0, metadata={"help": "bytes that the file may grow by in all", "least": 0})
    max_work: int = field(
        default=1 << 35, metadata={"help": "bytes and multiplications spent on evaluation", "least": 0}
    )

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Folds in place, outer graphs first."""
        facts, kept = shape_facts(model, context), annotated(model)
        budget, spare = WorkBudget(self.max_work), WorkBudget(self.spare)
        for scope in scopes(model):
            fold_graph(model, scope, facts, kept, context, self.max_bytes, budget, spare)
        return context.result()


def fold_graph(
    model: ir.Model,
    scope: Scope,
    facts: ShapeFacts,
    kept: frozenset[str],
    context: Context,
    max_bytes: int,
    budget: WorkBudget,
    spare: WorkBudget,
) -> None:
    """Folds one graph, holding a share of ``context.memory`` bytes of values at most."""
    in_nodes = as_nodes(scope, model)
    region = find_region(
        model,
        scope,
        facts,
        context,
        max_bytes=max_bytes,
        max_held=context.memory // HELD_SHARE,
        budget=budget,
        as_nodes=in_nodes,
        pinned=kept,
    )
    folded: dict[ir.Node, None] = {}
    for part in region.parts():
        if all(pays(region, node) for node in part if region.is_root(node)):
            continue
        roots = [node for node in part if region.is_frontier(node)]
        if not roots or region.net_bytes(part, roots) > 0:
            continue
        names = tuple(y.name or "" for node in roots for y in region.used(node))
        detail = f"{region.net_bytes(part, roots):,} bytes"
        if context.allow(Action("fold-region", names, scope.graph.name or "", detail)):
            folded.update(dict.fromkeys(roots))
    for node in reversed(region.order):
        if node in folded or not needed(region, node, folded):
            continue
        grown = region.value_bytes(node) - region.kept_bytes[node]
        affordable = region.has_values(node) and 0 < grown <= MAX_GROWTH and spare.spend(grown)
        if not affordable and not pays(region, node):
            context.decline("fold-constant", site(node), f"the file would grow by {grown:,} bytes")
        elif context.allow(
            Action(
                "fold-constant",
                tuple(y.name or "" for y in region.used(node)),
                site(node),
                f"{grown:,} bytes",
            )
        ):
            folded[node] = None
    replace(scope.graph, region, folded, kept, Forwarding(model), as_nodes=in_nodes)


def pays(region: Region, node: ir.Node) -> bool:
    """Whether the node's values take no more bytes than what dies with it."""
    return region.has_values(node) and region.value_bytes(node) <= region.kept_bytes[node]


def needed(region: Region, node: ir.Node, folded: dict[ir.Node, None]) -> bool:
    """Whether anything that is not folded still uses the node."""
    return any(
        y.is_graph_output() or any(use.node not in folded and use.node not in region.dead for use in y.uses())
        for y in node.outputs
    ) or region.bury(node)


def replace(
    graph: ir.Graph,
    region: Region,
    folded: dict[ir.Node, None],
    kept: frozenset[str],
    forwarding: Forwarding,
    *,
    as_nodes: bool,
) -> None:
    """Puts constants in the place of the folded nodes, and removes what only they used."""
    if not folded:
        return
    for node in region.order:
        if node not in folded:
            continue
        for y, tensor in zip(node.outputs, region.tensors[node], strict=True):
            if tensor is None or not (y.uses() or y.is_graph_output()):
                continue
            if y.is_graph_output():  # not an initializer: runtimes want a node behind each output
                tensor.name = y.name or ""
                constant = ir.node("Constant", [], {"value": tensor}, name="")
                graph.insert_before(node, constant)
                forwarding.forward(y, constant.outputs[0])
                continue
            name, y.name = y.name or "", None
            tensor.name = name
            if as_nodes:
                constant = ir.node("Constant", [], {"value": tensor}, name="", outputs=[ir.Value(name=name)])
                graph.insert_before(node, constant)
                y.replace_all_uses_with(constant.outputs[0])
            else:
                y.replace_all_uses_with(add_initializer(graph, name, tensor))
    remove_dead(graph, [*region.dead, *folded], kept)


def remove_dead(graph: ir.Graph, nodes: list[ir.Node], kept: frozenset[str]) -> None:
    """Removes the nodes and the constants that nothing else uses."""
    inputs = {x: None for node in nodes for x in node.inputs if x is not None}
    for node in nodes:
        drop_inputs(node)
    graph.remove(nodes)
    for x in inputs:
        if x.uses() or x.is_graph_output() or x.name in kept or ANNOTATION in x.meta or constant_tensor(x) is None:
            continue
        producer = x.producer()
        if producer is not None and producer.graph is not None:
            producer.graph.remove(producer)
        elif producer is None and x.graph is not None:
            del x.graph.initializers[x.name or ""]
