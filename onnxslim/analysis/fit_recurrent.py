"""Sizes that LSTM, GRU and RNN demand: of weights, bias, states and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.analysis.dims import Dim
from onnxslim.analysis.operator import Operator, differ
from onnxslim.ops.channels.recurrent import GATES

_ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
_NAMES = {1: "W", 2: "R", 3: "B", 4: "sequence_lens", 5: "initial_h", 6: "initial_c", 7: "P"}


def recurrent(op: Operator) -> str:
    """Why the inputs of an LSTM, GRU or RNN do not fit each other; empty where they may.

    Notation of the definition: X is [length, batch, input], W [directions, gates * hidden, input], R [directions,
    gates * hidden, hidden]. ``layout`` 1 puts the batch first.
    """
    kind = op.node.op_type
    directions = 2 if op.text("direction", "forward") == "bidirectional" else 1
    given, wanted = len(op.get("activations") or ()), _ACTIVATIONS[kind] * directions
    if given and (given < wanted or (given > wanted and kind != "RNN")):  # onnxruntime reads the first of an RNN's
        return f"{given} activations are given, and it has {wanted}"
    for index, rank in ((0, 3), (1, 3), (2, 3), (3, 2), (4, 1), (5, 3), (6, 3), (7, 2)):
        shape = op.shape(index)
        if shape is not None and len(shape) != rank:
            return f"{_NAMES.get(index, 'X')} has {len(shape)} dims, and must have {rank}"
    x, r = op.shape(0), op.shape(2)
    hidden: Dim | None = op.get("hidden_size")
    if hidden is None:
        hidden = None if r is None else r[2]
    if not isinstance(hidden, int):
        return ""
    if hidden < 1:
        return f"hidden_size is {hidden}"
    first = op.get("layout", 0) == 1
    batch, size = (None, None) if x is None else (x[0 if first else 1], x[2])
    rows = GATES[kind] * hidden
    state = [batch, directions, hidden] if first else [directions, batch, hidden]
    expected: dict[int, Sequence[Dim | None]] = {
        1: [directions, rows, size],
        2: [directions, rows, hidden],
        3: [directions, 2 * rows],
        4: [batch],
        5: state,
        6: state,
        7: [directions, 3 * hidden],
    }
    for index, dims in expected.items():
        shape = op.shape(index)
        if shape is not None and any(differ(a, b) for a, b in zip(shape, dims, strict=True)):
            shown = ", ".join("?" if dim is None else str(dim) for dim in dims)
            return f"{_NAMES[index]} has the dims [{', '.join(map(str, shape))}], and must have [{shown}]"
    return ""
