"""The model that comes out: its bytes, its file, and how long onnxruntime takes to open it."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim import execution
from onnxslim.api.source import AnyModel, Source
from onnxslim.errors import CannotRun
from onnxslim.graph import Encoded, encode
from onnxslim.graph.writer import EXTERNAL_ABOVE, Saved, save, save_bytes
from onnxslim.report.record import WrittenFile

SESSION_TRIALS = 3
"""Times that a session is opened to measure it."""
SESSION_LONG = 2.0
"""Seconds from which on opening the models is not repeated at all."""
SESSION_ENOUGH = 0.2
"""Seconds of one trial after which there is no other."""


def weigh(model: ir.Model) -> Encoded | None:
    """The model in one file, weights by reference; None where they are too large to be meant for one."""
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    return encode(model) if weights <= EXTERNAL_ABOVE else None


def size_of(encoded: Encoded | None) -> int | None:
    """Bytes of the file, where it has been weighed."""
    return None if encoded is None else encoded.size


def time_sessions(source: Source, model: ir.Model, encoded: Encoded | None, threads: int) -> dict[str, float]:
    """Seconds to open each model, the best of a few alternating trials; nothing where one does not open.

    What took long in the child process is not opened again here: that was trial enough.
    """
    config = execution.lean_config(source.model)
    try:
        took = {"input": execution.try_opening(source.model, threads=threads, config=config)}
        took["output"] = (
            took["input"] if model is source.model else execution.try_opening(model, threads=threads, config=config)
        )
    except CannotRun:
        return {}
    if sum(took.values()) > SESSION_LONG:
        return took
    forms: dict[str, AnyModel] = {"input": source.model, "output": model}
    if not config:  # else weights are lent, not copied
        forms["input"] = source.original() or encode(source.model).join()
        forms["output"] = (encoded or encode(model)).join()
    best: dict[str, float] = {}
    for _ in range(SESSION_TRIALS):
        for name, data in forms.items():
            started = time.perf_counter()
            execution.open_session(data, threads=threads, config=config, guarded=False)
            best[name] = min(best.get(name, math.inf), time.perf_counter() - started)
        if sum(best.values()) > SESSION_ENOUGH:
            break
    return best


def write(
    model: ir.Model,
    output: str | os.PathLike[str],
    *,
    external_data: bool | None,
    encoded: Encoded | None,
    original: bytes | None,
) -> Saved:
    """Writes the result, or the bytes that came in where it is no other: one file unless it is large or asked for two.

    Returns:
        The files, and what became of the data of a model that was replaced.
    """
    if original is not None and not external_data:
        return save_bytes(original, output)
    return save(model, output, external_data=external_data, encoded=encoded)


def written(saved: Saved, output: str | os.PathLike[str]) -> dict[str, Any]:
    """What a report says of it; files beside the output are named as it is."""
    folder = os.path.dirname(os.fspath(output))

    def named(path: Path) -> str:
        return os.fspath(output) if path == saved.files[0] else os.path.join(folder, path.name)

    return {
        "files": tuple(WrittenFile(named(path), path.stat().st_size) for path in saved.files),
        "removed_files": tuple(map(named, saved.removed)),
        "unused_files": tuple(
            os.path.join(folder, os.path.relpath(path, saved.files[0].parent)) for path in saved.left
        ),
    }
