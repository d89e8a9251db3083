"""The statistics on made-up timings, and the protocol end to end with tiny budgets; no real time decides a test."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import compare_latency, latency, random_feeds
from onnxslim.execution.intervals import student_quantile, trimmed_interval
from onnxslim.execution.latency import judge
from onnxslim.execution.latency_child import Job, measure
from onnxslim.graph import save, to_bytes
from tests.execution.models import matmul, model


def timings(effect: float, *, seed: int, placement: float = 0.01, processes: int = 10) -> list[np.ndarray]:
    """Processes of 25 rounds: every copy has its own bias, every timing noise with a long tail upwards."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(processes):
        bias = generator.normal(0, placement, 4) + np.array([0, 0, effect, effect])
        noise = generator.gamma(1.0, 0.02, (25, 4))
        found.append(0.004 * np.exp(bias + noise))
    return found


def test_equal_models_are_rarely_told_apart() -> None:
    verdicts = [judge(timings(0.0, seed=seed)).verdict for seed in range(300)]
    assert sum(verdict != "no difference" for verdict in verdicts) <= 6


def test_a_slowdown_of_five_percent_is_found() -> None:
    found = [judge(timings(0.05, seed=seed)) for seed in range(100)]
    assert sum(x.verdict == "slower" for x in found) >= 98
    assert not any(x.verdict == "faster" for x in found)
    assert np.median([x.ratio for x in found]) == pytest.approx(np.exp(0.05), abs=0.003)
    assert sum(x.low <= np.exp(0.05) <= x.high for x in found) >= 95


def test_ratio_below_one_means_that_b_is_faster() -> None:
    found = judge(timings(-0.3, seed=0), threads=2)
    assert found.verdict == "faster"
    assert found.low < found.ratio < found.high < 1
    assert found.b_ms / found.a_ms == pytest.approx(found.ratio, rel=0.02)
    assert (found.processes, found.trials, found.threads) == (10, 250, 2)


def test_effects_below_half_a_percent_are_no_difference() -> None:
    found = judge(timings(0.003, seed=0, placement=0.0))
    assert found.verdict == "no difference"
    assert found.floor >= 0.005


def test_bias_between_processes_widens_the_interval_and_longer_runs_do_not_narrow_it() -> None:
    short = judge(timings(0.0, seed=0, placement=0.05))
    doubled = judge([np.concatenate([t, t, t, t]) for t in timings(0.0, seed=0, placement=0.05)])
    assert (short.low, short.high) == (doubled.low, doubled.high)
    assert short.high - short.low > 0.03


def test_the_floor_rises_with_the_bias_between_copies() -> None:
    calm, rough = (judge(timings(0.0, seed=1, placement=p)).floor for p in (0.001, 0.05))
    assert rough > 3 * calm


def test_one_disturbed_process_does_not_decide() -> None:
    disturbed = timings(0.05, seed=3)
    disturbed[4] = disturbed[4] * np.array([1, 1, 3, 3])
    found = judge(disturbed)
    assert found.verdict == "slower"
    assert found.ratio == pytest.approx(1.05, abs=0.02)


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [(0.975, 1, 12.706), (0.975, 5, 2.571), (0.995, 7, 3.499), (0.995, 30, 2.750)],
)
def test_quantiles_of_students_t(probability: float, freedom: int, quantile: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(quantile, rel=1e-3)


def test_trimmed_intervals_cover_at_their_level() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        middle, half = trimmed_interval(generator.standard_normal(10), 0.95)
        hits += abs(middle) <= half
    assert 0.93 <= hits / 1000 <= 0.98


def quick(a: Any, b: Any, **options: Any) -> latency.Latency:
    return compare_latency(a, b, random_feeds(matmul())[:2], **({"processes": 4, "seconds": 0.04} | options))


def test_end_to_end_in_every_form_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = quick(matmul(), to_bytes(matmul(seed=1)))
    assert (found.processes, found.threads) == (4, 1)
    assert found.trials >= 4 * 5
    assert found.low <= found.ratio <= found.high
    assert min(found.a_ms, found.b_ms, found.floor) > 0
    assert os.listdir(tmp_path) == []


def test_a_model_that_does_not_load_is_named(tmp_path: Path) -> None:
    save(matmul(), tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"model b cannot be timed \(.*bad.onnx\): .*[Pp]rotobuf"):
        quick(tmp_path / "good.onnx", tmp_path / "bad.onnx")
    with pytest.raises(InputError, match=r"no such model file"):
        quick(tmp_path / "good.onnx", tmp_path / "none.onnx")


def test_feeds_that_do_not_fit_are_named() -> None:
    other = model("(float[2,3] other) => (float[2,3] y) { y = Relu(other) }")
    with pytest.raises(InputError, match=r"model b cannot be timed.*other"):
        quick(matmul(), other)


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError, match="no feeds"):
        compare_latency(matmul(), matmul(), [])
    with pytest.raises(InputError, match="at least 4 processes"):
        quick(matmul(), matmul(), processes=2)


def test_a_crash_is_reported_with_the_end_of_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(command: list[str], *_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -11, stdout="", stderr="one\ntwo\nSegmentation fault\n")

    monkeypatch.setattr(latency, "run_child", crash)
    with pytest.raises(CheckFailed, match=r"ended with code -11.*Segmentation fault"):
        quick(matmul(), matmul())


def test_a_process_that_does_not_end_is_ended() -> None:
    with pytest.raises(CheckFailed, match=r"did not end within 0\.01 s"):
        quick(matmul(), matmul(), timeout=0.01)


def test_nonsense_on_stdout_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        latency,
        "run_child",
        lambda command, *_, **__: subprocess.CompletedProcess(command, 0, stdout="hello", stderr=""),
    )
    with pytest.raises(CheckFailed, match="nonsense"):
        quick(matmul(), matmul())


def test_children_know_where_onnxslim_is_and_send_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(command: list[str], *_: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options["env"], command=command)
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="")

    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(latency, "run_child", look)
    with pytest.raises(CheckFailed):
        quick(matmul(), matmul())
    assert seen["ORT_DISABLE_TELEMETRY"] == "1"
    assert (Path(seen["PYTHONPATH"].split(os.pathsep)[0]) / "onnxslim").is_dir()
    assert "-P" in seen["command"]


def test_one_process_times_every_session_in_every_round(tmp_path: Path) -> None:
    import pickle

    save(matmul(), tmp_path / "m.onnx")
    (tmp_path / "feeds").write_bytes(pickle.dumps(random_feeds(matmul())))
    job: Job = {
        "models": [str(tmp_path / "m.onnx")] * 3,
        "feeds": str(tmp_path / "feeds"),
        "threads": 1,
        "cpus": [],
        "seconds": 0.01,
        "seed": 0,
        "config": {},
        "libraries": [],
    }
    found = measure(job)
    assert len(found["rounds"]) == len(found["clean"]) >= 5
    assert all(len(times) == 3 and min(times) > 0 for times in found["rounds"])
