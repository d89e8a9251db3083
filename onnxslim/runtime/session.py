"""Models run by onnxruntime: one session type for every form that a model comes in."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import CannotRun, CheckFailed, InputError, SetupError, did_you_mean
from onnxslim.graph import load
from onnxslim.graph.structure import expanded_nodes
from onnxslim.runtime.feeds import Feed, Outputs
from onnxslim.runtime.ort import brief, failures, lend, onnxruntime, session_options
from onnxslim.runtime.weights import Packed, pack

AnyModel = ir.Model | onnx.ModelProto | bytes | str | os.PathLike[str]
"""Every form of a model that a session can be opened on."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "string": np.dtype(object),
    **{n: np.dtype(n) for n in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    **{n: np.dtype(n) for n in ("complex64", "complex128")},
}

MAX_EXPANDED_NODES = 50_000
"""Nodes of functions up to which onnxruntime is given a model: its time grows with the square of them (16,000 calls
take 3 s, 2**20 hours)."""

PREPACK_UP_TO = 256 << 20
"""Bytes of weights beyond which sessions should not make prepacked copies of them."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a session.

    ``dtype`` is None for anything but a tensor; strings are ``object``. In ``shape`` a str is a symbolic size and None
    an unknown one; the shape is empty for a scalar, for a tensor of unknown rank and for what is no tensor, since
    onnxruntime does not tell these apart.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]
    type: str
    """onnxruntime's own words, e.g. ``tensor(float)`` or ``seq(tensor(int64))``."""


class Session:
    """A loaded model. Made by `open_session`."""

    def __init__(self, inference: Any, name: str, packed: Packed | None, profile_to: Path | None) -> None:
        self._inference, self._packed, self._profile_to = inference, packed, profile_to
        self.name = name
        self.inputs: tuple[Port, ...] = tuple(_port(node) for node in inference.get_inputs())
        self.outputs: tuple[Port, ...] = tuple(_port(node) for node in inference.get_outputs())
        self._exotic = any(_is_exotic(port.dtype) for port in (*self.inputs, *self.outputs))

    def run(self, feed: Feed, outputs: Sequence[str] | None = None) -> Outputs:
        """Runs the model once.

        Args:
            feed: An array for each input. Sequences are lists, absent optionals None.
            outputs: Names of the outputs wanted; None means all.

        Returns:
            Arrays in the order of the outputs, or of ``outputs``; lists for sequences, None for absent optionals.

        Raises:
            InputError: The feed does not fit the inputs, or an output's name is unknown.
            CheckFailed: A node failed while running.
        """
        known = [port.name for port in self.outputs]
        wanted = list(known if outputs is None else outputs)
        for name in wanted:
            if name not in known:
                raise InputError(f"the model has no output {name!r}", where=self.name, mend=did_you_mean(name, known))
        if not wanted:
            return {}  # onnxruntime would take an empty list for all
        self._check_feed(feed)
        feed = {name: np.asarray(array) if isinstance(array, np.generic) else array for name, array in feed.items()}
        try:
            if self._exotic:
                return self._run_ortvalues(feed, wanted)
            return dict(zip(wanted, self._inference.run(wanted, feed), strict=True))
        except failures() as error:
            invalid = type(error).__name__ == "InvalidArgument" or isinstance(error, TypeError)
            if invalid:
                raise InputError("the feed does not fit the model", where=self.name, why=brief(error)) from error
            raise CheckFailed("the model failed while running", where=self.name, why=brief(error)) from error

    __call__ = run

    def end_profile(self) -> Path:
        """Stops profiling and returns the file that ``profile_to`` named: a JSON list of events.

        Raises:
            InputError: The session was opened without ``profile_to``.
        """
        if self._profile_to is None:
            raise InputError("the session does not profile", where=self.name, mend="open it with profile_to=PATH")
        written = self._inference.end_profiling()
        return Path(shutil.move(written, self._profile_to))

    def _check_feed(self, feed: Feed) -> None:
        known = [port.name for port in self.inputs]
        missing = [port.name for port in self.inputs if port.name not in feed and not port.type.startswith("optional")]
        if missing:
            given = ", ".join(map(repr, feed)) or "none"
            raise InputError(
                f"the feed lacks input {', '.join(map(repr, missing))}", where=self.name, why=f"given are {given}"
            )
        overridable = {node.name for node in self._inference.get_overridable_initializers()}
        for name in feed:
            if name not in known and name not in overridable:
                raise InputError(f"the model has no input {name!r}", where=self.name, mend=did_you_mean(name, known))

    def _run_ortvalues(self, feed: Feed, wanted: list[str]) -> Outputs:
        """Types that numpy lacks go in and out through OrtValue."""
        results = self._inference.run_with_ort_values(wanted, {n: lend(np.asarray(a)) for n, a in feed.items()})
        dtypes = {port.name: port.dtype for port in self.outputs}
        outputs: Outputs = {}
        for name, value in zip(wanted, results, strict=True):
            dtype = dtypes[name]
            exotic = dtype is not None and _is_exotic(dtype)
            outputs[name] = _exotic_array(value, dtype) if dtype is not None and exotic else value.numpy()
        return outputs


