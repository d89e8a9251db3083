"""The one place that imports onnxruntime: late, with its telemetry off and its logger silent."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

from onnxslim.errors import SetupError

QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment that onnxruntime must find before its first import, in this process and in children: since 1.31 it
otherwise writes a telemetry database into the home folder's cache."""

FATAL = 4
"""onnxruntime's log severity for fatal errors only; everything else also arrives as an exception."""

MESSAGE_LENGTH = 400
"""Characters of onnxruntime's own words that an error message quotes."""


@cache
def onnxruntime() -> Any:
    """The module, imported on the first call.

    Raises:
        SetupError: It is not installed or cannot be loaded.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
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
    return (*own, RuntimeError, ValueError, TypeError)


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
