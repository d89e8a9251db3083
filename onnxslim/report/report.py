"""The one object that says what a command did: text and JSON are made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from onnxslim.errors import InputError
from onnxslim.report.record import Account


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
        """Writes the report in the form that the suffix names: ``.json`` is JSON, ``.txt`` and ``.md`` are text.

        Text in Markdown is one code block, since its tables are aligned by spaces.

        Raises:
            InputError: The suffix is another, or the path cannot be written.
        """
        from onnxslim.graph import atomic_write
        from onnxslim.report.as_json import dumps, to_json

        suffix = os.path.splitext(path)[1].lower()
        if suffix == ".json":
            text = dumps(to_json(self))
        elif suffix == ".txt":
            text = str(self)
        elif suffix == ".md":
            text = f"```text\n{self}\n```"
        else:
            raise InputError(
                f"a report has no form for the suffix {suffix!r}" if suffix else "the report's file has no suffix",
                where=os.fspath(path),
                mend="end the name in .json, .txt or .md",
            )
        atomic_write(path, (text.rstrip("\n") + "\n").encode())
