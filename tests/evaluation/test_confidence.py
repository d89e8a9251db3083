"""Bounds of a drop: against closed forms, by their coverage, and where there is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from onnxslim.errors import InputError
from onnxslim.evaluation.confidence import GROUPS, PairedMetric, estimate, paired_drop
from onnxslim.evaluation.metrics import sqnr
from onnxslim.evaluation.remembered import Remembered
from onnxslim.execution import Feed, Outputs, Run
from onnxslim.execution.intervals import student_quantile
from onnxslim.samples import Sample


def samples(count: int) -> list[Sample]:
    return [Sample(f"s{i:03d}", {"x": np.array([i])}, label=1) for i in range(count)]


def answers(values: np.ndarray) -> Run:
    """A model that gives sample i the answer of that place."""
    return lambda feed: {"y": values[feed["x"]]}


def accuracy(run: Run, some: Iterable[Sample]) -> float:
    return float(np.mean([run(each.feed)["y"][0] == each.label for each in some]))


def f1(run: Run, some: Iterable[Sample]) -> float:
    """Of answers 3 (hit), 2 (missed) and 1 (false alarm): no mean over samples."""
    said = Counter(int(run(each.feed)["y"][0]) for each in some)
    return 2 * said[3] / (2 * said[3] + said[2] + said[1])


def test_the_error_of_an_accuracy_is_the_analytic_one() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(GROUPS) < 0.8, rng.random(GROUPS) < 0.6
    found = paired_drop(accuracy, answers(before), answers(after), samples(GROUPS))
    lost = before.astype(float) - after
    error = lost.std(ddof=1) / math.sqrt(GROUPS)
    assert found.value == pytest.approx(lost.mean())
    assert found.bound == pytest.approx(lost.mean() + student_quantile(0.9, GROUPS - 1) * error)
    ratios = []  # more samples than groups, of unequal sizes: the same on average
    for _ in range(20):
        lost = rng.normal(size=101)
        score = estimate(lambda run, some: float(np.mean([run(each.feed)["y"] for each in some])), answers(lost),
                         samples(101))  # fmt: skip
        assert score.high is not None
        half = score.high - score.value
        ratios.append(half / (student_quantile(0.975, GROUPS - 1) * lost.std(ddof=1) / math.sqrt(101)))
    assert np.mean(np.square(ratios)) == pytest.approx(1, abs=0.15)


def test_bounds_cover_the_true_drop_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    chances = {"before": [0.1, 0.1, 0.8], "after": [0.15, 0.15, 0.7]}
    true = 2 * 0.8 / (1.6 + 0.2) - 2 * 0.7 / (1.4 + 0.3)
    some, covered, trials = samples(48), 0, 120
    for _ in range(trials):
        draw = rng.random(48)  # one draw for both: what is hard for the one is hard for the other
        before, after = (1 + np.searchsorted(np.cumsum(chances[name]), draw) for name in ("before", "after"))
        bound = paired_drop(f1, answers(before), answers(after), some).bound
        assert bound is not None
        covered += bound >= true
    assert 0.85 <= covered / trials <= 0.97


def test_nothing_lost_and_too_few_samples() -> None:
    right = answers(np.ones(64))
    drop = paired_drop(accuracy, right, right, samples(64))
    assert (drop.value, drop.bound, drop.samples, drop.why) == (0.0, 0.0, 64, "")
    few = paired_drop(accuracy, right, answers(np.zeros(64)), samples(7))
    assert (few.value, few.bound) == (1.0, None)
    assert few.why == "7 distinct samples, at least 8 are needed"
    same = [Sample(str(i), {"x": np.array([0])}, 1) for i in range(20)]
    assert paired_drop(accuracy, right, right, same).why == "1 distinct sample, at least 8 are needed"
    assert estimate(accuracy, right, samples(64)).why == "all groups of samples score the same"
    with pytest.raises(InputError, match="no samples"):
        paired_drop(accuracy, right, right, [])


def test_a_metric_that_fails_on_a_part_of_the_samples_has_no_bound() -> None:
    kinds = np.array([3] + [0] * 15)  # one sample alone is of the class: without it F1 is 0 / 0
    drop = paired_drop(f1, answers(kinds), answers(kinds), samples(16))
    assert (drop.value, drop.bound) == (0.0, None)
    assert "without 1 of the 16 samples the metric failed: ZeroDivisionError" in drop.why


def test_infinite_scores() -> None:
    run = answers(np.arange(16.0))
    with pytest.raises(InputError, match="the original scores inf"):
        PairedMetric(sqnr(run), run, samples(16))
    lost = paired_drop(lambda run, _: float(run({"x": np.array([0])})["y"][0]), run, answers(np.array([-math.inf])),
                       samples(16))  # fmt: skip
    assert lost.value == lost.bound == math.inf


class Source:
    """Samples that are made anew in each reading."""

    def __iter__(self) -> Iterator[Sample]:
        yield from samples(32)


@pytest.mark.parametrize(("memory", "runs"), [(1 << 20, 1), (32 * 8 * 2, 1), (32 * 8, 9), (0, 17)])
def test_outputs_are_computed_once_where_they_fit(memory: int, runs: int) -> None:
    count = Counter[str]()

    def model(name: str) -> Run:
        def run(feed: Feed) -> Outputs:
            count[name] += 1
            return {"y": np.asarray(feed["x"] % 3 > 0)[None] * np.ones(1)}

        return run

    def metric(run: Run, some: Iterable[Sample]) -> float:
        total = 0.0
        for each in some:
            y = run(each.feed)["y"]
            total += float(y[0, 0])
            y[:] = 9  # its own copy
        return total / 32

    paired = PairedMetric(metric, model("a"), Source(), memory=memory)
    drops = [paired.drop(model(name)) for name in "bc"]
    assert drops[0] == drops[1]
    assert drops[0].value == drops[0].bound == 0
    assert count["a"] == count["b"] == count["c"]
    assert count["a"] == pytest.approx(32 * runs, rel=0.1)


def test_what_is_no_array_is_not_remembered() -> None:
    calls = []
    run = Remembered(lambda feed: calls.append(1) or {"y": np.zeros(1)}, 1 << 20)  # type: ignore[func-returns-value]
    for _ in range(2):
        run({"x": [np.zeros(1), np.zeros(2)]})  # type: ignore[dict-item]
    assert len(calls) == 2
