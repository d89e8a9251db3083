"""f(x) = x -> x, for every operator that can be known to do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import site
from onnxslim.graph.uses import drop_inputs
from onnxslim.ops.identity import forwarded_input
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import Forwarding, Scope, scopes
from onnxslim.rewriter.shape_facts import shape_facts


@dataclass(frozen=True)
class RemoveIdentity(Pass):
    """Remove nodes that give back an input bit for bit.

    1. Always: Identity, Dropout at inference, Concat, Sum, Max, Min and Split of one tensor.
    2. By their parameters: Cast or CastLike to the same type, Transpose without a permutation, Pad by zero, Tile by
       one, Slice of everything, Add of an integer 0 or -0.0, Sub of 0, Mul, Div and Pow by 1 where that does not widen
       the shape.
    3. By inferred (never by declared) shapes: Reshape, Expand, Slice, Flatten, Squeeze, Unsqueeze to the same shape.

    In subgraphs and function bodies too. A node stays where an output would otherwise become an input, a constant, a
    value of another graph or another output: the interface keeps its names.
    """

    name: ClassVar[str] = "remove-identity"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Removes them in place."""
        facts, forwarding = shape_facts(model, context), Forwarding(model)
        for scope in scopes(model):
            remove_identities(scope, facts, forwarding, model, context)
        return context.result()


def remove_identities(
    scope: Scope, facts: ShapeFacts, forwarding: Forwarding, model: ir.Model, context: Context
) -> None:
    """One walk over a graph, in order, so that a chain collapses onto its first value."""
    gone: list[ir.Node] = []
    for node in scope.graph:
        if node.op_identifier() in model.functions:
            continue
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            continue
        answer = forwarded_input(node, scope.opset(), facts)
        if answer is None:
            continue
        old = node.outputs[0]
        new = node.inputs[answer] if isinstance(answer, int) else None
        reason = answer if isinstance(answer, str) else "an input is omitted" if new is None else None
        if new is not None and reason is None:
            reason = forwarding.refusal(old, new)
        if new is not None and reason is None and old.is_graph_output() and facts.constant(new) is not None:
            reason = "it joins a value that becomes a constant to an output"
        if new is None or reason is not None:
            context.decline("remove-identity", site(node), reason or "")
        elif context.allow(Action("remove-identity", (old.name or "",), site(node), f"as {new.name}")):
            forwarding.forward_later(old, new)
            drop_inputs(node)
            gone.append(node)
    forwarding.settle()
    scope.graph.remove(gone)
