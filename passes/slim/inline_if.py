"""If(c, A, B) -> A where c is known to be true, B where it is known to be false, A where A = B."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.graph.walk import nodes, subgraphs
from onnxslim.ops.signature import graph_key
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import Scope, scopes, versions_in
from onnxslim.rewriter.shape_facts import shape_facts

from .splice import Splicer


@dataclass(frozen=True)
class InlineIf(Pass):
    """Put the branch that is always taken in the place of its If.

    1. The condition is a constant, or inference knows it (a rank test, a dimension compared with a number).
    2. The condition is that of an If around it: inside a branch it is decided.
    3. Both branches say the same, whatever the condition: the first stands for both.

    Branches see the values of the graphs around them; names that clash there are made fresh. An output that would
    become an input, a constant or another output stays behind an Identity.
    """

    name: ClassVar[str] = "inline-if"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Inlines in place, outer graphs first."""
        if any(node.op_type == "If" for node in nodes(model)):
            inline_ifs(model, shape_facts(model, context), context)
        return context.result()


def all_graphs(model: ir.Model) -> list[ir.Graph]:
    """Graphs of the model, its subgraphs and functions."""
    return [scope.graph for scope in scopes(model)]


def inline_ifs(model: ir.Model, facts: ShapeFacts, context: Context) -> None:
    """One walk over all graphs; what a branch held is looked at in its new place."""
    splicer = Splicer(model)
    queue: deque[tuple[Scope, Mapping[ir.Value, bool]]] = deque(
        (scope, {}) for scope in scopes(model) if scope.parent is None
    )
    while queue:
        scope, assumed = queue.popleft()
        waiting = deque(scope.graph)
        while waiting:
            node = waiting.popleft()
            if node.op_type == "If" and node.domain == "" and node.op_identifier() not in model.functions:
                moved = _inline(scope, node, assumed, facts, splicer, context)
                if moved is not None:
                    waiting.extendleft(reversed(moved))
                    continue
            for name, attribute in node.attributes.items():
                for graph in subgraphs((attribute,)):
                    inner = assumed
                    if node.op_type == "If" and node.domain == "" and node.inputs[0] is not None:
                        inner = {**assumed, node.inputs[0]: name == "then_branch"}
                    queue.append((Scope(graph, scope.opsets, scope, scope.in_function), inner))


def _inline(
    scope: Scope,
    node: ir.Node,
    assumed: Mapping[ir.Value, bool],
    facts: ShapeFacts,
    splicer: Splicer,
    context: Context,
) -> list[ir.Node] | None:
    """The nodes that came in the place of ``node``; None where it stays."""
    then_branch, else_branch = (node.attributes[name] for name in ("then_branch", "else_branch"))
    if then_branch.is_ref() or else_branch.is_ref() or node.inputs[0] is None:
        return None
    taken, other = then_branch.as_graph(), else_branch.as_graph()
    condition = truth(node.inputs[0], assumed, facts)
    if condition is None:
        versions = versions_in(scope, splicer.model)
        key = graph_key(taken, versions)
        if key is None or key != graph_key(other, versions):
            context.decline("inline-if", site(node), "its condition is not known")
            return None
        detail = "both branches are the same"
    else:
        detail = f"its condition is always {str(condition).lower()}"
        if not condition:
            taken, other = other, taken
    clashing = splicer.clashing(scope, taken, [other])
    reason = splicer.refusal(node, taken) or splicer.growth(clashing, [other])
    if reason is not None:
        context.decline("inline-if", site(node), reason)
        return None
    if not context.allow(Action("inline-if", tuple(y.name or "" for y in node.outputs), site(node), detail)):
        return None
    return splicer.splice(scope, node, taken, [other], clashing)


def truth(condition: ir.Value, assumed: Mapping[ir.Value, bool], facts: ShapeFacts) -> bool | None:
    """What the condition always is here; None where it depends on the run."""
    if condition in assumed:
        return assumed[condition]
    tensor = constant_tensor(condition)
    array = tensor.numpy() if tensor is not None and tensor.size == 1 else facts.constant(condition)
    if array is None or array.size != 1:
        return None
    return bool(array.reshape(-1)[0])
