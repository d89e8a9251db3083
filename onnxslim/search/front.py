"""What a search has tried: whole models, what was predicted and measured of each, and which of them are best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UP, NOTHING, INTERRUPTED = "the time was up", "nothing better is predicted", "interrupted"
"""Why a search ends."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers that a model is chosen by, predicted or measured on the samples to choose by.

    Attributes:
        bytes: Of the file.
        size_ratio: Bytes of the original over these.
        speedup: Time of the original over its time; None where nothing is timed.
        sqnr_db: Of the worst part of the outputs.
        drop: Of the metric; None where there is none.
        drop_bound: The drop with the confidence that is asked for: what is held against the limit.
    """

    bytes: int
    size_ratio: float
    speedup: float | None
    sqnr_db: float
    drop: float | None = None
    drop_bound: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A whole model that was built and measured.

    Attributes:
        key: Of its files in the folder of the search.
        choices: Name of a pass -> what was chosen of its offers; passes that do nothing are left out.
        predicted: Before it was built; None for the first ones.
        measured: None where it could not be built.
        reason: Why it must not be the result; empty where it may.
        best: Whether no other trial that may be the result is both smaller and faster.
        kept: Whether it is the result.
        command: The options that would choose it, such as ``--max-size 1.2MB``.
        seconds: That it took to build and measure.
    """

    key: str
    choices: Mapping[str, str]
    predicted: Figures | None = None
    measured: Figures | None = None
    reason: str = ""
    best: bool = False
    kept: bool = False
    command: str = ""
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """All choices in one line."""
        return ", ".join(f"{name}: {choice}" for name, choice in self.choices.items()) or "slimmed"


@dataclass(frozen=True, kw_only=True)
class Front:
    """All trials of a search, in the order in which they were built.

    Attributes:
        trials: Of them.
        goal: ``balanced``, ``smallest`` or ``fastest``.
        limits: What the result must keep, in words: ``metric`` -> ``drop of at most 0.01``.
        stopped: Why the search ended, in words.
        untried: Combinations of offers that were predicted and not built.
        looks: Trials that were judged on the report samples before one was kept.
        recalled: Trials that came from the journal of an earlier run.
    """

    trials: Sequence[Trial] = ()
    goal: str = "balanced"
    limits: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""
    untried: int = 0
    looks: int = 0
    recalled: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the search."""
        return self.stopped == INTERRUPTED

    @property
    def kept(self) -> Trial | None:
        """The result; None where it is none of the trials."""
        return next((each for each in self.trials if each.kept), None)


SAME_SIZE, SAME_SPEED = 0.005, 0.03
"""Shares by which sizes and speeds differ that are told apart: times are measured with noise."""


def dominates(one: Figures, other: Figures) -> bool:
    """Whether one model is as small and as fast as another, and better in one of the two; equal ones by their outputs.

    >>> small, fast = Figures(10, 4.0, 1.0, 30.0), Figures(20, 2.0, 2.0, 30.0)
    >>> dominates(small, fast), dominates(fast, Figures(20, 2.0, 1.5, 30.0))
    (False, True)
    """
    size = _compared(one.size_ratio, other.size_ratio, SAME_SIZE)
    speed = _compared(one.speedup or 1.0, other.speedup or 1.0, SAME_SPEED)
    if size == speed == 0:
        exact = (
            (one.sqnr_db, one.size_ratio, one.speedup or 1.0),
            (other.sqnr_db, other.size_ratio, other.speedup or 1.0),
        )
        return exact[0] > exact[1]
    return min(size, speed) >= 0


def _compared(one: float, other: float, same: float) -> int:
    """1 where the first is larger, -1 where it is smaller, 0 where they are alike."""
    if math.isclose(one, other, rel_tol=same):
        return 0
    return 1 if one > other else -1
