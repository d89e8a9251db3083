"""Loading: any ONNX model from a path, bytes, a proto or the IR, and nothing that a model should not be able to do."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped, unused-ignore]

from onnxslim.errors import InputError
from onnxslim.graph.external import DataFolder
from onnxslim.graph.intake import check_proto
from onnxslim.graph.listed import DEFAULTS_IR, make_constants
from onnxslim.graph.sidecar import attach, lift
from onnxslim.graph.stored import stored
from onnxslim.graph.structure import find_cycle, problems, validate
from onnxslim.graph.thin import Bytes, Thin, attach_weights, put_back, read_thin, thin_proto
from onnxslim.graph.walk import bodies, tensors
from onnxslim.graph.wire import MAX_BYTES

SOURCE = "onnxslim.source"
"""Key of the ``Origin`` in the main graph's ``meta``."""
_FOREIGN = (
    (b"version https://git-lfs", "a git-LFS pointer, not the model itself", "git lfs pull"),
    (b"<", "a web page or XML, perhaps the error page of a download", "download the model again"),
    (b"{", "JSON", "name the .onnx file"),
    (b"PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint", "unpack it, or export it with torch.onnx.export"),
    (b"\x1f\x8b", "gzip data", "unpack it with gunzip"),
    (b"\x80", "a pickle", "export it with torch.onnx.export"),
    (b"\x89HDF", "HDF5, perhaps a Keras model", "export it with tf2onnx"),
    (b"\x93NUMPY", "a numpy array", "name the .onnx file"),
)
_AT_4 = {b"ORTM": "an .ort model of onnxruntime", b"TFL3": "a TensorFlow Lite model"}


@dataclass(frozen=True)
class Origin:
    """Where a model came from.

    Args:
        path: The model file.
        data_files: Real paths of its external data.
    """

    path: Path
    data_files: tuple[Path, ...]


def source_of(model: ir.Model) -> Origin | None:
    """The files that ``model``, or the model it is a clone of, was loaded from; None where it came from memory."""
    found: Origin | None = model.graph.meta.get(SOURCE)
    return found


def load(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model,
    *,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
) -> ir.Model:
    """Loads a model, checked to be one that passes can work on.

    External weights are not read but mapped when they are looked at. Sparse tensors become dense and bear a mark. Nodes
    out of order are sorted.

    Args:
        source: A path; the bytes of a model; a ``ModelProto``, which is not edited; or a model, which is returned.
        trust_data_dir: A folder outside of the model's from which external data may be read too, also through links.

        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are. A model that is given in the IR stays as it is.

    Returns:
        The model.

    Raises:
        InputError: It is not there, not a model, broken, or wants to read outside its folder.
    """
    if isinstance(source, ir.Model):
        return source
    trusted = _folder(trust_data_dir)
    if isinstance(source, onnx.ModelProto):
        proto, weights = _copy(source)
        kept = put_back(proto, weights)
        return from_owned_proto(proto, None, trusted, kept, freeze_initializers=freeze_initializers)
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = io.BufferedReader(io.BytesIO(source))
        return _from_thin(
            read_thin(content, memoryview(source).nbytes), "the given bytes", None, trusted, freeze_initializers
        )
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"a model cannot be loaded from {type(source).__name__}",
            where="load",
            mend="give a path, bytes or ModelProto",
        )
    path = Path(source)
    return _from_thin(_read(path), str(path), path, trusted, freeze_initializers)


def _copy(source: onnx.ModelProto) -> tuple[onnx.ModelProto, Mapping[int, Bytes]]:
    try:
        return thin_proto(source)
    except (DecodeError, EncodeError, ValueError) as error:
        if "MaxDepth" in str(error):
            why, mend = "subgraphs or types are nested more than the 100 messages of protobuf", "flatten control flow"
        else:
            why, mend = f"it exceeds 2 GiB even without its weights: {error}", "hold large constants in initializers"
        raise InputError("the ModelProto cannot be copied", where="ModelProto", why=why, mend=mend) from error


def _folder(trust_data_dir: str | os.PathLike[str] | None) -> Path | None:
    if trust_data_dir is None:
        return None
    if not os.path.isdir(trust_data_dir):
        raise InputError(
            "the trusted folder is not there",
            where=f"--trust-data-dir {os.fspath(trust_data_dir)}",
            mend="name a folder",
        )
    return Path(trust_data_dir)


def _from_thin(thin: Thin, where: str, path: Path | None, trusted: Path | None, freeze: bool) -> ir.Model:
    proto = _parse(thin.content, where)
    return from_owned_proto(proto, path, trusted, put_back(proto, thin.weights), freeze_initializers=freeze)


