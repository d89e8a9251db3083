"""Ranges and means of a tensor, over all of it or for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from onnxslim.calibration.blocks import BlockSum
from onnxslim.ops.unfold import Uneven


class Range:
    """Least and greatest finite value, exact; NaN and Inf are counted apart.

    ``low`` and ``high`` are ``float64[]``, or ``float64[C]`` where ``axis`` is given; inf and -inf before any value.
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None
        self.nonfinite = 0

    def add(self, values: np.ndarray, block: int = 0) -> None:
        """Takes in a float array. ``block`` is of no account."""
        del block
        others = _others(values, self.axis)
        finite = np.isfinite(values)
        where: Any = True
        if not finite.all():
            self.nonfinite += int(values.size - np.count_nonzero(finite))
            where = finite
        low = np.asarray(values.min(axis=others, initial=np.inf, where=where), np.float64)
        high = np.asarray(values.max(axis=others, initial=-np.inf, where=where), np.float64)
        self._include(low, high)

    def merge(self, other: Range) -> Range:
        """The range over the data of both."""
        result = Range(self.axis)
        for part in (self, other):
            if part.low is not None and part.high is not None:
                result._include(part.low, part.high)
        result.nonfinite = self.nonfinite + other.nonfinite
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for a file."""
        if self.low is None or self.high is None:
            raise ValueError("nothing was added")
        return {"low": self.low, "high": self.high, "whole": np.array([self.nonfinite], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], axis: int | None = None) -> Self:
        """What `to_arrays` gave. Raises ValueError where it cannot have."""
        low, high, whole = arrays["low"], arrays["high"], arrays["whole"]
        if (
            low.dtype != np.float64
            or high.dtype != np.float64
            or low.shape != high.shape
            or low.ndim != (axis is not None)
        ):
            raise ValueError("malformed range")
        if whole.dtype != np.int64 or whole.shape != (1,):
            raise ValueError("malformed count")
        result = cls(axis)
        result.low, result.high, result.nonfinite = low, high, int(whole[0])
        return result

    def _include(self, low: np.ndarray, high: np.ndarray) -> None:
        if self.low is None or self.high is None:
            self.low, self.high = low.copy(), high.copy()
            return
        _same_channels(self.low, low, self.axis)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)


class Mean:
    """Mean of the finite values in float64, summed by `BlockSum`."""

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self._sum = BlockSum()
        self.count: np.ndarray | None = None

    @property
    def value(self) -> np.ndarray:
        """``float64[]`` or ``float64[C]``; NaN where there was no finite value."""
        if self.count is None:
            raise ValueError("nothing was added")
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sum.total() / self.count)

    def add(self, values: np.ndarray, block: int) -> None:
        """Takes in one sample's float array."""
        others = _others(values, self.axis)
        finite = np.isfinite(values)
        channels = () if self.axis is None else (values.shape[self.axis],)
        count = np.full(channels, values.size // max(1, int(np.prod(channels, dtype=np.int64))), np.int64)
        where: Any = True
        if not finite.all():
            where, count = finite, np.asarray(np.count_nonzero(finite, axis=others), np.int64)
        if self.count is not None:
            _same_channels(self.count, count, self.axis)
            count = self.count + count
        self.count = np.asarray(count)
        self._sum.add(np.array(values.sum(axis=others, dtype=np.float64, where=where)), block)

    def merge(self, other: Mean) -> Mean:
        """The mean over the data of both, whose blocks must be disjoint."""
        result = Mean(self.axis)
        counts = [part.count for part in (self, other) if part.count is not None]
        if len(counts) == 2:
            _same_channels(counts[0], counts[1], self.axis)
        result.count = np.asarray(sum(counts)) if counts else None
        result._sum = self._sum.merge(other._sum)
        return result

    @classmethod
    def pooled(cls, means: Sequence[Mean]) -> Mean:
        """The mean over the data of all, which may be of different sample sets: what each block gave is forgotten."""
        result = cls(means[0].axis)
        for each in means:
            if each.count is None:
                continue
            if result.count is not None:
                _same_channels(result.count, each.count, each.axis)
            result.count = each.count if result.count is None else np.asarray(result.count + each.count)
        result._sum.add(np.asarray(sum(each._sum.total() for each in means if each.count is not None)), 0)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for a file."""
        if self.count is None:
            raise ValueError("nothing was added")
        return {"count": self.count, **self._sum.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], axis: int | None = None) -> Self:
        """What `to_arrays` gave. Raises ValueError where it cannot have."""
        result = cls(axis)
        count = arrays["count"]
        if count.dtype != np.int64 or count.ndim != (axis is not None) or arrays["sums"].shape[1:] != count.shape:
            raise ValueError("malformed mean")
        result.count, result._sum = count, BlockSum.from_arrays(arrays)
        return result


def _others(values: np.ndarray, axis: int | None) -> tuple[int, ...] | None:
    """All axes but ``axis``."""
    if axis is None:
        return None
    if not -values.ndim <= axis < values.ndim:
        raise Uneven(f"there is no axis {axis} in a tensor of shape {list(values.shape)}")
    return tuple(i for i in range(values.ndim) if i != axis % values.ndim)


def _same_channels(before: np.ndarray, now: np.ndarray, axis: int | None) -> None:
    if before.shape != now.shape:
        raise Uneven(f"axis {axis} has size {before.size} in one sample and {now.size} in another")
