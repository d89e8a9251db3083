"""PyTorch models, right ones and such with a planted fault, by both exporters; needs ``make frameworks``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import onnxslim
from onnxslim.errors import CheckFailed, InputError
from tests.converters.environments import python_of

pytestmark = pytest.mark.frameworks
NETS = "tests.converters.torch_nets"
DYNAMIC = {"image": {0: "batch"}}
FAULTS = {
    "wrongtranspose": "aten.mul",
    "dropouton": "something random",
    "narrowed": "float64 before, float32 after",
    "batchfrozen": "at batch=1",
    "batchstatistics": "value of",
    "otheractivation": "aten.gelu",
    "otherpadding": "aten.pad",
    "otherrounding": "value of",
    "otherresize": "aten.upsample_bilinear2d",
    "outputsswapped": "value of",
    "outputlost": "2 outputs before, 1 after",
    "weightshalved": "aten.linear",
    "wrongindex": "aten.slice",
    "epsilonlost": "aten.layer_norm",
}


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_right_model_is_converted_by_both_exporters(tmp_path: Path, exporter: str) -> None:
    target = tmp_path / "net.onnx"
    report = onnxslim.convert(
        f"{NETS}:right", target, python=python_of("torch"), exporter=exporter, dynamic=DYNAMIC
    ).report
    assert report.parity.passed
    assert report.parity.feeds == 6
    assert exporter in report.exporter
    assert "channels first" in str(report.inputs[0])
    assert {"Conv", "Gemm"} <= {node.op_type for node in onnxslim.load(target).graph}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_and_named(tmp_path: Path, fault: str) -> None:
    target = tmp_path / "net.onnx"
    with pytest.raises(CheckFailed) as caught:
        onnxslim.convert(f"{NETS}:{fault}", target, python=python_of("torch"), exporter="torchscript", dynamic=DYNAMIC)
    assert FAULTS[fault] in str(caught.value)
    assert not target.exists()


def test_arguments_by_keyword_and_outputs_by_name(tmp_path: Path) -> None:
    report = onnxslim.convert(f"{NETS}:sequence", tmp_path / "s.onnx", python=python_of("torch")).report
    assert [each.name for each in report.inputs] == ["ids", "mask"]
    assert report.parity.passed


def test_the_forms_of_files(tmp_path: Path) -> None:
    python = python_of("torch")
    script = f"""
import torch
from {NETS} import right
net, x = right()
torch.export.save(torch.export.export(net, (x,)), {str(tmp_path / "net.pt2")!r})
torch.jit.trace(net, x).save({str(tmp_path / "net.pt")!r})
torch.save(net.state_dict(), {str(tmp_path / "weights.pth")!r})
"""
    subprocess.run([python, "-c", script], check=True, cwd=Path(__file__).parents[2])
    assert onnxslim.convert(tmp_path / "net.pt2", python=python).report.parity.passed
    with pytest.raises(InputError, match="--trust-code"):
        onnxslim.convert(tmp_path / "net.pt", python=python)
    with pytest.raises(InputError, match="example inputs"):
        onnxslim.convert(tmp_path / "net.pt", python=python, trust_code=True)
    with pytest.raises(InputError, match="weights have no graph"):
        onnxslim.convert(tmp_path / "weights.pth", python=python, trust_code=True)
    with pytest.raises(InputError, match="there is no module"):
        onnxslim.convert("nowhere.nets:build", python=python)
