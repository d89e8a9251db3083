"""What rejects a candidate, in which order, and what an evaluator measures."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim import execution
from onnxslim.errors import InputError
from onnxslim.evaluation import Parity, Tier
from onnxslim.evaluation.confidence import Drop
from onnxslim.evaluation.evaluator import Evaluator
from onnxslim.evaluation.measurement import Constraints, Measurement, Rejection, hold_to
from onnxslim.execution import Latency, Run
from onnxslim.graph import parse
from onnxslim.samples import Sample
from onnxslim.samples.feeds import HELD_OUT

LATENCY = Latency(0.5, 0.4, 0.6, "faster", 2.0, 1.0, 0.01, 100, 10, 1)
SLOW = dataclasses.replace(LATENCY, ratio=1.25, verdict="slower")
FAILED = Parity(False, Tier.LOSSY, (), 4, "samples", 0.0)


def net(factor: float, bias: float = 0.0) -> ir.Model:
    return parse(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,4] y)
        <float a = {{{factor}}}, float b = {{{bias}}}> {{ m = Mul(x, a) y = Add(m, b) }}"""
    )


def samples(count: int) -> list[Sample]:
    draw = np.random.default_rng(0)
    return [Sample(f"{i:03d}", {"x": draw.normal(size=(1, 4)).astype(np.float32)}) for i in range(count)]


@pytest.mark.parametrize(
    ("limits", "found", "reason", "poor"),
    [
        (Constraints(), Measurement(bytes=9), None, False),
        (Constraints(most_bytes=8), Measurement(bytes=9), "the result would be larger: 9 bytes instead of 8", False),
        (Constraints(most_bytes=8), Measurement(), None, False),
        (Constraints(gain_over=1000, least_gain=0.01), Measurement(bytes=990), "the file would be no smaller", False),
        (Constraints(gain_over=1000, least_gain=0.01), Measurement(bytes=989), None, False),
        (Constraints(max_drop=0.1), Measurement(scores={"input": 0.9, "output": 0.85}), None, False),
        (Constraints(max_drop=0.1), Measurement(scores={"input": 0.9, "output": 0.75}), "0.9 -> 0.75", True),
        (Constraints(), Measurement(scores={"input": 0.9, "output": 0.0}), None, False),
        (Constraints(what="int8"), Measurement(latency=SLOW), "int8 is slower here: 0.80x the speed", False),
        (Constraints(), Measurement(latency=LATENCY), None, False),
        (
            Constraints(),
            Measurement(latency=LATENCY, parallel=dataclasses.replace(SLOW, threads=8)),
            "slower here on 8 threads",
            False,
        ),
        (Constraints(max_size=8), Measurement(bytes=9), "max_size does not hold: 9 bytes instead of at most 8", False),
        (Constraints(max_size=9), Measurement(bytes=9), None, False),
        (Constraints(min_speedup=2.0), Measurement(latency=LATENCY), None, False),
        (
            Constraints(min_speedup=2.1),
            Measurement(latency=LATENCY),
            "2.00x the speed (interval 1.67x to 2.50x) instead of at least 2.1x",
            False,
        ),
        (Constraints(min_speedup=0.75), Measurement(latency=SLOW), None, False),
        (Constraints(max_drop=0.05), Measurement(drop=Drop(0.96 - 0.91, 0.07, 100, 0.96, 0.91)), None, False),
        (
            Constraints(max_drop=0.05, by_bound=True),
            Measurement(drop=Drop(0.05, 0.07, 100, 0.96, 0.91)),
            "max_drop does not hold: a drop of 0.05, with 90 % confidence at most 0.07 (0.96 -> 0.91 on 100 samples)",
            True,
        ),
        (
            Constraints(max_drop=0.05, by_bound=True),
            Measurement(drop=Drop(0.05, None, 4, 1, 0.95, why="few")),
            None,
            False,
        ),
        (
            Constraints(most_bytes=8, max_drop=0.1),
            Measurement(bytes=9, scores={"input": 1.0, "output": 0.0}, latency=SLOW),
            "larger",
            False,
        ),
    ],
)
def test_the_first_reason_counts(limits: Constraints, found: Measurement, reason: str | None, poor: bool) -> None:
    rejection = limits.reject(found)
    assert (rejection is None) == (reason is None)
    if rejection is not None:
        assert (reason or "") in rejection.reason
        assert rejection.poor == poor


