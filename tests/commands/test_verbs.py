from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest

from onnxslim.cli import main
from onnxslim.commands.table import VERBS, group
from onnxslim.execution import Latency, compare_latency, open_session
from onnxslim.graph import load
from onnxslim.pipeline import pass_table
from onnxslim.pipeline.config import MIN_SQNR
from tests.documents import DIGITS, shorten_latency, write_digit_samples

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    write_digit_samples(tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    shorten_latency(monkeypatch)
    return tmp_path


def run_json(capsys: Output, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Runs a verb with --json; everything on stdout is one strict JSON object."""
    assert main([*arguments, "--json"]) == code
    said = capsys.readouterr()
    assert said.err == ""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(said.out, parse_constant=refuse)
    assert found["schema"] == 2
    return found


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(group)
    return [(verb, command) for verb in VERBS if (command := group.get_command(context, verb)) is not None]


def test_every_verb_of_the_table_is_a_command_of_that_name() -> None:
    assert [(verb, command.name) for verb, command in commands()] == [(verb, verb) for verb in VERBS]
    assert {verb: command.short_help for verb, command in commands()} == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_option_once(verb: str, capsys: Output) -> None:
    assert main([verb, "--help"]) == 0
    assert "--json" in capsys.readouterr().out
    command = dict(commands())[verb]
    flags = [flag for param in command.params for flag in (*param.opts, *param.secondary_opts)]
    assert len(flags) == len(set(flags))


def test_slim(here: Path, capsys: Output) -> None:
    report = run_json(capsys, "slim", "model.onnx", "-o", "out.onnx")
    assert (report["command"], report["decision"]) == ("slim", "slimmed")
    assert report["parity"]["passed"] is True
    assert report["evidence"] == "random inputs"
    assert report["output"]["ops"].get("BatchNormalization", 0) < report["input"]["ops"]["BatchNormalization"]
    assert report["input"]["bytes"] == DIGITS.stat().st_size
    assert report["output"]["bytes"] == (here / "out.onnx").stat().st_size <= DIGITS.stat().st_size
    assert report["steps"][0]["result"]["actions"]
    onnx.checker.check_model(onnx.load("out.onnx"))


def test_slim_for_a_person(here: Path, capsys: Output) -> None:
    assert main(["slim", "model.onnx", "-o", "out.onnx"]) == 0
    short = capsys.readouterr().out
    assert short.startswith("slim: slimmed: 0.99x the size")
    assert "parity: passed (numeric)" in short
    assert main(["slim", "model.onnx", "-o", "out.onnx", "--explain"]) == 0
    assert "fuse-conv-batchnorm" in capsys.readouterr().out
    assert main(["slim", "model.onnx", "-o", "out.onnx", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_stderr_a_line_a_stage(here: Path, capsys: Output) -> None:
    assert main(["quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert "onnxslim: write out.onnx" in said
    assert said.count("onnxslim: measure the latency") == 1
    assert not any("process" in line and " so far)" not in line for line in said)  # but in a line that is due by time


def test_a_model_does_not_go_to_stdout(here: Path, capsys: Output) -> None:
    assert main(["slim", "model.onnx", "-o", "-"]) == 2
    assert "./-" in capsys.readouterr().err
    assert main(["model.onnx", "-"]) == 2
    assert sorted(os.listdir(here)) == ["model.onnx", "samples"]


@pytest.mark.parametrize("verb", ["slim", "compress"])
def test_the_recipe_is_not_overwritten(here: Path, capsys: Output, verb: str) -> None:
    (here / "recipe.toml").write_text('[[pass]]\nname = "slim"\n')
    arguments = (verb, "model.onnx", "-o", "recipe.toml", "--recipe", "recipe.toml", "--samples", "samples")
    assert run_json_error(capsys, *arguments)["error"]
    assert (here / "recipe.toml").read_text().startswith("[[pass]]")


def test_the_help_states_the_floor_of_the_api(capsys: Output) -> None:
    for verb in ("quantize", "compress", "verify"):
        assert main([verb, "--help"]) == 0
        assert f"[default: {MIN_SQNR:g}]" in " ".join(capsys.readouterr().out.split())


def test_verify_holds_to_a_floor(here: Path, capsys: Output) -> None:
    assert main(["quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench", "--record"]) == 0
    assert "onnxslim.recipe" in {entry.key for entry in onnx.load("out.onnx").metadata_props}
    arguments = ("verify", "model.onnx", "out.onnx", "--samples", "samples")
    assert run_json(cleared(capsys), *arguments)["parity"]["passed"] is True
    assert run_json(capsys, *arguments, "--min-sqnr", "99", code=1)["parity"]["passed"] is False


def test_verify_names_each_limit_that_broke(here: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(*models: Any, **how: Any) -> Latency:
        return compare_latency(*models, **(how | {"processes": 4, "seconds": 0.1}))

    monkeypatch.setattr("onnxslim.api.bench.compare_latency", quick)
    limits = (
        "--samples",
        "samples",
        "--metric",
        "cosine",
        "--max-drop",
        "0",
        "--max-size",
        "1KB",
        "--min-speedup",
        "0.01",
    )
    found = run_json(capsys, "verify", "model.onnx", "model.onnx", *limits, code=1)
    assert (found["passed"], found["parity"]["passed"], found["size_ratio"]) == (False, True, 1)
    assert [(each["limit"], each["holds"]) for each in found["checks"]] == [
        ("max_drop", True),
        ("max_size", False),
        ("min_speedup", True),
    ]
    assert found["checks"][1]["asked"] == 1000 < found["checks"][1]["measured"] == DIGITS.stat().st_size
    assert found["latency"]["speedup"] == pytest.approx(1 / found["latency"]["ratio"])
    assert main(["verify", "model.onnx", "model.onnx", "--max-size", "1KB"]) == 1
    assert "max_size: BROKEN: 560,252 bytes; asked: at most 1,000" in capsys.readouterr().out


def test_score(here: Path, capsys: Output) -> None:
    asked = ("score", "model.onnx", "--samples", "samples", "--metric", "agreement")
    assert "--reference" in run_json_error(capsys, *asked)["mend"]
    found = run_json(capsys, *asked, "--reference", "model.onnx", "--min-score", "1.01", code=1)
    assert (found["passed"], found["score"]["value"], found["score"]["samples"]) == (False, 1.0, 24)
    assert main([*asked, "--reference", "model.onnx"]) == 0
    assert capsys.readouterr().out == "agreement: 1 on 24 samples (no interval: all groups of samples score the same)\n"


def cleared(capsys: Output) -> Output:
    capsys.readouterr()
    return capsys


def test_a_metric_that_raises_is_one_message(here: Path, capsys: Output) -> None:
    (here / "bad_metric_of_test.py").write_text("def score(run, samples):\n    return {}['answer']\n")
    arguments = ("compress", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench")
    error = run_json_error(capsys, *arguments, "--metric", "bad_metric_of_test:score")
    assert error["where"] == "bad_metric_of_test:score"
    assert "KeyError: 'answer'" in error["why"]
    assert "metric(run, samples) -> float" in error["mend"]


def test_a_pattern_in_exclude_is_hinted_at(here: Path, capsys: Output) -> None:
    arguments = ("quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--exclude", "conv_foo*")
    assert "re:conv_foo.*" in run_json_error(capsys, *arguments)["mend"]


def test_output_over_input_needs_to_be_asked_for(here: Path, capsys: Output) -> None:
    assert main(["slim", "model.onnx", "-o", "./model.onnx"]) == 2
    assert "--in-place" in capsys.readouterr().err
    assert (here / "model.onnx").read_bytes() == DIGITS.read_bytes()
    assert main(["slim", "model.onnx", "--in-place"]) == 0
    assert (here / "model.onnx").stat().st_size < DIGITS.stat().st_size
    assert sorted(os.listdir(here)) == ["model.onnx", "samples"]


def test_slim_without_verification_says_so(here: Path, capsys: Output) -> None:
    report = run_json(capsys, "slim", "model.onnx", "-o", "out.onnx", "--no-verify")
    assert (report["parity"], report["evidence"]) == (None, "none")


def test_external_data_when_asked(here: Path, capsys: Output) -> None:
    report = run_json(capsys, "slim", "model.onnx", "-o", "out.onnx", "--external-data")
    written = [path for path in here.iterdir() if path.is_file() and path.name != "model.onnx"]
    assert len(written) == 2
    assert report["output"]["bytes"] == sum(path.stat().st_size for path in written)
    assert [each["path"] for each in report["files"]] == ["out.onnx", "out.onnx.data"]
    assert run_json(capsys, "verify", "model.onnx", "out.onnx")["parity"]["passed"] is True
    report = run_json(capsys, "slim", "out.onnx", "--in-place")  # a small result is one file, whatever the input was
    assert [each["path"] for each in report["files"]] == ["out.onnx"]
    assert report["removed_files"] == ["out.onnx.data"]
    assert not (here / "out.onnx.data").exists()


def test_strip_is_an_option_of_the_verbs_that_rewrite(here: Path, capsys: Output) -> None:
    report = run_json(capsys, "slim", "model.onnx", "-o", "out.onnx", "--strip", "--no-verify")
    assert [step["name"] for step in report["steps"]] == ["slim", "strip"]
    model, slimmed = onnx.load("out.onnx"), onnx.load("model.onnx")
    assert [each.name for each in model.graph.output] == [each.name for each in slimmed.graph.output]
    assert max(len(each.name) for each in model.graph.initializer) == 1
    assert "strip" in run_json(capsys, "passes", "strip")["passes"][0]["name"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("arguments", [["slim", "model.onnx"], ["calibrate", "model.onnx", "--samples", "samples"]])
def test_the_outputs_folder_is_tested_before_the_work(here: Path, capsys: Output, arguments: list[str]) -> None:
    (here / "samples" / "000.npz").write_bytes(b"is not read")
    assert main([*arguments, "-o", "/proc/out.onnx"]) == 2
    said = capsys.readouterr().err
    assert "onnxslim: error: the file cannot be written (/proc/out.onnx" in said
    assert "write elsewhere" in said


def test_labels_come_from_a_table(here: Path, capsys: Output) -> None:
    run = open_session(load("model.onnx")).run
    rows = ["name,label"]
    for path in sorted((here / "samples").iterdir()):
        with np.load(path) as arrays:
            rows.append(f"{path.stem},{np.argmax(next(iter(run(dict(arrays)).values())))}")
    (here / "labels.csv").write_text("\n".join(rows))
    asked = ["quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--metric", "top1", "--weights-only"]
    assert "has no label" in run_json_error(capsys, *asked)["error"]
    report = run_json(capsys, *asked, "--labels", "labels.csv", "--no-bench")
    assert report["scores"]["input"] == 1


def test_quantize_takes_the_fields_of_its_pass(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys, "quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench",
        "--operators", "Conv", "--per-tensor", "--ranges", "mse", "--rounding", "compensated",
    )  # fmt: skip
    options = next(step["options"] for step in report["steps"] if step["name"] == "quantize")
    assert (options["operators"], options["per_tensor"], options["ranges"]) == (["Conv"], True, "mse")
    assert options["rounding"] == "compensated"
    assert report["decision"] == "quantized"
    assert report["latency"] is None
    assert report["output"]["bytes"] < DIGITS.stat().st_size / 2


def test_prune_tells_what_went_and_what_it_cost(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys, "prune", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench", "--macs", "0.6",
        "--round-to", "8", "--min-channels", "16", "--metric", "agreement", "--min-sqnr", "0",
    )  # fmt: skip
    assert report["decision"] == "pruned"
    (step,) = (step for step in report["steps"] if step["name"] == "prune")
    assert (step["options"]["macs"], step["options"]["round_to"], step["options"]["min_channels"]) == (0.6, 8, 16)
    counts = [re.fullmatch(r"(\d+) of (\d+) channels", each["detail"]) for each in step["result"]["actions"]]
    assert counts
    for count in counts:
        assert count is not None
        gone, all_ = int(count[1]), int(count[2])
        assert gone % 8 == 0 < gone
        assert all_ - gone >= 16
    declined = step["result"]["declined"]
    assert [each["site"] for each in declined if "10 rows of weights stay" in each["reason"]] == ["graph"]
    assert 0.3 < report["macs"]["output"] / report["macs"]["input"] <= 0.606
    assert report["output"]["parameters"] < report["input"]["parameters"]
    assert report["output"]["weight_bytes"] < report["input"]["weight_bytes"]
    assert report["parity"]["fidelity"][0]["sqnr_db"] > 0
    assert report["scores"]["input"] == 1.0
    assert report["output"]["bytes"] == (here / "out.onnx").stat().st_size < DIGITS.stat().st_size


def test_a_pruned_model_for_a_person(here: Path, capsys: Output) -> None:
    arguments = "prune model.onnx -o out.onnx --samples samples --no-bench --ratio 0.5 --min-sqnr 0 --explain"
    assert main(arguments.split()) == 0
    said = capsys.readouterr().out
    assert re.search(r"^MACs +2,523,072 +\d{3},\d{3} +-\d\d %$", said, re.MULTILINE)
    assert re.search(r"^parameters +138,634 +\d\d,\d{3} +-\d\d %$", said, re.MULTILINE)
    assert "  prune 5x: " in said
    assert "(16 of 32 channels)" in said
    assert "an output of the model keeps its shape: 10 rows of weights stay: graph" in said


def test_a_pruned_model_that_is_too_far_off_keeps_its_channels(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys, "prune", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench", "--ratio", "0.9",
        "--no-refit", "--min-sqnr", "60",
    )  # fmt: skip
    assert report["decision"] == "kept all channels"
    assert "60 dB" in report["reason"]
    assert report["macs"]["input"] == report["macs"]["output"]
    assert report["attempt"]["steps"]
    assert run_json(capsys, "verify", "model.onnx", "out.onnx")["parity"]["passed"] is True


def test_prune_refuses_what_it_cannot_do(here: Path, capsys: Output) -> None:
    common = ("prune", "model.onnx", "-o", "out.onnx", "--samples", "samples")
    assert run_json_error(capsys, *common, "--ratio", "0.5", "--macs", "0.5")["error"] == (
        "ratio and macs exclude each other"
    )
    assert run_json_error(capsys, *common, "--macs", "2")["error"] == "macs is 2"
    assert "switched off" in run_json_error(capsys, *common, "--speedup", "2", "--no-bench")["error"]
    assert "samples" in run_json_error(capsys, "prune", "model.onnx", "-o", "out.onnx")["error"]
    assert not (here / "out.onnx").exists()


def test_compress_measures_and_never_writes_something_larger(here: Path, capsys: Output) -> None:
    report = run_json(
        capsys,
        "compress",
        "model.onnx",
        "-o",
        "out.onnx",
        *("--samples", "samples", "--metric", "agreement", "--time", "4s", "--quiet"),
    )
    assert report["decision"] in ("compressed", "weights in few bits")
    assert report["front"]["trials"]
    assert report["latency"]["low"] <= report["latency"]["ratio"] <= report["latency"]["high"]
    assert report["scores"]["input"] == 1.0
    assert report["output"]["bytes"] == (here / "out.onnx").stat().st_size < DIGITS.stat().st_size


def test_a_result_below_the_asked_for_quality_is_dropped(here: Path, capsys: Output) -> None:
    arguments = ("quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--no-bench")
    report = run_json(capsys, *arguments, "--min-sqnr", "200")
    assert report["decision"] == "kept float"
    assert "200 dB" in report["reason"]
    assert "QuantizeLinear" not in report["output"]["ops"]
    assert "QuantizeLinear" in run_json(capsys, *arguments)["output"]["ops"]


def test_compress_runs_a_recipe(here: Path, capsys: Output) -> None:
    (here / "recipe.toml").write_text('[[pass]]\nname = "remove-unused"\n')
    arguments = ("compress", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--recipe", "recipe.toml")
    report = run_json(capsys, *arguments)
    assert [step["name"] for step in report["steps"]] == ["remove-unused"]
    assert 'name = "remove-unused"' in report["recipe"]
    error = run_json_error(capsys, *arguments, "--per-tensor")
    assert "recipe" in error["error"]


def run_json_error(capsys: Output, *arguments: str, code: int = 2) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["slim", "broken.onnx", "-o", "out.onnx"],
        ["slim", "model.onnx", "-o", "nowhere/out.onnx"],
        ["slim", "model.onnx", "-o", "out.onnx", "--recipe", "missing.toml"],
        ["quantize", "model.onnx", "-o", "out.onnx", "--samples", "nowhere"],
        ["quantize", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--percentile", "1"],
        ["compress", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--metric", "agreemnt"],
        ["compress", "model.onnx", "-o", "out.onnx", "--samples", "samples", "--mean", "a,b"],
        ["slim", "model.onnx", "-o", "out.onnx", "--size", "32x32"],
    ],
)
def test_nothing_is_written_on_error(here: Path, capsys: Output, arguments: list[str]) -> None:
    (here / "broken.onnx").write_bytes(DIGITS.read_bytes()[:1000])
    before = sorted(os.listdir(here))
    assert run_json_error(capsys, *arguments)["error"]
    assert sorted(os.listdir(here)) == before


def test_verify_exits_1_where_the_models_disagree(here: Path, capsys: Output) -> None:
    other = onnx.load("model.onnx")
    weights = next(tensor for tensor in other.graph.initializer if len(tensor.dims) == 4)
    array = onnx.numpy_helper.to_array(weights).copy()
    array[0] += 1
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    onnx.save(other, "other.onnx")
    assert run_json(capsys, "verify", "model.onnx", "model.onnx", "--tier", "exact")["parity"]["passed"] is True
    found = run_json(capsys, "verify", "model.onnx", "other.onnx", code=1)
    assert found["parity"]["passed"] is False
    assert found["parity"]["differences"]
    assert main(["verify", "model.onnx", "other.onnx", "--samples", "samples"]) == 1
    assert "parity: FAILED (numeric)" in capsys.readouterr().out


def test_bench(here: Path, capsys: Output) -> None:
    found = run_json(capsys, "bench", "model.onnx", "model.onnx", "--samples", "samples")
    assert found["latency"]["verdict"] in ("faster", "slower", "no difference")
    assert found["latency"]["a_ms"] > 0
    assert found["random_inputs"] is None
    assert found["size_ratio"] == 1
    assert main(["bench", "model.onnx", "--seconds", "0.2"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("latency: ")
    assert "on a random input: image [1, 1, 8, 8]" in said.out
    assert "process 1 of 4" in said.err


def test_inspect(here: Path, capsys: Output) -> None:
    facts = run_json(capsys, "inspect", "model.onnx")["model"]
    assert facts["bytes"] == DIGITS.stat().st_size
    assert facts["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert main(["inspect", "model.onnx"]) == 0
    assert "float32[batch, 1, 8, 8]" in capsys.readouterr().out
    assert main(["inspect", "model.onnx", "--text"]) == 0
    assert "Conv" in capsys.readouterr().out


def test_passes(capsys: Output) -> None:
    found = run_json(capsys, "passes")["passes"]
    assert [each["name"] for each in found] == list(pass_table())
    (quantize,) = run_json(capsys, "passes", "quantize")["passes"]
    assert quantize["needs_samples"] is True
    assert quantize["tier"] == "lossy"
    assert "ranges" in [option["name"] for option in quantize["options"]]


def test_doctor(capsys: Output) -> None:
    findings = {each["subject"]: each for each in run_json(capsys, "doctor")["findings"]}
    assert findings.keys() >= {"python", "onnx", "onnxruntime", "clash", "cpu", "threads", "telemetry", "run"}
    assert findings["run"]["state"] == "ok"


def test_images_become_samples(here: Path, capsys: Output) -> None:
    image = pytest.importorskip("PIL.Image")
    (here / "images").mkdir()
    for index in range(10):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16), dtype=np.uint8)
        image.fromarray(pixels).save(here / "images" / f"{index}.png")
    found = run_json(
        capsys, "verify", "model.onnx", "model.onnx", "--samples", "images", "--mean", "0.5", "--std", "0.5"
    )
    assert found["parity"]["feeds"] == 10
    assert found["parity"]["evidence"] == "samples"
    error = run_json_error(
        capsys, "verify", "model.onnx", "model.onnx", "--samples", "images", "--size", "9x9", "--layout", "NHWC"
    )
    assert error["error"]
