"""Two small integer tensors that hold the same numbers in every run -> the first of them.

Exporters compute the same dims again and again, by other ways: the Shape of another tensor, a product for a Slice of a
concatenation. Symbolic inference knows what they hold, as it knows shapes; no comparison of nodes finds them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import Expr, ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import site
from onnxslim.graph.uses import drop_inputs
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import Forwarding, Scope, scopes
from onnxslim.rewriter.shape_facts import shape_facts


@dataclass(frozen=True)
class SameNumbers(Pass):
    """Use one value for all that inference knows to hold the same dims and numbers, each graph for itself.

    Only computed ones, with something symbolic in them: what is constant is folded elsewhere.
    """

    name: ClassVar[str] = "same-numbers"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Merges them in place."""
        facts, forwarding = shape_facts(model, context), Forwarding(model)
        for scope in scopes(model):
            merge_numbers(scope, facts, forwarding, context)
        return context.result()


def numbers_key(value: ir.Value, facts: ShapeFacts) -> Hashable | None:
    """Equal for values that are equal in every run; None where the numbers are not followed, or none is symbolic."""
    elements = facts.value(value)
    if elements is None or not any(isinstance(element, Expr) for element in elements.flat):
        return None
    dtype = facts.dtype(value)
    if dtype is None or not dtype.is_integer():
        return None
    return dtype, elements.shape, tuple(elements.flat)


def merge_numbers(scope: Scope, facts: ShapeFacts, forwarding: Forwarding, context: Context) -> None:
    """One walk over a graph, in order, so that the first of equal values stands before all uses of the others."""
    first: dict[Hashable, ir.Value] = {}
    gone: list[ir.Node] = []
    for node in scope.graph:
        used = [output for output in node.outputs if output.uses() or output.is_graph_output()]
        for old in used:
            key = numbers_key(old, facts)
            if key is None:
                continue
            new = first.setdefault(key, old)
            if new is old or len(used) != 1:
                continue
            reason = forwarding.refusal(old, new)
            if reason is not None:
                context.decline("same-numbers", site(node), reason)
            elif context.allow(Action("same-numbers", (old.name or "",), site(node), f"as {new.name}")):
                forwarding.forward_later(old, new)
                drop_inputs(node)
                gone.append(node)
    forwarding.settle()
    scope.graph.remove(gone)
