"""Small tensors as the file states them, asked again and again at the cost of an attribute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.serde import TensorProtoTensor

from onnxslim.graph.wire import INLINE_BELOW


class StoredTensor(TensorProtoTensor):
    """A tensor of a file that keeps its shape and dtype, and its array where that is small and cannot be written to."""

    __slots__ = ("_array", "_dtype", "_shape", "_size")

    def __init__(self, proto: onnx.TensorProto) -> None:
        super().__init__(proto)
        self._array: np.ndarray[Any, Any] | None = None
        self._dtype: ir.DataType = ir.DataType(proto.data_type)
        self._shape: ir.Shape = ir.Shape(proto.dims, frozen=True)
        self._size: int = math.prod(proto.dims)

    @property
    def dtype(self) -> ir.DataType:  # type: ignore[override]  # the protocol says writeable, onnx-ir's own are not
        """Element type."""
        return self._dtype

    @property
    def shape(self) -> ir.Shape:  # type: ignore[override]
        """Dimensions."""
        return self._shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._size

    def numpy(self) -> np.ndarray[Any, Any]:
        """The elements, not to be written to."""
        if self._array is not None:
            return self._array
        array = super().numpy()
        if array.nbytes < INLINE_BELOW:
            array.flags.writeable = False
            self._array = array
        return array


def stored(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor itself, or a ``StoredTensor`` in its place where that is quicker to ask."""
    if type(tensor) is not TensorProtoTensor or tensor.meta:
        return tensor
    made = StoredTensor(tensor.raw)
    if tensor.metadata_props:
        made.metadata_props.update(tensor.metadata_props)
    return made
