"""What the verbs that rewrite a model return."""

from __future__ import annotations

import os
from typing import NamedTuple

import onnx_ir as ir

from onnxslim.graph import save
from onnxslim.report import Report
from onnxslim.report.wording import verdict
from onnxslim.search import Front


class Result(NamedTuple):
    """A rewritten model and the report on it; ``model, report = result`` works.

    Printed, it is the report's headline: ``print(result.report)`` shows the whole report.
    """

    model: ir.Model
    report: Report

    @property
    def front(self) -> Front | None:
        """What a search has tried; None where there was none."""
        return self.report.front

    def __repr__(self) -> str:
        """The headline and what to do next, since the repr of a model is all of its graph."""
        output = self.report.output
        written = f"written to {output.path}" if output is not None and output.path else "result.save(PATH) writes it"
        return f"<Result: {verdict(self.report)}; {written}; print(result.report) shows the report>"

    def save(self, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
        """Writes the model as ``onnxslim.save`` does: atomically, external data when over 1 GiB or asked for."""
        save(self.model, path, external_data=external_data)
