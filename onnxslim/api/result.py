"""What the verbs that rewrite a model return."""

from __future__ import annotations

import os
from typing import NamedTuple

import onnx_ir as ir

from onnxslim.graph import save
from onnxslim.report import Report


class Result(NamedTuple):
    """A rewritten model and the report on it; ``model, report = result`` works."""

    model: ir.Model
    report: Report

    def save(self, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
        """Writes the model as ``onnxslim.save`` does: atomically, external data when over 1 GiB or asked for."""
        save(self.model, path, external_data=external_data)
