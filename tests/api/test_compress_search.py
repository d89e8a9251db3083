"""``compress`` on real models: a search across passes, its limits, its journal, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import models_zoo
import onnxslim
from onnxslim.api.keywords import QuantizeOptions, RunOptions, SearchOptions, StoreOptions
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import Tier
from onnxslim.pipeline import RUN_OPTIONS, Context, Effects, Offer, Pass, PassResult, get_pass
from onnxslim.search.config import SEARCH_OPTIONS, SearchConfig
from onnxslim.search.front import INTERRUPTED, NOTHING, dominates
from tests.documents import write_digit_samples

DIGITS = models_zoo.get("digits_cnn")
SAMPLES = [*DIGITS.samples("calibration").first(24), *DIGITS.samples("selection").first(24)]
HOW: dict[str, Any] = {"samples": SAMPLES, "bench": False, "min_sqnr": 28.0, "time": 300.0}
"""Nothing is timed: the search is the same on any machine."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, onnxslim.Result]:
    folder = tmp_path_factory.mktemp("search")
    result = onnxslim.compress(DIGITS.path(), folder / "out.onnx", work=folder / "work", front=folder / "front", **HOW)
    return folder, result


def test_passes_join_and_the_result_holds(found: tuple[Path, onnxslim.Result]) -> None:
    folder, result = found
    front, report = result.front, result.report
    assert front is not None
    assert report.decision == "compressed"
    kept = front.kept
    assert kept is not None
    assert kept.measured is not None
    assert {"prune", "store"} & kept.choices.keys()
    assert (folder / "out.onnx").stat().st_size == kept.measured.bytes
    assert kept.measured.size_ratio > 3
    assert report.parity is not None
    assert report.parity.worst_sqnr >= 28, "held-out samples, which chose nothing"
    assert any(each.predicted is not None for each in front.trials)
    onnx.checker.check_model(os.fspath(folder / "out.onnx"))


def test_the_front_is_written(found: tuple[Path, onnxslim.Result]) -> None:
    folder, result = found
    assert result.front is not None
    best = [each for each in result.front.trials if each.best and each.choices]
    assert len(list((folder / "front").glob("*.onnx"))) == len(best) > 0
    for each in best:
        assert not any(
            each.measured and other.measured and dominates(other.measured, each.measured)
            for other in result.front.trials
            if not other.reason
        )


def test_the_same_command_goes_on_and_gives_the_same_bytes(found: tuple[Path, onnxslim.Result], tmp_path: Path) -> None:
    folder, result = found
    again = onnxslim.compress(DIGITS.path(), tmp_path / "again.onnx", work=folder / "work", **HOW)
    assert again.front is not None
    assert result.front is not None
    assert again.front.recalled == len(again.front.trials) == len(result.front.trials)
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "out.onnx").read_bytes()


def test_a_size_that_cannot_be_kept_is_an_error_that_names_what_binds(
    found: tuple[Path, onnxslim.Result], tmp_path: Path
) -> None:
    folder, _ = found
    asked: dict[str, Any] = {"work": folder / "work", "max_size": 2_000, **HOW}
    with pytest.raises(CheckFailed, match=r"the nearest has size: .* at most 2,000 are allowed"):
        onnxslim.compress(DIGITS.path(), tmp_path / "none.onnx", **asked)
    assert not (tmp_path / "none.onnx").exists()
    nearest = onnxslim.compress(DIGITS.path(), tmp_path / "near.onnx", keep_nearest=True, **asked)
    assert "nearest to what was asked" in nearest.report.reason
    assert (tmp_path / "near.onnx").stat().st_size > 2_000


def test_options_are_checked_before_the_work() -> None:
    with pytest.raises(InputError, match="did you mean 'smallest'"):
        onnxslim.compress(DIGITS.path(), goal="small", **HOW)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a recipe is not searched"):
        onnxslim.compress(DIGITS.path(), recipe=[], goal="smallest", samples=SAMPLES)
    with pytest.raises(InputError, match="name the samples by a path"):
        onnxslim.compress(DIGITS.path(), workers=2, **HOW)


def test_keywords_are_typed() -> None:
    assert SearchOptions.__annotations__.keys() == SEARCH_OPTIONS
    assert RunOptions.__annotations__.keys() == RUN_OPTIONS
    for name, options in (("quantize", QuantizeOptions), ("store", StoreOptions)):
        assert options.__annotations__.keys() == {field.name for field in get_pass(name).options()}


def test_ctrl_c_writes_the_best_so_far(tmp_path: Path) -> None:
    script = """
import _thread, sys
import onnxslim
sys.path.insert(0, ".")
from tests.api.test_compress_search import DIGITS, HOW
def watch(status):
    if status.best is not None:
        _thread.interrupt_main()
found = onnxslim.compress(DIGITS.path(), sys.argv[1], watch=watch, **HOW)
print(found.front.stopped, len(found.front.trials))
"""
    made = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "best.onnx"], capture_output=True, text=True, check=False, cwd="."
    )
    assert made.stdout.startswith(INTERRUPTED), made.stderr
    assert (tmp_path / "best.onnx").exists()


def test_passes_of_third_parties_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that is registered and offers something is one axis more."""
    from importlib.metadata import EntryPoint

    from onnxslim.pipeline import registry

    entry = EntryPoint("halve", f"{__name__}:Halve", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    asked = dict(HOW) | {"min_sqnr": 60.0}
    result = onnxslim.compress(DIGITS.path(), **asked)
    assert result.front is not None
    assert any("halve" in each.choices for each in result.front.trials)


@dataclass(frozen=True)
class Halve(Pass):
    """Promises half of the bytes, and does nothing."""

    name: ClassVar[str] = "halve"
    tier: ClassVar[Tier] = Tier.LOSSY
    plan_types: ClassVar[tuple[type, ...]] = ()

    def offers(self, model: ir.Model, context: Context, known: Sequence[Offer] = ()) -> Iterator[Offer]:
        if not known:
            yield Offer("all", 1, Effects(bytes=0.5))

    def apply(self, model: ir.Model, plan: int, context: Context) -> PassResult:
        return context.result()


@pytest.mark.parametrize("front", ["", 5, DIGITS.path()])
def test_a_front_that_is_no_folder_is_refused_before_the_search(front: Any) -> None:
    with pytest.raises(InputError, match="no folder"):
        SearchConfig(front=front)


def test_what_a_metric_prints_is_not_in_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talks.py").write_text("def score(run, samples):\n    print('hello')\n    return 1.0\n")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((12, 1, 8, 8), np.float32))
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-m", "onnxslim", "quantize", str(DIGITS.path()), "-o", "out.onnx", "--samples", "x.npy"]
    words += ["--metric", "talks:score", "--no-search", "--no-bench", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["command"] == "quantize"
    assert "hello" in done.stderr


@pytest.mark.slow
def test_workers_and_this_process_find_the_same(tmp_path: Path) -> None:
    """Samples that have a name are read by each process: two workers, and none, give the same bytes."""
    write_digit_samples(tmp_path / "samples", 32)
    asked: dict[str, Any] = {"samples": tmp_path / "samples", "bench": False, "min_sqnr": 35.0, "time": 300.0}
    for name, how in (("pool", {"workers": 2}), ("here", {"engine": "in-process"})):
        made = onnxslim.compress(DIGITS.path(), tmp_path / f"{name}.onnx", **how, **asked)
        assert made.front is not None
        assert made.front.stopped == NOTHING
    assert (tmp_path / "pool.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()
