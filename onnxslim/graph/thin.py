"""Reads a model file so that its large weights go straight from the file into arrays of their own.

Protobuf would hold the whole file, its own copy of the weights and another one for each look at them. Here one walk
over the fields of the file leaves the large ``raw_data`` of the main graph's initializers out of what protobuf parses:
the thin model. A file that is not laid out as writers do is left to protobuf as it is.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError  # type: ignore[import-untyped, unused-ignore]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped, unused-ignore]

from onnxslim.graph.tensors import is_plain
from onnxslim.graph.wire import FIXED, GRAPH, INITIALIZER, INLINE_BELOW, LENGTH, RAW_DATA, VARINT, framed, key, varint

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Thin:
    """A model's bytes without large weights, and these by the initializer's place in the main graph."""

    content: bytes
    weights: Mapping[int, Bytes]


class _Unusual(Exception):
    """The file is no plain sequence of fields, or no model."""


def read_thin(file: io.BufferedReader[Any], size: int) -> Thin:
    """The model in ``file``, which has ``size`` bytes from where it stands; as it is where it is laid out unusually."""
    start = file.tell()
    if sys.byteorder == "little" and size >= INLINE_BELOW:
        try:
            return _model(file, start + size)
        except _Unusual:
            file.seek(start)
    return Thin(file.read(), {})


def thin_proto(source: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[int, Bytes]]:
    """A copy of a proto in memory without large weights, and these by the initializer's place in the main graph.

    The library copies messages by way of their bytes, and so none of more than 2 GiB.

    Raises:
        DecodeError, EncodeError, ValueError: The copy is too large even without the weights, or nested too deep.
    """
    copy, places = _hollow(source)
    weights = {at: np.frombuffer(source.graph.initializer[at].raw_data, np.uint8) for at in places}
    return copy, weights


def proto_bytes(source: onnx.ModelProto) -> int:
    """Bytes of a proto as a file; of one that no file can be, above 2 GiB, up to a few bytes a tensor."""
    try:
        return int(source.ByteSize())
    except EncodeError:
        copy, places = _hollow(source)
        return int(copy.ByteSize()) + sum(_overhead(size) + size for size in places.values())


def _overhead(size: int) -> int:
    return len(key(RAW_DATA)) + len(varint(size))


def _hollow(source: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[int, int]]:
    """A copy without the large raw data of initializers, whose places and bytes are returned."""
    parts = (source, source.graph, *source.graph.initializer)
    if sys.byteorder != "little" or any(len(UnknownFieldSet(part)) for part in parts):
        copy = onnx.ModelProto()  # fields that are not known are only copied with their message
        copy.CopyFrom(source)
        return copy, {}
    copy, places = _without(source, "graph"), {}
    if source.HasField("graph"):
        copy.graph.MergeFrom(_without(source.graph, "initializer"))
    for at, tensor in enumerate(source.graph.initializer):
        size = len(tensor.raw_data) if tensor.HasField("raw_data") else 0
        if size < INLINE_BELOW:
            copy.graph.initializer.append(tensor)
        else:
            places[at] = size
            copy.graph.initializer.append(_without(tensor, "raw_data"))
    return copy, places


def _without(message: Any, left_out: str) -> Any:
    """A copy of a message without one of its fields."""
    copy = type(message)()
    for field in message.DESCRIPTOR.fields:
        if field.name == left_out:
            continue
        value = getattr(message, field.name)
        if hasattr(value, "extend"):
            getattr(copy, field.name).extend(value)
        elif message.HasField(field.name):
            if field.message_type is not None:
                getattr(copy, field.name).CopyFrom(value)
            else:
                setattr(copy, field.name, value)
    return copy


def put_back(proto: onnx.ModelProto, weights: Mapping[int, Bytes]) -> dict[str, Bytes]:
    """The weights by name, each of which just fits its initializer. Others are given back to ``proto``, to be judged.

    Raises:
        IndexError: ``proto`` is not of the thin content that came with ``weights``.
    """
    fitting = {}
    for place, weight in weights.items():
        tensor = proto.graph.initializer[place]
        if is_plain(tensor) and _nbytes(tensor) == weight.nbytes and isinstance(tensor.name, str):
            fitting[tensor.name] = weight
        else:
            tensor.raw_data = weight.tobytes()
    return fitting


def attach_weights(model: ir.Model, weights: Mapping[str, Bytes]) -> None:
    """Gives the initializers of the main graph, which have no data, what belongs to them."""
    for name, weight in weights.items():
        value = model.graph.initializers[name]
        hollow = value.const_value
        assert hollow is not None
        array = weight.view(hollow.dtype.numpy()).reshape(hollow.shape.numpy())
        value.const_value = ir.Tensor(
            array,
            dtype=hollow.dtype,
            shape=ir.Shape(hollow.shape.numpy()),
            name=name,
            doc_string=hollow.doc_string,
            metadata_props=dict(hollow.metadata_props),
        )


def _nbytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes that the tensor must hold; None where its elements are not whole bytes, or its dims make no sense."""
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        return None
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING) or dtype.bitwidth % 8 or any(d < 0 for d in tensor.dims):
        return None
    return int(math.prod(tensor.dims)) * dtype.bitwidth // 8


