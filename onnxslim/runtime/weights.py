"""An IR model in the form that onnxruntime takes, its large weights lent instead of copied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import InputError
from onnxslim.graph import load, save, to_proto
from onnxslim.runtime.ort import lend

LENT_FROM = 1 << 16
"""Bytes from which a weight is lent. Smaller ones are inline, where onnxruntime's shape inference can read them."""


INLINE = {
    ir.DataType.STRING,
    ir.DataType.INT4,
    ir.DataType.UINT4,
    ir.DataType.FLOAT4E2M1,
    ir.DataType.INT2,
    ir.DataType.UINT2,
}
"""Types whose numpy form is laid out otherwise than onnxruntime's."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A serialized model, and the weights that it refers to but does not contain."""

    proto: bytes
    names: list[str]
    values: list[Any]
    """OrtValues that share memory with the model's tensors, memory-mapped files included."""


def pack(model: ir.Model) -> Packed:
    """Serializes ``model`` with every main-graph initializer above `LENT_FROM` left out and lent as an OrtValue.

    Raises:
        InputError: What cannot be lent (subgraph initializers, Constant attributes) exceeds protobuf's 2 GB, or an
            external data file cannot be read.
    """
    lent = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.nbytes >= LENT_FROM
        and value.const_value.dtype not in INLINE
        and not value.is_graph_output()
        and value.uses()  # onnxruntime drops an unused one before it looks for what is lent in its place
    }
    values = [lend(_read(value.const_value, name)) for name, value in lent.items() if value.const_value is not None]
    with _left_out(lent) as held:
        proto = to_proto(model)
    for written in proto.graph.initializer:
        tensor = held.get(written.name)
        if tensor is not None:
            name = written.name
            written.Clear()
            written.name, written.data_type = name, int(tensor.dtype)
            written.dims.extend(tensor.shape.numpy())
            written.data_location = onnx.TensorProto.EXTERNAL
            written.external_data.add(key="location", value="lent")
    size = proto.ByteSize()
    if size > onnx.checker.MAXIMUM_PROTOBUF:
        raise InputError(
            "the model is too large for one protobuf message",
            where=model.graph.name or "",
            why=f"{size:,} bytes are left that are no initializers of the main graph",
            mend="turn Constant nodes and subgraph initializers into initializers of the main graph",
        )
    return Packed(proto.SerializeToString(), list(lent), values)


@contextmanager
def _left_out(lent: Mapping[str, ir.Value]) -> Iterator[dict[str, ir.TensorProtocol]]:
    """Takes the tensors out of the values while the model is serialized, so that nothing of them is read."""
    held = {name: value.const_value for name, value in lent.items() if value.const_value is not None}
    try:
        for name, value in lent.items():
            value.const_value = ir.Tensor(np.empty(0, np.uint8), name=name)
        yield held
    finally:
        for name, tensor in held.items():
            lent[name].const_value = tensor


def _read(tensor: ir.TensorProtocol, name: str) -> np.ndarray:
    try:
        return tensor.numpy()
    except (OSError, ValueError) as error:
        raise InputError("the data of a weight cannot be read", where=name, why=str(error)) from error


def write(model: ir.Model | onnx.ModelProto | bytes, folder: str, name: str) -> str:
    """Writes a model into a scratch folder for another process to open; returns its path. Nothing here is atomic."""
    path = os.path.join(folder, f"{name}.onnx")
    if isinstance(model, onnx.ModelProto):
        small = model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF
        model = model.SerializeToString() if small else load(model)
    if isinstance(model, bytes):
        with open(path, "wb") as file:
            file.write(model)
        return path
    save(model, path)
    return path
