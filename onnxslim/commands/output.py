"""What verbs print: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from onnxslim.report import Report


def console() -> Console:
    """The stdout of rich: colours at a terminal, none elsewhere."""
    from rich.console import Console

    from onnxslim.report.terminal import PLAIN_WIDTH

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls it while it handles the error, and would exit with 1: "a check failed"

    return Plain(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


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
        from onnxslim.report.document import document_of
        from onnxslim.report.terminal import print_document

        print_document(document_of(report, explain), console())


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Says what is going on, on stderr: a line that changes at a terminal, elsewhere one line a stage."""
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        last = ""

        def say(text: str) -> None:
            nonlocal last
            if is_new_stage(text, last):
                print(f"onnxslim: {text}", file=sys.stderr, flush=True)
            last = text

        yield say
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(escape(text))


def is_new_stage(text: str, last: str) -> bool:
    """Whether a text is another than the one before: not that with other numbers, such as a count's, or going on.

    >>> is_new_stage("calibrate: 2 of 9", "calibrate: 1 of 9"), is_new_stage("measure", "calibrate: 1 of 9")
    (False, True)
    """
    stage, before = (re.sub(r"\d+", "N", each) for each in (text, last))
    return not before or not stage.startswith(before)
