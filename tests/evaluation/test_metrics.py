from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import InputError, OutOfMemory
from onnxslim.evaluation import load_metric
from onnxslim.evaluation.metrics import agreement, cosine, sqnr, top1
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.samples import Sample

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


def classifier(first: Any, second: Any) -> Any:
    """A model of scikit-learn: its answer comes first, then the probabilities."""
    return lambda feed: {"label": first(int(feed["x"].argmax())), "probabilities": second(feed["x"])}


NAMES = np.array(["ant", "bee", "cat", "dog"])
TABLE = {"tensor": lambda x: x, "maps": lambda x: [dict(enumerate(row)) for row in x.tolist()]}


@pytest.mark.parametrize("second", TABLE)
def test_top1_of_models_whose_label_comes_first(second: str) -> None:
    number = classifier(lambda c: np.array([c]), TABLE[second])
    text = classifier(lambda c: np.array([NAMES[c]], object), TABLE[second])
    wrong = classifier(lambda c: np.array([(c + 1) % 4]), TABLE[second])
    named = [Sample(each.id, each.feed, str(NAMES[each.label])) for each in SAMPLES]
    assert top1(number, SAMPLES) == 1
    assert top1(wrong, SAMPLES) == 0  # what the model says counts, not what its scores would say
    assert top1(text, named) == 1
    assert top1(text, SAMPLES) == 1  # labels that the answer cannot be compared with are those of the scores
    with pytest.raises(InputError, match=r"the label of sample '0' is <U3\[1\].*1 positions to label"):
        top1(number, named)
    assert agreement(number)(wrong, SAMPLES) == 0
    assert agreement(text)(text, SAMPLES) == 1
    assert sqnr(number)(wrong, SAMPLES) == math.inf  # of the scores: labels are at no distance from each other


def test_top1_of_an_answer_for_each_row_or_pixel() -> None:
    rows = Sample("0", {"x": np.eye(4, dtype=np.float32)}, np.arange(4))
    assert top1(lambda feed: {"label": feed["x"].argmax(1), "p": feed["x"]}, [rows]) == 1
    mask = np.array([[[0, 1], [2, 2]]], np.uint8)
    assert top1(lambda _: {"mask": mask}, [Sample("0", {}, np.array([[0, 1], [2, 3]]))]) == 0.75


def test_one_score_has_no_largest() -> None:
    def sigmoid(feed: Feed) -> Outputs:
        return {"y": feed["x"][:, :1]}

    with pytest.raises(InputError, match=r"the first output is float32\[1, 1\]: one score has no largest"):
        top1(sigmoid, SAMPLES)
    with pytest.raises(InputError, match="one score has no largest"):
        agreement(sigmoid)(sigmoid, SAMPLES)


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
        "def text(run, samples): return '0.9'\n"
        "def none(run, samples): return None\n"
        "def broken(run, samples): return 1 / 0\n"
        "def leaves(run, samples): raise SystemExit(3)\n"
        "def large(run, samples): raise MemoryError\n"
    )
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert load_metric("made_metric:good")(same, SAMPLES) == 40
    assert load_metric("top1") is top1
    assert load_metric("agreement", reference=same)(wrong_on_zero, SAMPLES) == 0.75
    messages: dict[str, Any] = {
        "made_metric:nan": "the metric returned NaN",
        "made_metric:text": "the metric returned a str",
        "made_metric:none": "the metric returned a NoneType",
        "made_metric:broken": "the metric failed .*ZeroDivisionError",
        "made_metric:leaves": "the metric failed .*SystemExit: 3",
        "made_metric:god": "did you mean 'good'",
        "sqnr": "compares with a reference",
        "top2": "unknown metric 'top2'.*did you mean 'top1'",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message):
            load_metric(name)(same, SAMPLES)
        if name.startswith("made_metric") and "did you mean" not in message:  # the same of the function itself
            function = getattr(importlib.import_module("made_metric"), name.partition(":")[2])
            with pytest.raises(InputError, match=message):
                load_metric(function)(same, SAMPLES)
    with pytest.raises(OutOfMemory, match=r"out of memory \(made_metric:large\)"):
        load_metric("made_metric:large")(same, SAMPLES)
    one: Any = lambda run, samples: np.array([0.5])  # noqa: E731
    assert load_metric(one)(same, SAMPLES) == 0.5
