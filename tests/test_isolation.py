"""A child process may die: its parent is told how, and goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim import isolation
from onnxslim.isolation import CAN_FORK, Died, Late, Worker

SECONDS = 60.0


def obey(what: str, *args: Any) -> Any:
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "sleep":
        time.sleep(1000)
    if what == "fail":
        raise ValueError("no")
    if what == "take":
        return float(np.ones(args[0]).sum())
    return args


@pytest.fixture(params=[True, False], ids=["fork", "spawn"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Worker]:
    if request.param and not isolation.CAN_FORK:
        pytest.skip("there are no forks here")
    monkeypatch.setattr(isolation, "CAN_FORK", request.param)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return lambda: Worker(obey, environment)


def test_calls_return_and_raise(start: Callable[[], Worker]) -> None:
    worker = start()
    array = np.arange(6, dtype=np.float16)
    (back,) = worker.call("echo", array, seconds=SECONDS)
    np.testing.assert_array_equal(back, array)
    with pytest.raises(ValueError, match="no"):
        worker.call("fail", seconds=SECONDS)
    assert worker.call("echo", 2, seconds=SECONDS) == (2,)
    worker.close()
    assert not worker.alive


def test_a_crash_names_its_signal(start: Callable[[], Worker]) -> None:
    worker = start()
    with pytest.raises(Died, match=r"crashed \(signal 11, SIGSEGV\)"):
        worker.call("crash", seconds=SECONDS)
    assert not worker.alive
    with pytest.raises(Died, match="ended before"):
        worker.call("echo", seconds=SECONDS)


@pytest.mark.skipif(not isolation.CAN_FORK, reason="a fork starts at once")
def test_what_hangs_is_killed_and_what_takes_too_much_fails() -> None:
    worker = Worker(obey)
    with pytest.raises(MemoryError):
        worker.call("take", 1 << 26, seconds=SECONDS, memory=100 << 20)
    assert worker.call("take", 1 << 20, seconds=SECONDS, memory=100 << 20) == 1 << 20
    with pytest.raises(Late, match=r"did not finish within 0\.2 s"):
        worker.call("sleep", seconds=0.2)
    assert not worker.alive


@pytest.mark.skipif(not CAN_FORK, reason="elsewhere the child finds its pipe closed")
def test_a_child_in_the_middle_of_a_call_ends_with_its_killed_parent(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, time\nfrom onnxslim.isolation import Worker\n"
        f"def forever(): pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)\n"
        "Worker(forever).call(seconds=60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    status = Path(f"/proc/{child}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while ") Z" not in status.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
