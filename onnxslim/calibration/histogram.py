"""Histograms of fixed power-of-two bins: what is counted does not depend on the order, the parts or who counted them.

Bin ``i`` of 4096 covers ``[(i - 2048) * w, (i - 2047) * w)`` with ``w = 2**exponent``, the smallest power of two for
which the largest magnitude seen is below ``2048 * w``. When a larger one comes, the width doubles and pairs of bins are
summed, which gives exactly the counts that the wider bins would have had. So equal data gives equal histograms.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

BINS = 4096
HALF = BINS // 2
MIN_EXPONENT = -200
"""Width of the bins while only zeros were seen. Values below 2**-189 share the two bins beside zero."""
CHUNK = 1 << 18
"""Values counted at a time: bounds the memory."""
TINY = math.ldexp(1.0, -1022)
"""Least normal double; what is below it once scaled may have vanished."""


class Histogram:
    """Counts of finite values, with their exact extremes; NaN and Inf are counted apart."""

    def __init__(self) -> None:
        self.exponent = MIN_EXPONENT
        self.counts = np.zeros(BINS, np.int64)
        self.low, self.high = math.inf, -math.inf
        self.nonfinite = 0

    @property
    def width(self) -> float:
        """Width of a bin, a power of two."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> np.ndarray:
        """``float64[4097]``: borders of the bins; the outermost are infinite where float64 ends."""
        with np.errstate(over="ignore"):
            return np.ldexp(np.arange(-HALF, HALF + 1, dtype=np.float64), self.exponent)

    @property
    def total(self) -> int:
        """How many finite values were counted."""
        return int(self.counts.sum())

    def add(self, values: np.ndarray, block: int = 0) -> None:
        """Counts a float array of any shape. ``block`` is of no account."""
        del block
        flat = values.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            chunk = flat[start : start + CHUNK].astype(np.float64)
            finite = np.isfinite(chunk)
            if not finite.all():
                self.nonfinite += int(chunk.size - np.count_nonzero(finite))
                chunk = chunk[finite]
            if chunk.size:
                self._count(chunk)

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of the data of both. Exact, commutative and associative."""
        result = Histogram()
        result.exponent = max(self.exponent, other.exponent)
        result.counts = _widened(self.counts, result.exponent - self.exponent)
        result.counts += _widened(other.counts, result.exponent - other.exponent)
        result.low, result.high = min(self.low, other.low), max(self.high, other.high)
        result.nonfinite = self.nonfinite + other.nonfinite
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for a file."""
        return {
            "counts": self.counts,
            "whole": np.array([self.exponent, self.nonfinite], np.int64),
            "extremes": np.array([self.low, self.high]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """What `to_arrays` gave. Raises ValueError where it cannot have."""
        counts, whole, extremes = arrays["counts"], arrays["whole"], arrays["extremes"]
        if counts.dtype != np.int64 or counts.shape != (BINS,) or counts.min() < 0:
            raise ValueError("malformed counts")
        if whole.dtype != np.int64 or whole.shape != (2,) or not MIN_EXPONENT <= whole[0] <= 1024 or whole[1] < 0:
            raise ValueError("malformed exponent")
        if extremes.dtype != np.float64 or extremes.shape != (2,) or (counts.any() and not extremes[0] <= extremes[1]):
            raise ValueError("malformed extremes")
        result = cls()
        result.counts = counts
        result.exponent, result.nonfinite = int(whole[0]), int(whole[1])
        result.low, result.high = float(extremes[0]), float(extremes[1])
        return result

    def _count(self, values: np.ndarray) -> None:
        """Counts finite doubles, and overwrites them."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        exponent = fitting_exponent(max(-low, high))
        if exponent > self.exponent:
            self.counts = _widened(self.counts, exponent - self.exponent)
            self.exponent = exponent
        # Scaling by a power of two is exact unless it underflows, as only tiny doubles do: a negative one is in bin -1.
        scale = math.ldexp(1.0, -self.exponent)
        lost = np.flatnonzero((values < 0) & (values > -TINY / scale)) if scale < 1 and low < 0 else None
        values *= scale
        np.floor(values, out=values)
        if lost is not None:
            values[lost] = -1
        places = values.astype(np.intp)
        places += HALF
        self.counts += np.bincount(places, minlength=BINS)


def fitting_exponent(magnitude: float) -> int:
    """The least exponent for which ``magnitude`` is below ``2048 * 2**exponent``."""
    if magnitude == 0:
        return MIN_EXPONENT
    return max(math.frexp(magnitude)[1] - (HALF.bit_length() - 1), MIN_EXPONENT)


def _widened(counts: np.ndarray, doublings: int) -> np.ndarray:
    """The counts after the width doubled so many times."""
    # From 11 doublings on everything is in the two bins beside zero, and stays there.
    share = 1 << min(doublings, HALF.bit_length() - 1)
    result = np.zeros(BINS, np.int64)
    kept = BINS // share
    start = HALF - kept // 2
    result[start : start + kept] = counts.reshape(kept, share).sum(axis=1)
    return result
