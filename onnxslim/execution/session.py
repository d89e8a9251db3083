"""Models run by onnxruntime: one session type for every form that a model comes in."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.at_load import made_at_load
from onnxslim.errors import CannotRun, CheckFailed, InputError, did_you_mean, out_of_memory
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.guard import ensure_opens
from onnxslim.execution.opening import CPU, AnyModel, Opening, opening_of
from onnxslim.execution.ort import NO_ARENA, brief, failures, lend
from onnxslim.graph.atomic import scratch_explained, scratch_folder

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

PREPACK_UP_TO = 256 << 20
"""Bytes of weights beyond which sessions should not make prepacked copies of them."""
_ROOM = 1 << 20
"""Bytes that a temporary folder with room takes."""
FOLD_UP_TO = 256 << 20
"""Bytes of constants that a session may compute when it opens a model that is only compared."""


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

    def __init__(self, inference: Any, name: str, lent: Sequence[Any], profile_to: Path | None) -> None:
        self._inference, self._lent, self._profile_to = inference, lent, profile_to
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
            OutOfMemory: An allocation failed.
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
            exhausted = out_of_memory(error, where=self.name)
            if exhausted is not None:
                raise exhausted from error
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
    provider: str = CPU,
    optimize: bool | str = True,
    config: Mapping[str, str] | None = None,
    profile_to: str | os.PathLike[str] | None = None,
    spin: bool = True,
    guarded: bool = True,
) -> Session:
    """Loads ``model`` into onnxruntime; first in a child process, unless a graph like it has been.

    Args:
        model: An IR model (its large weights are not serialized), a proto, bytes, or a path.
        threads: Threads within an operator; operators run one after another.
        provider: Execution provider.
        optimize: onnxruntime's graph optimizations: True for all, False for none, or a key of `LEVELS`.
        config: Session config entries, e.g. ``{"session.disable_prepacking": "1"}``.
        profile_to: Where `Session.end_profile` puts the profile; None means no profiling.
        spin: Whether idle threads of the pool spin, onnxruntime's default.
        guarded: Whether the child process is asked at all; not where the caller knows that the model opens.

    Raises:
        CannotRun: onnxruntime does not accept the model; the message says why.
        Crashed: It does not survive opening the model.
        SetupError: onnxruntime or the provider is not there, or memory runs out.
    """
    opening = opening_of(model, threads=threads, provider=provider, optimize=optimize, config=config, spin=spin)
    if guarded:
        ensure_opens(opening)
    return session_of(opening, profile_to)


def try_opening(
    model: AnyModel,
    *,
    threads: int = 1,
    optimize: bool | str = True,
    config: Mapping[str, str] | None = None,
    most: float = math.inf,
) -> float:
    """Finds out whether the model opens, in a child process and not in this one.

    Args:
        model: As for ``open_session``, like the following ones.
        threads: Threads within an operator.
        optimize: onnxruntime's graph optimizations.
        config: Session config entries.
        most: Seconds on the CPU that may be spared for it; a model of many bytes may take longer, as always.

    Returns:
        Seconds that it took.

    Raises:
        TooSlow: It would take more than ``most``.
        CannotRun: onnxruntime does not accept the model.
        Crashed: It does not survive opening the model.
    """
    return ensure_opens(opening_of(model, threads=threads, optimize=optimize, config=config), most)


def session_of(opening: Opening, profile_to: str | os.PathLike[str] | None = None) -> Session:
    """Opens a session in this process, whatever becomes of it.

    Raises:
        CannotRun: onnxruntime does not accept the model.
    """
    path = Path(profile_to) if profile_to is not None else None
    inference, lent = opening.inference(profile_to=os.fspath(path) if path is not None else "")
    return Session(inference, opening.name, lent, path)


def lean_config(model: ir.Model) -> dict[str, str]:
    """Session config for ``open_session`` under which no copies are made of very large weights, and no large constants.

    A node may make gigabytes of a few numbers. Where such constants take more than `FOLD_UP_TO` bytes, onnxruntime is
    told not to compute them when it opens the model: they come and go as it runs.
    """
    config = {}
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if weights > PREPACK_UP_TO:
        config["session.disable_prepacking"] = "1"
    if made_at_load(model, FOLD_UP_TO) > FOLD_UP_TO:
        config["optimization.disable_specified_optimizers"] = "ConstantFolding"
        config[NO_ARENA] = "1"
    return config


def optimized_graph(
    model: AnyModel, *, threads: int = 1, config: Mapping[str, str] | None = None, weights: bool = False
) -> onnx.ModelProto:
    """The graph that onnxruntime makes of ``model`` with all its optimizations, layouts of this CPU included.

    Initializers above 1 KiB keep name, dtype and dims; their data is left out (it refers to a file ``dropped``) unless
    ``weights`` is set.

    Raises:
        InputError: As `open_session`.
    """
    opening = opening_of(model, threads=threads, config=config)
    ensure_opens(opening)
    with scratch_folder() as folder:
        path = os.path.join(folder, "optimized.onnx")
        try:
            opening.inference(optimized_to=path)
        except CannotRun:
            _check_room(folder)  # onnxruntime calls a full disk a model that cannot be loaded
            raise
        proto = onnx.load(path, load_external_data=weights)
    if not weights:
        for tensor in proto.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = "dropped"
    return proto


def _check_room(folder: str) -> None:
    """Raises SetupError where a temporary folder takes no more."""
    with scratch_explained(), open(os.path.join(folder, "room"), "wb") as file:
        file.write(bytes(_ROOM))
        file.flush()
        os.fsync(file.fileno())


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
