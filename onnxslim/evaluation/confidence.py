"""How sure a score is: the interval of one model's, and the upper bound of what a candidate loses of it.

A metric is any function of a run and samples (F1, an error rate, accuracy). It need not be a mean over samples, so its
variance has no formula. The delete-group jackknife needs none: samples are dealt into at most `GROUPS` groups, the
metric is taken without each group in turn, and the spread of these values gives the standard error (Shao & Tu, The
Jackknife and Bootstrap, 1995; for groups of unequal sizes Busing, Meijer & van der Leeden, Delete-m jackknife for
unequal m, 1999). What is bounded is the difference of two models on the same samples: what both get wrong cancels out.

Where no group differs from another, the error is zero and the bound is the value. A rare fault that none of the samples
shows is not in the bound, then.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxslim.errors import InputError
from onnxslim.evaluation.metrics import load_metric
from onnxslim.evaluation.remembered import Remembered, feed_bytes
from onnxslim.evaluation.scoring import score_of_run
from onnxslim.execution.intervals import student_quantile
from onnxslim.samples.identity import content_hash
from onnxslim.samples.sample import Sample, Samples
from onnxslim.samples.splits import ENOUGH

if TYPE_CHECKING:
    from onnxslim.execution import Run
    from onnxslim.samples import Metric

GROUPS = 16
"""Groups that are left out in turn, at most: the metric is taken so many times and once."""
CONFIDENCE = 0.9
"""One-sided, of the bound of a drop."""
MEMORY = 256 << 20
"""Bytes of feeds and outputs that may be kept; what does not fit is read and run again."""


@dataclass(frozen=True, slots=True)
class Drop:
    """What a candidate loses of the original's score on the same samples; below 0 where it scores better.

    Attributes:
        value: ``before - after``.
        bound: What the drop is at most, with ``confidence``; None where that cannot be told.
        samples: How many both were scored on.
        before: Score of the original.
        after: Score of the candidate.
        confidence: One-sided, of ``bound``.
        why: Why there is no bound; else empty.
    """

    value: float
    bound: float | None
    samples: int
    before: float
    after: float
    confidence: float = CONFIDENCE
    why: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A model's score on samples, with a two-sided interval.

    Attributes:
        value: The score.
        low: Lower end of the interval; None where that cannot be told.
        high: Upper end.
        samples: How many it was scored on.
        confidence: Of the interval.
        why: Why there is no interval; else empty.
    """

    value: float
    low: float | None
    high: float | None
    samples: int
    confidence: float
    why: str = ""


class PairedMetric:
    """The original's side of drops: its scores are computed once, for any number of candidates.

    Args:
        metric: Scores a run on samples; higher is better.
        run: Runs the original.
        samples: What both are scored on.
        confidence: One-sided, of the bounds.
        memory: Bytes of feeds, and of the outputs of the model that is scored, that may be kept.

    Raises:
        InputError: The metric fails on all samples, there are none, or the original's score is infinite, so that a drop
            from it means nothing.
    """

    def __init__(
        self,
        metric: Metric,
        run: Run,
        samples: Samples,
        *,
        confidence: float = CONFIDENCE,
        memory: int = MEMORY,
    ) -> None:
        self._metric, self._confidence, self._memory = load_metric(metric), _checked(confidence), memory // 2
        self._groups = Groups(samples, self._memory)
        self._before = _replicates(self._metric, run, self._groups, self._memory)
        if not math.isfinite(self._before.value):
            raise InputError(
                f"the original scores {self._before.value}, so a drop from it means nothing",
                mend="give min_sqnr instead of max_drop, or another metric",
            )

    @property
    def before(self) -> float:
        """The original's score."""
        return self._before.value

    def drop(self, run: Run) -> Drop:
        """What the candidate that ``run`` runs loses.

        Raises:
            InputError: The metric fails on all samples.
        """
        before, groups = self._before, self._groups
        after = _replicates(self._metric, run, groups, self._memory, alone=bool(before.why))
        value = before.value - after.value
        bound, why = None, before.why or after.why
        if value == math.inf:
            bound, why = math.inf, ""
        elif not why:
            error, why = groups.error(value, before.without - after.without)
            if not why:
                bound = value + student_quantile(self._confidence, len(groups.sizes) - 1) * error
        return Drop(value, bound, len(groups), before.value, after.value, self._confidence, why)


def paired_drop(
    metric: Metric,
    original_run: Run,
    candidate_run: Run,
    samples: Samples,
    *,
    confidence: float = CONFIDENCE,
    memory: int = MEMORY,
) -> Drop:
    """What a candidate loses of the original's score, with an upper bound; see `PairedMetric` for the arguments."""
    return PairedMetric(metric, original_run, samples, confidence=confidence, memory=memory).drop(candidate_run)


