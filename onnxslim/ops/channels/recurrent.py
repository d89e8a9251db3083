"""LSTM, GRU, RNN: a hidden unit is an entry of every gate, of both sides of the recurrence, and of the states."""

from __future__ import annotations

import numpy as np

from onnxslim.ops.channels.kept import Kept
from onnxslim.ops.channels.links import ChannelSum
from onnxslim.ops.channels.operator import OUT, Op, links, update

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@links(*GATES)
def _recurrent(op: Op) -> None:
    gates, shape = GATES[op.node.op_type], op.shape(2)
    if shape is None or len(shape) != 3 or not isinstance(shape[2], int) or op.integer("layout", 0):
        op.pin_all("its shapes are not known, or the batch comes first")
        return
    hidden = op.ids(2, 2)
    op.contract(0, 2, 1, 2)
    if op.value(OUT) is not None:
        op.contract(OUT, 3, 2, 2)  # the recurrence
    else:
        op.links.contractions.append(ChannelSum(op.node, OUT, 3, 2, 2))
    # Weights of the recurrence: what a unit reads, and what it adds to each gate; directions share their units.
    for slot, blocks, axis in ((1, gates, 1), (2, gates, 1), (3, 2 * gates, 1), (7, 3, 1)):
        ids = op.ids(slot, axis) if op.value(slot) is not None else None
        if ids is None:
            continue
        if hidden is None or len(ids) != blocks * len(hidden):
            op.pin_ids(ids, "its gates are not known")
        else:
            op.links.unite(ids, np.tile(hidden, blocks))
    for slot, axis in ((5, 2), (6, 2), (-2, 2), (-3, 2)):
        if op.value(slot) is not None:
            op.link(slot, axis, 2, 2)
    # The batch; a step of time changes those that follow, and directions stay as they are.
    for slot, axis in ((-1, 2), (-2, 1), (-3, 1), (5, 1), (6, 1)):
        if op.value(slot) is not None:
            op.link(0, 1, slot, axis)
    for slot in (0, OUT):
        op.pin(slot, 0, "a recurrence runs over it")
    if op.value(4) is not None:
        op.link(0, 1, 4, 0)


@update(*GATES)
def _update_hidden(op: Op, kept: Kept) -> None:
    if kept.changed(op.value(2), 2):
        kept.set_attribute(op.node, "hidden_size", kept.size(op.value(2), 2) or 0)
