from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from onnxslim.cli import main
from onnxslim.execution import open_session
from tests.documents import DIGITS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(path: Path) -> np.ndarray:
    image = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 1, 8, 8)
    return open_session(path).run({"image": image})["logits"]


def test_in_and_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model.onnx", "out.onnx"]) == 0
    assert "BatchNormalization" in capsys.readouterr().out
    assert (here / "out.onnx").stat().st_size < DIGITS.stat().st_size
    np.testing.assert_allclose(outputs(here / "out.onnx"), outputs(DIGITS), rtol=1e-4, atol=1e-5)
    assert (here / "model.onnx").read_bytes() == DIGITS.read_bytes()


def test_the_output_may_be_the_input(here: Path) -> None:
    assert main(["model.onnx", "model.onnx"]) == 0
    assert (here / "model.onnx").stat().st_size < DIGITS.stat().st_size
    np.testing.assert_allclose(outputs(here / "model.onnx"), outputs(DIGITS), rtol=1e-4, atol=1e-5)


def test_without_an_output_nothing_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model.onnx"]) == 0
    said = capsys.readouterr().out
    assert "slim: slimmed" in said
    assert "nothing was written: name an output" in said
    assert os.listdir(here) == ["model.onnx"]
    assert (here / "model.onnx").read_bytes() == DIGITS.read_bytes()


@pytest.mark.parametrize("option", ["--explain", "--quiet", "-o"])
def test_options_that_only_the_verb_has_are_refused(here: Path, option: str) -> None:
    assert main(["model.onnx", "out.onnx", option]) == 2
    assert os.listdir(here) == ["model.onnx"]
