"""Loop and Scan bodies: what is the same in every iteration is computed once, before the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import site
from onnxslim.graph.walk import holds_graphs
from onnxslim.ops.determinism import TOTAL
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.purity import deep_impurity, pure_functions
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding, Scope, as_nodes
from onnxslim.rewriter.shape_facts import shape_facts

from .loops import Repeated, fewest_trips, repeated


@dataclass(frozen=True)
class HoistInvariants(Pass):
    """Move nodes out of a Loop or Scan that depend on nothing in it, as far out as they can go.

    They must be pure. Where the body may never run, only operators that cannot fail are moved. Constants in use move
    along. What is an output of the body stays, and so does what holds subgraphs.
    """

    name: ClassVar[str] = "hoist-invariants"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Moves them in place, from inner loops first."""
        loops = repeated(model, "Loop", "Scan")
        if loops:
            facts, forwarding, pure = shape_facts(model, context), Forwarding(model), pure_functions(model)
            for loop in reversed(loops):
                hoist(loop, model, facts, forwarding, pure, context)
        return context.result()


def hoist(
    loop: Repeated,
    model: ir.Model,
    facts: ShapeFacts,
    forwarding: Forwarding,
    pure: frozenset[ir.OperatorIdentifier],
    context: Context,
) -> None:
    """Moves the invariants of one body before its node."""
    body, scope = loop.body, loop.scope
    inner = Scope(body, scope.opsets, scope, scope.in_function)
    runs = fewest_trips(loop, facts) >= 1
    constants: dict[ir.Node, None] = {}
    for node in list(body):
        if not all(_is_outside(x, body) or x.producer() in constants for x in node.inputs if x is not None):
            continue
        if node.op_type == "Constant" and not node.domain:
            constants[node] = None  # alone it is no work
            continue
        reason = _refusal(node, inner, model, forwarding, pure, runs=runs)
        if reason is not None:
            context.decline("hoist-invariant", site(node), reason)
            continue
        names = tuple(y.name or "" for y in node.outputs if y.name)
        if not context.allow(Action("hoist-invariant", names, site(node), f"out of {site(loop.node)}")):
            continue
        for x in node.inputs:
            if x is not None and x.graph is body and x.is_initializer():
                body.initializers.pop(x.name or "")
                scope.graph.register_initializer(x)
        along = [x.producer() for x in node.inputs if x is not None and x.producer() in constants]
        for each in (*dict.fromkeys(along), node):
            if each is not None:
                constants.pop(each, None)
                body.remove(each)
                scope.graph.insert_before(loop.node, each)


def _is_outside(value: ir.Value, body: ir.Graph) -> bool:
    """Whether the value is the same in every iteration: of a graph around, or a constant of the body."""
    return value.graph is not body or (value.is_initializer() and not value.is_graph_input())


def _refusal(
    node: ir.Node,
    scope: Scope,
    model: ir.Model,
    forwarding: Forwarding,
    pure: frozenset[ir.OperatorIdentifier],
    *,
    runs: bool,
) -> str | None:
    """Why the node has to stay in the body, though it depends on nothing there; None if it may leave."""
    reason = deep_impurity(node, scope, model, pure)
    if reason is not None:
        return reason
    if holds_graphs(node):
        return "it holds a subgraph"
    if not runs and (node.domain or node.op_type not in TOTAL):
        return "the body may never run, and the operator may fail"
    if any(y.is_graph_output() for y in node.outputs):
        return "it gives an output of the body"
    moving = [*node.outputs, *(x for x in node.inputs if x is not None and x.graph is scope.graph)]
    if any(ANNOTATION in value.meta or value.name in forwarding.annotated for value in moving):
        return "it takes part in a quantization annotation"
    if any(value.name and forwarding.is_reused(value.name) for value in moving):
        return "its name means another value elsewhere"
    constants = [x for x in node.inputs if x is not None and x.graph is scope.graph and x.is_initializer()]
    if any(x.is_graph_output() for x in constants):
        return "its constant is an output of the body"
    if constants and as_nodes(scope, model):
        return "the graph around holds no initializers"
    return None
