"""Statistics in a file: made once, reused, merged, and never of the samples that judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models_zoo
import onnxslim
from onnxslim.calibration import Statistics
from onnxslim.cli import main
from onnxslim.errors import InputError
from onnxslim.graph import to_bytes

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = DIGITS.samples("calibration").first(48)
OTHERS = DIGITS.samples("selection").first(48)
FIXED: dict[str, Any] = {"bench": False, "search": False, "ranges": "min-max"}


def test_statistics_from_a_file_give_the_same_model(tmp_path: Path) -> None:
    statistics = onnxslim.calibrate(DIGITS.path(), tmp_path / "stats.npz", samples=SAMPLES)
    assert statistics.entries
    direct = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, **FIXED)
    reused = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, stats=[tmp_path / "stats.npz"], **FIXED)
    assert to_bytes(reused.model) == to_bytes(direct.model)


def test_nothing_is_measured_that_is_known(tmp_path: Path) -> None:
    statistics = onnxslim.calibrate(DIGITS.path(), samples=SAMPLES)
    said: list[str] = []
    onnxslim.quantize(DIGITS.path(), samples=OTHERS, stats=[statistics], progress=said.append, **FIXED)
    assert not any(text.startswith("calibrate") for text in said)
    said.clear()
    onnxslim.quantize(DIGITS.path(), samples=OTHERS, progress=said.append, **FIXED)
    assert any(text.startswith("calibrate") for text in said)


@pytest.mark.slow
def test_several_files_are_merged() -> None:
    one, other = (onnxslim.calibrate(DIGITS.path(), samples=each) for each in (SAMPLES, OTHERS))
    scales = []
    for stats in ([one], [other], [one, other]):
        model = onnxslim.quantize(DIGITS.path(), samples=SAMPLES, stats=stats, **FIXED).model
        tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
        found = {name: t.numpy() for name, t in tensors.items() if t is not None and name.endswith("_scale")}
        scales.append({name: float(array) for name, array in found.items() if array.ndim == 0})
    first, second, merged = scales
    assert len(merged) > 5
    assert any(first[name] != second[name] for name in merged)
    least = {name: max(first[name], second[name]) for name in merged}
    assert all(merged[name] >= least[name] for name in merged)
    assert sum(merged[name] == least[name] for name in merged) > 5  # what is behind a Relu starts at zero


def test_the_samples_that_judge_are_refused() -> None:
    statistics = onnxslim.calibrate(DIGITS.path(), samples=SAMPLES, all_samples=True)
    with pytest.raises(InputError, match="made on the samples that shall judge"):
        onnxslim.quantize(DIGITS.path(), samples=SAMPLES, stats=[statistics], **FIXED)
    onnxslim.quantize(DIGITS.path(), samples=OTHERS, stats=[statistics], **FIXED)


def test_statistics_of_another_model_are_refused() -> None:
    entry = models_zoo.get("mtcnn_rnet")
    statistics = onnxslim.calibrate(entry.path(), samples=entry.samples("calibration").first(8))
    with pytest.raises(InputError, match="the statistics are of another model"):
        onnxslim.quantize(DIGITS.path(), samples=SAMPLES, stats=[statistics], **FIXED)


def test_the_command_writes_what_the_api_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("samples.npy", np.concatenate([sample.feed["image"] for sample in SAMPLES]))
    assert main(["calibrate", str(DIGITS.path()), "-o", "stats.npz", "--samples", "samples.npy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tensors"] == len(Statistics.load("stats.npz").entries)
    assert said["bytes"] == (tmp_path / "stats.npz").stat().st_size
    assert main(["calibrate", str(DIGITS.path()), "-o", "stats.npz", "--samples", "samples.npy"]) == 0
    assert "tensors measured" in capsys.readouterr().out
    arguments = ["quantize", str(DIGITS.path()), "-o", "small.onnx", "--samples", "samples.npy", "--stats", "stats.npz"]
    assert main([*arguments, "--no-bench"]) == 0
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert main([*arguments[:-1], "bad.npz"]) == 2
    assert "holds no statistics" in capsys.readouterr().err


def test_a_model_without_kernels_is_refused(tmp_path: Path) -> None:
    from onnxslim.graph import parse

    model = parse('<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Sin(x) }')
    with pytest.raises(InputError, match="nothing to calibrate"):
        onnxslim.calibrate(model, samples=[{"x": np.ones(3, np.float32)}] * 4)
