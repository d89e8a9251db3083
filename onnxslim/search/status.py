"""How far a search is, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.search.front import Figures


@dataclass(frozen=True, slots=True)
class Status:
    """How far a search is.

    Attributes:
        stage: What it is doing, in words.
        best: The best result so far, measured on the samples to choose by; None before there is one.
        trials: Whole models that were built.
        elapsed: Seconds since the start.
        left: Seconds until the time is up; None where it is not limited.
    """

    stage: str
    best: Figures | None = None
    trials: int = 0
    elapsed: float = 0.0
    left: float | None = None