def test_a_part_below_the_bound_fails_a_lossy_comparison_only() -> None:
    original, data = net(2.0), samples(16)
    evaluator = Evaluator(original, data, bench=False)
    found, rejection = evaluator.measure(net(2.02), 100, Constraints(min_sqnr=30))
    assert rejection is None
    assert found.parity is not None
    assert found.parity.sqnr == pytest.approx(40, abs=1)  # 1 % of noise
    found, rejection = evaluator.measure(net(2.2), 100, Constraints(min_sqnr=30))
    assert rejection is not None
    assert rejection == Rejection(rejection.reason, poor=True)
    assert re.search(r"2[01]\.\d dB, below the 30 dB", rejection.reason)
    assert hold_to(dataclasses.replace(FAILED, passed=True, tier=Tier.NUMERIC), 30).passed


def test_what_is_rejected_early_is_not_measured_further(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def metric(run: Run, some: object) -> float:
        asked.append("metric")
        return 1.0

    def compare(*args: object, **kwargs: object) -> Latency:
        asked.append("latency")
        return LATENCY

    monkeypatch.setattr(execution, "compare_latency", compare)
    evaluator = Evaluator(net(2.0), samples(16), metric=metric)
    assert evaluator.baseline(labelled=False, max_drop=None) == []
    assert asked == ["metric"]
    found, rejection = evaluator.measure(net(2.0), 9, Constraints(most_bytes=8))
    assert found == Measurement(bytes=9)
    assert evaluator.time(net(2.0), found, Constraints(most_bytes=8)) == (found, rejection)
    assert asked == ["metric"]
    found, rejection = evaluator.measure(net(2.0), 8, Constraints(most_bytes=8))
    assert rejection is None
    assert found.scores == {"input": 1.0, "output": 1.0}
    found, rejection = evaluator.time(net(2.0), found, Constraints())
    assert found.latency is LATENCY
    assert asked[:3] == ["metric", "metric", "latency"]


def test_the_parts_are_disjoint_and_the_held_out_feeds_are_of_the_report_part() -> None:
    data = samples(300)
    evaluator = Evaluator(net(1.0), data)
    parts = evaluator.parts
    assert parts is not None
    ids = [set(part.ids) for part in (parts.calibration, parts.selection, parts.report)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 300
    assert len(evaluator.feeds) == HELD_OUT < len(ids[2])
    of_report = {sample.feed["x"].tobytes() for sample in parts.report}
    assert all(feed["x"].tobytes() in of_report for feed in evaluator.feeds)


def test_without_samples_nothing_is_measured() -> None:
    evaluator = Evaluator(net(1.0))
    assert evaluator.parts is None
    assert evaluator.baseline(labelled=False, max_drop=None) == []
    assert evaluator.measure(net(5.0), 7, Constraints()) == (Measurement(bytes=7), None)
    assert evaluator.macs(net(1.0)) is None


def test_a_drop_from_an_infinite_score_is_refused() -> None:
    evaluator = Evaluator(net(2.0), samples(16), metric=lambda run, some: float("inf"))
    with pytest.raises(InputError, match="the original scores inf"):
        evaluator.baseline(labelled=False, max_drop=0.1)


def test_every_reason_and_every_limit_is_told() -> None:
    limits = Constraints(max_size=8, max_drop=0.1, min_speedup=3.0)
    found = Measurement(bytes=9, drop=Drop(0.2, 0.3, 40, 1.0, 0.8), latency=LATENCY)
    assert [each.poor for each in limits.rejections(found)] == [False, True, False]
    assert [(each.limit, each.holds) for each in limits.checks(found)] == [
        ("max_drop", False),
        ("max_size", False),
        ("min_speedup", False),
    ]
    assert list(limits.checks(Measurement())) == []
