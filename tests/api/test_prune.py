"""`onnxslim.prune`: what it keeps, what it refuses, and that it goes before quantization on the same samples."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

import models_zoo
import onnxslim
from onnxslim.errors import InputError
from onnxslim.evaluation.metrics import sqnr
from onnxslim.execution import Latency, Run, open_session
from onnxslim.graph import load, to_bytes
from onnxslim.passes.prune.search import Search
from onnxslim.pipeline import get_pass, make_pass
from onnxslim.samples import Sample, split
from tests.ops.channels.nets import model
from tests.passes.prune.nets import samples

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = DIGITS.samples("calibration").first(64)


@pytest.fixture(scope="module")
def pruned() -> onnxslim.Result:
    return onnxslim.prune(DIGITS.path(), samples=SAMPLES, bench=False, ratio=0.3)


def test_the_result_is_smaller_and_keeps_interface_and_score(pruned: onnxslim.Result) -> None:
    report = pruned.report
    assert report.decision == "pruned"
    assert [step.name for step in report.steps] == ["slim", "prune"]
    assert report.output is not None
    assert (report.output.inputs, report.output.outputs) == (report.input.inputs, report.input.outputs)
    assert report.output.parameters < 0.6 * report.input.parameters
    assert report.parity is not None
    assert report.parity.evidence == "samples"
    assert report.parity.feeds == report.held_back > 0
    onnx.checker.check_model(onnx.ModelProto.FromString(to_bytes(pruned.model)), full_check=True)
    assert DIGITS.score(open_session(pruned.model).run) > 0.98


def test_the_callers_model_is_left_alone() -> None:
    given = load(DIGITS.path())
    before = to_bytes(given)
    onnxslim.prune(given, samples=SAMPLES.first(12), bench=False, ratio=0.3, refit=False, min_sqnr=0)
    assert to_bytes(given) == before


def test_a_metric_bounds_what_goes() -> None:
    def accuracy(run, samples) -> float:  # type: ignore[no-untyped-def]
        right = [next(iter(run(each.feed).values())).argmax() == each.label for each in samples]
        return float(sum(right) / len(right))

    result = onnxslim.prune(
        DIGITS.path(), samples=DIGITS.samples("calibration"), metric=accuracy, max_drop=0.02, bench=False
    )
    assert result.report.decision == "pruned"
    scores, macs = result.report.scores, result.report.macs
    assert scores["output"] >= scores["input"] - 0.02
    assert macs["input"] is not None
    assert macs["output"] is not None
    assert macs["output"] < 0.4 * macs["input"]
    assert DIGITS.score(open_session(result.model).run) >= 0.97


def test_pruned_then_quantized_by_one_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[pass]]\nname = "slim"\n[[pass]]\nname = "prune"\nratio = 0.3\n[[pass]]\nname = "quantize"\n')
    result = onnxslim.compress(DIGITS.path(), samples=SAMPLES, recipe=recipe, bench=False)
    assert result.report.decision == "compressed", result.report.reason
    assert [step.name for step in result.report.steps] == ["slim", "prune", "quantize"]
    assert result.report.output is not None
    assert result.report.input.bytes is not None
    assert result.report.output.bytes is not None
    assert result.report.output.bytes < result.report.input.bytes / 4
    assert result.report.macs
    assert DIGITS.score(open_session(result.model).run) > 0.97


SMALL = model(
    ["Conv x w -> a", "Relu a -> b", "Conv b v -> c", "Relu c -> d", "Conv d u -> y"],
    {"w": (24, 12, 1, 1), "v": (24, 24, 1, 1), "u": (8, 24, 1, 1)},
    inputs={"x": ["N", 12, 6, 6]},
)


def test_the_best_stage_that_holds_on_unseen_samples_is_kept() -> None:
    given, judged = samples(SMALL, 32), list[float]()
    reference, report_part = open_session(SMALL), set(split(given).report.ids)

    def metric(run: Run, some: Iterable[Sample]) -> float:
        """What is chosen by does not see what the report part does."""
        if not {each.id for each in some} & report_part:
            return 1.0
        judged.append(sqnr(reference.run)(run, some))
        return float(judged[-1] >= 8)

    result = onnxslim.prune(SMALL, samples=given, metric=metric, max_drop=0.5, bench=False, min_sqnr=-99, refit=False)
    report = result.report
    assert report.decision == "pruned"
    told = re.match(
        r"stage (\d+) of (\d+) was kept, because a later one does not hold: the metric falls by more than 0.5 on "
        r"held-out samples: 1 -> 0",
        report.reason,
    )
    assert told
    kept, stages = map(int, told.groups())
    assert 0 < kept < stages
    # The original, the whole, then stages from the least on until one does not hold: no other was looked at.
    assert len(judged) == 2 + kept + (kept + 1 < stages)
    assert [level >= 8 for level in judged[2:]] == [True] * kept + [False] * (kept + 1 < stages)
    assert report.scores == {"input": 1.0, "output": 1.0}
    assert report.parity is not None
    assert report.parity.sqnr == pytest.approx(judged[1 + kept])
    assert report.attempt is not None
    assert report.attempt.scores == {"input": 1.0, "output": 0.0}
    assert not any(step.stages for step in (*report.steps, *report.attempt.steps))
    assert report.macs["output"] < report.macs["input"]  # type: ignore[operator]


def test_a_budget_that_costs_too_much_is_met_as_far_as_it_may() -> None:
    given: dict[str, Any] = {"samples": samples(SMALL, 32), "macs": 0.1, "refit": False, "bench": False}
    report = onnxslim.prune(SMALL, min_sqnr=8.0, **given).report
    assert report.decision == "pruned"
    assert "was kept, because a later one does not hold: the outputs differ too much" in report.reason
    assert 0.1 < report.macs["output"] / report.macs["input"] < 0.7  # type: ignore[operator]
    kept = onnxslim.prune(SMALL, min_sqnr=99.0, **given).report
    assert kept.decision == "kept all channels"
    assert kept.attempt is not None


def test_int8_that_does_not_hold_leaves_the_pruned_model(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[Search] = []
    run = Search.run
    monkeypatch.setattr(Search, "run", lambda self: searched.append(self) or run(self))  # type: ignore[func-returns-value]

    def latency(a: ir.Model, b: ir.Model, *_: object, **__: object) -> Latency:
        slower = any("Quantize" in node.op_type for node in b.graph)
        ratio = 1.5 if slower else 0.7
        return Latency(ratio, ratio, ratio, "slower" if slower else "faster", 1.0, ratio, 0.01, 100, 10, 1)

    monkeypatch.setattr("onnxslim.execution.compare_latency", latency)
    options: dict[str, dict[str, Any]] = {
        "slim": {},
        "prune": {"ratio": 0.3, "refit": False},
        "quantize": {"keep_slow": True},
    }
    recipe = [make_pass(get_pass(name), values) for name, values in options.items()]
    result = onnxslim.compress(DIGITS.path(), samples=SAMPLES.first(24), recipe=recipe, min_sqnr=0)
    report = result.report
    assert report.decision == "pruned"
    assert report.reason == "quantize was left out: int8 is slower here: 0.67x the speed of the original"
    assert [step.name for step in report.steps] == ["slim", "prune"]
    assert report.attempt is not None
    assert [step.name for step in report.attempt.steps] == ["prune", "quantize"]
    assert len(searched) == 1  # the pruned model is made again by its plan
    assert not any("Quantize" in node.op_type for node in result.model.graph)
    assert report.macs["output"] < 0.8 * report.macs["input"]  # type: ignore[operator]
    assert report.latency is not None
    assert report.latency.verdict == "faster"


def test_what_cannot_be_pruned_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="samples"):
        onnxslim.prune(DIGITS.path())
    with pytest.raises(InputError, match="did you mean 'ratio'"):
        onnxslim.prune(DIGITS.path(), samples=SAMPLES, ration=0.5)
    with pytest.raises(InputError, match="ratio and speedup exclude each other"):
        onnxslim.prune(DIGITS.path(), samples=SAMPLES, ratio=0.5, speedup=2.0)
    kept = onnxslim.prune(DIGITS.path(), samples=SAMPLES, bench=False, protect=("re:.*",))
    assert kept.report.decision == "kept all channels"
    assert kept.report.reason == "no channels can be removed"
