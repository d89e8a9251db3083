"""Loop with one iteration -> its body; Loop without one -> the values that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import add_initializer, site
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import as_nodes
from onnxslim.rewriter.shape_facts import shape_facts

from .loops import Repeated, repeated, starts
from .remove_unused import detach
from .splice import Splicer


@dataclass(frozen=True)
class InlineLoop(Pass):
    """Put the body of a Loop in its place where it runs just once; where it never runs, the Loop's inputs.

    1. One iteration: the trip count is known to be 1, and the condition to be true or absent. The iteration number is
       0; an output that is collected gets the dim 1 in front.
    2. None: the trip count is known to be 0 or less, or the condition to be false. Nothing may use what would have been
       collected, since the dims of an empty collection are the runtime's choice.
    """

    name: ClassVar[str] = "inline-loop"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Inlines in place; what a body holds is looked at in the next run."""
        loops = repeated(model, "Loop")
        if loops:
            facts, splicer = shape_facts(model, context), Splicer(model)
            for loop in loops:
                if loop.node.graph is loop.scope.graph:  # else it went with the body of an outer one
                    inline_loop(loop, model, facts, splicer, context)
        return context.result()


def inline_loop(loop: Repeated, model: ir.Model, facts: ShapeFacts, splicer: Splicer, context: Context) -> None:
    """Inlines one Loop if it runs once or never."""
    node, count = loop.node, trips(loop, facts)
    if count not in (0, 1):
        context.decline("inline-loop", site(node), "it is not known to run once or never")
        return
    reason = _refusal(loop, count, model, splicer)
    if reason is not None:
        context.decline("inline-loop", site(node), reason)
        return
    names = tuple(y.name or "" for y in node.outputs)
    if not context.allow(Action("inline-loop", names, site(node), f"it runs {'once' if count else 'never'}")):
        return
    if count == 0:
        for old, start in zip(node.outputs, node.inputs[2:], strict=False):
            assert start is not None
            splicer.forwarding.forward(old, start)
        detach(node)
        loop.scope.graph.remove(node)
        return
    _bind(loop, splicer)
    splicer.splice(loop.scope, node, loop.body)


def _refusal(loop: Repeated, count: int, model: ir.Model, splicer: Splicer) -> str | None:
    """Why a Loop that runs ``count`` times may not be inlined; None if it may."""
    node = loop.node
    reason = splicer.refusal(node, loop.body)
    if reason is not None:
        return reason
    if any(x is None for x in node.inputs[2:]):
        return "a value that it starts from is not given"
    if count == 0 and any(y.uses() or y.is_graph_output() for y in node.outputs[len(node.inputs) - 2 :]):
        return "what it would have collected is used"
    if as_nodes(loop.scope, model):
        return "the graph around holds no initializers"
    if count == 0 and any(y.is_graph_output() for y in node.outputs):
        return "it gives an output of the graph"
    return splicer.growth(splicer.clashing(loop.scope, loop.body), ()) if count else None


def trips(loop: Repeated, facts: ShapeFacts) -> int | None:
    """How often the body runs, where that is known to be 0 or 1."""
    begins = starts(loop, facts)
    limit = loop.node.inputs[0]
    elements = facts.value(limit) if limit is not None else None
    number = elements.reshape(-1)[0] if elements is not None and elements.size == 1 else None
    if begins is False or (isinstance(number, int) and number <= 0):
        return 0
    return 1 if begins and isinstance(number, int) and number == 1 else None


def _bind(loop: Repeated, splicer: Splicer) -> None:
    """Gives the body's inputs their values of the first iteration, and its outputs the form of the Loop's."""
    node, body, graph = loop.node, loop.body, loop.scope.graph
    starting = [np.array(0, np.int64), np.array(True)]
    body.outputs.pop(0)
    for at, y in enumerate(list(body.outputs)):
        if y.is_graph_input():  # handed on as it is: it may not become an output that another graph defines
            same = ir.node("Identity", [y], name="", outputs=[ir.Value(name=splicer.names.fresh(f"{y.name}_same"))])
            body.append(same)
            body.outputs[at] = same.outputs[0]
    for index, x in enumerate(list(body.inputs)):
        if index < 2:
            if not x.uses():
                continue
            known: ir.Value | None = add_initializer(graph, splicer.names.fresh(x.name or "start"), starting[index])
        else:
            known = node.inputs[index]
        assert known is not None
        x.replace_all_uses_with(known)
    body.inputs.clear()
    for at in range(len(node.inputs) - 2, len(body.outputs)):
        value, name = body.outputs[at], splicer.names.fresh(f"{body.outputs[at].name}_once")
        if loop.scope.opset() < 13:
            stacked = ir.node("Unsqueeze", [value], {"axes": [0]}, name="", outputs=[ir.Value(name=name)])
        else:
            axes = add_initializer(graph, splicer.names.fresh(f"{name}_axes"), np.array([0], np.int64))
            stacked = ir.node("Unsqueeze", [value, axes], name="", outputs=[ir.Value(name=name)])
        body.append(stacked)
        body.outputs[at] = stacked.outputs[0]
