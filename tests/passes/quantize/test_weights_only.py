"""Weights in int8 that onnxruntime makes float when it loads the model."""

from __future__ import annotations

from pathlib import Path

import models_zoo
import onnxslim
from onnxslim.execution import open_session
from onnxslim.graph import load, to_bytes
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context
from tests.nearness import sqnr_db
from tests.passes.quantize.test_static_int8 import CNN, CNN_SHAPES, IMAGES, kernels, quality, with_weights


def test_the_file_shrinks_and_the_graph_that_runs_is_the_same() -> None:
    model = with_weights(CNN, CNN_SHAPES)
    result = model.clone()
    outcome = QuantizeStatic(weights_only=True).run(result, Context(samples=IMAGES))
    assert {action.outputs[0] for action in outcome.actions} == {"c1", "c2"}  # the Gemm has 640 numbers
    assert len(to_bytes(result)) < 0.5 * len(to_bytes(model))
    assert kernels(result) == kernels(model)
    assert quality(model, result, IMAGES) > 35


def test_a_real_model_keeps_its_outputs(tmp_path: Path) -> None:
    entry = models_zoo.get("digits_cnn")
    data = entry.samples("calibration").first(32)
    report = onnxslim.quantize(
        entry.path(), tmp_path / "small.onnx", samples=data, weights_only=True, bench=False
    ).report
    assert report.decision == "weights in few bits"
    assert (tmp_path / "small.onnx").stat().st_size < 0.3 * entry.path().stat().st_size
    assert load(tmp_path / "small.onnx").opset_imports[""] == entry.opset
    feed = next(iter(entry.samples("report"))).feed
    outputs = [open_session(path).run(feed)["logits"] for path in (entry.path(), tmp_path / "small.onnx")]
    assert sqnr_db(*outputs) > 30
