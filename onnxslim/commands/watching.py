"""A search as a person sees it, on stderr: a live table at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

from onnxslim.commands.output import is_new_stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from onnxslim.pipeline.reached import Reached, Standing

EVERY = 10.0
"""Seconds after which a plain line is due, though nothing has changed."""
LABEL = 8
"""Columns that the labels of the live table take."""


class Watcher(Protocol):
    """Takes what a run says of itself."""

    def say(self, text: str) -> None:
        """What is going on: ``RunConfig.progress``."""

    def see(self, reached: Reached) -> None:
        """How far the search is: ``RunConfig.watch``."""


@contextmanager
def watching(quiet: bool = False) -> Iterator[Watcher]:
    """Shows progress on stderr for as long as it is open; stdout is left to the result, JSON or not.

    Args:
        quiet: Shows nothing.
    """
    if quiet:
        yield _Blind()
        return
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_dumb_terminal:
            with _live(console) as table:
                yield table
            return
    with Lines() as lines:
        yield lines


class _Blind:
    def say(self, text: str) -> None:
        pass

    def see(self, reached: Reached) -> None:
        pass


class _State:
    """What was said last, and the clock since then."""

    def __init__(self) -> None:
        self.text = ""
        self.reached: Reached | None = None
        self._started = self._seen = time.monotonic()

    def see(self, reached: Reached) -> None:
        self.reached, self._seen = reached, time.monotonic()

    @property
    def clock(self) -> str:
        """The time that is left, or the time since the start where there is no limit."""
        left = None if self.reached is None else self.reached.left
        if left is None:
            return f"{duration(time.monotonic() - self._started)} so far"
        return f"{duration(max(0.0, left - (time.monotonic() - self._seen)))} left"


class Lines:
    """Prints a line for a new stage and for a new best result at once, and else one every so many seconds.

    Args:
        every: Seconds.
        print_line: Where lines go; stderr by default.
    """

    def __init__(self, every: float = EVERY, print_line: Callable[[str], None] | None = None) -> None:
        self._every, self._print = every, print_line or _to_stderr
        self._state = _State()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._due = time.monotonic() + every
        self._timer = threading.Thread(target=self._remind, name="onnxslim progress", daemon=True)

    def say(self, text: str) -> None:
        """What is going on."""
        with self._lock:
            new = is_new_stage(text, self._state.text)
            self._state.text = text
            if new:
                self._line(text)

    def see(self, reached: Reached) -> None:
        """How far the search is."""
        with self._lock:
            before = self._state.reached
            self._state.see(reached)
            if reached.best is not None and (before is None or before.best != reached.best):
                self._line(f"{best_line(reached.best)} ({_tried(reached)}, {self._state.clock})")
            elif before is None or is_new_stage(reached.stage, before.stage):
                self._line(f"{reached.stage} ({self._state.clock})")

    def _line(self, text: str) -> None:
        self._due = time.monotonic() + self._every
        self._print(f"onnxslim: {text}")

    def _remind(self) -> None:
        while not self._over.wait(max(0.0, self._due - time.monotonic())):
            with self._lock:
                if time.monotonic() >= self._due:
                    self._line(_reminder(self._state))

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._timer.join()


def _reminder(state: _State) -> str:
    reached = state.reached
    if reached is None:
        return f"{state.text or 'at work'} ({state.clock})"
    best = "no result yet" if reached.best is None else best_line(reached.best)
    return f"{reached.stage}: {best} ({_tried(reached)}, {state.clock})"


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, and the work goes on
        print(line, file=sys.stderr, flush=True)


class _Table:
    """The state as a table, which rich asks for anew several times a second."""

    def __init__(self) -> None:
        self._state = _State()

    def say(self, text: str) -> None:
        self._state.text = text

    def see(self, reached: Reached) -> None:
        self._state.see(reached)

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim", width=LABEL)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for label, text in self._rows():
            table.add_row(label, escape(text))
        return table

    def _rows(self) -> Iterator[tuple[str, str]]:
        reached = self._state.reached
        if reached is not None:
            yield "stage", reached.stage
        if self._state.text:
            yield "now", self._state.text
        if reached is not None:
            best = reached.best
            yield "size", "-" if best is None else _size(best)
            yield "speed", "-" if best is None else _speed(best)
            yield "error", "-" if best is None else _error(best)
            yield "tried", _tried(reached)
        yield "time", self._state.clock


@contextmanager
def _live(console: Console) -> Iterator[_Table]:
    from rich.live import Live

    table = _Table()
    with Live(table, console=console, transient=True, refresh_per_second=4, redirect_stdout=False):
        yield table


def best_line(best: Standing) -> str:
    """The best result so far in one line."""
    return f"best so far: {_size(best)}, {_speed(best)}, {_error(best)}"


def _size(best: Standing) -> str:
    from onnxslim.report.wording import size

    return f"{best.size_ratio:.2f}x smaller ({size(best.bytes)})"


def _speed(best: Standing) -> str:
    return "speed not measured" if best.speedup is None else f"{best.speedup:.2f}x the speed"


def _error(best: Standing) -> str:
    drop = "" if best.drop is None else f"drop {best.drop:.4f}, "
    return f"{drop}SQNR {best.sqnr_db:.1f} dB"


def _tried(reached: Reached) -> str:
    return f"{reached.trials} model{'s' * (reached.trials != 1)} tried"


def duration(seconds: float) -> str:
    """Minutes and seconds, and hours where there are some.

    >>> duration(7.6), duration(432), duration(7325)
    ('0:07', '7:12', '2:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
