"""What verbs print: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from onnxslim.report import Report

PLAIN_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""


def console() -> Console:
    """The stdout of rich: colours at a terminal, none elsewhere."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def print_json(data: Mapping[str, Any]) -> None:
    """Prints ``data``, already in JSON's own types, on stdout."""
    from onnxslim.report import dumps

    sys.stdout.write(dumps(data) + "\n")


def show(report: Report, *, as_json: bool, explain: bool, quiet: bool) -> None:
    """Prints a report the way the user asked for."""
    from onnxslim.report import to_json

    if as_json:
        print_json(to_json(report))
    elif not quiet:
        from onnxslim.report.terminal import print_report

        print_report(report, console(), explain=explain)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Says what is going on, on stderr and at a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(escape(text))
