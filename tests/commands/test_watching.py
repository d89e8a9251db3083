from __future__ import annotations

import os
import pty
import sys
import threading

import pytest

from onnxslim.commands.watching import Lines, Watcher, watching
from onnxslim.pipeline import RunConfig
from onnxslim.search import Figures, Status

FIRST = Figures(2_600_000, 4.1, 2.3, 21.34)
SECOND = Figures(1_300_000, 8.2, None, 19.0, drop=0.0041)


def search(watcher: Watcher) -> None:
    """What a search says of itself."""
    config = RunConfig(progress=watcher.say, watch=watcher.see)
    config.watch(Status("measure errors [of] offers", left=600.4))
    config.progress("calibrate: 1 of 9")
    config.progress("calibrate: 2 of 9")
    config.watch(Status("build whole models", FIRST, trials=1, left=420.9))
    config.watch(Status("build whole models", FIRST, trials=2, left=410.9))
    config.watch(Status("build whole models", SECOND, trials=3, left=400.9))


def test_elsewhere_a_new_best_is_a_plain_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as watcher:
        search(watcher)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "onnxslim: measure errors [of] offers (10:00 left)",
        "onnxslim: calibrate: 1 of 9",
        "onnxslim: best so far: 4.10x smaller (2.60 MB), 2.30x the speed, SQNR 21.3 dB (1 model tried, 7:00 left)",
        "onnxslim: best so far: 8.20x smaller (1.30 MB), speed not measured, drop 0.0041, SQNR 19.0 dB "
        "(3 models tried, 6:40 left)",
    ]
    with watching(quiet=True) as watcher:
        search(watcher)
    assert capsys.readouterr() == ("", "")


def test_a_line_is_due_though_nothing_changes_and_the_timer_ends() -> None:
    said: list[str] = []
    reminded = threading.Semaphore(0)

    def note(line: str) -> None:
        said.append(line)
        reminded.release()

    before = threading.active_count()
    with Lines(every=0.02, print_line=note) as lines:
        assert reminded.acquire(timeout=20)
        lines.see(Status("build whole models", FIRST, trials=1, left=5.0))
        while not said[-1].startswith("onnxslim: build"):
            assert reminded.acquire(timeout=20)
    assert threading.active_count() == before
    assert said[0] == "onnxslim: at work (0:00 so far)"
    assert said[-1].startswith("onnxslim: build whole models: best so far: 4.10x smaller (2.60 MB), ")


def test_at_a_terminal_it_is_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with watching() as watcher:
            search(watcher)
        terminal.flush()
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    text = shown.decode()
    for words in ("build whole models", "calibrate: 2 of 9", "8.20x smaller (1.30 MB)", "drop 0.0041", "6:40 left"):
        assert words in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""
