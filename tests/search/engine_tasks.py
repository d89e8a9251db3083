"""What tests have engines do: functions that a fresh interpreter can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.errors import InputError


def do(task: tuple[str, Any]) -> Any:
    what, value = task
    match what:
        case "square":
            return value * value
        case "refuse":
            raise InputError("the task is refused", where=str(value))
        case "raise":
            noted(value)
            raise ValueError("no")
        case "crash":
            noted(value)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "crash once":
            if noted(value) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return "done"
        case "take":
            return float(np.ones(value).sum())
        case "sleep":
            time.sleep(value)
            return value
        case "unsendable":
            return lambda: value
        case "wait for ever":
            Path(value).write_text(str(os.getpid()))
            time.sleep(1000)
    return None


def noted(path: str) -> int:
    """How often this was called with the path."""
    with open(path, "a+") as file:
        file.write("x")
    return os.path.getsize(path)


def product(shared: np.ndarray, seed: int) -> bytes:
    """Bits that depend on the order in which a product of matrices is summed up."""
    right = np.random.default_rng(seed).standard_normal((700, 300)).astype(np.float32)
    return bytes(np.linalg.cholesky((shared @ right).T @ (shared @ right) + np.eye(300)).tobytes())
