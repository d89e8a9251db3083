from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import models_zoo
from onnxslim.analysis.channels import find_channels
from onnxslim.pipeline.recipe import parse_recipe
from tools.bench_prune import ITEMS, RUNS, main, recipe
from tools.prune_reach import apart, halve, inner_rows, reach, transformer
from tools.prune_table import markdown, share

HEADED = """<ir_version: 9, opset_import: ["" : 17]> g (float[n, 3] x) => (float[n, 2] y)
<float[3, 8] inner = {INNER}, float[8, 2] head = {HEAD}, float[2] bias = {1, 2}>
{
  a = MatMul(x, inner)
  r = Relu(a)
  b = MatMul(r, head)
  c = Add(b, bias)
  y = Softmax(c)
}"""


def headed() -> ir.Model:
    """Eight inner rows, and two that a Softmax shows."""
    generator = np.random.default_rng(0)
    parts = {"INNER": generator.normal(size=24), "HEAD": generator.normal(size=16)}
    text = HEADED
    for name, numbers in parts.items():
        text = text.replace(name, ", ".join(f"{each:.3f}" for each in numbers))
    return ir.from_onnx_text(text)


def test_rows_behind_a_softmax_end_in_the_output() -> None:
    model = headed()
    channels = find_channels(model)
    assert [len(ids) for _, _, ids in channels.rows()] == [8, 2]
    assert [len(ids) for ids in inner_rows(model, channels)] == [8, 0]


def test_half_of_the_channels_gone_is_what_nobody_reading_them_is() -> None:
    model = headed()
    feeds = [{"x": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)}]
    made = halve(model, find_channels(model), feeds)
    assert made["problems"] == []
    assert made["error"] < 1e-5
    assert made["change"] > 1e-2
    assert len(find_channels(model).groups[0]) == 8  # a copy was changed


def test_outputs_of_other_shapes_are_infinitely_far_apart() -> None:
    one = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[n] x) => (float[m] y) { y = Identity(x) }'
    )
    other = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[n] x) => (float[m] y) { y = Concat<axis=0>(x, x) }'
    )
    feed = {"x": np.ones(2, np.float32)}
    assert apart(one, other, [feed]) == float("inf")
    assert apart(one, one, [feed]) == 0.0


def test_the_transformer_runs_and_gives_up_heads_and_inner_layers() -> None:
    model = transformer(blocks=2, width=32, heads=4)
    assert len(list(model.graph)) == 58
    groups = find_channels(model).groups
    assert sorted({len(group) for group in groups}) == [4, 128]
    made = halve(model, find_channels(model), [{"x": np.ones((1, 5, 32), np.float32)}])
    assert made["problems"] == []
    assert made["error"] == 0.0


def test_a_model_of_the_zoo_is_reached() -> None:
    made = reach("digits_cnn")
    assert made["free"] == made["rows"] == 416
    assert made["pinned"] == []
    assert made["error"] < 1e-4 < made["change"]


def test_the_recipe_prunes_between_slimming_and_quantizing() -> None:
    passes = parse_recipe(recipe(("--macs", "0.5", "--round-to", "8")))
    assert [each.name for each in passes] == ["slim", "prune", "quantize"]
    assert (passes[1].macs, passes[1].round_to) == (0.5, 8)  # type: ignore[attr-defined]


def test_runs_are_told_apart_and_their_models_have_tasks() -> None:
    assert len({each.name for each in RUNS}) == len(RUNS)
    sizes = {each.model: models_zoo.get(each.model).scored().sizes["report"] for each in RUNS}
    assert all(count <= sizes[model] for model, count in ITEMS.items())


def run_of(**other: Any) -> dict[str, Any]:
    latency = {"ratio": 0.5, "low": 0.4, "high": 0.625}
    scores = {"accuracy": {"fp32": 0.9, "int8": 0.89, "low": -0.02, "high": 0.001}}
    report = {"decision": "pruned", "macs": {"input": 1000, "output": 250}}
    seen = {"metric": "accuracy", "items": 50, "scores": scores, "latency": {"1": latency}, "sqnr_db": 20.04}
    cost = {"wall_seconds": 3.0, "peak_rss_bytes": 10**8, "error": ""}
    return {**cost, **seen, "size_ratio": 4.0, "report": report, "to_slimmed": latency | {"ratio": 0.55}, **other}


def test_the_tables_tell_reach_runs_and_what_did_not_come_out() -> None:
    pinned = [["Softmax", "what is computed over the axis would change", 4]]
    half = {"seconds": 0.01, "nodes": 9, "groups": 2, "problems": [], "error": 2e-7, "change": 0.5}
    found = {
        "whole": half | {"rows": 10, "free": 10, "pinned": []},
        "part": half | {"rows": 10, "free": 6, "pinned": pinned},
        "nothing": half | {"rows": 0, "free": 0, "pinned": [], "groups": 0, "error": 0.0, "change": 0.0},
        "broken": half | {"rows": 10, "free": 9, "pinned": [], "problems": ["a cycle"]},
    }
    runs = {
        "m --macs 0.25": run_of(),
        "m --ratio 0.5": run_of(report={"decision": "kept all channels"}, latency={}, to_slimmed=None, sqnr_db=None),
        "m --macs 0.25 then int8": {"error": "exit code 1: no|way", "wall_seconds": 1.0, "peak_rss_bytes": 10**7},
    }
    large = {"seconds": 0.5, "nodes": 1421, "groups": 98, "rows": 131712, "free": 131712}
    text = markdown({"reach": found, "runs": runs, "transformer": large})
    assert share(found["nothing"]) == 1.0
    assert "at least 90% of the inner rows can go in 3 of 4 models; of the rows of all models 83%" in text
    assert "2 of 4 lose channels, are valid and run, at most 2.0e-07 off the oracle" in text
    assert "| part | 9 | 0.010 | 2 | 6 of 10 (0.60) | 2e-07; 5e-01 | Softmax: what is computed over the axis" in text
    assert "| invalid: a cycle |" in text
    assert "A transformer of 1,421 nodes" in text
    quality, int8, never = (text.split(title)[1] for title in ("without labels", "then int8\n", "Never slower"))
    row = "| m --macs 0.25 | pruned | 0.25 | 4.00x | 0.50x (0.40 to 0.62) | 0.55x (0.40 to 0.62) | 20.0 |"
    assert f"{row} accuracy 0.9000 -> 0.8900 (-0.0200 to +0.0010), 50 items | 3; 100 |" in quality
    assert "| exit code 1: no/way | - | - | - | - | - | - | 1; 10 |" in int8
    assert "| m --ratio 0.5 | kept all channels | - | 4.00x | - | - | - |" in never
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


@pytest.mark.slow
def test_results_are_added_to_and_not_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    name = "digits_cnn --ratio 0.25"
    common = ["--out", str(out), "--only", name, "--items", "40", "--seconds", "0.2", "--processes", "4"]
    assert main(["run", *common]) == 0
    assert f"| {name} |" in capsys.readouterr().out
    made = json.loads(out.read_text())["runs"][name]
    assert made["error"] == ""
    assert made["report"]["decision"] in ("pruned", "kept all channels")
    assert made["report"]["macs"]["output"] <= made["report"]["macs"]["input"]
    assert made["items"] == 40
    assert set(made["latency"]) == {"1"}
    assert made["to_slimmed"]["ratio"] > 0
    before = out.stat().st_mtime_ns
    assert main(["run", *common]) == 0
    assert out.stat().st_mtime_ns == before
    assert main(["table", "--out", str(out)]) == 0
    assert "### Never slower" in capsys.readouterr().out
