from __future__ import annotations

import contextlib
import json
import sys
import xml.dom.minidom
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models_zoo
from tools import compress_kills, compress_samples
from tools.bench_compress import main
from tools.compress_kills import Search
from tools.compress_predicted import draw, points, summary
from tools.compress_runs import GIVEN, PEERS, RECIPES, SEARCHES, Watch, brief, command, journal, valid
from tools.compress_table import best, markdown, standing
from tools.quantize_judge import write_samples

OPTIONS = {"max_drop": 0.01, "time": "5s", "more": ["--workers", "2"], "work": None}


def judged(size: float, time: float, score: float, **more: Any) -> dict[str, Any]:
    """A run of the results; the original scores 0.9, with an interval of 0.02 around the difference."""
    verdict = "slower" if time > 1 else "faster"
    latency = {"1": {"ratio": time, "low": 0.99 * time, "high": 1.01 * time, "verdict": verdict}}
    scores = {"top1": {"fp32": 0.9, "int8": score, "low": score - 0.92, "high": score - 0.88}}
    cost = {"error": "", "wall_seconds": 5.0, "peak_rss_bytes": 10**8, "bytes": 1, "size_ratio": size, "sqnr_db": 30.0}
    return cost | {"latency": latency, "metric": "top1", "scores": scores, "items": 100} | more


def figures(noise: Any, speedup: float | None) -> dict[str, Any]:
    return {"bytes": 100, "size_ratio": 4.0, "speedup": speedup, "sqnr_db": noise, "drop": 0.0, "drop_bound": 0.0}


def results() -> dict[str, Any]:
    found: list[tuple[Any, ...]] = [
        (20.0, 2.0, 21.0, 2.1),
        (30.0, 4.0, 25.0, 2.0),
        ("Infinity", None, "Infinity", None),
    ]
    trials: list[dict[str, Any]] = [
        {"choices": {"prune": "0.5 <a>"}, "predicted": figures(a, b), "measured": figures(c, d)} for a, b, c, d in found
    ]
    trials.append({"choices": {}, "predicted": None, "measured": figures(40.0, 1.0)})
    report = {"front": {"trials": trials, "stopped": "nothing better"}}
    runs = {
        "ours-balanced": judged(5.0, 0.5, 0.895, report=report, first_seconds=7.0),
        "ours-quantize": judged(4.0, 0.6, 0.9),
        "ours-prune": judged(9.0, 0.3, 0.8),
        "ort-core": judged(3.9, 0.4, 0.9),
        "quark": {"error": "refused: exit code 1", "wall_seconds": 1.0, "peak_rss_bytes": 10**7},
    }
    original = {"bytes": 100, "opset": 17, "samples": {"peers": 8, "ours": 16}}
    return {"peers": {"ort": "onnxruntime 1"}, "max_drop": 0.01, "models": {"m": {"original": original, "runs": runs}}}


def test_the_best_other_is_one_that_broke_nothing_and_is_held_by_size_and_speed() -> None:
    row = results()["models"]["m"]
    ours = standing("ours-balanced", row["runs"]["ours-balanced"], 0.01)
    assert (ours.smaller, ours.faster, ours.faults) == (5.0, 2.0, ())
    assert standing("ours-prune", row["runs"]["ours-prune"], 0.01).faults == ("drop", "drop shown")
    assert standing("quark", row["runs"]["quark"], 0.01).smaller == 1.0
    single, peer = best(row, ("ours-quantize", "ours-prune"), 0.01), best(row, PEERS, 0.01)
    assert single is not None
    assert peer is not None
    assert (single.tool, ours.holds(single)) == ("ours-quantize", True)
    assert (peer.tool, ours.holds(peer)) == ("ort-core", False)


def test_tables_say_what_was_wanted_and_what_falls_short() -> None:
    said = markdown(results())
    for text in (
        "- median 5.00x smaller, as wanted: 4.5x; below it: none",
        "- median 2.00x faster, **not** as wanted: 2.3x; below it: m 2.00",
        "- as small and as fast as the best single verb or recipe: 100% of 1, as wanted: 90 %; not: none",
        "- as small and as fast as the best peer: 0% of 1, **not** as wanted: 90 %; not: m",
        "- first valid result: median 7 s of 1, as wanted: 60 s",
    ):
        assert text in said


