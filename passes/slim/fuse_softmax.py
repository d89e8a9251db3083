"""The steps of Softmax and LogSoftmax over the last axis -> the operator.

With d = x - max(x) and s = sum(exp(d)), Softmax is ``exp(d) / s`` and LogSoftmax ``d - log(s)``. The maximum and the
sum may have lost the axis and got it back by Reshape, Unsqueeze or Expand. Both sides compute the same, the sum in
another order; rows of NaN, of infinity or of nothing but -infinity give NaN on both (in double, onnxruntime's
LogSoftmax does not: only float32 is rewritten to it).

Not rewritten: ``exp(x) / sum(exp(x))`` overflows above 88 where Softmax does not, and log(Softmax) gives -infinity
where LogSoftmax does not: the results would differ. Over another axis onnxruntime's operators transpose, and were found
to be slower than the steps in places (0.27 ms against 0.21).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.facts import Shape
from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import confined, float_dtype, inputs, scalar
from .reductions import axes_of, keeps_dims

MAX_STEPS = 6
_DTYPES = {"Softmax": (ir.DataType.FLOAT, ir.DataType.DOUBLE), "LogSoftmax": (ir.DataType.FLOAT,)}


def reduced(place: Place, value: ir.Value | None, x: ir.Value, op_type: str) -> list[ir.Node] | None:
    """The nodes that make ``value`` of ``x``: the reduction over the last axis and what gives the axis back; or None.

    Each step between has the shape of x without the last axis, with 1 in its place, or the shape of x.
    """
    shape = place.facts.shape(x)
    if shape is None or not shape:
        return None
    without, one = shape[:-1], (*shape[:-1], 1)
    nodes: list[ir.Node] = []
    wanted: tuple[Shape, ...] = (one, shape)
    while value is not None and len(nodes) < MAX_STEPS:
        node = place.before(value, op_type, "Reshape", "Unsqueeze", "Expand", "Max", "Identity")
        found = place.facts.shape(value)
        if node is None or found not in wanted or node.inputs[0] is None:
            return None
        nodes.append(node)
        if node.op_type == op_type:
            if node.inputs[0] is not x or axes_of(place, node) != (len(shape) - 1,):
                return None
            return nodes if found == (one if keeps_dims(node) else without) else None
        source = node.inputs[0]
        if node.op_type == "Max":  # with -infinity: nothing happens
            low = [y for y in inputs(node) if scalar(place, y) == -np.inf]
            rest = [y for y in inputs(node) if y not in low]
            if len(rest) != 1 or not low:
                return None
            source, wanted = rest[0], (found,)
        elif node.op_type == "Identity":
            wanted = (found,)
        elif node.op_type == "Expand":
            if found == without:
                return None
            wanted = (one,) if found != one else (found,)
        else:  # elements keep their order
            wanted = (without, one) if found == one else (found,)
        value = source
    return None


class FuseSoftmax(Rule):
    """Join the steps of a Softmax or LogSoftmax."""

    name: ClassVar[str] = "fuse-softmax"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Div", "Sub")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        if len(node.inputs) != 2:
            return None
        left, right = node.inputs
        if left is None or right is None:
            return None
        steps = [node]
        if node.op_type == "Div":
            op_type, exp, total = "Softmax", place.before(left, "Exp"), right
            below = reduced(place, total, left, "ReduceSum") if exp is not None else None
        else:
            op_type, log, shifted = "LogSoftmax", place.before(right, "Log"), place.before(left, "Sub")
            if log is None or shifted is None or log.inputs[0] is None:
                return None
            steps.append(log)
            found = _sum_of_exp(place, log.inputs[0], left)
            exp, below = found if found is not None else (None, None)
        if exp is None or below is None:
            return None
        sub = place.before(exp.inputs[0], "Sub")
        if sub is None or sub.inputs[0] is None:
            return "it is taken without subtracting the maximum: where exp overflows, the operator would not"
        x = sub.inputs[0]
        top = reduced(place, sub.inputs[1], x, "ReduceMax")
        shape = place.facts.shape(x)
        if top is None or shape is None:
            return "what is subtracted is not known to be the maximum over the last axis"
        if not float_dtype(place, x, *_DTYPES[op_type]):
            return "it is not known to be of a type that onnxruntime computes the same in"
        if not confined([*steps, *below, exp, sub, *top], node):
            return "others need one of its steps too"
        attributes = {} if place.opset >= 13 else {"axis": len(shape) - 1}
        new = ir.node(op_type, [x], attributes)
        return Replacement([new], [new.outputs[0]], op_type)


def _sum_of_exp(place: Place, total: ir.Value, d: ir.Value) -> tuple[ir.Node, list[ir.Node]] | None:
    """The Exp of ``d`` that ``total`` is the sum of over the last axis, and the nodes of the sum."""
    for use in d.uses():
        exp = use.node
        if exp.op_type == "Exp" and exp.domain == "":
            below = reduced(place, total, exp.outputs[0], "ReduceSum")
            if below is not None:
                return exp, below
    return None
