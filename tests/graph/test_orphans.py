"""A killed writer's data file goes with the next save; nobody else's ever does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxslim.graph import load, save, writer
from onnxslim.graph.interrupts import uninterrupted
from tests.graph.test_writer import model_of, result


def killed(path: Path, fill: float, at: Callable[..., None]) -> None:
    """Saves in a process that SIGKILL ends where the model would be put in its place."""
    child = os.fork()
    if not child:
        setattr(writer, "commit", at)  # noqa: B010 - mypy would have it exported
        save(load(model_of(fill)), path, external_data=True)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def before(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(temporary: Path, target: Path) -> None:
    os.replace(temporary, target)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("at", "left"), [(before, 1.0), (after, 2.0)])
def test_the_next_save_removes_what_a_killed_writer_left(tmp_path: Path, at: Callable[..., None], left: float) -> None:
    path, users = tmp_path / "model.onnx", tmp_path / "model.onnx.0123456789abcdef.data"
    users.write_bytes(b"a user's")
    save(load(model_of(1.0)), path, external_data=True)
    killed(path, 2.0, at)
    assert result(path) == left
    assert len(list(tmp_path.glob("*.data"))) == 3
    save(load(model_of(4.0)), tmp_path / "other.onnx")  # any save into the folder
    assert result(path) == left
    assert len(list(tmp_path.glob("*.data"))) == 2
    assert not list(tmp_path.glob("*.pending"))
    assert users.read_bytes() == b"a user's"


def test_what_a_model_came_to_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    killed(path, 1.0, before)
    (data,) = tmp_path.glob("*.data")
    (tmp_path / "copy.onnx").write_bytes(b"... " + data.name.encode())
    save(load(model_of(2.0)), path)
    assert data.exists()


def test_a_note_proves_nothing_of_another_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    killed(path, 1.0, before)
    (data,) = tmp_path.glob("*.data")
    content = data.read_bytes()
    os.rename(data, tmp_path / "away")
    data.write_bytes(content)  # the same name and content, but someone else wrote it
    (tmp_path / ".onnxslim-0123456789abcdef.pending").write_text('{"data": "../away", "inode": 1, "size": 1}')
    save(load(model_of(2.0)), path)
    assert data.exists()
    assert not list(tmp_path.glob("*.pending"))


@pytest.fixture(name="interruptible")
def interruptible_process() -> Iterator[None]:
    """Whoever starts the tests in the background may have them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_waits_for_the_end_of_a_step() -> None:
    steps = []

    def step() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert steps == ["went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
