"""Conv o Pad -> Conv, and AveragePool, MaxPool o Pad -> the pooling, with larger ``pads``.

Conv and AveragePool (with ``count_include_pad``) pad with zeros as Pad does by default; MaxPool pads with what is never
the largest, which is what Pad with -infinity does, and with 0 where no element is negative, as after Relu.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .linear import ints, is_dead, number


class FusePad(Rule):
    """Give the padding of spatial dims to the Conv or pooling that comes next, where it pads with the same number."""

    name: ClassVar[str] = "fuse-pad"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Conv", "AveragePool", "MaxPool")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """One node for two."""
        padded = node.inputs[0]
        pad = place.before(padded, "Pad")
        if pad is None or padded is None or pad.inputs[0] is None or is_dead(node):
            return None
        if not place.is_free(padded, node):
            return "what is padded has another use"
        rank = rank_of(node, place)
        if rank is None or rank < 3:
            return "the number of dims is not known"
        more = padding(pad, place, rank)
        if isinstance(more, str):
            return more
        before = own_padding(node, rank - 2)
        if isinstance(before, str):
            return before
        reason = obstacle(node, pad, before, more, place)
        if reason is not None:
            return reason
        attributes = {name: each for name, each in node.attributes.items() if name not in ("auto_pad", "pads")}
        attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(before, more, strict=True)])
        if node.op_type == "AveragePool":
            attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
        new = remade(node, [pad.inputs[0], *node.inputs[1:]], attributes)
        return Replacement([new], (new.outputs[0],))


def rank_of(node: ir.Node, place: Place) -> int | None:
    """Number of dims of the input."""
    kernel = ints(node, "kernel_shape")
    if kernel is not None:
        return len(kernel) + 2
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    return place.facts.rank(weights) if weights is not None else None


def padding(pad: ir.Node, place: Place, rank: int) -> tuple[int, ...] | str:
    """What a Pad adds to the spatial dims, all begins, then all ends; a reason where that is not all, or unknown."""
    mode = pad.attributes.get("mode")
    if mode is not None and (mode.is_ref() or mode.as_string() != "constant"):
        return "it does not pad with one number"
    axes: Sequence[int] = range(rank)
    if place.opset < 11:
        given = ints(pad, "pads")
    else:
        array = place.known(pad.inputs[1]) if len(pad.inputs) > 1 else None
        given = None if array is None else tuple(int(n) for n in array.reshape(-1))
        if len(pad.inputs) > 3 and pad.inputs[3] is not None:
            listed = place.known(pad.inputs[3])
            if listed is None:
                return "the padding is not known"
            axes = [int(n) % rank for n in listed.reshape(-1)]
    if given is None or len(given) != 2 * len(axes) or len(set(axes)) != len(axes):
        return "the padding is not known"
    result = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        result[axis], result[rank + axis] = given[position], given[len(axes) + position]
    if any(result[i] for i in (0, 1, rank, rank + 1)):
        return "it pads samples or channels, too"
    if any(n < 0 for n in result):
        return "negative padding cuts off"
    return (*result[2:rank], *result[rank + 2 :])


def fill(pad: ir.Node, place: Place) -> float | None:
    """What is padded with; None where it is not known."""
    if place.opset < 11:
        return number(pad, "value", 0.0)
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return 0.0
    array = place.known(pad.inputs[2])
    return None if array is None or array.size != 1 else float(array.reshape(())[()])


def own_padding(node: ir.Node, dims: int) -> tuple[int, ...] | str:
    """The ``pads`` of a Conv or pooling that says them itself."""
    auto = node.attributes.get("auto_pad")
    if auto is not None and (auto.is_ref() or auto.as_string() not in ("NOTSET", "VALID")):
        return "its own padding depends on the size"
    if "pads" not in node.attributes or (auto is not None and auto.as_string() == "VALID"):
        return (0,) * (2 * dims)
    pads = ints(node, "pads")
    return pads if pads is not None and len(pads) == 2 * dims else "its own padding is not known"


def obstacle(node: ir.Node, pad: ir.Node, before: Sequence[int], more: Sequence[int], place: Place) -> str | None:
    """Why both paddings together would mean something else."""
    value = fill(pad, place)
    if value is None:
        return "what is padded with is not known"
    if node.op_type == "Conv":
        return None if value == 0 else "it does not pad with zeros"
    if any(y.name for y in node.outputs[1:]):
        return "its indices count what is padded"
    kernel = ints(node, "kernel_shape")
    if number(node, "ceil_mode", 0) != 0 or "dilations" in node.attributes or kernel is None:
        return "its windows end where the padding does"
    if any(a + b >= k for a, b, k in zip(before, more, (*kernel, *kernel), strict=True)):
        return "a window would hold nothing but padding"
    if node.op_type == "MaxPool":
        if value == -np.inf or (value == 0 and place.before(pad.inputs[0], "Relu") is not None):
            return None
        return "it pads with what may be the largest"
    if place.opset < 7 or value != 0:
        return "it does not pad with zeros"
    if any(before) and number(node, "count_include_pad", 0) != 1:
        return "its own padding does not count"
    return None
