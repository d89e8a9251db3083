"""The weights that may be made sparse, and each as a matrix: rows are outputs, columns what is summed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Request
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.graph.matcher import Matcher
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.ops.unfold import Unfold
from onnxslim.pipeline import Context

LEAST = 1 << 10
"""Numbers of a weight from which on zeros in it are worth anything."""
SMALL = 1 << 7
"""The same for few values without zeros, where a scale for each row and the nodes pay off (`worthwhile`)."""
NODES = 192
"""Bytes that codes and scales take in the file beside themselves: names, shapes, nodes, at most."""
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
MULTIPLIED = RECURRENT | {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Of which small weights are put on record."""
FLOATS = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
"""Types of weights that are changed; they keep theirs."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant that is multiplied, or looked up.

    Attributes:
        value: The constant.
        nodes: All that read it.
        geometry: How it is a matrix for each group of a convolution, direction of a recurrence or matrix of a batch.
        request: The Gram matrix of what it is multiplied by; None where that is not known.
        posed: Whether its inputs and outputs pose a least squares problem (`onnxslim.fitting.posed`).
    """

    value: ir.Value
    nodes: tuple[ir.Node, ...]
    geometry: Contraction
    request: Request | None = None
    posed: bool = False

    @property
    def name(self) -> str:
        """Of the constant."""
        return self.value.name or ""

    @property
    def tensor(self) -> ir.TensorProtocol:
        """The constant's."""
        tensor = constant_tensor(self.value)
        assert tensor is not None
        return tensor

    @property
    def array(self) -> np.ndarray:
        """Its numbers."""
        return self.tensor.numpy()

    @property
    def columns(self) -> int:
        """Numbers of a row, which share a scale."""
        shape: tuple[int, ...] = self.geometry.matrix(np.empty(self.geometry.shape, np.bool_)).shape
        return shape[-1]


def weights_of(
    model: ir.Model, protected: Matcher, context: Context, *, rule: str = "sparsify", least: int = LEAST
) -> Iterator[Weight]:
    """All of a model, in the order of the nodes; for those that stay as they are the reason is put on record.

    Args:
        model: Is looked at.
        protected: Nodes whose weights stay.
        context: Takes the reasons.
        rule: That they are put on record of.
        least: Numbers of the smallest weight.
    """
    seen: set[ir.Value] = set()
    names: set[str] = set()
    for graph in model.graphs():
        main = graph is model.graph
        for node in graph:
            for slot, value in enumerate(node.inputs):
                tensor = constant_tensor(value)
                if value is None or tensor is None or value in seen or len(tensor.shape) < 2:
                    continue
                seen.add(value)
                if rule == "store" and tensor.dtype.is_integer():
                    continue  # it is in few bits already
                if tensor.size < least:
                    if node.op_type in MULTIPLIED and min(tensor.shape.numpy()) > 1:
                        context.decline(rule, value.name or "", f"it has fewer than {least:,} numbers")
                    continue
                found = _weight(node, slot, value, main=main) if tensor.dtype in FLOATS else _typed(tensor)
                if tensor.size < LEAST and (isinstance(found, str) or not worthwhile(found)):
                    continue  # what is known of a small constant is that it is small
                reason = found if isinstance(found, str) else _stays(found, protected)
                if reason:
                    context.decline(rule, value.name or "", f"{reason}: {site(node)}")
                elif isinstance(found, Weight) and found.name in names:
                    context.decline(rule, found.name, f"a weight of another branch has its name: {site(node)}")
                elif isinstance(found, Weight):
                    names.add(found.name)
                    yield found


def worthwhile(weight: Weight) -> bool:
    """Whether int8 codes, a scale for each row and the nodes that multiply them take fewer bytes than the floats."""
    array = weight.array
    rows = array.size // max(weight.geometry.matrix(array).shape[-1], 1)
    return bool(array.nbytes > array.size + rows * np.dtype(np.float32).itemsize + NODES)


def _typed(tensor: ir.TensorProtocol) -> str:
    return f"its weights are {tensor.dtype.name.lower()}, not float16, float32 or double"


def _stays(weight: Weight, protected: Matcher) -> str:
    tensor = weight.tensor
    if not np.isfinite(tensor.numpy()).all():
        return "its weights are not finite"
    if weight.value.is_graph_output():
        return "it is an output"
    if any(protected(node) for node in weight.nodes):
        return "protected"
    return ""


def _weight(node: ir.Node, slot: int, value: ir.Value, *, main: bool) -> Weight | str:
    """What a constant is to the first node that reads it; a reason where it is nothing that is known."""
    nodes = tuple(dict.fromkeys(use.node for use in value.uses()))
    shape, kind = _shape(value), node.op_type
    unknown = "what it is to the operator is not known"
    # Nodes that read the weight in the same way: it is fitted to all that it is multiplied by.
    alike = main and all(_reads_alike(use.node, use.idx, node, slot) for use in value.uses())

    def multiplied(other: int, unfold: Unfold | str) -> Request | None:
        names = [_name(each, other) for each in nodes]
        if isinstance(unfold, str) or not alike or not all(names):
            return None
        return Request.pooled([name for name in names if name], unfold)

    if node.domain not in ("", "ai.onnx"):
        return unknown
    if kind in RECURRENT and slot in (1, 2) and len(shape) == 3:
        known = multiplied(0 if slot == 1 else -1, Unfold(shape[2]))
        return Weight(value, nodes, Contraction(kind, shape, output_axis=1, input_axis=2), known)
    looked_up = kind == "Gather" and len(shape) == 2 and node.attributes.get_int("axis", 0) == 0
    if slot == 0 and (looked_up or kind == "Slice"):
        return Weight(value, nodes, Contraction(kind, shape, output_axis=len(shape) - 2, input_axis=len(shape) - 1))
    geometry = contraction_of(node, slot)
    if isinstance(geometry, str):
        return unknown
    known, posed = multiplied(1 - slot, geometry.unfold), alike and geometry.rowwise
    if kind == "ConvTranspose":
        geometry = replace(geometry, groups=1)  # places in all groups together: nothing is measured of several
    return Weight(value, nodes, geometry, known, posed and not isinstance(geometry.unfold, str))


def _reads_alike(node: ir.Node, slot: int, first: ir.Node, at: int) -> bool:
    """Whether a node does to its input in ``slot`` what ``first`` does to the one ``at``."""
    same = node.op_identifier() == first.op_identifier() and node.graph is first.graph
    return same and slot == at and _settings(node) == _settings(first)


def _settings(node: ir.Node) -> dict[str, object]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _name(node: ir.Node, slot: int) -> str | None:
    """Of an input; -1: of the first output, which a recurrence multiplies again."""
    value = node.outputs[0] if slot < 0 else node.inputs[slot]
    return None if value is None else value.name


def _shape(value: ir.Value) -> tuple[int, ...]:
    tensor = constant_tensor(value)
    assert tensor is not None
    return tuple(tensor.shape.numpy())
