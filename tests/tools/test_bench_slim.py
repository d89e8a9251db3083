from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tools.bench_slim import main
from tools.slim_judge import CHAINS, judge
from tools.slim_runs import OURS, VERIFIED, run
from tools.slim_table import best_peer, gaps, markdown, valid

MODEL = """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y)
{ a = Relu(x)  b = Identity(a)  y = Sin(b) }"""


def write(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("judge")
    candidates = {
        "right": MODEL.replace("b = Identity(a)  y = Sin(b)", "y = Sin(a)"),
        "wrong": MODEL.replace("y = Sin(b)", "y = Cos(b)"),
        "frozen": MODEL.replace("float[N, 4] x", "float[2, 4] x"),
        "renamed": MODEL.replace("float[N, 4] x", "float[M, 4] x"),
        "invalid": MODEL.replace("y = Sin(b)", "y = com.nobody.Sin(b)").replace("17]", '17, "com.nobody" : 1]'),
    }
    paths = {name: write(folder / f"{name}.onnx", text) for name, text in candidates.items()}
    made: dict[str, Any] = judge(write(folder / "source.onnx", MODEL), paths, [1, 2], None, timed=["right"])["verdicts"]
    return made


@pytest.mark.parametrize(
    ("name", "verdict"), [("right", "ok"), ("wrong", "wrong"), ("renamed", "ok"), ("invalid", "invalid")]
)
def test_verdicts(verdicts: dict[str, Any], name: str, verdict: str) -> None:
    assert verdicts[name]["verdict"] == verdict


def test_a_right_result_has_nothing_else_against_it(verdicts: dict[str, Any]) -> None:
    right = verdicts["right"]
    assert not right["interface"]
    assert not right["frozen"]
    assert not right["new_domains"]
    assert not right["differences"]
    assert right["nodes"] == 2
    assert right["ops"] == {"Relu": 1, "Sin": 1}
    assert right["session_ratio"] > 0


def test_frozen_axes_and_interfaces_are_told_apart(verdicts: dict[str, Any]) -> None:
    assert verdicts["frozen"]["frozen"] == ["x[0]: N -> 2"]
    assert verdicts["renamed"]["frozen"] == []
    assert verdicts["renamed"]["interface"]
    assert verdicts["invalid"]["new_domains"] == ["com.nobody"]


def result(nodes: int, **other: Any) -> dict[str, Any]:
    plain = {"verdict": "ok", "interface": [], "frozen": [], "new_domains": [], "differences": [], "bytes": 100}
    cost = {"cpu_seconds": 0.5, "peak_rss_bytes": 10**8, "error": "", "session_ratio": 0.5}
    return {**plain, **cost, "nodes": nodes, "ops": {"Relu": nodes}, **other}


@pytest.fixture
def results() -> dict[str, Any]:
    original = {"nodes": 10, "ops": {"Relu": 10}, "bytes": 100}
    first = {OURS: result(6), "onnxslim": result(2, verdict="wrong"), "onnxsim": result(5), "ort": result(4, bytes=101)}
    second = {OURS: result(3), "onnxslim": result(3), "onnxscript": result(1, frozen=["x[0]: N -> 2"])}
    models = {"a": first, "b": second}
    return {"models": {name: {"original": original, "note": "", "runs": runs} for name, runs in models.items()}}


def test_only_valid_peers_are_compared_with(results: dict[str, Any]) -> None:
    assert [best_peer(row) for row in results["models"].values()] == ["onnxsim", "onnxslim"]
    row = results["models"]["a"]
    assert [valid(row, tool) for tool in row["runs"]] == [True, False, True, False]


def test_the_tables_say_where_ours_is_behind(results: dict[str, Any]) -> None:
    text = markdown(results)
    assert "best valid peer: 1 of 2 (50.0 %)" in text
    assert "a 6 > 5 (onnxsim)" in text
    assert "more operators than OnnxSlim, where it is valid: none" in text
    assert "- a (+1; 10 -> ours 6, onnxsim 5): Relu +1" in gaps(results)
    assert "- b " not in gaps(results)


def test_costs_are_those_of_the_process(tmp_path: Path) -> None:
    target = tmp_path / "out"
    busy = (
        "import sys, time\nblock = bytearray(200 << 20)\nwhile time.process_time() < 0.3: pass\nopen(sys.argv[1], 'w')"
    )
    cost = run(OURS, [sys.executable, "-c", busy, str(target)], target, tmp_path, timeout=60)
    assert cost.error == ""
    assert 0.3 <= cost.cpu_seconds < 2
    assert cost.peak_rss_bytes >= 200 << 20


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("pass", "wrote nothing"),
        ("raise SystemExit('no')", "exit code 1: no"),
        ("while True: pass", "killed after 1 s"),
    ],
)
def test_failures_are_told(tmp_path: Path, code: str, error: str) -> None:
    cost = run(OURS, [sys.executable, "-c", code], tmp_path / "out", tmp_path, timeout=1)
    assert cost.error == error


def test_ours_on_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    write(exports / "tiny_one.onnx", MODEL)
    out = tmp_path / "results.json"
    assert main(["--out", str(out), "--exports", str(exports), "--only", "tiny_one", "--ours-only"]) == 0
    runs = json.loads(out.read_text())["models"]["tiny_one"]["runs"]
    assert set(runs) == {OURS, VERIFIED}
    assert [runs[tool]["error"] for tool in runs] == ["", ""]
    assert runs[OURS]["ops"] == {"Relu": 1, "Sin": 1}
    assert "No peers were run." in out.with_suffix(".md").read_text()
    assert "tiny_one: 3 -> 2 ops, ok" in capsys.readouterr().out


@pytest.mark.parametrize("kind", CHAINS)
def test_chains_are_valid(kind: str) -> None:
    model = CHAINS[kind](23)
    onnx.checker.check_model(model, full_check=True)
    assert 23 <= len(model.graph.node) <= 24
