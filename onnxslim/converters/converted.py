"""The result of a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.converters.expectations import Expected
from onnxslim.evaluation.findings import Parity
from onnxslim.graph import load


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion came to.

    Attributes:
        source: Path or ``module:object``.
        framework: Name and version.
        exporter: What made the graph.
        parity: The comparison of the framework's outputs with onnxruntime's.
        inputs: What the graph expects.
        notes: What a reader should know.
        size: Bytes of the ONNX file, external data included.
        seconds: That it took.
        output: Where it was written; None where it was not.
        data: The file; empty where it takes more than one.
    """

    source: str
    framework: str
    exporter: str
    parity: Parity
    inputs: tuple[Expected, ...]
    notes: tuple[str, ...]
    size: int
    seconds: float
    output: str | None = None
    data: bytes = field(default=b"", repr=False)

    @property
    def model(self) -> ir.Model:
        """The graph."""
        return load(self.data or self.output or b"")

    def __str__(self) -> str:
        return f"converted from {self.framework} by {self.exporter}, outputs compared: {self.parity}"

    def to_json(self) -> dict[str, Any]:
        """All but the file."""
        return {name: value for name, value in vars(self).items() if name != "data"}
