"""Integers and booleans that a float decided: whether a changed one was a tie within the floats' bound."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime import compare
from onnxslim.runtime.feeds import Feed
from onnxslim.runtime.session import open_session
from onnxslim.runtime.views import decision, exposed

INDICES = {"ArgMax", "ArgMin", "TopK"}
"""Decisions whose output points into their input."""


def explained(
    model: ir.Model,
    output: str,
    before: np.ndarray,
    after: np.ndarray,
    feed: Feed,
    *,
    scale: float,
    threads: int,
) -> str:
    """Says that every changed element of ``output`` was a tie in the original's own floats; empty where not so.

    The floats that decided (inputs of ArgMax, TopK, Cast, a comparison) are computed by the original, with
    optimizations disabled and enabled: their difference widens the bound as it does for float outputs.

    Args:
        model: The original.
        output: Name of an integer or boolean output.
        before: Its value.
        after: The candidate's.
        feed: The inputs of both.
        scale: See `onnxslim.runtime.compare.dtype_scale`.
        threads: Threads of the sessions.
    """
    node = decision(model, output)
    if node is None:
        return ""
    count = 1 if node.op_type in INDICES or node.op_type == "Cast" else 2
    values = [value for value in node.inputs[:count] if value is not None]
    names = [value.name or "" for value in values]
    try:
        with exposed(model, [v for v in values if not v.is_graph_output() and v.const_value is None]):
            plain = open_session(model, threads=threads, optimize=False)
            fused = open_session(model, threads=threads)
        dynamic = [v.name or "" for v in values if v.const_value is None and not v.is_graph_input()]
        floats = {name: feed[name] for name in names if name in feed}
        floats.update({v.name or "": v.const_value.numpy() for v in values if v.const_value is not None})
        floats.update(plain.run(feed, dynamic))
        moved = fused.run(feed, dynamic)
    except OnnxSlimError:
        return ""  # no evidence of a tie: the flip stays a difference
    if not all(compare.is_float(floats[name]) for name in names):
        return ""
    wide = [floats[name].astype(np.float64) for name in names]
    widest = max((compare.max_error(floats[name], array) for name, array in moved.items()), default=0.0)
    margins = [compare.bound(array, widest, scale) for array in wide]
    if not _is_tie(node, before, after, wide, margins):
        return ""
    flipped = int((before != after).sum())
    return f"{flipped:,} of {before.size:,} elements of {output!r} flipped at ties of its {node.op_type}"


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
