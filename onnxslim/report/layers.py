"""What a report page shows of both models besides their numbers: nodes, weights, times and errors by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from onnxslim.evaluation.inner import LayerError


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node of the main graph that does not only compute constants.

    Attributes:
        name: Of the node; that of its first output where it has none.
        op_type: With the domain where it is not the default one.
        inputs: Names of the values that it reads and that are no constants.
        outputs: Names of the values that it computes.
        channels: Outputs of a Conv, Gemm, MatMul or ConvTranspose; None where it is another operator or unknown.
        int8: Whether it computes on quantized values.
        weight_bytes: Of the constants that only it reads and of its attributes, as the file holds them.
        microseconds: What onnxruntime spends on it and on what is fused into it; None where that was not measured.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    channels: int | None = None
    int8: bool = False
    weight_bytes: int = 0
    microseconds: float | None = None


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """A constant as the file holds it.

    Attributes:
        name: Of the value.
        shape: Its dims.
        encoding: Its dtype, or ``sparse``, or ``packed`` where nodes unpack it when the model is loaded.
        bytes: Of the tensor.
    """

    name: str
    shape: tuple[int, ...]
    encoding: str
    bytes: int


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One model.

    Attributes:
        name: Of its main graph.
        nodes: In an order in which they can run.
        weights: Its constants, the largest first.
    """

    name: str
    nodes: Sequence[NodeFacts]
    weights: Sequence[WeightFacts]


@dataclass(frozen=True, slots=True)
class Layers:
    """Both models, layer by layer.

    Attributes:
        original: The model compared with.
        result: The model that came out.
        errors: Of the values that both compute under the same name, in the order of the result.
        samples: How many samples the errors are measured on.
        notes: What could not be measured, and why.
    """

    original: GraphFacts
    result: GraphFacts
    errors: Sequence[LayerError] = ()
    samples: int = 0
    notes: Sequence[str] = ()

    @property
    def timed(self) -> bool:
        """Whether both models were profiled."""
        return all(any(node.microseconds for node in each.nodes) for each in (self.original, self.result))

    def noting(self, note: str) -> Self:
        """The same, with another note."""
        return replace(self, notes=(*self.notes, note))
