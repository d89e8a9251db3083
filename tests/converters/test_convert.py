"""Conversions by a small framework whose exporter makes mistakes on purpose: each is found, and nothing written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxslim
from onnxslim.cli import main
from onnxslim.converters import kinds
from onnxslim.converters.detect import detect, is_foreign
from onnxslim.converters.kinds import Converter, Form
from onnxslim.errors import CheckFailed, InputError, SetupError

NUMPY = Converter(
    "numpy",
    str(Path(__file__).parent / "numpy_framework.py"),
    (Form(".npm"), Form(".npp", "unpickling")),
    ("numpy", "onnx"),
    ("numpy", "onnx"),
    "numpy itself",
)
DYNAMIC = {"x": {0: "batch"}}


@pytest.fixture(autouse=True)
def numpy_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {each.kind: each for each in kinds.BUILT_IN} | {"numpy": NUMPY}
    kinds.converters.cache_clear()
    monkeypatch.setattr(kinds, "entry_points", lambda group: ())
    monkeypatch.setattr(kinds, "BUILT_IN", tuple(table.values()))


def source(folder: Path, fault: str = "", name: str = "net.npm") -> Path:
    path = folder / name
    path.write_text(fault)
    return path


def test_a_model_is_converted_and_compared(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    model, report = onnxslim.convert(source(tmp_path), target, dynamic=DYNAMIC)
    assert [node.op_type for node in model.graph] == [
        "Transpose",
        "Mul",
        "MatMul",
        "Add",
        "Relu",
        "ReduceMean",
        "MatMul",
        "ArgMax",
    ]
    assert report.parity.passed
    assert report.parity.feeds == 6, "three inputs and three sizes"
    assert report.parity.evidence == "random inputs"
    assert report.framework == "Numpy 1"
    assert report.notes == ("exported by a test",)
    assert report.size == target.stat().st_size
    assert str(report.inputs[0]).startswith("x: float32 [n, 3, 4, 4]")


def test_samples_are_compared_where_there_are_some(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(20, 3, 4, 4)).astype(np.float32)
    report = onnxslim.convert(
        source(tmp_path), samples=samples[:, None].reshape(10, 2, 3, 4, 4)[:, 0:1].repeat(2, 1)[:, 0], dynamic=DYNAMIC
    ).report
    assert report.parity.evidence == "samples"
    assert report.parity.feeds == 10 + 3


FAULTS = {
    "transpose": "the first operation that differs is transpose",
    "square weight transposed": "the first operation that differs is matmul",
    "bias dropped": "the first operation that differs is affine",
    "another activation": "the first operation that differs is relu, LeakyRelu ",
    "activation dropped": "the first operation that differs is relu",
    "weights rounded to fp16": "value of 'y'",
    "one axis pooled": "the first operation that differs is pool",
    "argmin": "value of 'label'",
    "outputs swapped": "type of 'label'",
    "output missing": "2 outputs before, 1 after",
    "float64": "float64 before, float32 after",
    "frozen": "axis 0 (batch) was asked to change, and the file has 2",
    "size baked in": "at n=1",
    "dropout": "something random",
    "nan in framework": "NaN/Inf of 'y'",
    "unknown operator": "Rulu",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found(tmp_path: Path, fault: str) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed) as caught:
        onnxslim.convert(source(tmp_path, fault), target, dynamic=DYNAMIC)
    assert FAULTS[fault] in str(caught.value)
    assert not target.exists()


def test_outputs_that_hardly_depend_on_the_inputs_are_noted(tmp_path: Path) -> None:
    report = onnxslim.convert(source(tmp_path, "indifferent"), dynamic=DYNAMIC).report
    assert any("almost the same outputs" in note for note in report.notes)


def test_a_size_at_which_the_framework_itself_fails_is_noted(tmp_path: Path) -> None:
    report = onnxslim.convert(source(tmp_path, "fails at size 5"), dynamic=DYNAMIC).report
    assert report.parity.feeds == 5
    assert any("does not run at n=5" in note and "5 is too many" in note for note in report.notes)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("broken file", InputError, "this is no model"),
        ("no exporter", CheckFailed, "operator foo is not known"),
        ("crash", SetupError, "SIGSEGV"),
        ("exit", InputError, "SystemExit: 3"),
    ],
)
def test_what_goes_wrong_in_the_child_is_one_error(
    tmp_path: Path, fault: str, error: type[Exception], said: str
) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(error, match=said):
        onnxslim.convert(source(tmp_path, fault), target)
    assert not target.exists()


def test_code_is_run_only_where_it_is_trusted(tmp_path: Path) -> None:
    path = source(tmp_path, name="net.npp")
    with pytest.raises(InputError, match="--trust-code"):
        onnxslim.convert(path)
    assert onnxslim.convert(path, trust_code=True).report.parity.passed


def test_the_interpreter_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such interpreter"):
        onnxslim.convert(source(tmp_path), python=str(tmp_path / "venv"))
    venv = Path(sys.prefix)
    assert onnxslim.convert(source(tmp_path), python=str(venv)).report.parity.passed


def test_which_converter_a_source_is_for(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").touch()
    found = detect(saved)
    assert found.converter is not None
    assert found.converter.kind == "tensorflow"
    assert detect("mine.nets:build").converter is None
    assert is_foreign("mine.nets:build")
    assert not is_foreign(tmp_path)
    with pytest.raises(InputError, match="no converter takes it"):
        detect(source(tmp_path, name="net.xyz"))
    with pytest.raises(InputError, match="ONNX file already"):
        detect(source(tmp_path, name="net.onnx"))
    with pytest.raises(InputError, match="there is no such model"):
        detect(tmp_path / "nothing.pt2")
    with pytest.raises(InputError, match="did you mean 'torch'"):
        detect(saved, "troch")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = source(tmp_path), tmp_path / "net.onnx"
    assert main(["convert", str(path), "-o", str(target), "--json", "--dynamic", "x:0=batch"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["command"] == "convert"
    assert said["parity"]["passed"]
    assert said["inputs"][0]["shape"] == ["n", 3, 4, 4]
    target.unlink()
    assert main(["convert", str(source(tmp_path, "transpose")), "-o", str(target)]) == 1
    assert not target.exists()
    assert "the first operation that differs" in capsys.readouterr().err
    assert main(["convert", str(path)]) == 2
    assert main(["convert", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["converters"]
    assert {"torch", "sklearn", "numpy"} <= {each["kind"] for each in rows}
    assert next(each for each in rows if each["kind"] == "numpy")["packages"]["numpy"]


def test_every_verb_takes_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = source(tmp_path), tmp_path / "net.onnx"
    assert main(["slim", str(path), "-o", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["converted"]["framework"] == "Numpy 1"
    assert report["input"]["path"] == str(path)
    assert target.exists()
    assert main(["inspect", str(path)]) == 0
    assert main(["verify", str(path), str(target)]) == 0
    assert main(["slim", str(path), "--in-place"]) == 2
    assert main(["slim", str(path), "-o", str(path)]) == 2
    assert path.read_text() == ""
    target.unlink()
    assert main(["slim", str(source(tmp_path, "bias dropped")), "-o", str(target)]) == 1
    assert not target.exists()


def test_options_of_frameworks_hold_in_a_block(tmp_path: Path) -> None:
    path = source(tmp_path, name="net.npp")
    with pytest.raises(InputError, match="--trust-code"):
        onnxslim.inspect(path)
    with onnxslim.frameworks(trust_code=True, dynamic=["x:0=batch"]):
        assert str(onnxslim.inspect(path).inputs[0].shape) == "('n', 3, 4, 4)"
    with pytest.raises(InputError, match="did you mean 'python'"), onnxslim.frameworks(pyton="x"):
        raise AssertionError
