"""What the original itself makes of the samples is told before the verdict, and stands in the way of a bounded drop."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence, Sized
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import models_zoo
import onnxslim
from onnxslim.errors import InputError
from onnxslim.evaluation.baseline import Doubt, change_of, evidence, one_class
from onnxslim.evaluation.chance import is_chance
from onnxslim.evaluation.metrics import top1
from onnxslim.execution import Session
from onnxslim.execution.feeds import Run
from onnxslim.graph import load
from onnxslim.report import document_of, to_json
from onnxslim.report.terminal import print_document
from onnxslim.samples import Sample, split
from tests.ops.channels.nets import model, node

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = list(DIGITS.samples("calibration").first(160))
CHANCE = r"the original scores 0\.\d+ on these samples, no better than"


def accuracy(run: Run, samples: Iterable[Sample]) -> float:
    hits = [next(iter(run(each.feed).values())).argmax() == each.label for each in samples]
    assert isinstance(samples, Sized)
    return float(sum(hits) / len(samples))


def scaled(factor: float) -> list[Sample]:
    return [
        Sample(each.id, {name: array * np.float32(factor) for name, array in each.feed.items()}, each.label)
        for each in SAMPLES
    ]


def labelled(label: Any) -> list[Sample]:
    """The samples with what a function makes of their places for labels."""
    return [Sample(each.id, each.feed, label(place)) for place, each in enumerate(SAMPLES)]


def doubts(samples: Sequence[Sample], metric: Any = top1) -> list[Doubt]:
    return evidence(load(DIGITS.path()), split(samples), metric, labelled=metric is top1)[1]


def shifted(place: int) -> int:
    return (int(SAMPLES[place].label) + place % 10) % 10


@pytest.mark.parametrize("metric", [top1, accuracy, None])
@pytest.mark.parametrize("count", [8, 16, 160])
def test_a_good_original_raises_no_doubt(metric: Any, count: int) -> None:
    assert doubts(SAMPLES[:count], metric) == []


@pytest.mark.parametrize("metric", [top1, accuracy])
def test_a_score_of_chance(metric: Any) -> None:
    (doubt,) = doubts(labelled(shifted), metric)
    assert re.match(CHANCE, doubt.what)
    assert doubt.mend == "check labels and preprocessing"
    assert doubt.fatal


def test_class_folders_are_named_in_the_order_of_their_labels() -> None:
    names = ["b-six", "a-two", "c"]
    in_folders = [
        Sample(f"{names[at % 3]}/{at:03}.png", each.feed, (1, 0, 2)[at % 3]) for at, each in enumerate(SAMPLES[:96])
    ]
    which = r"\(labels are the sorted folders: 0 is 'a-two', 1 is 'b-six', 2 is 'c'; give labels in a file"
    (doubt,) = doubts(in_folders)
    assert re.match(rf"check labels and preprocessing {which}", doubt.mend)
    moved = [Sample(each.id, each.feed, 2 - each.label) for each in in_folders]  # a file gave other labels
    assert [each.mend for each in doubts(moved)] == ["check labels and preprocessing"]
    (single,) = one_class([np.asarray(1)] * 8, {0: "a-two", 1: "b-six"})
    assert single.what == "all 8 labels are 1 (the folder 'b-six')"


def test_labels_of_a_single_class() -> None:
    ones = [each for each in SAMPLES if each.label == 1]
    (doubt,) = doubts(ones)
    assert doubt.what == f"all {len(split(ones).report) if len(split(ones).report) > 16 else len(ones)} labels are 1"
    assert doubt.fatal
    (told,) = doubts(ones, accuracy)
    assert not told.fatal  # the user's metric may know better
    assert doubts(ones[:3]) == []


def test_outputs_that_do_not_follow_the_inputs() -> None:
    still, chance = doubts(scaled(1 / 255))
    assert re.match(r"output 'logits' of the original changes by 0\.\d % of its magnitude over 16 samples", still.what)
    assert not still.fatal
    assert re.match(CHANCE, chance.what)
    (dead,) = doubts(scaled(1e-6), None)
    assert dead.what == "output 'logits' of the original changes by less than 0.1 % of its magnitude over 8 samples"
    assert dead.fatal


def test_outputs_are_judged_one_by_one_and_constants_not_at_all() -> None:
    proto = model(
        ["MatMul x w -> a", "Mul x zero -> b", "Shape x -> s", node("Cast s -> t", to=1), "Identity k -> u"],
        {"w": (4, 4), "zero": np.float32(0), "k": np.ones(3, np.float32)},
        inputs={"x": ["N", 4]},
        outputs=["a", "b", "t", "u"],
    )
    generator = np.random.default_rng(0)
    samples = [Sample(str(i), {"x": generator.normal(size=(2, 4)).astype(np.float32)}) for i in range(12)]
    (doubt,) = evidence(onnxslim.load(proto), split(samples), None, labelled=False)[1]
    assert doubt.what == "output 'b' of the original does not change over 8 samples"
    assert not doubt.fatal  # another output does follow


def test_few_samples_raise_no_alarm() -> None:
    for count in range(1, 8):
        assert not is_chance(count, count, 0.5)
    assert not is_chance(1, 2, 0.1)
    assert is_chance(8, 16, 0.5)
    assert not is_chance(14, 16, 0.5)
    assert is_chance(0, 4, 0.1)
    assert not is_chance(60, 64, 0.95)


def test_the_report_tells_it_first_and_a_bounded_drop_is_refused() -> None:
    samples = labelled(shifted)
    given: dict[str, Any] = {"samples": samples, "metric": "top1", "bench": False, "ratio": 0.3, "refit": False}
    report = onnxslim.prune(DIGITS.path(), min_sqnr=-100, **given).report
    (warning,) = report.warnings
    assert re.match(CHANCE + r" chance \(0\.\d+\): check labels and preprocessing", warning)
    assert report.metric == "top1"
    assert to_json(report)["warnings"] == [warning]
    console = Console(file=StringIO(), width=200)
    print_document(document_of(report), console)
    assert console.file.getvalue().startswith(f"warning: {warning}\nprune: pruned")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=CHANCE + ".*without max_drop this is a warning") as caught:
        onnxslim.prune(DIGITS.path(), max_drop=0.05, **given)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda run, samples: float("nan"), "the metric returned NaN"),
        (lambda run, samples: None, "the metric returned a NoneType"),
        (lambda run, samples: "0.9", "the metric returned a str"),
        (lambda run, samples: dict[str, float]()["key"], "the metric failed .*KeyError: 'key'"),
        ("top2", "unknown metric 'top2'.*did you mean 'top1'"),
        (3, "the metric is a int, no function"),
    ],
)
def test_metrics_that_give_no_score_are_refused_in_python_too(metric: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        onnxslim.prune(DIGITS.path(), samples=SAMPLES[:12], metric=metric, max_drop=0.1, bench=False)


def test_no_drop_can_be_told_from_a_score_without_end() -> None:
    with pytest.raises(InputError, match=r"the original scores inf, so a drop from it means nothing.*min_sqnr"):
        onnxslim.prune(DIGITS.path(), samples=SAMPLES[:12], metric="sqnr", max_drop=1.0, bench=False)


def test_nothing_is_run_twice_and_a_metric_may_spoil_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda self, feed: ran.append(id(feed)) or run(self, feed))  # type: ignore[func-returns-value]

    def spoiling(run: Run, samples: Iterable[Sample]) -> float:
        score = accuracy(run, samples)
        for each in samples:
            run(each.feed)["logits"][:] = 0
        return score

    parts = split(SAMPLES)
    score, found = evidence(load(DIGITS.path()), parts, spoiling, labelled=False)
    assert (score, found) == (1.0, [])
    assert len(ran) == len(parts.report)  # twice by the metric, and with the labels in nine other orders


def test_outputs_that_are_sequences_are_left_out() -> None:
    assert change_of([[np.ones(2)], [np.ones(3)]]) is None
    assert change_of([np.ones((0, 2)), np.ones((0, 2))]) is None
    assert change_of([np.ones(2), np.ones(3)]) == 1
    assert math.isnan(change_of([np.full(2, np.nan)] * 2) or 0.0)
    assert change_of([np.full(2, 1e300), np.full(2, -1e300)]) is None
