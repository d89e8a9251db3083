"""Quantization ranges from a histogram: ``(low, high)``, the values that the least and greatest level stand for."""

from __future__ import annotations

import numpy as np

from onnxslim.calibration.histogram import BINS, HALF, Histogram
from onnxslim.errors import InputError

CLIPS = np.linspace(1.0, 0.02, 99)
"""Shares of the full range that `mse` tries."""

SMOOTHING = 1e-4
"""Count that `entropy` gives to empty bins, as onnxruntime does: clipping may fill a bin that was empty."""


def min_max(histogram: Histogram) -> tuple[float, float]:
    """The exact extremes of the finite values."""
    _filled(histogram)
    return histogram.low, histogram.high


def percentile(histogram: Histogram, share: float) -> tuple[float, float]:
    """The range that holds ``share`` percent of the values, half of the rest cut off on either side.

    Linear within a bin: off by less than a bin's width from the percentile of the data itself.

    Args:
        histogram: Counts of the values.
        share: In percent, above 0, at most 100; usual are 99.9 to 99.999 (Wu et al., Integer Quantization for Deep
            Learning Inference, 2020, section 4.1).
    """
    _filled(histogram)
    if not 0 < share <= 100:
        raise InputError(f"percentile {share} does not exist", mend="use a number above 0, at most 100")
    cumulated = np.concatenate([[0], np.cumsum(histogram.counts)])
    tail = (100 - share) / 200
    total = cumulated[-1]
    low = _quantile(histogram, cumulated, tail * total)
    high = _quantile(histogram, cumulated, (1 - tail) * total)
    return min(max(low, histogram.low), histogram.high), max(min(high, histogram.high), histogram.low)


def mse(histogram: Histogram, levels: int = 256) -> tuple[float, float]:
    """The range, zero included, with the least mean squared error of ``levels`` evenly spaced values.

    Both ends are first shrunk together, then each alone (the aim of Banner et al., Post training 4-bit quantization,
    2019, section 3, by search instead of a fitted distribution).

    Args:
        histogram: Counts of the values.
        levels: 256 for 8 bits.
    """
    _filled(histogram)
    if levels < 2:
        raise InputError(f"{levels} levels are no quantization", mend="use 2 or more")
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if low == high:
        return low, high
    used = np.flatnonzero(histogram.counts)
    points = _points(histogram)[used]
    weights = histogram.counts[used].astype(np.float64)

    def best(lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
        errors = [_squared_error(points, weights, a, b, levels) for a, b in zip(lows, highs, strict=True)]
        place = int(np.argmin(errors))
        return float(lows[place]), float(highs[place])

    low, high = best(low * CLIPS, high * CLIPS)
    if low < 0 < high:
        low, high = best(low * CLIPS, np.full_like(CLIPS, high))
        low, high = best(np.full_like(CLIPS, low), high * CLIPS)
    return low, high


def entropy(histogram: Histogram, levels: int = 256) -> tuple[float, float]:
    """The symmetric cut, intersected with the extremes, whose quantized distribution tells least apart.

    The Kullback-Leibler divergence of the clipped counts from the same counts in ``levels`` groups (Migacz, 8-bit
    Inference with TensorRT, GTC 2017). Tried are 128 cuts between ``levels`` bins and the whole.

    Args:
        histogram: Counts of the values.
        levels: 256 for 8 bits.
    """
    _filled(histogram)
    if not 2 <= levels <= HALF:
        raise InputError(f"{levels} levels are not possible here", mend=f"use 2 to {HALF}")
    counts = histogram.counts.astype(np.float64)
    used = np.flatnonzero(histogram.counts)
    reach = int(max(HALF - used[0], used[-1] + 1 - HALF, 1))
    least = min(levels // 2, reach)
    best, cut = np.inf, reach
    for half in np.unique(np.linspace(least, reach, 128).astype(int))[::-1].tolist():
        divergence = _divergence(counts, half, levels)
        if divergence < best:
            best, cut = divergence, half
    threshold = cut * histogram.width
    return max(-threshold, histogram.low), min(threshold, histogram.high)


def _quantile(histogram: Histogram, cumulated: np.ndarray, rank: float) -> float:
    place = int(np.clip(np.searchsorted(cumulated, rank, side="left") - 1, 0, BINS - 1))
    if rank <= 0:
        return histogram.low
    inside = (rank - cumulated[place]) / max(1, int(histogram.counts[place]))
    return float((place - HALF + inside) * histogram.width)


def _points(histogram: Histogram) -> np.ndarray:
    """One value for each bin: its centre, within the extremes."""
    return np.clip(histogram.edges[:-1] + histogram.width / 2, histogram.low, histogram.high)


def _squared_error(points: np.ndarray, weights: np.ndarray, low: float, high: float, levels: int) -> float:
    scale = (high - low) / (levels - 1)
    if scale == 0 or not np.isfinite(scale):
        return np.inf
    zero = np.round(-low / scale)
    rounded = (np.clip(np.round(points / scale) + zero, 0, levels - 1) - zero) * scale
    with np.errstate(over="ignore"):  # near the end of float64 every error is infinite, and the full range is kept
        return float(np.dot(weights, np.square(rounded - points)))


def _divergence(counts: np.ndarray, half: int, levels: int) -> float:
    inside = counts[HALF - half : HALF + half]
    clipped = inside.copy()
    clipped[0] += counts[: HALF - half].sum()
    clipped[-1] += counts[HALF + half :].sum()
    # Each level's counts are spread evenly over its bins that are not empty.
    level = np.arange(2 * half) * min(levels, 2 * half) // (2 * half)
    filled = inside > 0
    mass, bins = np.bincount(level, inside), np.bincount(level, filled)
    spread = np.where(filled, (mass / np.maximum(bins, 1))[level], 0.0)
    spread[spread == 0] = SMOOTHING
    p, q = clipped / clipped.sum(), spread / spread.sum()
    p, q = p[clipped > 0], q[clipped > 0]
    return float(np.sum(p * np.log(p / q)))


def _filled(histogram: Histogram) -> None:
    if not histogram.counts.any():
        raise InputError("the histogram is empty", why="there was no finite value")
