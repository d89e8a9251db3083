"""Sparse tensors: dense while passes look at them, sparse again in the file.

onnxruntime makes them dense when it loads, and onnx-ir and most tools do not know them. So ``decode`` lowers a sparse
tensor to a dense one that bears a mark (``Layout`` in the tensor's ``meta``), and ``encode`` writes a marked tensor in
the layout it had, from the data that it has now. A pass that replaces the tensor thereby drops the mark, and dense data
are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.serde import deserialize_tensor, serialize_tensor

from onnxslim.errors import InputError
from onnxslim.graph.external import DataFolder
from onnxslim.graph.tensors import AGAIN, check_tensor, data_type, element_count

MARK = "onnxslim.sparse"
"""Key of the ``Layout`` in a tensor's ``meta``."""
MAX_DENSE_BYTES = 2 << 30
"""Bytes that all sparse tensors of one model may take when dense."""
_INDEX_TYPES = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT16, ir.DataType.INT8)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a sparse tensor was written.

    Args:
        linear: Indices of shape [NNZ] into the flattened tensor; otherwise coordinates [NNZ, rank].
        index_type: dtype of the indices.
        raw_indices: Whether the indices are in ``raw_data``, not in a typed field.
        raw_values: The same of the values.
        positions: Flat positions that were stored, ascending, int64 [NNZ]; some may hold zeros.
        values_doc: Doc string of the values.
    """

    linear: bool
    index_type: ir.DataType
    raw_indices: bool
    raw_values: bool
    positions: npt.NDArray[np.int64]
    values_doc: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Layout:
        return self


def decode(
    sparse: onnx.SparseTensorProto, data: DataFolder, where: str, budget: int = MAX_DENSE_BYTES
) -> ir.Tensor[Any]:
    """A dense tensor with the same values, marked with the layout.

    Args:
        sparse: The tensor; its values bear the name.
        data: Where external values and indices may lie.
        where: The tensor, for messages.
        budget: Bytes that the dense tensor may take.

    Raises:
        InputError: The indices are unsorted, duplicate, out of range, or of a wrong dtype or rank; or it is too large.
    """
    values, indices = sparse.values, sparse.indices
    dims = list(sparse.dims)
    count, dtype = element_count(dims, where), data_type(values.data_type, where)
    if dtype == ir.DataType.STRING:
        raise InputError("a sparse tensor of strings cannot be carried", where=where, mend="store it dense")
    if len(values.dims) != 1:
        raise InputError(f"the values of a sparse tensor have rank {len(values.dims)}, not 1", where=where, mend=AGAIN)
    nbytes = math.ceil(count * max(dtype.bitwidth, 8) / 8)  # numpy takes a byte for types of 2 to 6 bits
    if nbytes > budget:
        raise InputError(
            f"a sparse tensor of {dtype.name}{dims} takes {nbytes:,} bytes when dense",
            where=where,
            why=f"the budget for all sparse tensors is {MAX_DENSE_BYTES:,} bytes, as onnxruntime makes them dense too",
            mend="store a smaller tensor, or keep it out of the model",
        )
    check_tensor(values, data, f"{where}, values")
    flat_values = _array(values, data)
    if values.dims[0] == 0 and not indices.data_type:  # indices may be left out where nothing is stored
        positions, linear, index_type = np.zeros(0, np.int64), True, ir.DataType.INT64
    else:
        index_type = data_type(indices.data_type, where)
        if index_type not in _INDEX_TYPES:
            raise InputError(
                f"the indices of a sparse tensor are {index_type.name}, not INT64", where=where, mend=AGAIN
            )
        check_tensor(indices, data, f"{where}, indices")
        linear = len(indices.dims) == 1
        if list(indices.dims) != ([values.dims[0]] if linear else [values.dims[0], len(dims)]):
            raise InputError(
                f"the indices of a sparse tensor have shape {list(indices.dims)}",
                where=where,
                why=f"{values.dims[0]} values of dims {dims} need [NNZ] or [NNZ, {len(dims)}]",
                mend=AGAIN,
            )
        positions = _positions(_array(indices, data).astype(np.int64), dims, count, where)
    dense = np.zeros(count, dtype=dtype.numpy())
    dense[positions] = flat_values
    tensor = ir.Tensor(dense.reshape(dims), dtype=dtype, name=values.name)
    tensor.meta[MARK] = Layout(
        linear, index_type, indices.HasField("raw_data"), values.HasField("raw_data"), positions, values.doc_string
    )
    return tensor


def _positions(indices: npt.NDArray[np.int64], dims: list[int], count: int, where: str) -> npt.NDArray[np.int64]:
    """Flat positions of the indices, checked to be in range and strictly ascending."""
    limits = np.array([count] if indices.ndim == 1 else dims, dtype=np.int64)
    rows = indices.reshape(len(indices), len(limits))
    outside = np.flatnonzero(((rows < 0) | (rows >= limits)).any(axis=1))
    if len(outside):
        raise _bad_index("out of range", int(outside[0]), rows, dims, where)
    if indices.ndim == 1:
        flat = indices
    elif len(dims):
        strides = np.array([math.prod(dims[axis + 1 :]) for axis in range(len(dims))], dtype=np.int64)
        flat = (rows * strides).sum(axis=1, dtype=np.int64)
    else:
        flat = np.zeros(len(indices), np.int64)
    steps = np.flatnonzero(np.diff(flat) <= 0)
    if len(steps):
        at = int(steps[0]) + 1
        raise _bad_index("a duplicate" if flat[at] == flat[at - 1] else "not in ascending order", at, rows, dims, where)
    return flat


def _bad_index(what: str, at: int, rows: npt.NDArray[np.int64], dims: list[int], where: str) -> InputError:
    return InputError(
        f"index {at} of a sparse tensor is {what}: {rows[at].tolist()}",
        where=where,
        why=f"the tensor has dims {dims}; which value counts would depend on the reader",
        mend=AGAIN,
    )


def _array(tensor: onnx.TensorProto, data: DataFolder) -> npt.NDArray[Any]:
    """The checked tensor's data, flat."""
    base = "" if data.folder is None else str(data.folder)
    for entry in tensor.external_data:
        if entry.key == "location" and entry.value.startswith("/"):
            base = ""
    array: npt.NDArray[Any] = deserialize_tensor(tensor, base).numpy()
    return array


