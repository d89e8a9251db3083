"""The one place that imports onnxruntime: late, with its telemetry off and its logger silent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np

from onnxslim.errors import InputError, SetupError, did_you_mean
from onnxslim.graph.interrupts import uninterrupted

QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment that onnxruntime must find before its first import, in this process and in children: since 1.31 it
otherwise writes a telemetry database into the home folder's cache."""

FATAL = 4
"""onnxruntime's log severity for fatal errors only; everything else also arrives as an exception."""

LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
"""onnxruntime's graph optimization levels by the names used here."""

_ONNX_TYPES = {"bfloat16": 16, "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20}
"""TensorProto.DataType of the ml_dtypes types, without importing onnx."""

NO_ARENA = "onnxslim.no_arena"
"""Config entry of ours: the session gives memory back after each value, not when it ends."""

MESSAGE_LENGTH = 400
"""Characters of onnxruntime's own words that an error message quotes."""


MOST_THREADS = 1024
"""onnxruntime starts as many as it is told, whatever the machine has, until memory runs out."""


@cache
def onnxruntime() -> Any:
    """The module, imported on the first call.

    Raises:
        SetupError: It is not installed or cannot be loaded.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with uninterrupted():  # an interrupt in its middle leaves a half of it, which may crash when the process ends
            import onnxruntime as ort
    except ImportError as error:
        raise SetupError(
            "onnxruntime cannot be imported", why=str(error), mend="install it: pip install onnxruntime"
        ) from error
    ort.set_default_logger_severity(FATAL)
    return ort


@cache
def failures() -> tuple[type[Exception], ...]:
    """Every exception type by which onnxruntime says no. They share no base but ``Exception``."""
    state: Any = onnxruntime().capi.onnxruntime_pybind11_state
    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, MemoryError, RuntimeError, ValueError, TypeError)


def check_threads(threads: int) -> None:
    """Refuses a number of threads that onnxruntime cannot start.

    Raises:
        InputError: It is less than 1 or more than `MOST_THREADS`.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads is {threads}", mend=f"give 1 to {MOST_THREADS:,}")


Libraries = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""Paths of libraries of custom operators, or one path."""
_libraries: ContextVar[tuple[str, ...]] = ContextVar("custom_op_libraries", default=())


def custom_op_libraries() -> tuple[str, ...]:
    """Absolute paths of the libraries of custom operators that sessions load."""
    return _libraries.get()


@contextmanager
def operators_from(paths: Libraries) -> Iterator[None]:
    """Lets every session that is opened in the block, in child processes too, load libraries of custom operators.

    Raises:
        InputError: A file is not there.
    """
    found = list(_libraries.get())
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        if not os.path.isfile(path):
            raise InputError("there is no such library of custom operators", where=os.fspath(path))
        found.append(os.path.abspath(path))
    token = _libraries.set(tuple(dict.fromkeys(found)))
    try:
        yield
    finally:
        _libraries.reset(token)


def session_options(
    threads: int,
    optimize: bool | str,
    config: Mapping[str, str] | None,
    spin: bool,
    libraries: Sequence[str] = (),
) -> Any:
    """SessionOptions as `onnxslim.execution.session.open_session` describes them.

    Raises:
        InputError: An option is out of range, or onnxruntime does not load one of the ``libraries``.
    """
    check_threads(threads)
    ort = onnxruntime()
    level = {True: "all", False: "disabled"}.get(optimize, optimize) if isinstance(optimize, bool) else optimize
    if level not in LEVELS:
        raise InputError(f"unknown optimization level {level!r}", mend=did_you_mean(str(level), LEVELS))
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    for key, value in (config or {}).items():
        if key == NO_ARENA:
            options.enable_cpu_mem_arena = False
        else:
            options.add_session_config_entry(key, value)
    for path in libraries:
        try:
            options.register_custom_ops_library(path)
        except failures() as error:
            raise InputError("onnxruntime cannot load the custom operators", where=path, why=brief(error)) from error
    return options


def lend(array: np.ndarray) -> Any:
    """An OrtValue over the memory of ``array``, which it keeps alive; a copy only where the array is not contiguous."""
    array, ort_value = np.asarray(array, order="C"), onnxruntime().OrtValue
    if array.dtype.kind != "V":
        return ort_value.ortvalue_from_numpy(array)
    return ort_value.ortvalue_from_numpy_with_onnx_type(array, _ONNX_TYPES[array.dtype.name])


def child_environment() -> dict[str, str]:
    """This process's environment for a child that will import onnxruntime."""
    return QUIET | dict(os.environ)


def brief(error: BaseException) -> str:
    """What onnxruntime said, without its source paths and mangled signatures, shortened.

    >>> brief(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : /a/b.cc:46 void f(int, char) Opset 99 is unknown"))
    'Opset 99 is unknown'
    """
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"/\S+\.(?:cc|h|cpp):\d+ ", "", text)
    text = re.sub(r"^(?:[\w:~<>*& ]+ )?[\w:~]+(?:<.*?>)?::?\w*\(.*?\)(?: const)? (?=[A-Z])", "", text)
    text = re.sub(r"^\w[\w:*& ]*\(.*?\)(?: const)? (?=[A-Z])", "", text)
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 3] + "..."
