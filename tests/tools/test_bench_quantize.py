from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import models_zoo
from tools.bench_quantize import main
from tools.quantize_judge import items, kernels, models, write_samples
from tools.quantize_peers import TOOLS as PEER_TOOLS
from tools.quantize_peers import Reader
from tools.quantize_runs import STATES, TOOLS, brief, pythons, quantize
from tools.quantize_table import markdown, worse, worse_anywhere
from tools.slim_runs import OURS

OPTIMIZED = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g (float[2, 2] x) => (float[2, 2] y)
<float scale = {0.1}, uint8 zero = {0}, int8 none = {0}, int8[2, 2] fused = {1, 2, 3, 4},
 int8[2, 2] left = {1, 2, 3, 4}, int32[2] bias = {1, 2}, int32 zeros = {0}>
{
  q = QuantizeLinear(x, scale, zero)
  m = com.microsoft.MatMulIntegerToFloat(q, fused, scale, scale, zero, none)
  w = DequantizeLinear(left, scale, none)
  b = DequantizeLinear(bias, scale, zeros)
  n = MatMul(m, w)
  y = Add(n, b)
}"""


def test_weights_that_are_dequantized_at_every_run_are_counted() -> None:
    assert kernels(onnx.parser.parse_model(OPTIMIZED)) == {"int8_kernels": 1, "unfused": 1}


def test_models_are_those_with_a_task_that_come_in_float() -> None:
    found = models()
    assert {"magika", "mtcnn_rnet", "digits_cnn"} <= set(found)
    assert not any(name.startswith("tashkeel") for name in found)


def test_items_are_all_of_the_report_split_but_for_some_and_can_be_capped() -> None:
    assert items(models_zoo.get("magika"), None) == 644
    assert items(models_zoo.get("mtcnn_rnet"), None) == 160
    assert items(models_zoo.get("mtcnn_rnet"), 10) == 10


def test_ours_gets_the_samples_of_the_peers_and_as_many_of_the_selection_split(tmp_path: Path) -> None:
    assert write_samples(models_zoo.get("digits_cnn"), 5, tmp_path) == {"peers": 5, "ours": 10}
    for name in ("0000.npz", "0004.npz"):
        peers, ours = (np.load(tmp_path / folder / name) for folder in ("peers", "ours"))
        assert peers.files == ours.files
        assert all(np.array_equal(peers[key], ours[key]) for key in peers.files)


def test_every_peer_is_known_on_both_sides() -> None:
    assert (*STATES, *PEER_TOOLS) == TOOLS
    peers = ["ort-default", "ort-all", "ort-core", "ort-dynamic"]
    assert list(pythons("a", {"ort": "b"})) == [OURS, "ours-ort", *peers]


def test_another_checkout_is_a_state_of_ours(tmp_path: Path) -> None:
    assert pythons("a", {}, tmp_path) == {OURS: "a", "ours-ort": "a", "ours-before": "a"}
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert pythons("a", {}, tmp_path)["ours-before"] == str(own)
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "results.json"), "--before", str(tmp_path)])


def test_each_state_of_ours_runs_its_own_code(tmp_path: Path) -> None:
    other = tmp_path / "other" / "onnxslim"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    said = 'import sys, json\nopen(sys.argv[4], "w").write(json.dumps(sys.argv[1:]))\n'
    report = {"decision": "quantized", "reason": "", "notes": [], "calibrated": 4, "steps": []}
    (other / "__main__.py").write_text(said + f"print(json.dumps({report!r}, indent=2))\n")
    made = quantize("ours-before", sys.executable, tmp_path / "m", tmp_path, tmp_path, 60, before=other.parent)
    assert made["report"]["decision"] == "quantized"
    assert "--ops" not in json.loads((tmp_path / "model.onnx").read_text())


def test_the_reader_starts_again() -> None:
    reader = Reader([{"x": np.zeros(1)}])
    assert reader.get_next() is not None
    assert reader.get_next() is None
    reader.rewind()
    assert reader.get_next() is not None


def test_a_peer_that_raises_has_refused(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "out").mkdir()
    source = tmp_path / "broken.onnx"
    source.write_bytes(b"no model")
    made = quantize("ort-dynamic", sys.executable, source, tmp_path / "samples", tmp_path / "out", timeout=60)
    assert made["error"].startswith("refused: exit code 1: DecodeError")


def test_our_report_is_found_behind_warnings() -> None:
    step = {"name": "quantize", "result": {"actions": [1, 2]}}
    report = {"decision": "quantized", "reason": "", "notes": [], "calibrated": 4, "steps": [step]}
    found = brief("warning: {odd}\n" + json.dumps(report, indent=2))
    assert found["decision"] == "quantized"
    assert found["actions"] == {"quantize": 2}


def result(int8: float, high: float, **other: Any) -> dict[str, Any]:
    latency = {"ratio": 0.5, "low": 0.4, "high": 0.625, "verdict": "faster"}
    scores = {"accuracy": {"fp32": 0.9, "int8": int8, "low": -0.2, "high": high}}
    cost = {"wall_seconds": 3.0, "peak_rss_bytes": 10**8, "error": ""}
    seen = {"metric": "accuracy", "items": 50, "scores": scores, "latency": {"1": latency}, "sqnr_db": 20.0}
    return {**cost, **seen, "size_ratio": 4.0, "int8_kernels": 7, "unfused": 2, **other}


def test_the_tables_tell_scores_speed_and_refusals() -> None:
    report = {"decision": "quantized", "reason": "", "calibrated": 30}
    ours = result(0.9, 0.01, report=report, agreement={"cosine": 0.99})
    refused = {"error": "refused: exit code 1: no", "wall_seconds": 1.0, "peak_rss_bytes": 10**7}
    runs = {OURS: ours, "ort-default": result(0.7, -0.1, agreement={"cosine": 0.5}), "nncf": refused}
    original = {"bytes": 1000, "opset": 13, "samples": {"peers": 30, "ours": 60}}
    text = markdown({"peers": {"ort": "onnxruntime 1"}, "models": {"m": {"original": original, "runs": runs}}})
    assert not worse(ours)
    assert not worse_anywhere(ours)
    assert worse(runs["ort-default"])
    assert "| ours | 1 | 0 | 0 | 0 | 0 | 1 | 4.00 | 4.00 | 2.00 | 3.0 | 100 |" in text
    assert "| ort-default | 1 | 0 | 1 | 1 | 0 | 1 |" in text
    assert "2.00x (1.60 to 2.50), faster | 20.0 | 0.7000 (-0.2000 to -0.1000) | 0.5000 |" in text
    assert "- m, nncf: refused: exit code 1: no" in text
    assert "Not in these results: ours-ort, ours-before, ort-all" in text
    rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(rows[-5:])) == 1  # a tool without a result has as many cells


@pytest.mark.slow
def test_results_are_added_to_and_not_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    peer = ["--peer", f"ort={sys.executable}"]
    common = ["--out", str(out), "--only", "digits_cnn", "--items", "40", "--calibration", "16", "--seconds", "0"]
    assert main([*common, *peer, "--tools", "ort-core"]) == 0
    assert "digits_cnn, ort-core: " in capsys.readouterr().out
    assert main([*common, *peer, "--tools", "ours", "ort-core", "nncf"]) == 0
    said = capsys.readouterr().out
    assert "left out, no --peer or --before names their environment: nncf" in said
    assert "digits_cnn, ours: " in said
    assert "digits_cnn, ort-core: " not in said
    runs = json.loads(out.read_text())["models"]["digits_cnn"]["runs"]
    assert [run["error"] for run in runs.values()] == ["", ""]
    assert runs["ort-core"]["unfused"] == 0
    assert runs["ort-core"]["int8_kernels"] > 0
    assert runs[OURS]["report"]["decision"]
    assert main(["table", "--out", str(out)]) == 0
    assert "## digits_cnn" in capsys.readouterr().out
