"""What a report says of a conversion, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.converters.expectations import Expected
from onnxslim.evaluation.findings import Parity


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

    def __str__(self) -> str:
        return f"converted from {self.framework} by {self.exporter}; compared with the framework: {self.parity}"
