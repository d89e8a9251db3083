"""What a session is opened from: a model in the form that onnxruntime takes, and how. It can be sent to a child."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import CannotRun, InputError, SetupError, did_you_mean, out_of_memory
from onnxslim.execution.ort import brief, custom_op_libraries, failures, lend, onnxruntime, session_options
from onnxslim.execution.weights import pack
from onnxslim.graph import load
from onnxslim.graph.structure import expanded_nodes

AnyModel = ir.Model | onnx.ModelProto | bytes | str | os.PathLike[str]
"""Every form of a model that a session can be opened on."""
CPU = "CPUExecutionProvider"
MAX_EXPANDED_NODES = 50_000
"""Nodes of functions up to which onnxruntime is given a model: its time grows with the square of them (16,000 calls
take 3 s, 2**20 hours)."""


@dataclass(frozen=True, eq=False)
class Opening:
    """A model, serialized but for its large weights, and the options of a session."""

    name: str
    """Of the model, for messages."""
    source: bytes | str
    """The proto or its path."""
    threads: int = 1
    optimize: bool | str = True
    provider: str = CPU
    config: Mapping[str, str] = field(default_factory=dict)
    spin: bool = True
    names: tuple[str, ...] = ()
    """Of the initializers that are lent."""
    values: tuple[np.ndarray, ...] = ()
    libraries: tuple[str, ...] = ()
    """Of custom operators."""

    @property
    def nbytes(self) -> int:
        """Bytes of the model, and of its weights as far as they are not in files."""
        own = os.path.getsize(self.source) if isinstance(self.source, str) else len(self.source)
        return own + sum(array.nbytes for array in self.values)

    def key(self) -> bytes:
        """The same for what onnxruntime treats the same while it opens a session: large weights do not count."""
        digest = hashlib.blake2b(digest_size=16)
        if isinstance(self.source, str):
            stat = os.stat(self.source)
            digest.update(repr((os.path.realpath(self.source), stat.st_size, stat.st_mtime_ns)).encode())
        else:
            digest.update(self.source)
        digest.update(repr((self.optimize, self.provider, sorted(self.config.items()), self.libraries)).encode())
        return digest.digest()

    def inference(self, profile_to: str = "", optimized_to: str = "") -> tuple[Any, list[Any]]:
        """Opens the InferenceSession, in this process.

        Args:
            profile_to: Where a profile goes; empty for none.
            optimized_to: Where the optimized model goes, its weights beside it; empty for none.

        Returns:
            The InferenceSession, and the OrtValues that must live as long.

        Raises:
            CannotRun: onnxruntime does not accept the model.
            InputError: It does not accept a library of custom operators.
        """
        options = session_options(self.threads, self.optimize, self.config, self.spin, self.libraries)
        if profile_to:
            options.enable_profiling = True
            options.profile_file_prefix = profile_to
        if optimized_to:
            options.optimized_model_filepath = optimized_to
            name = f"{os.path.basename(optimized_to)}.data"
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", name)
            options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        lent = [lend(array) for array in self.values]
        if lent:
            options.add_external_initializers(list(self.names), lent)
        try:
            return onnxruntime().InferenceSession(self.source, options, providers=[self.provider]), lent
        except failures() as error:
            raise out_of_memory(error, where=self.name) or _load_error(error, self.name) from error


def opening_of(
    model: AnyModel,
    *,
    threads: int = 1,
    provider: str = CPU,
    optimize: bool | str = True,
    config: Mapping[str, str] | None = None,
    spin: bool = True,
) -> Opening:
    """Prepares a session; the arguments are those of `onnxslim.execution.session.open_session`.

    Raises:
        InputError: The file is not there, or the model cannot be serialized.
        SetupError: onnxruntime or the provider is not there.
    """
    available = onnxruntime().get_available_providers()
    if provider not in available:
        raise SetupError(
            f"onnxruntime has no {provider}", mend=f"{did_you_mean(provider, available)} or install its package"
        )
    session_options(threads, optimize, config, spin)  # refuses what is no option before anything is serialized
    how: dict[str, Any] = {
        "threads": threads,
        "optimize": optimize,
        "provider": provider,
        "config": dict(config or {}),
        "spin": spin,
        "libraries": custom_op_libraries(),
    }
    if isinstance(model, bytes):
        return Opening("model bytes", model, **how)
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        if not os.path.isfile(path):
            raise InputError("there is no such model file", where=path)
        return Opening(path, os.path.abspath(path), **how)  # the child may be in another folder
    if isinstance(model, onnx.ModelProto):
        if model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:
            return Opening(model.graph.name or "model", model.SerializeToString(), **how)
        model = load(model)
    expanded = expanded_nodes(model)
    if expanded > MAX_EXPANDED_NODES:
        raise CannotRun(
            f"the model's functions expand to {expanded:,} nodes",
            where=model.graph.name or "model",
            why=f"onnxruntime expands every call, and takes minutes from {MAX_EXPANDED_NODES:,} nodes on",
            mend="give no samples and --no-verify, or export the model with fewer calls",
        )
    packed = pack(model)
    if packed.folder is not None:
        how["config"]["session.model_external_initializers_file_folder_path"] = packed.folder
    how |= {"names": tuple(packed.names), "values": tuple(packed.values)}
    return Opening(model.graph.name or "model", packed.proto, **how)


def _load_error(error: Exception, name: str) -> CannotRun:
    said, mend = brief(error), ""
    lowered = said.lower()
    if "unsupported model ir version" in lowered:
        mend = "write the model with a lower ir_version (the opset decides what operators mean, not the IR version)"
    elif "opset" in lowered and "guarantees" in lowered:
        mend = "convert the model to an opset that this onnxruntime knows, or install a newer onnxruntime"
    elif "No Op registered" in said:
        mend = (
            "convert the model to an opset that this onnxruntime knows, or check the operator's name, domain and opset"
        )
    elif "is not a registered function/op" in said:
        mend = "give the operator's library with --custom-op-library, or check its name, domain and opset"
    elif "external data" in lowered or "external_data" in lowered:
        mend = "keep the weights beside the model, in the same folder"
    return CannotRun("onnxruntime cannot load the model", where=name, why=said, mend=mend)
