"""Scores under amplified errors: few samples tell then what they hide."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.evaluation.amplified import FACTOR, amplified, bounded_drop
from onnxslim.evaluation.confidence import PairedMetric
from onnxslim.evaluation.metrics import top1
from onnxslim.execution.feeds import Feed, Outputs, Run
from onnxslim.samples import Sample

MEMORY = 1 << 24


def test_errors_of_floats_grow_and_nothing_else_does() -> None:
    def run(scale: float) -> Run:
        return lambda feed: {
            "scores": feed["x"] * np.float32(scale),
            "label": np.array([1 if scale > 1 else 0]),
            "names": [{1: 0.5}],  # type: ignore[dict-item]
        }

    x = np.array([1.0, -2.0], np.float32)
    found = amplified(run(1.0), run(1.1), 3.0)({"x": x})
    np.testing.assert_allclose(found["scores"], 1.3 * x, rtol=1e-6)
    assert found["scores"].dtype == np.float32
    assert found["label"] == 1
    assert found["names"] == [{1: 0.5}]


def classifier(margin: np.ndarray, noise: np.ndarray, level: float) -> Run:
    """Two classes; the first leads by a margin, and noise moves it."""

    def run(feed: Feed) -> Outputs:
        place = int(feed["place"][0])
        return {"scores": np.array([[margin[place] + level * noise[place], 0.0]])}

    return run


@pytest.mark.parametrize(("level", "holds"), [(0.001, True), (0.03, False)])
def test_the_bound_tells_a_risky_model_from_a_safe_one_where_no_sample_flips(level: float, holds: bool) -> None:
    generator = np.random.default_rng(2)
    count = 64
    margin = generator.uniform(0, 1, count) + 0.03
    noise = generator.standard_normal(count)
    noise = np.where(margin + level * noise > 0, noise, 0.0)  # none flips
    samples = [Sample(str(i), {"place": np.array([i])}, 0) for i in range(count)]
    original = classifier(margin, noise, 0.0)
    metric = PairedMetric(top1, original, samples, memory=MEMORY)
    drop = bounded_drop(metric, original, classifier(margin, noise, level), MEMORY)
    assert drop.value == 0
    assert drop.bound is not None
    assert (drop.bound <= 0.01) == holds
    plain = metric.drop(classifier(margin, noise, level))
    assert plain.bound == 0, "which is why errors are amplified"


def test_a_metric_of_integers_keeps_its_plain_bound() -> None:
    samples = [Sample(str(i), {"place": np.array([i])}, 0) for i in range(32)]

    def run(wrong: int) -> Run:
        return lambda feed: {"label": np.array([int(feed["place"][0] < wrong)])}

    metric = PairedMetric(top1, run(0), samples, memory=MEMORY)
    plain, found = metric.drop(run(2)), bounded_drop(metric, run(0), run(2), MEMORY)
    assert found == plain
    assert found.bound is not None
    assert found.bound > 2 / 32
    assert FACTOR > 1
