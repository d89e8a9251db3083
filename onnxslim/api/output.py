"""The model that comes out: its bytes, its file, and how long onnxruntime takes to open it."""

from __future__ import annotations

import math
import os
import time

import onnx_ir as ir

from onnxslim import runtime
from onnxslim.api.source import AnyModel, Source
from onnxslim.errors import CannotRun
from onnxslim.graph import Encoded, atomic_write, encode, save
from onnxslim.graph.reader import source_of

INLINE_LIMIT = 1 << 30
"""Bytes of weights above which they stay in a file of their own."""
SESSION_TRIALS = 3
"""Times that a session is opened to measure it."""
SESSION_ENOUGH = 0.2
"""Seconds of one trial after which there is no other."""


def weigh(model: ir.Model) -> Encoded | None:
    """The model in one file, weights by reference; None where they are too large to be meant for one."""
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    return encode(model) if weights < INLINE_LIMIT else None


def size_of(encoded: Encoded | None) -> int | None:
    """Bytes of the file, where it has been weighed."""
    return None if encoded is None else encoded.size


def time_sessions(source: Source, model: ir.Model, encoded: Encoded | None, threads: int) -> dict[str, float]:
    """Seconds to open each model, the best of a few alternating trials; nothing where one does not open."""
    config = runtime.lean_config(source.model)
    try:
        for each in (source.model, model):
            runtime.try_opening(each, threads=threads, config=config)
    except CannotRun:
        return {}
    forms: dict[str, AnyModel] = {"input": source.model, "output": model}
    if not config:  # else weights are lent, not copied
        forms["input"] = source.original() or encode(source.model).join()
        forms["output"] = (encoded or encode(model)).join()
    best: dict[str, float] = {}
    for _ in range(SESSION_TRIALS):
        for name, data in forms.items():
            started = time.perf_counter()
            runtime.open_session(data, threads=threads, config=config, guarded=False)
            best[name] = min(best.get(name, math.inf), time.perf_counter() - started)
        if sum(best.values()) > SESSION_ENOUGH:
            break
    return best


def write(
    source: Source,
    model: ir.Model,
    output: str | os.PathLike[str],
    *,
    external_data: bool | None,
    encoded: Encoded | None,
    untouched: bool,
) -> int | None:
    """Writes the result, the bytes that came in where it is ``untouched``; returns its size where that is known."""
    loaded = source_of(source.model)
    if external_data is None and loaded is not None and loaded.data_files:
        external_data = True  # whoever keeps weights in a file of their own wants them there
    original = source.original() if untouched and not external_data else None
    if original is not None:
        atomic_write(output, original)
        return len(original)
    save(model, output, external_data=external_data, encoded=encoded)
    return None if external_data else size_of(encoded)
