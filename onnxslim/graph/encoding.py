"""A model as the bytes of its file. Large weights are left where they lie and are only read when the bytes are written.

A protobuf message is the concatenation of its fields, in the order of their numbers as the library writes them. So the
messages around the weights are made by the library without the weights, and taken apart where the weights belong: the
size of a file is known without a copy of it, and to write one takes the memory of its largest tensor.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.serde import TensorProtoTensor

from onnxslim.errors import InputError
from onnxslim.graph.listed import list_initializers
from onnxslim.graph.packed import packed_nodes, parts
from onnxslim.graph.sidecar import restore
from onnxslim.graph.sparse import MARK
from onnxslim.graph.tensors import is_raw
from onnxslim.graph.walk import tensor_protos, tensors
from onnxslim.graph.wire import GRAPH, INITIALIZER, INLINE_BELOW, MAX_BYTES, RAW_DATA, framed, key, varint

CHUNK = 8 << 20
"""Bytes that are written at once."""


class Stub(ir.ExternalTensor):
    """Stands for a tensor whose bytes are elsewhere, while the messages around it are made."""

    __slots__ = ()

    @classmethod
    def of(cls, value: ir.Value, location: str = "", offset: int | None = None, folder: str = "") -> Self:
        """A stub of the tensor of ``value``, whose bytes are at ``offset`` of the file ``location`` in ``folder``."""
        tensor = value.const_value
        assert tensor is not None
        return cls(
            location,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=value.name or "",
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
            base_dir=folder,
        )


class _Hollow(Stub):
    """A stub of a weight that is written inline after all."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Encoded:
    """The bytes of a file in order: finished ones, and weights that are read when they are asked for.

    It holds while the model's weights do. ``size`` counts all bytes.
    """

    pieces: tuple[bytes | ir.TensorProtocol, ...]
    size: int

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes, each part valid until the next one is asked for.

        Raises:
            InputError: A tensor holds another number of bytes than it declares.
        """
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from weight_chunks(piece)

    def join(self) -> bytes:
        """All bytes at once."""
        content = io.BytesIO()
        for chunk in self.chunks():  # each is valid until the next one
            content.write(chunk)
        return content.getvalue()


def encode(model: ir.Model, external: Mapping[ir.Value, Stub] | None = None) -> Encoded:
    """The file of a model.

    Args:
        model: The model; it is left as it is.
        external: Initializers whose bytes are in a data file, with what stands for them in the model file.

    Raises:
        InputError: The file would exceed 2 GiB, or something of the model cannot be written.
    """
    hollow = {
        value: _Hollow.of(value)
        for value in model.graph.initializers.values()
        if (tensor := value.const_value) is not None and value not in (external or {}) and _can_wait(tensor)
    }
    weights = {value.name: value.const_value for value in hollow}
    proto = serialize(model, {**(external or {}), **hollow})
    graph = proto.graph
    initializers = list(graph.initializer)
    graph.ClearField("initializer")
    nodes = packed_nodes(graph)
    graph_head, graph_tail = parts(graph, INITIALIZER)
    graph_head = nodes + graph_head
    pieces: list[bytes | ir.TensorProtocol] = [graph_head]
    for each in initializers:
        weight = weights.get(each.name)
        if weight is None:
            pieces.append(framed(INITIALIZER, each.SerializeToString(deterministic=True)))
            continue
        head, tail = parts(each, RAW_DATA)
        head += key(RAW_DATA) + varint(weight.nbytes)
        pieces += [key(INITIALIZER) + varint(len(head) + weight.nbytes + len(tail)) + head, weight, tail]
    pieces.append(graph_tail)
    size = sum(_length(piece) for piece in pieces)
    proto.ClearField("graph")
    model_head, model_tail = parts(proto, GRAPH)
    pieces[0] = model_head + key(GRAPH) + varint(size) + graph_head
    pieces.append(model_tail)
    total = sum(_length(piece) for piece in pieces)
    if total > MAX_BYTES:
        raise InputError(
            "the model does not fit into one file",
            where="the model",
            why=f"it takes {total:,} bytes, and protobuf reads at most 2 GiB",
            mend="save it to a path, with external_data=True",
        )
    return Encoded(tuple(pieces), total)


def serialize(model: ir.Model, stubs: Mapping[ir.Value, Stub]) -> onnx.ModelProto:
    """The proto of ``model``, with the values of ``stubs`` external or empty and everything else inline.

    Raises:
        InputError: Something of the model cannot be written.
    """
    originals = {value: value.const_value for value in stubs}
    try:
        for value, stub in stubs.items():
            value.const_value = stub
        try:
            proto = ir.serde.serialize_model(model)
        except (ir.serde.SerdeError, ValueError, TypeError, NotImplementedError) as error:
            last: BaseException = error
            while last.__cause__ is not None:
                last = last.__cause__
            raise InputError(
                "the model cannot be written",
                where="the rewritten model",
                why=f"{type(last).__name__}: {str(last)[:300]}",
                mend="report it",
            ) from error
        for tensor, written in zip(tensors(model), tensor_protos(proto), strict=True):
            if isinstance(tensor, ir.ExternalTensor) and (isinstance(tensor, _Hollow) or not isinstance(tensor, Stub)):
                written.ClearField("external_data")
                written.ClearField("data_location")
                if not isinstance(tensor, _Hollow):
                    written.raw_data = tensor.tobytes() if tensor.size else b""
            elif isinstance(tensor, TensorProtoTensor) and tensor.metadata_props:
                written.ClearField("metadata_props")  # onnx-ir adds them to the copy, which has them already
                for key, text in tensor.metadata_props.items():
                    written.metadata_props.add(key=key, value=text)
    finally:
        for value, original in originals.items():
            value.const_value = original
    restore(model, proto)
    list_initializers(model, proto)
    for imported in (*proto.opset_import, *(o for function in proto.functions for o in function.opset_import)):
        if not imported.domain:
            imported.ClearField("domain")  # an empty string takes two bytes, which exporters do without
    return proto


def weight_chunks(tensor: ir.TensorProtocol) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor in little endian, a part at a time.

    Raises:
        InputError: They are more or fewer than the tensor declares.
    """
    if isinstance(tensor, ir.ExternalTensor) and tensor.raw is not None:
        start = tensor.offset or 0  # mapped: the file may have been removed
        with memoryview(tensor.raw) as view:
            for at in range(start, start + tensor.nbytes, CHUNK):
                with view[at : min(at + CHUNK, start + tensor.nbytes)] as chunk:
                    yield chunk
        return
    if isinstance(tensor, ir.ExternalTensor):
        with open(tensor.path, "rb") as file:  # not mapped: a mapping would stay as long as the tensor
            file.seek(tensor.offset or 0)
            left = tensor.nbytes
            while left and (read := file.read(min(CHUNK, left))):
                left -= len(read)
                yield read
        if left:
            raise InputError(
                "the data file has been cut off", where=os.fspath(tensor.path), mend="load the model again"
            )
        return
    data = _as_it_lies(tensor) or tensor.tobytes()
    if len(data) != tensor.nbytes:
        raise InputError(
            "a tensor holds other data than it declares", where=f"initializer {tensor.name!r}", mend="report it"
        )
    with memoryview(data) as view:
        for at in range(0, len(data), CHUNK):
            with view[at : at + CHUNK] as chunk:
                yield chunk


def _as_it_lies(tensor: ir.TensorProtocol) -> memoryview | None:
    """The bytes of an array that need no conversion; None where they do."""
    if not isinstance(tensor, ir.Tensor) or sys.byteorder != "little" or tensor.dtype.bitwidth % 8:
        return None
    array = tensor.numpy()
    return array.reshape(-1).view(np.uint8).data if array.flags.c_contiguous and array.dtype.isnative else None


def _can_wait(tensor: ir.TensorProtocol) -> bool:
    """Whether the tensor's bytes may be left out of its message and put in later."""
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes < INLINE_BELOW or MARK in tensor.meta:
        return False
    return not isinstance(tensor, TensorProtoTensor) or is_raw(tensor.raw)


def _length(piece: bytes | ir.TensorProtocol) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.nbytes