def estimate(metric: Metric, run: Run, samples: Samples, *, confidence: float = 0.95, memory: int = MEMORY) -> Estimate:
    """The score of one model, with a two-sided interval.

    Args:
        metric: Scores a run on samples; higher is better.
        run: Runs the model.
        samples: What it is scored on.
        confidence: Of the interval.
        memory: Bytes of feeds and outputs that may be kept.

    Raises:
        InputError: The metric fails on all samples, or there are none.
    """
    groups = Groups(samples, memory // 2)
    found = _replicates(load_metric(metric), run, groups, memory // 2)
    low = high = None
    error, why = (0.0, found.why) if found.why else groups.error(found.value, found.without)
    if not why and error == 0:
        why = "all groups of samples score the same"
    if not why:
        half = student_quantile((1 + _checked(confidence)) / 2, len(groups.sizes) - 1) * error
        low, high = found.value - half, found.value + half
    return Estimate(found.value, low, high, len(groups), confidence, why)


class Groups:
    """Samples, dealt into groups of which each can be left out.

    Samples of equal content, whatever their ids and labels, are of one group: they tell the same thing twice. Groups
    are dealt by a hash of the ids, the same on every machine and in any order of the samples.

    Attributes:
        held: The samples, where they fit into the memory: else they are read again each time.
        sizes: Samples of each group, int64 (groups,); empty where there are too few to tell anything.
    """

    def __init__(self, samples: Samples, memory: int) -> None:
        self.held: list[Sample] | None = []
        units: dict[bytes, list[int]] = {}
        names: list[str] = []
        for place, sample in enumerate(samples):
            units.setdefault(content_hash(sample), []).append(place)
            names.append(sample.id)
            memory -= feed_bytes(sample.feed)
            if memory < 0:
                self.held = None
            elif self.held is not None:
                self.held.append(sample)
        if not names:
            raise InputError("there are no samples to score")
        self._samples: Samples = samples if self.held is None else self.held
        self._group_of = np.zeros(len(names), np.int64)
        self.distinct = len(units)
        count = min(GROUPS, len(units)) if len(units) >= ENOUGH else 0
        dealt = sorted(
            units.values(), key=lambda places: hashlib.sha256(min(names[i] for i in places).encode()).digest()
        )
        for rank, places in enumerate(dealt if count else ()):
            self._group_of[places] = rank % count
        self.sizes = np.bincount(self._group_of, minlength=count) if count else np.zeros(0, np.int64)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._group_of)

    def but(self, gone: int | None) -> _Kept:
        """The samples of all groups but one, in their order; all of them for None."""
        return _Kept(self._samples, [gone is None or each != gone for each in self._group_of.tolist()])

    def error(self, value: float, without: np.ndarray) -> tuple[float, str]:
        """The standard error of a value, and why there is none; see `jackknife_error`."""
        if not (math.isfinite(value) and np.isfinite(without).all()):
            return math.nan, "a score is infinite"
        return jackknife_error(value, without, self.sizes), ""


class _Kept:
    """Some samples of a source, in its order; it can be read more than once."""

    def __init__(self, samples: Iterable[Sample], kept: Sequence[bool]) -> None:
        self._samples, self._kept = samples, kept

    def __len__(self) -> int:
        return sum(self._kept)

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample, kept in zip(self._samples, self._kept, strict=True) if kept)


def jackknife_error(value: float, without: np.ndarray, sizes: np.ndarray) -> float:
    """Standard error of a statistic by the delete-group jackknife, for groups of any sizes.

    Of a mean, with one sample a group, it is the sample's deviation over the root of their number:

    >>> x = np.array([1.0, 2.0, 4.0])
    >>> error = jackknife_error(x.mean(), (x.sum() - x) / 2, np.ones(3, int))
    >>> bool(np.isclose(error, x.std(ddof=1) / np.sqrt(3)))
    True

    Args:
        value: On all samples.
        without: On all but those of each group, float64 (groups,).
        sizes: Samples of each group, (groups,).
    """
    share = sizes.sum() / sizes
    pseudo = share * value - (share - 1) * without
    centre = len(sizes) * value - float(((1 - 1 / share) * without).sum())
    return math.sqrt(float(np.mean((pseudo - centre) ** 2 / (share - 1))))


@dataclass(frozen=True, slots=True)
class _Replicates:
    """A score on all samples and without each group, float64 (groups,), or why there are none of the latter."""

    value: float
    without: np.ndarray
    why: str = ""


def _replicates(metric: Metric, run: Run, groups: Groups, memory: int, *, alone: bool = False) -> _Replicates:
    """Scores of a model; ``alone`` where only that on all samples is needed."""
    kept = Remembered(run, memory, groups.held or ())
    value = score_of_run(metric, kept, groups.but(None))
    if not len(groups.sizes):
        few = f"{groups.distinct} distinct sample{'s' * (groups.distinct != 1)}, at least {ENOUGH} are needed"
        return _Replicates(value, np.zeros(0), few)
    if alone:
        return _Replicates(value, np.zeros(0))
    found = []
    for gone in range(len(groups.sizes)):
        try:
            found.append(score_of_run(metric, kept, groups.but(gone)))
        except InputError as error:  # such as a class that only this group has
            said = f"{error.what}: {error.why}" if error.why else error.what
            why = f"without {groups.sizes[gone]} of the {len(groups)} samples {said}"
            return _Replicates(value, np.zeros(0), why)
    return _Replicates(value, np.array(found, np.float64))


def _checked(confidence: float) -> float:
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence is {confidence}", mend="give a share of 0.5 or more and below 1, such as 0.9")
    return confidence
