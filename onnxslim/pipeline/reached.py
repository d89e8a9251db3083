"""How far a run is, as whoever watches it sees it.

A search stands above the pipeline, whose configuration every part of a run shares. So the configuration asks for these
few facts, and ``onnxslim.search.Status`` is one who has them.
"""

from __future__ import annotations

from typing import Protocol


class Standing(Protocol):
    """The numbers of the best result so far; see ``onnxslim.search.Figures``."""

    @property
    def bytes(self) -> int:
        """Of the file."""

    @property
    def size_ratio(self) -> float:
        """Bytes of the original over these."""

    @property
    def speedup(self) -> float | None:
        """Time of the original over its time; None where nothing is timed."""

    @property
    def sqnr_db(self) -> float:
        """Of the worst part of the outputs."""

    @property
    def drop(self) -> float | None:
        """Of the metric; None where there is none."""


class Reached(Protocol):
    """How far a run is; see ``onnxslim.search.Status``."""

    @property
    def stage(self) -> str:
        """What it is doing, in words."""

    @property
    def best(self) -> Standing | None:
        """The best result so far; None before there is one."""

    @property
    def trials(self) -> int:
        """Whole models that were built."""

    @property
    def left(self) -> float | None:
        """Seconds until the time is up; None where it is not limited."""
