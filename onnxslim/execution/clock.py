"""How long runs take, and whether there is time for one on another feed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from onnxslim.execution.feeds import Feed


class Clock:
    """A budget of time for runs on feeds. A run is taken to need as long for each element as the slowest before.

    Args:
        seconds: The budget; None means no bound.
        sides: How often each run counts, for others that will be as long.
    """

    def __init__(self, seconds: float | None, sides: int = 1) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._sides = sides
        self._spent = self._rate = 0.0
        self.longest = 0.0
        """Seconds of the longest run."""

    def has_time_for(self, feed: Feed) -> bool:
        """Whether a run on ``feed`` is likely to end within the budget; always before the first run."""
        return self._spent + self._sides * self._rate * _elements(feed) <= self._seconds

    @contextmanager
    def counting(self, feed: Feed) -> Iterator[None]:
        """Counts what the block takes for ``feed``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self._spent += self._sides * took
            self._rate = max(self._rate, took / _elements(feed))
            self.longest = max(self.longest, took)


def _elements(feed: Feed) -> int:
    return max(1, sum(np.size(array) for array in feed.values()))
