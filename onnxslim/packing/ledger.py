"""What each weight of a model holds, how it is stored, and what it would take in each encoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.errors import OnnxSlimError
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.halves import casts_of
from onnxslim.graph.sparse import MARK
from onnxslim.ops.contraction import output_axis
from onnxslim.ops.int8 import CONTRACTIONS

from . import sizes
from .content import CAN_BE_PACKED, Content
from .decoder import PREFIX
from .restore import behind, decoded_values, restored

LEAST = 256
"""Bytes of a tensor from which on it is looked at."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One weight.

    Attributes:
        name: Of the value.
        dtype: In lower case.
        shape: Its dims.
        elements: How many numbers it has.
        zeros: How many of them are zero.
        distinct: How many other values it has; None where there are more than 256.
        mean_abs: Mean of the absolute numbers.
        neurons: The same for each output of a Conv, Gemm or MatMul; else empty.
        stored: ``dense``, ``sparse``, or ``packed`` where nodes unpack it.
        bytes: By encoding: ``dense``, ``standard``, ``folded`` (estimated; null where there is none).
        packing: The best way to fold it, such as ``gaps4+codebook4``; empty where there is none.
        bound: Bytes of the mask's entropy and of the values other than zero, each number by itself.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    zeros: int
    distinct: int | None
    mean_abs: float
    neurons: tuple[float, ...]
    stored: str
    bytes: dict[str, int | None]
    packing: str
    bound: float

    @property
    def least(self) -> int:
        """Bytes in the smallest encoding."""
        return min(each for each in self.bytes.values() if each is not None)


def ledger(model: ir.Model) -> list[TensorFacts]:
    """The weights of a model in the order of its graphs, what is packed as it is once it is unpacked."""
    return [_facts(*each) for graph in model.graphs() for each in _weights(graph, model.opset_imports.get("", 0))]


def _weights(graph: ir.Graph, opset: int) -> Iterator[tuple[ir.Value, np.ndarray, ir.DataType, str]]:
    # What a product makes of codes and scales is no tensor of the file: the codes are.
    packed = [value for value in decoded_values(graph) if _unpacks(value.producer()) and behind([value]) is not None]
    inside: set[ir.Value] = set()
    found = behind(packed)
    if packed and found is not None:
        inside.update(found[1])
        try:
            arrays = restored(packed, opset) or []
        except OnnxSlimError:
            arrays = []  # nodes that this onnxruntime does not run are no reason to show nothing else
        for value, array in zip(packed, arrays, strict=False):
            array = _codes(value, array)
            yield value, array, ir.DataType.from_numpy(array.dtype), "packed"
    made = (node.outputs[0] for node in graph if node.op_type == "Constant" and len(node.outputs) == 1)
    for value in (*graph.initializers.values(), *made):
        tensor = constant_tensor(value) or value.const_value
        if tensor is None or value in inside or tensor.dtype not in CAN_BE_PACKED or tensor.nbytes < LEAST:
            continue
        yield value, tensor.numpy(), tensor.dtype, "sparse" if MARK in tensor.meta else "dense"


def _codes(value: ir.Value, array: np.ndarray) -> np.ndarray:
    """Codes that a product multiplies are bytes, also where a codebook gives them as floats (`lift_casts`)."""
    multiplied = all(use.node.op_type == "Mul" and (use.node.name or "").startswith(PREFIX) for use in value.uses())
    if not value.uses() or not multiplied or array.dtype != np.float32 or not np.isfinite(array).all():
        return array
    codes = array.clip(-128, 127).astype(np.int8)
    return codes if np.array_equal(codes, array) else array


def _unpacks(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Reshape"


def _facts(value: ir.Value, array: np.ndarray, dtype: ir.DataType, stored: str) -> TensorFacts:
    content = Content.of(array)
    packing = sizes.best(content)
    size = np.abs(array.astype(np.float32)) if array.dtype.itemsize < 4 else np.abs(array)
    axis = _outputs_axis(value)
    others = tuple(i for i in range(array.ndim) if i != axis)
    neurons = (
        ()
        if axis is None
        else tuple(float(f"{each:.4g}") for each in size.mean(axis=others, dtype=np.float64).reshape(-1))
    )
    return TensorFacts(
        name=value.name or "",
        dtype=dtype.name.lower(),
        shape=array.shape,
        elements=array.size,
        zeros=content.zeros,
        distinct=None if content.palette is None else len(content.palette),
        mean_abs=float(size.mean(dtype=np.float64)) if array.size else 0.0,
        neurons=neurons,
        stored=stored,
        bytes={
            "dense": sizes.dense(content),
            "standard": sizes.sparse(content),
            "folded": None if packing is None else sizes.folded(content, packing),
        },
        packing="" if packing is None else str(packing),
        bound=content.bound,
    )


def _outputs_axis(value: ir.Value) -> int | None:
    for use in (use for each in (value, *(node.outputs[0] for node in casts_of(value))) for use in each.uses()):
        rank = len(value.shape) if value.shape is not None else 0
        if use.idx == 1 and use.node.op_type in CONTRACTIONS and not use.node.domain and rank >= 2:
            return output_axis(use.node, rank)
    return None
