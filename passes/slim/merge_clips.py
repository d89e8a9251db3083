"""Clip o Clip, Clip o Relu and Relu o Clip -> one Clip: the intersection of two intervals, where there is one."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
Interval = tuple[float, float]


class MergeClips(Rule):
    """Merge two nodes that limit floats to an interval with constant bounds; Relu's is [0, inf)."""

    name: ClassVar[str] = "merge-clips"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Clip", "Relu")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One of the two, or a new Clip."""
        middle = node.inputs[0]
        first = place.before(middle, "Clip", "Relu")
        x = first.inputs[0] if first is not None else None
        if first is None or middle is None or x is None or place.opset < 6:
            return None
        inner, outer = interval(first, place), interval(node, place)
        if inner is None or outer is None:
            return "a bound is not a constant number, or the numbers are no floats"
        low, high = max(inner[0], outer[0]), min(inner[1], outer[1])
        if not low <= high:
            return "the intervals do not meet: the result is a constant, which NaN is not"
        if (low, high) == inner:
            return Replacement(outputs=(middle,), detail="the second does nothing")
        if not place.is_free(middle, node):
            return "what is between has another use"
        if (low, high) == outer:
            inputs = [x, *node.inputs[1:]]
            new = ir.node(node.op_type, inputs, dict(node.attributes), name=node.name or None)
        elif place.opset < 11:
            new = ir.node("Clip", [x], {"min": low, "max": high}, name=node.name or None)
        else:
            dtype = place.facts.dtype(x)
            if dtype is None:
                return "the dtype is not known"
            bounds = [
                None if abs(b) == limit(dtype) else place.new_constant(np.array(b, dtype.numpy()), f"{x.name}_{name}")
                for name, b in (("min", low), ("max", high))
            ]
            new = ir.node("Clip", [x, *bounds], name=node.name or None)
        return Replacement((new,), (new.outputs[0],))


def limit(dtype: ir.DataType) -> float:
    """The largest finite number: what Clip limits to without a bound, infinities too."""
    return float(np.finfo(dtype.numpy()).max)


def interval(node: ir.Node, place: Place) -> Interval | None:
    """What a Clip or Relu limits floats to; None where it is not known, empty, or bounded by NaN."""
    x = node.inputs[0]
    dtype = place.facts.dtype(x) if x is not None else None
    if dtype is None or dtype not in FLOATS or (place.opset < 11 and dtype != ir.DataType.FLOAT):
        return None
    if node.op_type == "Relu":
        return 0.0, math.inf
    bounds = [-limit(dtype), limit(dtype)]
    for i, name in enumerate(("min", "max")):
        if place.opset < 11:
            attribute = node.attributes.get(name)
            if attribute is not None:
                if attribute.is_ref():
                    return None
                bounds[i] = attribute.as_float()
        elif len(node.inputs) > i + 1 and node.inputs[i + 1] is not None:
            given = place.known(node.inputs[i + 1])
            if given is None or given.size != 1:
                return None
            bounds[i] = float(given.reshape(-1)[0])
    return (bounds[0], bounds[1]) if bounds[0] <= bounds[1] else None
