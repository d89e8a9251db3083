"""Scores that can be compared item by item."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Tally = NDArray[np.float64]
"""Shape [items, 2]: what an item earned, and the most it could earn. The score is the ratio of the column sums.

Accuracy is (right, 1), character accuracy (length - edits, length), F1 (2 * hits, found + wanted), an IoU
(intersection, union): one shape for all, from which paired intervals follow without knowing the metric.
"""


def ratio(tally: Tally) -> float:
    """The score of a tally.

    >>> ratio(np.array([[1.0, 1.0], [0.0, 1.0]]))
    0.5
    """
    earned, possible = tally.sum(axis=0)
    return float(earned / possible) if possible else 0.0


def in_order(scores: ArrayLike, truths: ArrayLike) -> Tally:
    """How well scores order items, item by item: pairs with an item of another truth, and how many are in order.

    The score of the tally is the share of all such pairs, (tau + 1) / 2 of Kendall's tau where no truths are equal: 1/2
    for a guess. Equal scores earn nothing. An item is compared with all others, so it is no item without them.

    >>> in_order([0.5, 0.7, 0.6], [1, 2, 3]).tolist()
    [[2.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """
    by_score, by_truth = (np.sign(np.subtract.outer(values, values)) for values in (scores, truths))
    return np.stack([((by_score == by_truth) & (by_truth != 0)).sum(1), (by_truth != 0).sum(1)], 1).astype(np.float64)


def paired_interval(
    a: Tally, b: Tally, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of ``ratio(a) - ratio(b)`` over the same items, by the paired percentile bootstrap (Efron 1979).

    Args:
        a: Shape [items, 2].
        b: Shape [items, 2]; row i is the same item as row i of ``a``.
        confidence: Share of the bootstrap differences inside the interval.
        draws: Number of bootstrap resamples.
        seed: Of the resampling; the same arguments give the same interval.

    Raises:
        ValueError: The tallies are not of the same items.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"two tallies of the same items are needed, not shapes {a.shape} and {b.shape}")
    rng = np.random.default_rng(seed)
    # Counts of each item in each draw: two matrix products instead of gathering the rows.
    counts = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws).astype(np.float64)
    earned_a, possible_a = (counts @ a).T
    earned_b, possible_b = (counts @ b).T
    difference = earned_a / np.maximum(possible_a, 1e-12) - earned_b / np.maximum(possible_b, 1e-12)
    tail = (1 - confidence) / 2
    low, high = np.quantile(difference, [tail, 1 - tail])
    return float(low), float(high)
