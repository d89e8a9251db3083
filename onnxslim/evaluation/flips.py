"""Integers and booleans that a float decided: whether a changed one was a tie within the floats' bound."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CannotRun, OnnxSlimError
from onnxslim.evaluation import compare
from onnxslim.evaluation.views import decision
from onnxslim.execution import OnnxRuntime
from onnxslim.execution.feeds import Feed
from onnxslim.execution.opening import AnyModel
from onnxslim.graph import load

INDICES = {"ArgMax", "ArgMin", "TopK"}
"""Decisions whose output points into their input."""


def explained(
    model: ir.Model,
    candidate: AnyModel,
    output: str,
    before: np.ndarray,
    after: np.ndarray,
    feed: Feed,
    *,
    scale: float,
    threads: int,
) -> str:
    """Says that every changed element of ``output`` was a tie; empty where not so, or where that cannot be seen.

    The floats that decided (inputs of ArgMax, TopK, Cast, a comparison) are computed by the original, with
    optimizations disabled and enabled: their difference widens the bound as it does for float outputs. Where the
    candidate decides by the same operator, its floats must agree with them within the bound.

    Args:
        model: The original.
        candidate: The model judged.
        output: Name of an integer or boolean output.
        before: Its value.
        after: The candidate's.
        feed: The inputs of both.
        scale: See `onnxslim.evaluation.compare.dtype_scale`.
        threads: Threads of the sessions.
    """
    node = decision(model, output)
    if node is None:
        return ""
    try:
        floats = _floats(model, node, feed, threads, optimize=False)
        try:
            fused = _floats(model, node, feed, threads, optimize=True)
        except CannotRun:  # the original opens without optimizations only
            fused = floats
        judged = load(candidate)
        theirs = decision(judged, output)
        same = theirs is not None and theirs.op_type == node.op_type
        others = _floats(judged, theirs, feed, threads, optimize=False) if same and theirs is not None else floats
    except OnnxSlimError:
        return ""  # no evidence of a tie: the flip stays a difference
    if not all(compare.is_float(array) for array in floats):
        return ""
    own = max(compare.max_error(a, b) for a, b in zip(floats, fused, strict=True))
    for a, b in zip(floats, others, strict=True):
        if compare.same_form(a, b, output, 0) or compare.numeric(a, b, output, 0, own=own, scale=scale)[0]:
            return ""
    wide = [array.astype(np.float64) for array in floats]
    margins = [compare.bound(array, compare.own_bound(array, own, scale), scale) for array in wide]
    if not _is_tie(node, before, after, wide, margins):
        return ""
    flipped = int((before != after).sum())
    return f"{flipped:,} of {before.size:,} elements of {output!r} flipped at ties of its {node.op_type}"


def _floats(model: ir.Model, node: ir.Node, feed: Feed, threads: int, *, optimize: bool) -> list[np.ndarray]:
    """What ``node`` decided by: its first input, or both of a comparison."""
    count = 1 if node.op_type in INDICES or node.op_type == "Cast" else 2
    values = [value for value in node.inputs[:count] if value is not None]
    known = {v.name or "": v.const_value.numpy() for v in values if v.const_value is not None} | feed
    computed = [value for value in values if value.name not in known]
    if computed:
        inner = [value for value in computed if not value.is_graph_output()]
        session = OnnxRuntime(threads, optimize).open(model, inner)
        known |= session.run(feed, [value.name or "" for value in computed])
    return [known[value.name or ""] for value in values]


def _is_tie(
    node: ir.Node, before: np.ndarray, after: np.ndarray, floats: list[np.ndarray], margins: list[np.ndarray]
) -> bool:
    """Whether the original's floats, moved by up to their margins, allow ``after`` where it is not ``before``."""
    x, margin = floats[0], margins[0]
    if node.op_type in INDICES:
        axis = _int(node.attributes, "axis", -1 if node.op_type == "TopK" else 0)
        keeps_axis = node.op_type == "TopK" or bool(_int(node.attributes, "keepdims", 1))
        old = before if keeps_axis else np.expand_dims(before, axis)
        new = after if keeps_axis else np.expand_dims(after, axis)
        if new.min(initial=0) < 0 or new.max(initial=0) >= x.shape[axis] or not _distinct(new, axis):
            return False
        gap = np.abs(np.take_along_axis(x, old, axis) - np.take_along_axis(x, new, axis))
        room = np.take_along_axis(margin, old, axis) + np.take_along_axis(margin, new, axis)
        return bool((gap <= room).all())
    changed = before != after
    if node.op_type == "Cast":
        if before.dtype == np.bool_:
            return bool((np.abs(x) <= margin)[changed].all())
        low, high = np.trunc(x - margin), np.trunc(x + margin)
        return bool(((low <= after) & (after <= high))[changed].all())
    gap, room = np.broadcast_arrays(np.abs(x - floats[1]), margin + margins[1])
    return bool((gap <= room)[changed].all())


def _distinct(indices: np.ndarray, axis: int) -> bool:
    """Whether no index comes twice along ``axis``."""
    ordered = np.sort(indices, axis=axis)
    return bool((np.diff(ordered, axis=axis) != 0).all())


def _int(attributes: Mapping[str, ir.Attr], name: str, default: int) -> int:
    return attributes[name].as_int() if name in attributes else default
