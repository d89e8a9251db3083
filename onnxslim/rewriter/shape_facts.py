"""Shape inference once for several passes: it holds until a pass changes something."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis import ShapeFacts, infer_shapes
from onnxslim.pipeline.context import Context

_KEY = "shape facts"
_HARMLESS = frozenset(
    {"remove-node", "remove-initializer", "remove-function", "merge-nodes", "tie-initializers", "share-initializer"}
    | {"hoist-invariant", "same-numbers"}
)
"""Rules that make no new value and no value better known: what is known of those that stay, they leave as it is."""


def shape_facts(model: ir.Model, context: Context) -> ShapeFacts:
    """``infer_shapes(model)``, or what it gave before, where this run's passes only removed or merged since."""
    known = context.scratch.get(_KEY)
    if known is not None:
        of, actions, count, facts = known
        since = context.actions[count:]
        if of is model and actions is context.actions and all(action.rule in _HARMLESS for action in since):
            found: ShapeFacts = facts
            return found
    facts = infer_shapes(model)
    context.scratch[_KEY] = (model, context.actions, len(context.actions), facts)
    return facts


def forget_shape_facts(context: Context) -> None:
    """Lets go of the model and its facts."""
    context.scratch.pop(_KEY, None)