def open_session(
    model: AnyModel,
    *,
    threads: int = 1,
    provider: str = "CPUExecutionProvider",
    optimize: bool | str = True,
    config: Mapping[str, str] | None = None,
    profile_to: str | os.PathLike[str] | None = None,
    spin: bool = True,
) -> Session:
    """Loads ``model`` into onnxruntime.

    Args:
        model: An IR model (its large weights are not serialized), a proto, bytes, or a path.
        threads: Threads within an operator; operators run one after another.
        provider: Execution provider.
        optimize: onnxruntime's graph optimizations: True for all, False for none, or a key of `LEVELS`.
        config: Session config entries, e.g. ``{"session.disable_prepacking": "1"}``.
        profile_to: Where `Session.end_profile` puts the profile; None means no profiling.
        spin: Whether idle threads of the pool spin, onnxruntime's default.

    Raises:
        InputError: onnxruntime does not accept the model; the message says why.
        SetupError: onnxruntime or the provider is not there.
    """
    options = session_options(threads, optimize, config, spin)
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = os.fspath(profile_to)
    return _open(model, options, provider, Path(profile_to) if profile_to is not None else None)


def lean_config(model: ir.Model) -> dict[str, str]:
    """Session config for ``open_session`` under which no copies are made of very large weights."""
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    return {"session.disable_prepacking": "1"} if weights > PREPACK_UP_TO else {}


def optimized_graph(
    model: AnyModel, *, threads: int = 1, config: Mapping[str, str] | None = None, weights: bool = False
) -> onnx.ModelProto:
    """The graph that onnxruntime makes of ``model`` with all its optimizations, layouts of this CPU included.

    Initializers above 1 KiB keep name, dtype and dims; their data is left out (it refers to a file ``dropped``) unless
    ``weights`` is set.

    Raises:
        InputError: As `open_session`.
    """
    with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
        path = os.path.join(folder, "optimized.onnx")
        options = session_options(threads, True, config, True)
        options.optimized_model_filepath = path
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        _open(model, options, "CPUExecutionProvider", None)
        proto = onnx.load(path, load_external_data=weights)
    if not weights:
        for tensor in proto.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = "dropped"
    return proto


def _open(model: AnyModel, options: Any, provider: str, profile_to: Path | None) -> Session:
    ort = onnxruntime()
    available = ort.get_available_providers()
    if provider not in available:
        raise SetupError(
            f"onnxruntime has no {provider}", mend=f"{did_you_mean(provider, available)} or install its package"
        )
    name, source, packed = _source(model)
    if packed is not None and packed.folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", packed.folder)
    if packed is not None and packed.names:
        options.add_external_initializers(packed.names, packed.values)
    try:
        return Session(ort.InferenceSession(source, options, providers=[provider]), name, packed, profile_to)
    except failures() as error:
        raise _load_error(error, name) from error


def _source(model: AnyModel) -> tuple[str, bytes | str, Packed | None]:
    """A name for messages, what InferenceSession takes, and the weights lent to it."""
    if isinstance(model, bytes):
        return "model bytes", model, None
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        if not os.path.isfile(path):
            raise InputError("there is no such model file", where=path)
        return path, path, None
    if isinstance(model, onnx.ModelProto):
        if model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:
            return model.graph.name or "model", model.SerializeToString(), None
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
    return model.graph.name or "model", packed.proto, packed


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
        mend = "register the operator's library, or check its name, domain and opset"
    elif "external data" in lowered or "external_data" in lowered:
        mend = "keep the weights beside the model, in the same folder"
    return CannotRun("onnxruntime cannot load the model", where=name, why=said, mend=mend)


def _port(node: Any) -> Port:
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = _DTYPES.get(inner) if node.type.startswith("tensor(") else None
    shape = tuple(None if size is None or size == -1 else size for size in node.shape or ())
    return Port(node.name, dtype, shape, node.type)


def _is_exotic(dtype: np.dtype[Any] | None) -> bool:
    """Whether numpy knows the dtype only through ml_dtypes."""
    return dtype is not None and dtype.kind == "V"


def _exotic_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A copy of an OrtValue's memory: onnxruntime itself has no numpy type to offer for it."""
    shape = tuple(value.shape())
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(value.data_ptr())
    return np.frombuffer(memory, dtype).reshape(shape).copy()
