"""Whether a score is that of chance: by hits that can be counted, or with the labels in another order.

Chance is the share of hits that the same answers would have with the labels in another order. "No better than chance"
needs two-sided evidence, so that few samples raise no alarm: chance may well give so many hits (more than 5 %), and a
model halfway between chance and perfect would hardly give so few (less than 5 %). A metric of the user's has no such
scale. Its labels are shuffled, and the score in order must beat nearly all the shuffled ones (a permutation test:
Fisher, The Design of Experiments, 1935, section 21).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.evaluation.scoring import score_of_run
from onnxslim.samples import Sample

if TYPE_CHECKING:
    from onnxslim.execution import Run
    from onnxslim.samples import Metric

UNLIKELY = 0.05
LEAST_SHUFFLED, SHUFFLES = 32, 9
"""Samples below which labels are not shuffled, and how often they are."""


def chance_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of hits to be expected of the same answers to the same labels in another order.

    >>> chance_of([(np.array([0]), np.array([0])), (np.array([0]), np.array([1]))])
    0.5
    """
    said: Counter[Any] = Counter()
    right: Counter[Any] = Counter()
    for answer, label in pairs:
        for counter, array in ((said, answer), (right, label)):
            values, counts = np.unique(array, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    total = said.total() * right.total()
    return sum(count * right[value] for value, count in said.items()) / total if total else 0.0


def is_chance(hits: int, count: int, chance: float) -> bool:
    """Whether so many hits are those of chance, and too few for a model halfway between chance and perfect.

    >>> is_chance(8, 16, 0.5), is_chance(15, 16, 0.5), is_chance(1, 2, 0.5), is_chance(3, 24, 0.1)
    (True, False, False, True)
    """
    lucky = 1 - _at_most(hits - 1, count, chance)
    return lucky > UNLIKELY and _at_most(hits, count, (1 + chance) / 2) < UNLIKELY


def _at_most(hits: int, count: int, share: float) -> float:
    """The binomial distribution."""
    return math.fsum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(hits + 1))


def shuffled(metric: Metric, run: Run, samples: Sequence[Sample]) -> float | None:
    """The median score with shuffled labels, where the score with those in order does not beat nearly all of them."""
    if len(samples) < LEAST_SHUFFLED:
        return None
    generator = np.random.default_rng(0)
    try:
        whole = score_of_run(metric, run, samples)
        scores = [score_of_run(metric, run, _dealt(samples, generator)) for _ in range(SHUFFLES)]
    except InputError:
        return None  # each label is of its own sample's shape: they cannot be exchanged
    if all(score == whole for score in scores):
        return None  # the metric does not look at labels
    return float(np.median(scores)) if whole <= sorted(scores)[-2] else None


def _dealt(samples: Sequence[Sample], generator: np.random.Generator) -> list[Sample]:
    order = generator.permutation(len(samples))
    return [Sample(each.id, each.feed, samples[i].label) for each, i in zip(samples, order, strict=True)]
