from __future__ import annotations

import json
from pathlib import Path

import pytest

import onnxslim
from onnxslim.api import page as pages
from onnxslim.cli import main
from onnxslim.errors import InputError, SetupError
from tests.documents import DIGITS, write_digit_samples


def test_a_run_with_a_report_looks_inside_both_models(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    write_digit_samples(samples)
    result = onnxslim.quantize(
        DIGITS, samples=samples, bench=False, search=False, rest="float", report=tmp_path / "report.json"
    )
    layers = json.loads((tmp_path / "report.json").read_text())["layers"]
    assert result.report.layers is not None
    assert result.report.layers.timed
    assert layers["samples"] == 4
    assert layers["notes"][0].startswith("6 values that both models name alike were not compared")
    convs = [node for node in layers["result"]["nodes"] if node["op_type"] == "Conv"]
    assert any(node["int8"] and node["channels"] == 64 for node in convs)
    assert not any(node["int8"] for node in layers["original"]["nodes"])
    assert {each["encoding"] for each in layers["result"]["weights"]} >= {"int8", "float32"}
    errors = {each["name"]: each["sqnr_db"] for each in layers["errors"]}
    assert min(errors.values()) > 15  # the Conv that a BatchNormalization was folded into is not among them
    result.report.save(tmp_path / "r.time.node_data.json")
    (data,) = json.loads((tmp_path / "r.time.node_data.json").read_text()).values()
    assert any(each["value"] > 0 for each in data["results"].values())


def test_a_run_without_one_does_not(tmp_path: Path) -> None:
    assert onnxslim.slim(str(DIGITS)) is not None
    report = onnxslim.decode(DIGITS, verify=False).report
    assert report.layers is None
    with pytest.raises(InputError, match="the run was not asked for a report"):
        report.save(tmp_path / "r.time.node_data.json")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("r.pdf", "no form for the suffix"),
        ("missing/r.json", "folder of the output is not there"),
        ("", "report is no path"),
        ("samples/r.json", "would be a sample"),
        ("in.txt", "would replace the model"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_work(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "in.txt").write_bytes(DIGITS.read_bytes())
    with pytest.raises(InputError, match=why):
        pages.check_report(str(tmp_path / name) if name else "", {"model": tmp_path / "in.txt"}, tmp_path / "samples")


def test_a_page_without_jinja2_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.report.report.find_spec", lambda _: None)
    monkeypatch.setattr("onnxslim.api.job.open_task", lambda *_: pytest.fail("it has begun"))
    with pytest.raises(SetupError, match=r"pip install 'onnxslim-compiler\[report\]'") as found:
        onnxslim.decode(DIGITS, report=tmp_path / "r.html")
    assert found.value.exit_code == 3


def test_verify_writes_one_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(DIGITS), str(DIGITS), "--report", str(tmp_path / "r.json")]) == 0
    assert "parity: passed" in capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["command"], found["decision"], found["parity"]["passed"]) == ("verify", "passed", True)
    assert found["layers"]["errors"] == []  # random inputs tell none
    assert any(node["microseconds"] for node in found["layers"]["result"]["nodes"])
    assert main(["bench", str(DIGITS), "--report", str(tmp_path / "b.json")]) == 2