def encode(tensor: ir.TensorProtocol, layout: Layout) -> onnx.SparseTensorProto:
    """The tensor's present data in the layout it was read in.

    Positions that were stored are stored again unless a value outside of them is not zero. Zero means that all bits are
    zero, so that -0.0 survives. Indices widen to int64 where their dtype has become too small.
    """
    dense = np.ascontiguousarray(tensor.numpy())
    flat = dense.reshape(-1)
    stored = np.any(flat.view(np.uint8).reshape(flat.size, flat.itemsize), axis=1)
    positions = layout.positions
    if len(positions) and positions[-1] >= flat.size:
        positions = positions[positions < flat.size]
    uncovered = stored.copy()
    uncovered[positions] = False
    if uncovered.any():
        positions = np.flatnonzero(stored).astype(np.int64)
    shape = [int(dim) for dim in tensor.shape.numpy()]
    indices = (
        positions
        if layout.linear or not shape
        else np.stack(np.unravel_index(positions, shape), axis=1).astype(np.int64)
    )
    index_type = layout.index_type
    if indices.size and int(indices.max()) > np.iinfo(index_type.numpy()).max:
        index_type = ir.DataType.INT64
    proto = onnx.SparseTensorProto(dims=shape)
    proto.values.CopyFrom(_tensor_proto(flat[positions], tensor.dtype, layout.raw_values))
    if tensor.name:
        proto.values.name = tensor.name
    if layout.values_doc:
        proto.values.doc_string = layout.values_doc
    for key, value in sorted(tensor.metadata_props.items()):
        proto.values.metadata_props.add(key=key, value=value)
    proto.indices.CopyFrom(_tensor_proto(indices.astype(index_type.numpy()), index_type, layout.raw_indices))
    return proto


def _tensor_proto(array: npt.NDArray[Any], dtype: ir.DataType, raw: bool) -> onnx.TensorProto:
    proto = serialize_tensor(ir.Tensor(array, dtype=dtype))
    if not raw:
        payload = proto.raw_data
        proto.ClearField("raw_data")
        field, width = _TYPED.get(dtype.name, ("int32_data", None))
        if width is None:  # the bits of each element (of each byte, where elements are smaller) as a number
            bits = np.dtype(f"u{max(dtype.bitwidth // 8, 1)}")
            width = np.dtype(array.dtype) if array.dtype.kind == "i" and dtype.bitwidth >= 8 else bits
        getattr(proto, field).extend(np.frombuffer(payload, dtype=width).tolist())
    return proto


_TYPED: dict[str, tuple[str, np.dtype[Any]]] = {
    "FLOAT": ("float_data", np.dtype("<f4")),
    "COMPLEX64": ("float_data", np.dtype("<f4")),
    "DOUBLE": ("double_data", np.dtype("<f8")),
    "COMPLEX128": ("double_data", np.dtype("<f8")),
    "INT64": ("int64_data", np.dtype("<i8")),
    "UINT32": ("uint64_data", np.dtype("<u4")),
    "UINT64": ("uint64_data", np.dtype("<u8")),
}
