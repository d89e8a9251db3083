"""LSTM, GRU, RNN with an initial state of zeros -> without one: they begin with zeros unless told otherwise."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import constant_tensor
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .linear import MOVES, is_dead

STATES = (5, 6)
"""Inputs ``initial_h`` and ``initial_c``."""
MAX_NODES = 16


def only_zeros(value: ir.Value, place: Place) -> bool:
    """Whether every element is 0, by how it is computed."""
    pending, seen = [value], set[ir.Value]()
    while pending:
        x = pending.pop()
        if x in seen:
            continue
        seen.add(x)
        tensor = constant_tensor(x)
        if tensor is not None:
            if tensor.meta or tensor.dtype == ir.DataType.STRING or tensor.numpy().any():
                return False
            continue
        node = place.before(x, "ConstantOfShape", "Concat", "Split", *MOVES)
        if node is None or len(seen) > MAX_NODES:
            return False
        if node.op_type == "ConstantOfShape":
            fill = node.attributes.get("value")
            if fill is not None and (fill.is_ref() or fill.as_tensor().numpy().any()):
                return False
        else:
            pending.extend(y for y in (node.inputs if node.op_type == "Concat" else node.inputs[:1]) if y is not None)
    return True


class DropZeroState(Rule):
    """Leave out an initial state of zeros, and with it what computes its shape."""

    name: ClassVar[str] = "drop-zero-state"
    tier: ClassVar[Tier] = Tier.EXACT
    op_types: ClassVar[tuple[str, ...]] = ("GRU", "LSTM", "RNN")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """The node without the states that are zeros."""
        if is_dead(node) or place.opset < 7:
            return None
        inputs = list(node.inputs)
        given = [at for at in STATES if at < len(inputs) and inputs[at] is not None]
        zeros = [at for at in given if (state := inputs[at]) is not None and only_zeros(state, place)]
        if not zeros:
            return "its initial state is not known to be zeros" if given else None
        for at in zeros:
            inputs[at] = None
        while inputs[-1] is None:
            inputs.pop()
        new = remade(node, inputs, outputs=len(node.outputs))
        return Replacement((new,), tuple(new.outputs))
