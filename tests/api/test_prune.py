"""`onnxslim.prune`: what it keeps, what it refuses, and that it goes before quantization on the same samples."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import models_zoo
import onnxslim
from onnxslim.errors import InputError
from onnxslim.graph import load, to_bytes
from onnxslim.runtime import open_session

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
