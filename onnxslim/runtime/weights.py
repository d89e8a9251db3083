"""An IR model in the form that onnxruntime takes, its large weights lent instead of copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import InputError
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
    }
    values = [lend(_read(value.const_value, name)) for name, value in lent.items() if value.const_value is not None]
    with _stubbed(list(lent.values())):
        try:
            proto = ir.to_proto(model).SerializeToString()
        except ValueError as error:  # protobuf's size limit
            raise InputError(
                "the model is too large for one protobuf message",
                where=model.graph.name or "",
                why=str(error),
                mend="turn Constant nodes and subgraph initializers into initializers of the main graph",
            ) from error
    return Packed(proto, list(lent), values)


@contextmanager
def _stubbed(values: list[ir.Value]) -> Iterator[None]:
    """Shows ``values`` as external tensors while the model is serialized; nothing of them is read."""
    held = [value.const_value for value in values]
    try:
        for value, tensor in zip(values, held, strict=True):
            if tensor is not None:
                value.const_value = ir.ExternalTensor(
                    "lent", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=value.name or ""
                )
        yield
    finally:
        for value, tensor in zip(values, held, strict=True):
            value.const_value = tensor


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
        model = model.SerializeToString() if small else ir.from_proto(model)
    if isinstance(model, bytes):
        with open(path, "wb") as file:
            file.write(model)
        return path
    external = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value) > 1 << 30
    ir.save(model, path, external_data=f"{name}.data" if external else None)
    return path
