"""Ranks that operators demand of their inputs: a run with others fails, by the specification and in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_RECURRENT: Mapping[int, Sequence[int]] = {0: (3,), 1: (3,), 2: (3,), 5: (3,), 6: (3,)}
RANKS: Mapping[str, Mapping[int, Sequence[int]]] = {
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Gemm": {0: (1, 2), 1: (2,)},  # the specification wants 2, but onnxruntime takes a vector for a matrix of one row
}
"""Operator of the default domain -> input -> ranks that some runtime takes, those of the specification among them."""
SAME_RANK = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv")
"""Operators whose weights have the rank of what they are applied to."""
_WEIGHTS = {"QLinearConv": 3}


def violation(op_type: str, ranks: Sequence[int | None]) -> str:
    """What is wrong with inputs of these ranks (None where unknown); empty where nothing is known to be.

    >>> violation("LSTM", [4, 3, 3]), violation("LSTM", [None, 3, 3])
    ('input 0 of LSTM has rank 4, not 3', '')
    """
    for index, wanted in RANKS.get(op_type, {}).items():
        found = ranks[index] if index < len(ranks) else None
        if found is not None and found not in wanted:
            return f"input {index} of {op_type} has rank {found}, not {' or '.join(map(str, wanted))}"
    if op_type in SAME_RANK:
        at = _WEIGHTS.get(op_type, 1)
        data, weights = ranks[0], ranks[at] if at < len(ranks) else None
        if data is not None and weights is not None and data != weights:
            return f"{op_type} of rank {data} with weights of rank {weights}"
    return ""
