"""Normalizations, reductions, pooling: axes over which something is summed must stay, the others pass."""

from __future__ import annotations

import numpy as np

from onnxslim.ops.channels.kept import Kept, update
from onnxslim.ops.channels.operator import OUT, Op, links, merge
from onnxslim.ops.reductions import AXES_ARE_INPUT_SINCE

WHOLE = "what is computed over the axis would change"


@links("BatchNormalization")
def _batch_normalization(op: Op) -> None:
    if any(op.value(slot) is not None for slot in (-2, -3, -4, -5)):
        op.pin_all("it is in training mode")
        return
    merge(op, [0])
    for slot in range(1, 5):
        op.link(slot, 0, 0, 1)


@links("InstanceNormalization")
def _instance_normalization(op: Op) -> None:
    merge(op, [0], keep=(0, 1))
    for slot in (1, 2):
        op.link(slot, 0, 0, 1)


@links("GroupNormalization")
def _group_normalization(op: Op) -> None:
    """Channels of a group are seen together, so that they go together."""
    merge(op, [0], keep=(0, 1))
    ids, groups = op.ids(0, 1), op.integer("num_groups", 0)
    if ids is None or groups < 1 or len(ids) % groups:
        op.pin_ids(ids, "its groups are not known")
        return
    table = ids.reshape(groups, -1)
    op.links.unite(table[:, 1:].reshape(-1), np.repeat(table[:, 0], table.shape[1] - 1))
    for slot in (1, 2):  # one number for each channel, and before opset 21 for each group
        own = op.ids(slot, 0)
        if own is not None and len(own) in (len(ids), groups):
            op.links.unite(own, ids if len(own) == len(ids) else table[:, 0])
        else:
            op.pin_ids(own, "its size is that neither of the channels nor of the groups")


@update("GroupNormalization")
def _update_groups(op: Op, kept: Kept) -> None:
    mask = kept.mask(op.value(0), 1)
    if mask is not None and not mask.all():
        each = len(mask) // op.integer("num_groups", 1)
        kept.set_attribute(op.node, "num_groups", int(mask.sum()) // each)


@links("LayerNormalization", "RMSNormalization")
def _layer_normalization(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    axis = op.integer("axis", -1) % rank
    if any(op.value(slot) is not None and (op.rank(slot) or rank) > rank - axis for slot in (1, 2)):
        op.pin_all("its scales spread over other axes")
        return
    merge(op, [0], keep=range(axis))
    for slot in (-2, -3):
        if op.value(slot) is not None and op.rank(slot) == rank:
            for each in range(axis):
                op.link(0, each, slot, each)
    for each in range(axis, rank):
        for slot in (0, OUT):
            op.pin(slot, each, WHOLE)


@links("Softmax", "LogSoftmax", "Hardmax")
def _softmax(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    axis = op.integer("axis", -1 if op.version >= 13 else 1) % max(rank, 1)
    whole = {axis} if op.version >= 13 else set(range(axis, rank))
    _but(op, whole)


@links("LpNormalization", "CumSum", "CumProd")
def _along(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    if op.node.op_type == "LpNormalization":
        axis: int | None = op.integer("axis", -1)
    else:
        found = op.integers(1)
        axis = found[0] if found else None
    _but(op, set(range(rank)) if axis is None else {axis % rank})


@links("LRN", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "AveragePool", "MaxPool", "LpPool")
def _pool(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    kept = [0] if op.node.op_type == "LRN" else [0, 1]
    for slot in (OUT, -2):
        if op.value(slot) is not None:
            for axis in kept:
                if op.node.op_type == "MaxPool" and slot == -2:
                    op.pin(slot, axis, "indices into the whole tensor")
                    op.pin(0, axis, "indices into the whole tensor")
                else:
                    op.link(0, axis, slot, axis)
    for axis in set(range(rank)) - set(kept):
        op.pin(0, axis, WHOLE)


@links(*AXES_ARE_INPUT_SINCE)
def _reduce(op: Op) -> None:
    rank = op.rank(0)
    since = AXES_ARE_INPUT_SINCE[op.node.op_type]
    axes = op.parameter("axes", 1, since)
    if rank is None or (op.version >= since and op.value(1) is not None and axes is None):
        op.pin_all("its axes are not known")
        return
    if not axes and op.integer("noop_with_empty_axes", 0):
        merge(op, [0])
        return
    _reduced(op, {axis % rank for axis in axes} if axes else set(range(rank)))


@links("ArgMax", "ArgMin")
def _arg(op: Op) -> None:
    rank = op.rank(0)
    if rank is not None:
        _reduced(op, {op.integer("axis", 0) % rank})


@links("TopK")
def _top_k(op: Op) -> None:
    rank = op.rank(0)
    if rank is None:
        return
    whole = op.integer("axis", -1) % rank
    for axis in range(rank):
        if axis == whole:
            for slot in (0, -1, -2):
                op.pin(slot, axis, WHOLE)
        else:
            op.link(0, axis, -1, axis)
            op.link(0, axis, -2, axis)


def _but(op: Op, whole: set[int]) -> None:
    """All axes pass but these."""
    rank = op.rank(0) or 0
    merge(op, [0], keep=[axis for axis in range(rank) if axis not in whole])
    for axis in whole:
        for slot in (0, OUT):
            op.pin(slot, axis, WHOLE)


def _reduced(op: Op, whole: set[int]) -> None:
    """All axes pass but these, which are gone from the output, or 1 in it."""
    rank, kept, out = op.rank(0) or 0, op.integer("keepdims", 1), 0
    for axis in range(rank):
        if axis in whole:
            op.pin(0, axis, WHOLE)
        else:
            op.link(0, axis, OUT, axis if kept else out)
            out += 1