def _model(file: io.BufferedReader[Any], end: int) -> Thin:
    before: list[bytes] = []
    graph: list[bytes] | None = None
    weights: dict[int, Bytes] = {}
    while file.tell() < end:
        number, wire, head, length = _field(file, end)
        if (number, wire) != (GRAPH, LENGTH):
            before.append(head + file.read(length))
        elif graph is not None:
            raise _Unusual  # two of them are merged
        else:
            graph, weights = _graph(file, file.tell() + length)
            before += [key(GRAPH), varint(sum(map(len, graph))), *graph]
    return Thin(b"".join(before), weights)


def _graph(file: io.BufferedReader[Any], end: int) -> tuple[list[bytes], dict[int, Bytes]]:
    parts: list[bytes] = []
    weights: dict[int, Bytes] = {}
    count = 0
    while file.tell() < end:
        number, wire, head, length = _field(file, end)
        if (number, wire) != (INITIALIZER, LENGTH):
            parts.append(head + file.read(length))
            continue
        if length < INLINE_BELOW:
            parts.append(head + file.read(length))
        else:
            tensor, weight = _tensor(file, file.tell() + length)
            parts.append(framed(INITIALIZER, tensor))
            if weight is not None:
                weights[count] = weight
        count += 1
    return parts, weights


def _tensor(file: io.BufferedReader[Any], end: int) -> tuple[bytes, Bytes | None]:
    parts: list[bytes] = []
    weight: Bytes | None = None
    while file.tell() < end:
        number, wire, head, length = _field(file, end)
        if (number, wire) != (RAW_DATA, LENGTH) or length < INLINE_BELOW:
            parts.append(head + file.read(length))
        elif weight is not None:
            raise _Unusual  # the last one counts
        else:
            weight = np.empty(length, np.uint8)
            if file.readinto(weight.data) != length:
                raise _Unusual
            weight.flags.writeable = False
    return b"".join(parts), weight


def _field(file: io.BufferedReader[Any], end: int) -> tuple[int, int, bytes, int]:
    """The next field: its number, its wire type, the bytes before its payload, and how many the payload has."""
    head = bytearray()
    tag = _read_varint(file, head)
    number, wire, length = tag >> 3, tag & 7, 0
    if wire == VARINT:
        _read_varint(file, head)
    elif wire == LENGTH:
        length = _read_varint(file, head)
    elif wire in FIXED:
        length = FIXED[wire]
    else:
        raise _Unusual
    if number == 0 or file.tell() + length > end:
        raise _Unusual
    return number, wire, bytes(head), length


def _read_varint(file: io.BufferedReader[Any], head: bytearray) -> int:
    """The number that the next bytes are, which are added to ``head``."""
    number = shift = 0
    while byte := file.read(1):
        head += byte
        number |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return number
        if shift > 63:
            break
    raise _Unusual
