"""The reductions of ONNX, and since when each takes its axes as an input."""

from __future__ import annotations

from typing import Final

AXES_ARE_INPUT_SINCE: Final[dict[str, int]] = {
    "ReduceSum": 13,
    **dict.fromkeys(
        [
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSumSquare",
        ],
        18,
    ),
}
"""Operator -> opset version; before it the axes are an attribute."""