def _read(path: Path) -> Thin:
    where = str(path)
    if "://" in where or where.startswith(("http:/", "https:/", "hf:/")):
        raise InputError("a model is not downloaded", where=where, mend="download it yourself, and name the file")
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise InputError("the model is a folder", where=where, mend="name the .onnx file in it")
        if not stat.S_ISREG(facts.st_mode):
            raise InputError("the model is no regular file", where=where, mend="name a file")
        if facts.st_size > MAX_BYTES:
            raise InputError(
                f"the model has {facts.st_size:,} bytes",
                where=where,
                why="protobuf reads at most 2 GiB",
                mend="export it with external data",
            )
        with path.open("rb") as file:
            return read_thin(file, facts.st_size)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            "the model cannot be read", where=where, why=why, mend="check the path and its permissions"
        ) from error


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise InputError("the model is empty", where=where, why="0 bytes", mend="download or export it again")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        if "MaxDepth" in str(error):
            why, mend = (
                "subgraphs or types are nested deeper than the 100 messages of protobuf",
                "export flatter control flow",
            )
        else:
            why, mend = _looks_like(data) or ("it is truncated or no ONNX model", "download or export it again")
        raise InputError("the model cannot be parsed", where=where, why=why, mend=mend) from error
    foreign = _looks_like(data)
    if foreign and not proto.HasField("graph"):
        raise InputError("the model cannot be parsed", where=where, why=foreign[0], mend=foreign[1])
    return proto


def _looks_like(data: bytes) -> tuple[str, str] | None:
    head = data[:512].lstrip()
    for magic, what, mend in _FOREIGN:
        if head.startswith(magic):
            return f"it is {what}", mend
    if data[4:8] in _AT_4:
        return f"it is {_AT_4[data[4:8]]}", "name the .onnx model that it was made of"
    return None


def from_owned_proto(
    proto: onnx.ModelProto,
    path: Path | None,
    trusted: Path | None,
    weights: Mapping[str, Bytes] | None = None,
    *,
    freeze_initializers: bool = False,
) -> ir.Model:
    """The model of a proto that the caller gives away; ``path`` tells its folder, ``weights`` what it leaves out."""
    weights = weights or {}
    folder = None if path is None else Path(os.path.abspath(path)).parent
    data = DataFolder(folder, trusted)
    check_proto(proto, data, weights)
    lifted = lift(proto, data)
    try:
        model = ir.serde.deserialize_model(proto)
    except (ir.serde.SerdeError, ValueError, TypeError, KeyError, NotImplementedError, RecursionError) as error:
        *_, last = _causes(error)
        raise InputError(
            "the model holds what cannot be represented",
            where=str(path or "the model"),
            why=f"{type(last).__name__}: {str(last)[:300]}",
            mend="export the model again, or report it",
        ) from error
    attach(model, lifted)
    attach_weights(model, weights)
    if freeze_initializers or model.ir_version < DEFAULTS_IR:
        make_constants(model)
    for value in (v for body in bodies(model) if isinstance(body, ir.Graph) for v in body.initializers.data.values()):
        tensor = value.const_value
        if tensor is not None and (quicker := stored(tensor)) is not tensor:
            value.const_value = quicker  # to set it checks a protocol: slow
    for tensor in tensors(model):
        if isinstance(tensor, ir.ExternalTensor) and not os.path.isabs(tensor.location):
            tensor.base_dir = str(folder)
    if path is not None:
        model.graph.meta[SOURCE] = Origin(
            Path(os.path.abspath(path)), tuple(sorted({file for file, _ in data.files.values()}))
        )
    if _sort_if_needed(model):
        validate(model)
    return model


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _sort_if_needed(model: ir.Model) -> bool:
    """Brings nodes in order, or says which of them wait for each other; whether the model is to be validated then."""
    found = problems(model)
    if not any("out of order" in problem for problem in found):
        return bool(found)
    roots: list[Any] = [model.graph, *model.functions.values()]
    for root in roots:
        try:
            root.sort()
        except ValueError as error:
            rings = (find_cycle(body) for body in bodies(model))
            ring = next((found for found in rings if found), [])
            names = [f"{node.name!r} ({node.op_type})" for node in ring]
            shown = [*names[:6], f"... {len(names) - 6} more"] if len(names) > 6 else names
            raise InputError(
                "the nodes wait for each other in a cycle",
                where=" -> ".join(shown) or root.name or "graph",
                why="no order computes every input before its use",
                mend="export the model again",
            ) from error
    return True
