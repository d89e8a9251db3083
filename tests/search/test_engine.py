"""Engines give the answers to tasks in their order, whatever becomes of the workers."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxslim.errors import InputError, SetupError
from onnxslim.isolation import CAN_FORK
from onnxslim.search.engine import Engine, Failure, InProcess, open_engine
from onnxslim.search.pool import Pool
from tests.search.engine_tasks import do, product

MB = 1 << 20


@pytest.fixture(scope="module")
def pool() -> Iterator[Engine]:
    with Pool(2, memory=200 * MB, seconds=1) as engine:
        yield engine


def test_answers_come_in_order_and_all_of_them(pool: Engine, tmp_path: Path) -> None:
    once, fails = str(tmp_path / "once"), str(tmp_path / "fails")
    tasks = [("sleep", 0.2), ("refuse", 1), ("raise", fails), ("crash once", once), ("unsendable", 1)]
    squares = [("square", each) for each in range(20)]
    slow, refused, raised, lost, unsendable, *found = list(pool.map(do, [*tasks, *squares]))
    assert (slow, lost, found) == (0.2, "done", [each * each for each in range(20)])
    assert isinstance(refused, Failure)
    assert isinstance(refused.error, InputError)
    assert (refused.reason, refused.quarantined) == ("the task is refused (1)", False)
    assert raised == Failure("ValueError: no (in 2 attempts)")
    assert Path(fails).read_text() == Path(once).read_text() == "xx"
    assert isinstance(unsendable, Failure)
    assert "pickle" in unsendable.reason


@pytest.mark.skipif(not CAN_FORK, reason="only Linux has the limits")
def test_what_kills_its_worker_twice_is_quarantined(pool: Engine, tmp_path: Path) -> None:
    path = str(tmp_path / "crashes")
    crash = ("crash", path)
    found = list(pool.map(do, [crash, ("take", 1 << 26), ("square", 3), ("take", 1 << 20)]))
    assert found == [
        Failure("the task crashed (signal 11, SIGSEGV) (in 2 attempts)", quarantined=True),
        Failure("the task needs more than 0.21 GB of memory (in 2 attempts)", quarantined=True),
        9,
        float(1 << 20),
    ]
    assert list(pool.map(do, [crash])) == [found[0]]
    assert Path(path).read_text() == "xx"


def test_what_hangs_is_killed() -> None:
    with Pool(1, seconds=0.1) as engine:
        assert list(engine.map(do, [("sleep", 1000), ("square", 2)])) == [
            Failure("the task did not finish within 0.1 s (in 2 attempts)", quarantined=True),
            4,
        ]


def test_whoever_stops_reading_ends_the_tasks_that_are_left(tmp_path: Path) -> None:
    with Pool(1) as engine:
        answers = engine.map(do, [("square", 2), ("wait for ever", str(tmp_path / "pid"))])
        assert next(answers) == 4
        pid = read_when_there(tmp_path / "pid")
        answers.close()  # type: ignore[attr-defined]
        wait_until_gone(pid)
        assert list(engine.map(do, [("square", 3)])) == [9]
    with pytest.raises(InputError, match="the engine is closed"):
        next(engine.map(do, []))


def test_bits_do_not_depend_on_the_engine() -> None:
    shared = np.random.default_rng(0).standard_normal((400, 700)).astype(np.float32)
    here = list(InProcess().map(functools.partial(product, shared), range(4)))
    for workers in (1, 2):
        with Pool(workers) as engine:
            assert list(engine.map(functools.partial(product, shared), range(4))) == here


def test_in_this_process_a_failure_is_an_answer(tmp_path: Path) -> None:
    tasks = [("refuse", 1), ("raise", str(tmp_path / "fails")), ("square", 2)]
    refused, raised, four = InProcess().map(do, tasks)
    assert (refused, raised, four) == (Failure("the task is refused (1)"), Failure("ValueError: no"), 4)
    assert (tmp_path / "fails").read_text() == "xx"


@pytest.mark.skipif(not CAN_FORK, reason="elsewhere a worker finds its pipe closed")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_head(tmp_path: Path, how: signal.Signals) -> None:
    script = (
        "from onnxslim.search.pool import Pool\nfrom tests.search.engine_tasks import do\n"
        f"with Pool(1) as pool: list(pool.map(do, [('wait for ever', {str(tmp_path / 'pid')!r})]))\n"
    )
    command = [sys.executable, "-c", script]
    head = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    pid = read_when_there(tmp_path / "pid")
    os.killpg(head.pid, how) if how == signal.SIGINT else head.kill()
    said = head.communicate(timeout=20)[1].decode()
    assert head.returncode == -how
    assert ("KeyboardInterrupt" in said) == (how == signal.SIGINT)
    wait_until_gone(pid)


@pytest.mark.parametrize("text", ["dask", "dask://", "dask://host", "dask://host:1:2", "ray://a:1", "dask://a b:1", ""])
def test_bad_names_of_engines_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"there is no engine .*; fix: write dask://HOST:PORT"):
        open_engine(text)


def test_bad_numbers_and_what_cannot_be_sent_are_refused() -> None:
    for bad in ({"workers": 0}, {"memory": 0}, {"seconds": float("nan")}):
        with pytest.raises(InputError, match="; fix: give"):
            open_engine(None, **bad)
    with open_engine(None, workers=1) as engine, pytest.raises(InputError, match="cannot be sent to another process"):
        next(engine.map(lambda task: task, [1]))
    assert isinstance(open_engine("in-process"), InProcess)


def test_dask_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SetupError, match=r"pip install 'onnxslim-compiler\[dask\]'") as caught:
        open_engine("dask://localhost:1")
    assert caught.value.exit_code == 3


def read_when_there(path: Path) -> int:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(path.read_text())


def wait_until_gone(pid: int) -> None:
    """Waits until a process has ended, which an orphan's new parent may be yet to take note of."""
    status, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 20
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while ") Z" not in status.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
