"""Confidence intervals of few numbers, some of which may be outliers."""

from __future__ import annotations

import math
from functools import cache

import numpy as np


def trimmed_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Middle and half width of a confidence interval for the centre of ``values``, which may hold outliers.

    A tenth, but at least one value, is trimmed from each side where six or more are given; the width comes from the
    winsorized variance with n - 2k - 1 degrees of freedom (Yuen 1974).

    >>> middle, half = trimmed_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    >>> print(middle, round(half, 3))
    2.0 2.484
    """
    ordered = np.sort(values)
    count = len(ordered)
    cut = max(1, count // 10) if count >= 6 else 0
    kept = ordered[cut : count - cut]
    winsorized = np.clip(ordered, kept[0], kept[-1])
    error = float(winsorized.std(ddof=1)) / ((1 - 2 * cut / count) * math.sqrt(count))
    return float(kept.mean()), student_quantile((1 + confidence) / 2, len(kept) - 1) * error


@cache
def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t.

    With t = sqrt(n) tan(u) the density is proportional to cos(u)^(n - 1), which is summed on a fine grid.

    >>> round(student_quantile(0.975, 9), 3), round(student_quantile(0.995, 7), 3)
    (2.262, 3.499)
    """
    step = math.pi / 200_000
    angles = np.arange(-math.pi / 2 + step / 2, math.pi / 2, step)
    mass = np.cumsum(np.cos(angles) ** (freedom - 1))
    angle = float(np.interp(probability, mass / mass[-1], angles + step / 2))
    return math.sqrt(freedom) * math.tan(angle)
