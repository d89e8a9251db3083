"""Arrays of zeros and few values, and models that unpack them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnxslim.graph.edit import Names
from onnxslim.packing import PREFIX, Content, Kit, Packing

Array = npt.NDArray[Any]

DTYPES: list[npt.DTypeLike] = [
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    np.float64,
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
]


def name_of(dtype: npt.DTypeLike) -> str:
    return np.dtype(dtype).name


def words(dtype: npt.DTypeLike, shape: tuple[int, ...], zeros: float, values: int = 0, seed: int = 0) -> Array:
    """An array of any bits, NaNs and -0.0 among them, of which about a share is zero.

    Args:
        dtype: Of the array.
        shape: Of the array.
        zeros: The share.
        values: How many others there are at most; 0 means any number.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    itemsize = np.dtype(dtype).itemsize
    kind = np.dtype(f"u{itemsize}")
    bits = generator.integers(1, 2 ** (8 * itemsize) - 1, shape, dtype=kind, endpoint=True)
    if values:
        chosen = generator.integers(1, 2 ** (8 * itemsize) - 1, values, dtype=kind, endpoint=True)
        bits = generator.choice(chosen, shape)
    bits[generator.random(shape) < zeros] = 0
    return bits.view(dtype)


def weights(shape: tuple[int, ...], zeros: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Normal floats of which exactly a share, rounded, is zero."""
    generator = np.random.default_rng(seed)
    array = generator.normal(0, 0.3, shape).astype(np.float32)
    going = generator.permutation(array.size)[: round(zeros * array.size)]
    array.reshape(-1)[going] = 0
    return array


Group = tuple[Sequence[Array], Packing]


def unpacking(groups: Sequence[Group]) -> tuple[ir.Model, list[ir.Value]]:
    """A model that unpacks groups of arrays, and the values that it gives in their order."""
    graph = ir.Graph([], [], nodes=[], name="g", opset_imports={"": 17})
    kit = Kit(graph, Names())
    found = []
    for arrays, packing in groups:
        dtype = ir.DataType.from_numpy(arrays[0].dtype)
        found += kit.unpack([Content.of(each) for each in arrays], packing, dtype, [each.shape for each in arrays])
    named = [""] * len(kit.nodes)
    for value in found:
        node = value.producer()
        assert node is not None
        named[kit.nodes.index(node)] = kit.names.fresh(PREFIX)
    graph.extend(kit.nodes)
    for node, name in zip(kit.nodes, named, strict=True):
        node.name = name
    return ir.Model(graph, ir_version=8), found


def bytes_of(groups: Sequence[Group]) -> int:
    """What onnx takes for it, without the frame of a model."""
    return _size(groups) - _size([])


def _size(groups: Sequence[Group]) -> int:
    proto: onnx.ModelProto = ir.to_proto(unpacking(groups)[0])
    return len(proto.SerializeToString())
