from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.calibration import Sample, load_metric
from onnxslim.calibration.metrics import agreement, cosine, sqnr, top1
from onnxslim.errors import InputError
from onnxslim.runtime.feeds import Feed, Outputs

SAMPLES = [Sample(str(i), {"x": np.eye(4, dtype=np.float32)[i : i + 1] * 10}, label=i) for i in range(4)]


def same(feed: Feed) -> Outputs:
    return {"y": feed["x"]}


def noisy(feed: Feed) -> Outputs:
    return {"y": feed["x"] * np.float32(0.9)}


def longer_on_zero(feed: Feed) -> Outputs:
    return {"y": np.repeat(feed["x"], 2 if feed["x"][0, 0] else 1, axis=0)}


def wrong_on_zero(feed: Feed) -> Outputs:
    return {"y": -feed["x"] if feed["x"][0, 0] else feed["x"]}


def test_top1() -> None:
    assert top1(same, SAMPLES) == 1
    assert top1(wrong_on_zero, SAMPLES) == 0.75
    with pytest.raises(InputError, match="sample '9' has no label"):
        top1(same, [Sample("9", SAMPLES[0].feed)])
    with pytest.raises(InputError, match="the label of sample '9' is"):
        top1(same, [Sample("9", SAMPLES[0].feed, "cat")])
    with pytest.raises(InputError, match="no samples to score"):
        top1(same, [])


def test_scores_against_a_reference() -> None:
    assert sqnr(same)(same, SAMPLES) == math.inf
    assert sqnr(same)(noisy, SAMPLES) == pytest.approx(20, abs=1e-4)
    assert sqnr(same)(lambda f: {"y": f["x"] * np.nan}, SAMPLES) == -math.inf
    assert cosine(same)(noisy, SAMPLES) == pytest.approx(1)
    assert cosine(same)(wrong_on_zero, SAMPLES) == pytest.approx(0.5)
    assert agreement(same)(wrong_on_zero, SAMPLES) == 0.75
    with pytest.raises(InputError, match=r"differ in shape on sample '0': \[4\] against \[1, 4\]"):
        sqnr(same)(lambda feed: {"y": feed["x"][0]}, SAMPLES)
    # Where values decide another length, the sample is lost.
    assert sqnr(same)(longer_on_zero, SAMPLES) == pytest.approx(6.02, abs=0.01)
    assert cosine(same)(longer_on_zero, SAMPLES) == agreement(same)(longer_on_zero, SAMPLES) == 0.75
    with pytest.raises(InputError, match="no output 'z'"):
        sqnr(same, "z")(same, SAMPLES)
    with pytest.raises(InputError, match="no samples to score"):
        sqnr(same)(same, [])


def test_metrics_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_metric.py").write_text(
        "def good(run, samples): return sum(float(run(s.feed)['y'].sum()) for s in samples)\n"
        "def nan(run, samples): return float('nan')\n"
        "def text(run, samples): return 'high'\n"
        "def broken(run, samples): return 1 / 0\n"
    )
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert load_metric("made_metric:good")(same, SAMPLES) == 40
    assert load_metric("top1") is top1
    assert load_metric("agreement", reference=same)(wrong_on_zero, SAMPLES) == 0.75
    messages: dict[str, Any] = {
        "made_metric:nan": "the metric returned NaN",
        "made_metric:text": "the metric returned a str",
        "made_metric:broken": "the metric failed .*ZeroDivisionError",
        "made_metric:god": "did you mean 'good'",
        "sqnr": "compares with a reference",
        "top2": "unknown metric 'top2'.*did you mean 'top1'",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message):
            load_metric(name)(same, SAMPLES)
