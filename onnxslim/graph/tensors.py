"""What a tensor of a file claims, checked against what it holds, before anything is allocated for it."""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped, unused-ignore]

from onnxslim.errors import InputError
from onnxslim.graph.external import DataFolder, check_external

_INT32_HOLDS = frozenset(
    {"INT32", "INT16", "INT8", "INT4", "INT2", "UINT16", "UINT8", "UINT4", "UINT2", "BOOL", "FLOAT16", "BFLOAT16"}
)
_INT32_HOLDS |= frozenset({"FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"})
_INT32_HOLDS |= frozenset({"FLOAT6E2M3", "FLOAT6E3M2", "FLOAT4E2M1"})
_FIELDS = {
    "float_data": frozenset({"FLOAT", "COMPLEX64"}),
    "int32_data": _INT32_HOLDS,
    "string_data": frozenset({"STRING"}),
    "int64_data": frozenset({"INT64"}),
    "double_data": frozenset({"DOUBLE", "COMPLEX128"}),
    "uint64_data": frozenset({"UINT64", "UINT32"}),
}
AGAIN = "export the model again"
MAX_RANK = 64
"""Dimensions that an array of numpy can have."""


def data_type(code: int, where: str) -> ir.DataType:
    """The dtype of a code in a file.

    Raises:
        InputError: No dtype has that code.
    """
    try:
        dtype = ir.DataType(code)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype == ir.DataType.UNDEFINED:
        raise InputError(
            f"the data type {code} of a tensor is unknown", where=where, mend="upgrade onnx, or export the model again"
        )
    return dtype


def check_rank(rank: int, what: str, where: str) -> None:
    """Refuses a rank that no array can have.

    Raises:
        InputError: It is more than `MAX_RANK`.
    """
    if rank > MAX_RANK:
        raise InputError(
            f"{what} has {rank:,} dimensions",
            where=where,
            why=f"numpy, which holds all values here, has at most {MAX_RANK}",
            mend="reshape it to fewer dimensions",
        )


def element_count(dims: list[int], where: str) -> int:
    """Product of the dims.

    Raises:
        InputError: A dim is negative, there are more than `MAX_RANK`, or the product exceeds what 64 bits address.
    """
    check_rank(len(dims), "a tensor", where)
    if any(dim < 0 for dim in dims):
        raise InputError(f"a tensor has a negative dimension: {dims}", where=where, mend=AGAIN)
    count = math.prod(dims)
    if count >= 1 << 62:
        raise InputError(
            f"the dimensions {dims} of a tensor overflow", where=where, why="no file holds so many elements", mend=AGAIN
        )
    return count


def is_raw(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor holds its data as raw bytes and says nothing but what onnx-ir knows of it; asked at no cost."""
    return tensor.HasField("raw_data") and is_plain(tensor)


def is_plain(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor says nothing, beside raw bytes, but what onnx-ir knows of it."""
    return (
        not any(len(getattr(tensor, name)) for name in _FIELDS)
        and not (tensor.external_data or tensor.HasField("segment") or tensor.HasField("data_location"))
        and not len(UnknownFieldSet(tensor))
    )


def check_tensor(tensor: onnx.TensorProto, data: DataFolder, where: str) -> None:
    """Checks dtype, dims and payload of a dense tensor; external data is looked up and bounded, not read.

    Args:
        tensor: Edited where it is external, see ``check_external``.
        data: Where external data may lie.
        where: The tensor, for messages.

    Raises:
        InputError: The tensor holds more, less or other data than it declares.
    """
    dtype = data_type(tensor.data_type, where)
    count = element_count(list(tensor.dims), where)
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    filled = [name for name in _FIELDS if len(getattr(tensor, name))]
    raw_bytes = len(tensor.raw_data) if tensor.HasField("raw_data") else 0  # asked for once: it is copied
    if raw_bytes or (tensor.HasField("raw_data") and not filled):
        filled.append("raw_data")
    if len(filled) + external > 1:
        raise InputError("a tensor holds its data twice", where=where, why=f"in {' and '.join(filled)}", mend=AGAIN)
    nbytes = -(-count * dtype.bitwidth // 8) if dtype != ir.DataType.STRING else 0
    if external:
        if dtype == ir.DataType.STRING:
            raise InputError("a tensor of strings cannot be external", where=where, mend=AGAIN)
        check_external(tensor, nbytes, data, where)
        return
    field = filled[0] if filled else ""
    if field == "raw_data":
        held, needed, unit = raw_bytes, nbytes, "bytes"
    elif field:
        if dtype.name not in _FIELDS[field]:
            raise InputError(f"a tensor of {dtype.name} holds its data in {field}", where=where, mend=AGAIN)
        held, needed, unit = len(getattr(tensor, field)), _entries(dtype, count), "entries"
    else:
        held, needed, unit = 0, count, "elements"
    if held != needed or (dtype == ir.DataType.STRING and field == "raw_data"):
        raise InputError(
            f"a tensor of {dtype.name}{list(tensor.dims)} needs {needed:,} {unit}, but holds {held:,}",
            where=where,
            why="the file is truncated, or its weights were left out",
            mend="copy or export the model again",
        )


def _entries(dtype: ir.DataType, count: int) -> int:
    """Entries of a typed field: complex numbers take two; types of 2 and 4 bits are packed into bytes."""
    if dtype.name.startswith("COMPLEX"):
        return 2 * count
    if dtype != ir.DataType.STRING and dtype.bitwidth in (2, 4):
        return -(-count * dtype.bitwidth // 8)
    return count
