"""Float types of a whole model, and whether it still computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CannotRun, CheckFailed
from onnxslim.pipeline import Context, Pass, Pipeline, get_pass, make_pass
from onnxslim.runtime import Feed, Measure, Part, open_isolated, random_feeds

MIN_SQNR = 30.0
"""Decibels that a float16 model keeps: float16 itself has 73 dB, and a deep net loses some of them."""


def convert(model: ir.Model, dtype: str, *, before: Sequence[Pass], check: bool, threads: int) -> None:
    """Converts in place, and compares the outputs with those in the former type.

    Args:
        model: The model.
        dtype: ``fp16`` or ``fp32``.
        before: Passes that run first where the type is narrowed, so that constants are computed in the wider one.
        check: Whether to compare outputs on random inputs.
        threads: Threads of the sessions.

    Raises:
        CheckFailed: An output lost its finite values, or more than `MIN_SQNR` allows.
        InputError: The model cannot be converted.
    """
    original = model.clone() if check else None
    if dtype == "fp16":
        slimmed = Pipeline(before, verify=False, threads=threads).run(model).model
        model.graph = slimmed.graph
        model.functions.clear()
        model.functions.update(slimmed.functions)
    make_pass(get_pass("convert-float"), {"dtype": dtype}).run(model, Context())
    if original is not None:
        _compare(original, model, dtype, threads)


def _compare(original: ir.Model, converted: ir.Model, dtype: str, threads: int) -> None:
    try:
        feeds = random_feeds(original)
        session = open_isolated(original, threads=threads)
    except CannotRun as error:
        warnings.warn(f"the conversion to {dtype} was not compared with the original: {error}", stacklevel=2)
        return
    try:
        other = open_isolated(converted, threads=threads)
    except CannotRun as error:
        why = error.why or error.what
        raise CheckFailed(f"onnxruntime cannot open the model in {dtype}", why=why, mend="leave dtype out") from error
    dtypes = {port.name: port.dtype for port in other.inputs}
    names = [port.name for port in session.outputs]
    measure, pairs = Measure([Part(name) for name in names], names), []
    for index, feed in enumerate(feeds):
        cast: Feed = {
            name: array.astype(dtypes[name]) if dtypes.get(name) is not None and _is_float(array) else array
            for name, array in feed.items()
        }
        rounded: Feed = {
            name: array.astype(feed[name].dtype) if _is_float(array) else array for name, array in cast.items()
        }
        expected, found = session.run(rounded), other.run(cast)
        for name, a in expected.items():
            _check_form(name, a, found[name], dtype, index)
        measure.see(list(expected.values()))
        pairs.append((expected, found))
    tally = measure.tally()
    for expected, found in pairs:
        tally.add([expected[name] for name in names], [found[name] for name in names])
    worst = min(tally.fidelity(range(len(names))), key=lambda each: each.sqnr_db, default=None)
    if worst is not None and worst.sqnr_db < MIN_SQNR:
        raise CheckFailed(
            f"the conversion to {dtype} loses too much",
            where=f"output {worst.label}",
            why=f"{worst.sqnr_db:.1f} dB are kept, {MIN_SQNR:g} are asked for",
            mend="leave dtype out",
        )


def _is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype in (np.float16, np.float32)


def _check_form(name: str, a: object, b: object, dtype: str, feed: int) -> None:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return
    where = f"output {name!r} on feed {feed}"
    if a.shape != b.shape:
        raise CheckFailed(f"the conversion to {dtype} changes a shape", where=where, why=f"{a.shape} and {b.shape}")
    if not _is_float(a):
        return
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        raise CheckFailed(f"the conversion to {dtype} overflows", where=where, mend="leave dtype out")
