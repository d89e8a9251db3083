"""The flags of OnnxSlim's command line, each in the spelling of today and in that of old."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.cli import main
from onnxslim.pipeline import get_pass
from tests.compat.models import large, net, ops
from tests.compat.test_call_shapes import Spoil

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(net(), "in.onnx")
    return tmp_path


def slim(*arguments: str) -> onnx.ModelProto:
    assert main(["in.onnx", "out.onnx", *arguments]) == 0
    return onnx.load("out.onnx")


@pytest.fixture(params=["-", "_"])
def spell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_flags_without_values(here: Path, spell: str) -> None:
    for name in ("no-shape-infer", "model-check", "verbose"):
        assert ops(slim("--" + name.replace("-", spell))) == ["MatMul", "Min", "Relu"]
    assert ops(slim("--" + "no-constant-folding".replace("-", spell))).count("Add") == 1


def test_flags_with_values(here: Path, spell: str) -> None:
    def flag(name: str) -> str:
        return "--" + name.replace("-", spell)

    assert ops(slim(flag("skip-optimizations"), "constant_folding", "graph_fusion")).count("Add") == 1
    assert "Gemm" not in ops(slim(flag("skip-fusion-patterns"), "FusionGemm", "EliminationSlice"))
    assert len(ops(slim(flag("size-threshold"), "100"))) == 3
    assert slim(flag("input-shapes"), "x:5,4").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5
    np.save("x.npy", np.ones((2, 4), np.float32))
    slim("--model-check", flag("model-check-inputs"), "x:x.npy")


def test_inputs_outputs_and_dtype(here: Path) -> None:
    assert ops(slim("--outputs", "product")) == ["MatMul"]
    assert [value.name for value in slim("--inputs", "product").graph.input] == ["product"]
    assert slim("--dtype", "fp16").graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


def test_external_data(here: Path, spell: str) -> None:
    onnx.save(large(), "in.onnx")
    assert main(["in.onnx", "out.onnx", "--" + "save-as-external-data".replace("-", spell)]) == 0
    assert len(list(here.glob("out.onnx*.data"))) == 1


def test_inspect_and_dump(here: Path, capsys: Output, spell: str) -> None:
    onnx.save(net(), "other.onnx")
    assert main(["--inspect", "in.onnx", "other.onnx", "in.onnx", "--" + "dump-to-disk".replace("-", spell)]) == 0
    said = capsys.readouterr().out
    assert said.count("other.onnx") == 2
    assert Path("other.onnx_model_info.csv").read_text().startswith("NodeName,OpType,OutputDtype,OutputShape")
    assert main(["--inspect", "in.onnx", "other.onnx", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [model["path"] for model in shown["models"]] == ["in.onnx", "other.onnx"]


def test_dump_needs_inspect(here: Path, capsys: Output) -> None:
    assert main(["in.onnx", "out.onnx", "--dump-to-disk"]) == 2
    assert "--inspect" in capsys.readouterr().err


def test_version(capsys: Output) -> None:
    for flag in ("-v", "--version"):
        assert main(["in.onnx", flag]) == 0
        assert capsys.readouterr().out == f"{onnxslim.__version__}\n"


def test_the_table_shows_ops_file_bytes_and_session_times(here: Path, capsys: Output) -> None:
    slim()
    said = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line for line in said.splitlines() if line.startswith("| ")}
    assert "in.onnx" in rows["Model Name"]
    assert "out.onnx" in rows["Model Name"]
    assert "Op Set: 17 / IR Version: 8" in rows["Model Info"]
    assert "float32: (batch, 4)" in rows["IN: x"]
    assert "float32: (batch, 3)" in rows["OUT: y"]
    assert [cell.strip() for cell in rows["Identity"].split("|")[2:4]] == ["1", "0"]
    assert [cell.strip() for cell in rows["Operators"].split("|")[2:4]] == ["5", "3"]
    assert f"{Path('in.onnx').stat().st_size} B" in rows["File Size"]
    assert f"{Path('out.onnx').stat().st_size} B" in rows["File Size"]
    assert rows["Session Creation"].count(" ms ") == 2
    slim("--no-verify")
    said = capsys.readouterr().out
    assert "Session Creation" not in said
    assert "not checked" in said


def test_json(here: Path, capsys: Output) -> None:
    slim("--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["command"], said["decision"]) == ("slim", "slimmed")
    assert said["session_seconds"]["input"] > 0


@pytest.mark.parametrize("arguments", [[], ["--model-check"]])
def test_a_failed_check_is_exit_code_1(
    here: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(get_pass("slim"), "run", Spoil.run)
    assert main(["in.onnx", "out.onnx", *arguments]) == 1
    assert not Path("out.onnx").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_without_an_output_nothing_is_written(here: Path, capsys: Output) -> None:
    assert main(["in.onnx"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert [each.name for each in here.iterdir()] == ["in.onnx"]


@pytest.mark.parametrize(
    "arguments",
    [["--dtype", "int8"], ["--skip-optimizations", "nothing"], ["--input-shapes", "z:1"], ["--size-threshold", "many"]],
)
def test_bad_values_are_exit_code_2(here: Path, capsys: Output, arguments: list[str]) -> None:
    assert main(["in.onnx", "out.onnx", *arguments]) == 2
    assert not Path("out.onnx").exists()
    assert "Traceback" not in capsys.readouterr().err
