"""Paddle and its faults; needs ``make frameworks``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import onnxslim
from onnxslim.converters.environment import installed
from onnxslim.errors import CheckFailed, InputError
from tests.converters.environments import python_of

pytestmark = pytest.mark.frameworks
NETS = "tests.converters.paddle_nets"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    return python_of("paddle")


def saved(python: str, folder: Path, **flags: str) -> Path:
    done = subprocess.run(
        [python, "-m", NETS, str(folder)],
        cwd=ROOT,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "saved"


@pytest.mark.parametrize("name", ["cnn", "encoder"])
def test_layers(python: str, name: str) -> None:
    report = onnxslim.convert(f"{NETS}:{name}", python=python).report
    assert report.parity.feeds == 3
    assert any("training mode" in note for note in report.notes)


def test_an_axis_of_changing_size(python: str) -> None:
    report = onnxslim.convert(f"{NETS}:cnn", python=python, dynamic=["input:0=batch"]).report
    assert report.parity.feeds == 6


def test_a_saved_program_by_each_of_its_names(python: str, tmp_path: Path) -> None:
    folder = saved(python, tmp_path)
    for source, kind in ((folder, None), (folder / "inference.pdiparams", None), (folder / "inference.json", "paddle")):
        report = onnxslim.convert(source, python=python, source_kind=kind).report
        assert report.parity.feeds == 6
        assert report.inputs[0].name == "image"
    (folder / "inference.json").unlink()
    with pytest.raises(InputError, match="the program is missing"):
        onnxslim.convert(folder, python=python)


def test_a_saved_program_of_paddle_2(python: str, tmp_path: Path) -> None:
    folder = saved(python, tmp_path, FLAGS_enable_pir_api="0")
    assert (folder / "inference.pdmodel").exists()
    assert onnxslim.convert(folder, python=python).report.parity.feeds == 6


@pytest.mark.parametrize(
    ("name", "said"), [("dropout_on", "other outputs on every run"), ("otherwhensaved", "value of")]
)
def test_faults(python: str, tmp_path: Path, name: str, said: str) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed, match=said):
        onnxslim.convert(f"{NETS}:{name}", target, python=python)
    assert not target.exists()


def test_nothing_is_installed_into_the_environment(python: str) -> None:
    names = ("onnxruntime", "onnx-graphsurgeon", "sympy", "colored")
    before = installed(python, names)
    onnxslim.convert(f"{NETS}:cnn", python=python)
    assert installed(python, names) == before
