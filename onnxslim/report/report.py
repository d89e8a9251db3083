"""The one object that says what a command did: text and JSON are made of it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from onnxslim.errors import InputError, SetupError
from onnxslim.report.record import Account

FORMS = (".html", ".json", ".md", ".txt")
NODE_DATA = ".node_data.json"


@dataclass(frozen=True, kw_only=True)
class Report(Account):
    """What a command did to a model, and the evidence; see `Account` for the fields.

    ``str(report)`` is the text that the command line prints.
    """

    def __str__(self) -> str:
        from onnxslim.report.document import document_of
        from onnxslim.report.terminal import as_text

        return as_text(document_of(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report in the form that the suffix names, whole or not at all.

        ``.html`` is one page with everything in it, ``.json`` is JSON, ``.txt`` and ``.md`` are text, and
        ``.time.node_data.json`` and ``.error.node_data.json`` are data by node for Model Explorer. Text in Markdown is
        one code block, since its tables are aligned by spaces.

        Raises:
            InputError: The suffix is another, or the path cannot be written.
            SetupError: A page needs jinja2, and it is not installed.
        """
        from onnxslim.graph import atomic_write

        form_of(path)
        atomic_write(path, (self._as(os.fspath(path).lower()).rstrip("\n") + "\n").encode())

    def _as(self, name: str) -> str:
        from onnxslim.report.as_json import dumps, to_json

        if name.endswith(NODE_DATA):
            from onnxslim.report.node_data import node_data

            return dumps(node_data(self, "error" if name.endswith(f".error{NODE_DATA}") else "time"))
        if name.endswith(".html"):
            from onnxslim.report.page import page_of

            return page_of(self)
        if name.endswith(".json"):
            return dumps(to_json(self))
        return f"```text\n{self}\n```" if name.endswith(".md") else str(self)


def machine() -> dict[str, str]:
    """The machine that measures."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "CPUs": str(usable),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    """The name of the first processor, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def form_of(path: str | os.PathLike[str]) -> str:
    """The suffix that says which form a report's file has.

    Raises:
        InputError: There is no such form.
        SetupError: It is a page, and jinja2 is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FORMS:
        raise InputError(
            f"a report has no form for the suffix {suffix!r}" if suffix else "the report's file has no suffix",
            where=os.fspath(path),
            mend="end the name in .html, .json, .md or .txt",
        )
    if suffix == ".html" and find_spec("jinja2") is None:
        raise SetupError(
            "a report page needs jinja2, which is not installed",
            where=os.fspath(path),
            mend="pip install 'onnxslim-compiler[report]', or end the name in .json, .md or .txt",
        )
    return suffix
