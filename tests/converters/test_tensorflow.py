"""Keras, SavedModels, TensorFlow's functions and TensorFlow Lite, right and wrong; needs ``make frameworks``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import onnxslim
from onnxslim.errors import CheckFailed, InputError, SetupError
from tests.converters.environments import python_of

pytestmark = pytest.mark.frameworks
NETS = "tests.converters.keras_nets"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    return python_of("tensorflow")


@pytest.fixture(scope="module")
def files(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    done = subprocess.run(
        [python, "-m", NETS, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("exporter", ["keras", "tf2onnx"])
def test_a_keras_model_is_converted_by_both_exporters(python: str, files: Path, exporter: str) -> None:
    report = onnxslim.convert(files / "cnn.keras", python=python, exporter=exporter).report
    assert report.parity.passed
    assert report.parity.feeds == 6, "three inputs and three sizes of the batch"
    assert ("keras.Model.export" if exporter == "keras" else "tf2onnx") in report.exporter
    assert report.inputs[0].name == "image"
    assert report.inputs[0].layout == "channels last"


def test_the_inputs_of_a_batch_change_size_together(python: str) -> None:
    report = onnxslim.convert(f"{NETS}:two_inputs", python=python).report
    assert report.parity.feeds == 6
    assert {each.name for each in report.inputs} == {"left", "right"}
    assert not report.notes


def test_a_subclassed_model_needs_an_example(python: str) -> None:
    assert onnxslim.convert(f"{NETS}:subclassed", python=python).report.parity.feeds == 6
    with pytest.raises(InputError, match="give --samples"):
        onnxslim.convert(f"{NETS}:subclassed_alone", python=python)


def test_another_unknown_axis_needs_samples(python: str, files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="axis 1 of input 'steps' has no size"):
        onnxslim.convert(files / "words.keras", python=python)
    rng = np.random.default_rng(0)
    samples = [{"steps": rng.normal(size=(2, length, 8)).astype(np.float32)} for length in (3, 5)]
    report = onnxslim.convert(files / "words.keras", python=python, samples=samples).report
    assert report.parity.evidence == "samples"
    assert report.parity.feeds == 2 + 6, "each sample, and three sizes of either axis"


def test_code_in_a_file_runs_only_where_it_is_trusted(python: str, files: Path) -> None:
    for name in ("lambda.keras", "cnn.h5"):
        with pytest.raises(InputError, match="--trust-code"):
            onnxslim.convert(files / name, python=python)
        assert onnxslim.convert(files / name, python=python, trust_code=True).report.parity.passed


FAULTS = {
    "headhalved": "/head",
    "transposed": "/first",
    "biaslost": "/second",
    "otherepsilon": "/first",  # TensorFlow itself folds the factors of "norm" into it before tf2onnx sees them
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_exporter_that_is_wrong_is_found_and_blamed(python: str, tmp_path: Path, fault: str) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed, match="does not compute what the framework computes") as caught:
        onnxslim.convert(f"{NETS}:{fault}", target, python=python)
    assert "first operation that differs" in str(caught.value)
    assert FAULTS[fault] in str(caught.value).partition("first operation that differs")[2].partition("before it")[0]
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("dropout_on", CheckFailed, "StatelessRandomUniform"),
        ("stateful", InputError, "'memory' keeps its state"),
        ("gelu", CheckFailed, "Erfc"),
        ("otherwhentraced", CheckFailed, "value of"),
    ],
)
def test_what_cannot_be_converted_is_said(
    python: str, tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(error, match=said):
        onnxslim.convert(f"{NETS}:{name}", target, python=python)
    assert not target.exists()


def test_savedmodels(python: str, files: Path) -> None:
    assert onnxslim.convert(files / "saved_cnn", python=python).report.parity.feeds == 6
    model, report = onnxslim.convert(files / "saved_plain", python=python)
    assert report.parity.passed
    assert [value.name for value in model.graph.outputs] == ["a", "z"]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("saved_random", CheckFailed, "other outputs on every run|RandomStandardNormal"),
        ("saved_counts", CheckFailed, "keeps a state|cannot be exported"),
        ("saved_nameless", InputError, "no signature 'serving_default'"),
    ],
)
def test_savedmodels_that_cannot_be_converted(
    python: str, files: Path, tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(error, match=said):
        onnxslim.convert(files / name, target, python=python)
    assert not target.exists()


def test_a_graph_that_writes_files_is_not_loaded(python: str, files: Path) -> None:
    with pytest.raises(InputError, match=r"WriteFile.*may write files"):
        onnxslim.convert(files / "saved_writes", python=python)
    assert not (files / "written").exists()


def test_functions_of_tensorflow(python: str) -> None:
    report = onnxslim.convert(f"{NETS}:function", python=python, dynamic=["x:0=batch", "y:0=batch"]).report
    assert report.parity.feeds == 6
    assert [each.name for each in report.inputs] == ["x", "y"]


@pytest.mark.parametrize("kind", ["float", "int8", "int8io"])
def test_tflite(python: str, files: Path, kind: str) -> None:
    report = onnxslim.convert(files / f"{kind}.tflite", python=python).report
    assert report.parity.feeds == 6
    assert any("is quantized" in note for note in report.notes) == (kind != "float")


def test_tflite_that_rounds_at_run_time_is_another_model(python: str, files: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed, match="its weights are quantized"):
        onnxslim.convert(files / "weights.tflite", target, python=python)
    assert not target.exists()


def test_tflite_has_fixed_sizes_and_no_damaged_files(python: str, files: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((files / "float.tflite").read_bytes()[:200])
    with pytest.raises((InputError, SetupError), match="cannot be loaded"):  # TensorFlow Lite may crash on it
        onnxslim.convert(path, python=python)
    with pytest.raises(CheckFailed, match="axis 1 of input 'serving_default_image:0' is fixed"):
        onnxslim.convert(files / "float.tflite", python=python, dynamic=["serving_default_image:0:1=height"])


def test_keras_on_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    python = python_of("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    report = onnxslim.convert("tests.converters.keras_small:gelu", python=python).report
    assert report.parity.feeds == 6
    assert "(jax)" in report.framework


def test_a_folder_is_left_as_it_was(python: str, files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "saved"
    shutil.copytree(files / "saved_plain", copy)
    before = sorted((each.name, each.stat().st_size) for each in copy.rglob("*"))
    onnxslim.convert(copy, python=python)
    assert sorted((each.name, each.stat().st_size) for each in copy.rglob("*")) == before
