"""An IR model in the form that onnxruntime takes, its large weights not serialized.

Weights in files are named by file, so that onnxruntime maps them and nothing is copied. Weights in memory are handed
over as OrtValues; of these onnxruntime (1.32) makes one copy of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import InputError
from onnxslim.graph import load, save, to_proto

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
    values: list[np.ndarray]
    """Arrays that share memory with the model's tensors, for `names`."""
    folder: str | None
    """Where the files lie that the proto refers to."""


def pack(model: ir.Model) -> Packed:
    """Serializes ``model`` without the data of main-graph initializers above `LENT_FROM`.

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
    files = _files({name: value.const_value for name, value in lent.items() if value.const_value is not None})
    folder = next(iter(files.values()))[0] if files else None
    with _left_out(lent) as held:
        proto = to_proto(model)
    names, values = [], []
    for written in proto.graph.initializer:
        name = written.name
        tensor = held.get(name)
        if tensor is None:
            continue
        written.Clear()
        written.name, written.data_type = name, int(tensor.dtype)
        written.dims.extend(tensor.shape.numpy())
        written.data_location = onnx.TensorProto.EXTERNAL
        if name in files:
            entries = {"location": files[name][1], **_place(tensor)}
        else:
            entries = {"location": "lent"}
            names.append(name)
            values.append(_read(tensor, name))
        for key, entry in entries.items():
            written.external_data.add(key=key, value=entry)
    size = proto.ByteSize()
    if size > onnx.checker.MAXIMUM_PROTOBUF:
        raise InputError(
            "the model is too large for one protobuf message",
            where=model.graph.name or "",
            why=f"{size:,} bytes are left that are no initializers of the main graph",
            mend="turn Constant nodes and subgraph initializers into initializers of the main graph",
        )
    return Packed(proto.SerializeToString(), names, values, folder)


def _files(tensors: Mapping[str, ir.TensorProtocol]) -> dict[str, tuple[str, str]]:
    """Folder and file name of each tensor that lies in a file of the folder that most of them lie in.

    Links are resolved: onnxruntime takes one folder, and refuses files that a link leads out of it.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, ir.ExternalTensor) and os.path.isfile(tensor.path):
            found[name] = os.path.split(os.path.realpath(tensor.path))
    counts = Counter(folder for folder, _ in found.values())
    most = counts.most_common(1)[0][0] if counts else ""
    return {name: place for name, place in found.items() if place[0] == most}


def _place(tensor: ir.TensorProtocol) -> dict[str, str]:
    offset = tensor.offset if isinstance(tensor, ir.ExternalTensor) else None
    return {"offset": str(offset or 0), "length": str(tensor.nbytes)}


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