def test_predictions_are_compared_where_there_are_two_numbers_and_drawn() -> None:
    found = points(results())
    assert [(each.error, each.time) for each in found] == [
        ((20, 21), (1 / 2, 1 / 2.1)),
        ((30, 25), (1 / 4, 1 / 2)),
        (None, None),
    ]
    assert "| **all** | 3 | 50% of 2 | +2.00 | 3.00 | 50% of 2 |" in summary(found)
    drawn = xml.dom.minidom.parseString(draw(found))
    assert len(drawn.getElementsByTagName("circle")) == 4
    assert "prefers-color-scheme: dark" in draw(found)
    assert draw([]).startswith("<svg")


def test_commands_name_the_goal_or_the_recipe(tmp_path: Path) -> None:
    def words(tool: str) -> str:
        return " ".join(command(tool, "py", Path("in.onnx"), tmp_path / "out.onnx", OPTIONS))

    for tool, goal in SEARCHES.items():
        assert f"--goal {goal} --time 5s --work {tmp_path}/work --workers 2 --json" in words(tool)
    assert f"compress in.onnx -o {tmp_path}/out.onnx" in words("ours-prune5-int8")
    assert (tmp_path / "recipe.toml").read_text() == RECIPES["ours-prune5-int8"]
    assert "prune in.onnx" in words("ours-prune")


def test_ours_is_given_labelled_samples_and_the_metric_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = models_zoo.get("digits_cnn")
    write_samples(entry, 4, tmp_path)
    monkeypatch.setenv(GIVEN, str(tmp_path / "given.pickle"))
    compress_samples.given.cache_clear()
    samples = list(compress_samples.samples())
    assert len(samples) == 8
    answers = iter(samples)

    def run(feed: Any) -> dict[str, Any]:
        return {"scores": np.arange(10) == next(answers).label}

    assert compress_samples.metric(run, samples) == 1.0
    compress_samples.given.cache_clear()


SEARCH = """
import json, pathlib, subprocess, sys, time
words = sys.argv[1:]
target, work = (pathlib.Path(words[words.index(name) + 1]) for name in ("-o", "--work"))
work.mkdir(exist_ok=True)
worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
path = work / "journal.jsonl"
done = {json.loads(line)["key"] for line in path.read_text().splitlines()} if path.exists() else set()
for key in "abcde":
    if key not in done:
        time.sleep(0.05)
        with path.open("a") as log:
            print(json.dumps({"kind": "trial", "key": key, "payload": {"bytes": 1, "reason": ""}}), file=log)
target.write_text("abcde")
"""


def test_a_search_that_is_killed_and_resumed_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "checkout" / "onnxslim"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SEARCH)
    monkeypatch.setattr(compress_kills, "CHECKOUT", package.parent)

    @contextlib.contextmanager
    def prepared(options: Namespace, *more: str) -> Iterator[tuple[str, Search, Path]]:
        yield "m", Search(sys.executable, tmp_path / "in.onnx", tmp_path / "given", more, 60), tmp_path

    monkeypatch.setattr(compress_kills, "prepared", prepared)
    _, made = compress_kills.kills(Namespace(seed=1, kills=3, burst=3))
    assert (made["ok"], made["trials"], made["differ"], made["failed"], made["done again"]) == (True, 5, 0, 0, 0)
    assert made["head"] + made["worker"] >= 3
    _, made = compress_kills.engines(Namespace(dask=""))
    assert made["ok"]
    assert list(made["digests"]) == ["workers 1", "workers 2", "workers 4"]


def test_a_journal_that_was_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [{"kind": "offer"}, {"kind": "trial", "payload": {"bytes": 1, "reason": "slower"}}]
    entries.append({"kind": "trial", "payload": {"bytes": 1, "reason": ""}})
    lines = "\n".join(map(json.dumps, entries)) + '\n{"kind": "tri'
    (tmp_path / "journal.jsonl").write_text(lines)
    assert list(journal(tmp_path)) == entries
    assert [valid(entry) for entry in entries] == [False, False, True]
    with Watch(tmp_path, tmp_path / "progress.txt") as watch:
        pass
    assert watch.first is not None
    assert watch.counts == {"offer": 1, "trial": 2}


def test_results_are_added_to_and_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "results.json"
    place.write_text(json.dumps(results()))
    assert main(["table", "--out", str(place)]) == 0
    assert "| ours-balanced | 1 | 0 |" in capsys.readouterr().out
    assert main(["predicted", "--out", str(place), "--svg", str(tmp_path / "plot.svg")]) == 0
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    assert brief({"decision": "slimmed", "steps": []})["front"] is None
