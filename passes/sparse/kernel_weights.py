"""The weights of int8 kernels: constants in int8 that DequantizeLinear makes factors of contractions.

onnxruntime replaces ``Conv(DQ(x), DQ(w))`` by a kernel that reads the integers, so that their grid must stay. Which of
them there are is free: the integers of a weight may be few, and the file then holds a code of 4 to 6 bits for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.calibration import Request
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.pipeline import Context

LEAST = 1 << 10
"""Numbers of a weight from which on codes take fewer bytes than it, whatever unpacks them."""
FEW = 16
"""Distinct integers that there is nothing to gain of."""


@dataclass(frozen=True, eq=False)
class KernelWeight:
    """A weight that is integers times a scale for each output.

    Attributes:
        value: The integers.
        nodes: What makes factors of them, and the contractions that read these.
        geometry: How the weight is a matrix for each group.
        scale: ``float32[groups, rows]``: of each row of these.
        request: The Gram matrix of what it is multiplied by; None where that is not known.
    """

    value: ir.Value
    nodes: tuple[ir.Node, ...]
    geometry: Contraction
    scale: npt.NDArray[np.float32]
    request: Request | None

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
    def array(self) -> npt.NDArray[np.int8]:
        """Its integers."""
        return self.tensor.numpy()


def kernel_weights_of(model: ir.Model, context: Context, *, rule: str = "store") -> Iterator[KernelWeight]:
    """Those of all graphs of a model, in the order of the nodes; of the others the reason is put on record.

    Args:
        model: Is looked at.
        context: Takes the reasons.
        rule: That they are put on record of.
    """
    seen: set[ir.Value] = set()
    names: set[str] = set()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.inputs:
            tensor = constant_tensor(value)
            if value is None or tensor is None or value in seen or tensor.dtype != ir.DataType.INT8:
                continue
            seen.add(value)
            if len(tensor.shape) < 2 or tensor.size < LEAST or _is_code(value):
                continue
            found = _weight(model, value, tensor)
            if isinstance(found, KernelWeight) and found.name in names:
                found = "a weight of another branch has its name"
            if isinstance(found, str):
                context.decline(rule, value.name or "", f"{found}: {site(node)}")
            else:
                names.add(found.name)
                yield found


def _is_code(value: ir.Value) -> bool:
    """Whether it is what a float weight or a table is stored as: of this nothing more is to be taken."""
    return all((use.node.domain, use.node.op_type) in (("", "Cast"), ("", "Gather")) for use in value.uses())


def _weight(model: ir.Model, value: ir.Value, tensor: ir.TensorProtocol) -> KernelWeight | str:
    if value.is_graph_output():
        return "it is an output"
    array, shape = tensor.numpy(), tuple(tensor.shape.numpy())
    if len(np.unique(array)) <= FEW:
        return "it has few values already"
    nodes: list[ir.Node] = []
    geometries: list[Contraction] = []
    scales: list[np.ndarray] = []
    for use in value.uses():
        if (use.node.domain, use.node.op_type, use.idx) != ("", "DequantizeLinear", 0):
            return f"{use.node.op_type} reads its integers"
        scale = _scale(use.node, shape)
        if isinstance(scale, str):
            return scale
        if use.node.outputs[0].is_graph_output():
            return "what is made of it is an output"
        nodes.append(use.node)
        scales.append(scale)
        for reader in use.node.outputs[0].uses():
            geometry = contraction_of(reader.node, reader.idx, shape)
            if isinstance(geometry, str):
                return geometry
            nodes.append(reader.node)
            geometries.append(geometry)
    if not geometries or any(_layout(each) != _layout(geometries[0]) for each in geometries):
        return "it is read in different ways"
    if any(not np.array_equal(each, scales[0]) for each in scales):
        return "it is multiplied by different scales"
    rows = geometries[0].matrix(scales[0])
    if not (rows == rows[..., :1]).all():
        return "its scales go along what is summed over"
    request = _request(model, nodes, geometries)
    return KernelWeight(value, tuple(dict.fromkeys(nodes)), geometries[0], rows[..., 0].astype(np.float32), request)


def _layout(geometry: Contraction) -> tuple[object, ...]:
    """What decides which number of the weight stands where in its matrix."""
    places = geometry.output_axis, geometry.input_axis, geometry.slot
    return geometry.op_type in ("Conv", "ConvTranspose"), *places, geometry.groups


def _scale(node: ir.Node, shape: tuple[int, ...]) -> np.ndarray | str:
    """The scales of a DequantizeLinear as its weight's shape; a reason where it is no plain product."""
    scale, zero = (constant_tensor(node.inputs[slot]) if len(node.inputs) > slot else None for slot in (1, 2))
    if scale is None:
        return "its scale is computed"
    if len(node.inputs) > 2 and node.inputs[2] is not None and (zero is None or zero.numpy().any()):
        return "its zero point is not 0"
    numbers = scale.numpy()
    if scale.dtype != ir.DataType.FLOAT or not np.isfinite(numbers).all() or (numbers <= 0).any():
        return "its scales are no positive float32 numbers"
    if numbers.size == 1:
        return np.broadcast_to(numbers.reshape(()), shape)
    axis = node.attributes.get_int("axis", 1)
    if node.attributes.get_int("block_size", 0) or numbers.ndim != 1 or not -len(shape) <= axis < len(shape):
        return "its scales are those of blocks"
    along = [1] * len(shape)
    along[axis] = -1
    return np.broadcast_to(numbers.reshape(along), shape)


def _request(model: ir.Model, nodes: list[ir.Node], geometries: list[Contraction]) -> Request | None:
    """Of all that the weight is multiplied by, where all of it becomes rows in the same way."""
    unfold = geometries[0].unfold
    readers = [node for node in nodes if node.op_type != "DequantizeLinear"]
    if isinstance(unfold, str) or any(each.unfold != unfold for each in geometries):
        return None
    names = [value.name for node in readers if (value := node.inputs[1 - geometries[0].slot]) is not None]
    if any(node.graph is not model.graph for node in readers) or not all(names) or len(names) < len(readers):
        return None
    return Request.pooled([name for name in names if name], unfold)
