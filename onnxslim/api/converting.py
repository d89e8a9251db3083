"""Float types of a whole model, and whether it still computes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CannotRun, CheckFailed
from onnxslim.evaluation import Measure, Parity, Part, Tier
from onnxslim.evaluation.compare import max_error
from onnxslim.evaluation.findings import Evidence
from onnxslim.execution import Feed, open_isolated, random_feeds
from onnxslim.pipeline import Context, Pass, Pipeline, RunConfig, get_pass, make_pass

MIN_SQNR = 30.0
"""Decibels that a float16 model keeps: float16 itself has 73 dB, and a deep net loses some of them."""


def convert(model: ir.Model, dtype: str, *, before: Sequence[Pass], threads: int) -> Conversion | None:
    """Converts in place.

    Args:
        model: The model.
        dtype: ``fp16`` or ``fp32``.
        before: Passes that run first where the type is narrowed, so that constants are computed in the wider one.
        threads: Threads of the sessions.

    Returns:
        What compares a result with the model before; None where nothing had another type.

    Raises:
        InputError: The model cannot be converted.
    """
    conversion = Conversion(model.clone(), dtype, threads)
    if dtype == "fp16":
        slimmed = Pipeline(before, RunConfig(verify=False, threads=threads)).run(model).model
        model.graph = slimmed.graph
        model.functions.clear()
        model.functions.update(slimmed.functions)
    converted = make_pass(get_pass("convert-float"), {"dtype": dtype}).run(model, Context())
    return conversion if converted.modified else None


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model before its float type was converted, to compare results with.

    Attributes:
        original: The model before.
        dtype: ``fp16`` or ``fp32``, the type after.
        threads: Threads of the sessions.
    """

    original: ir.Model
    dtype: str
    threads: int

    def check(self, converted: ir.Model, feeds: Sequence[Feed] | None = None) -> Parity:
        """How far the outputs of a converted model are from those before, part by part.

        Floats of the feeds are rounded to the types of both sides, so that both run on the same numbers.

        Args:
            converted: The result.
            feeds: Samples; None means random inputs.

        Raises:
            CannotRun: onnxruntime cannot run the model before.
            CheckFailed: An output lost its finite values, or more than `MIN_SQNR` allows.
        """
        dtype, threads = self.dtype, self.threads
        evidence: Evidence = "random inputs" if feeds is None else "samples"
        feeds = random_feeds(self.original) if feeds is None else feeds
        session = open_isolated(self.original, threads=threads)
        try:
            other = open_isolated(converted, threads=threads)
        except CannotRun as error:
            why = error.why or error.what
            raise CheckFailed(
                f"onnxruntime cannot open the model in {dtype}", why=why, mend="leave dtype out"
            ) from error
        before, after = ({port.name: port.dtype for port in each.inputs} for each in (session, other))
        names = [port.name for port in session.outputs]
        measure, pairs, worst_error = Measure([Part(name) for name in names], names), [], 0.0
        for index, feed in enumerate(feeds):
            cast = _as_types(feed, after)
            expected, found = session.run(_as_types(cast, before)), other.run(cast)
            for name, a in expected.items():
                _check_form(name, a, found[name], dtype, index)
                if isinstance(a, np.ndarray):
                    worst_error = max(worst_error, max_error(a, found[name]))
            measure.see(list(expected.values()))
            pairs.append((expected, found))
        tally = measure.tally()
        for expected, found in pairs:
            tally.add([expected[name] for name in names], [found[name] for name in names])
        places = range(len(names))
        fidelity = tuple(tally.fidelity(places))
        worst = min(fidelity, key=lambda each: each.sqnr_db, default=None)
        if worst is not None and worst.sqnr_db < MIN_SQNR:
            raise CheckFailed(
                f"the conversion to {dtype} loses too much",
                where=f"output {worst.label}",
                why=f"{worst.sqnr_db:.1f} dB are kept, {MIN_SQNR:g} are asked for",
                mend="leave dtype out",
            )
        return Parity(
            passed=True,
            tier=Tier.LOSSY,
            differences=(),
            feeds=len(pairs),
            evidence=evidence,
            worst=worst_error,
            sqnr=None if worst is None else worst.sqnr_db,
            fidelity=fidelity,
            notes=tuple(tally.notes(places)),
        )


def _as_types(feed: Feed, dtypes: Mapping[str, np.dtype[Any] | None]) -> Feed:
    """The feed with its floats in these types, by input."""
    return {
        name: array.astype(kind) if (kind := dtypes.get(name)) is not None and _is_float(array) else array
        for name, array in feed.items()
    }


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
