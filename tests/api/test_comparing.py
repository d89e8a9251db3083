"""What two machines found of the same two models is compared; of different ones it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models_zoo
import onnxslim
from onnxslim.cli import main
from tests.documents import shorten_latency

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = DIGITS.samples("calibration").first(32)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    np.save("samples.npy", np.concatenate([sample.feed["image"] for sample in SAMPLES]))
    onnxslim.quantize(DIGITS.path(), "small.onnx", samples=SAMPLES, bench=False, search=False)
    assert main(["verify", str(DIGITS.path()), "small.onnx", "--samples", "samples.npy", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    Path("a.json").write_text(json.dumps(found))
    return found


def compared(other: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    Path("b.json").write_text(json.dumps(other))
    code = main(["verify", "--compare", "a.json", "b.json"])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_same_result_agrees(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    other = results | {"machine": {"machine": "aarch64", "target": "arm64", "onnxruntime": "1.30.0"}}
    code, said = compared(other, capsys)
    assert code == 0
    assert "the results agree" in said
    assert "aarch64" in said
    assert main(["verify", "--compare", "a.json", "b.json", "--json"]) == 0
    rows = {row["what"]: row["agrees"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["logits: outputs"] is True
    assert rows["machine"] is None


def test_other_bits_are_shown_and_another_quality_is_a_difference(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bits = results | {"outputs": {"logits": "0" * 64}}
    assert compared(bits, capsys)[0] == 0
    worse = json.loads(json.dumps(bits))
    worse["parity"]["fidelity"][0]["sqnr_db"] -= 6
    code, said = compared(worse, capsys)
    assert code == 1
    assert "DIFFERENT" in said
    failed = json.loads(json.dumps(bits))
    failed["parity"]["passed"] = False
    assert compared(failed, capsys)[0] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": {"reference": "x", "candidate": "y"}}, "different files"),
        ({"inputs": "x"}, "different inputs"),
        ({"command": "inspect"}, "no result of verify or bench"),
    ],
)
def test_results_of_other_questions_are_refused(
    change: dict[str, Any], reason: str, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = compared(results | change, capsys)
    assert code == 2
    assert reason in said


def test_what_is_no_result_is_refused(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.json").write_text("{")
    assert main(["verify", "--compare", "a.json", "b.json"]) == 2
    assert "no JSON" in capsys.readouterr().err
    assert main(["verify", "--compare", "a.json", "missing.json"]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_latencies_are_set_side_by_side(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten_latency(monkeypatch)
    assert main(["bench", str(DIGITS.path()), "small.onnx", "--json"]) == 0
    Path("a.json").write_text(capsys.readouterr().out)
    code, said = compared(json.loads(Path("a.json").read_text()), capsys)
    assert code == 0
    assert "ratio" in said
