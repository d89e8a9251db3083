"""What a search needs of the world: someone who makes offers and whole models, and measures them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from onnxslim.pipeline.offer import Effects
from onnxslim.search.space import Axis, Point, Space


@dataclass(frozen=True, slots=True)
class BuiltTrial:
    """A whole model.

    Attributes:
        key: Of its files.
        bytes: Of its file.
        sqnr_db: Of the worst part of the outputs on the samples to choose by.
        drop: Of the metric; None where there is none.
        drop_bound: See `Figures`.
        speedup: Against the original; None where nothing is timed.
        reason: Why it could not be built; empty where it was.
        seconds: That it took.
        recalled: Whether it was built by an earlier run.
    """

    key: str
    bytes: int = 0
    sqnr_db: float = -math.inf
    drop: float | None = None
    drop_bound: float | None = None
    speedup: float | None = None
    reason: str = ""
    seconds: float = 0.0
    recalled: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """What single offers may do.

    Attributes:
        noise: Over signal.
        drop: Of the metric; None where there is none.
    """

    noise: float
    drop: float | None

    def passed(self, effects: Effects) -> bool:
        """Whether an offer is so bad that no stronger one is of use."""
        return effects.noise > self.noise or (self.drop is not None and effects.drop > self.drop)


@dataclass(frozen=True, slots=True)
class OfferRequest:
    """A request for the next offers of an axis.

    Attributes:
        axis: Whose.
        count: How many, at most.
        bound: Behind an offer beyond it no more are wanted.
    """

    axis: Axis
    count: int
    bound: Bound


class Lab(Protocol):
    """Where offers and models are made and measured."""

    def work(self, space: Space, points: Sequence[Point], asked: Sequence[OfferRequest]) -> list[BuiltTrial]:
        """Builds and measures whole models, and beside them adds offers to axes; those that are at their end say so."""

    def known(self, space: Space) -> list[tuple[Point, BuiltTrial]]:
        """All whole models that earlier runs have built and measured of these passes."""
