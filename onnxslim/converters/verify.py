"""Does an ONNX file compute what the framework computes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from onnxslim.converters.child import TracedStep
from onnxslim.converters.inputs import changing_axes, sizes_to_try
from onnxslim.errors import InputError, OnnxSlimError, OutOfMemory
from onnxslim.evaluation.compare import (
    OWN_FACTOR,
    Difference,
    Kind,
    dtype_scale,
    max_error,
    non_finite,
    numeric,
    peak,
    same_form,
)
from onnxslim.evaluation.findings import Evidence, Parity
from onnxslim.evaluation.tier import Tier
from onnxslim.execution import Feed, IsolatedSession, open_isolated

TELLING = 0.25
"""Share of an output's largest value: what may differ by more proves nothing."""


class Framework(Protocol):
    """A model in its framework, wherever it runs."""

    @property
    def framework(self) -> str:
        """Name and version."""

    @property
    def narrows(self) -> bool:
        """Whether the exporter computes in float32 what the framework computes in float64, by its documentation."""

    @property
    def notes(self) -> list[str]:
        """What a reader should know of how it was loaded."""

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """Outputs by name, in the order of the export's."""

    def rounding(self, feed: Feed) -> list[float] | None:
        """By how much each output may differ, where the framework rounds by its own kernels' choice; else None."""

    def trace(self, feed: Feed) -> list[TracedStep] | None:
        """Every operation; None where the framework does not let us look."""


@dataclass
class _Found:
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    worst: float = 0.0
    feeds: int = 0

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def verified(
    framework: Framework,
    path: str,
    feeds: Sequence[Feed],
    *,
    evidence: Evidence,
    asked: Mapping[str, Mapping[int, str]] | None = None,
) -> Parity:
    """Compares the outputs of a framework with those of its ONNX file in onnxruntime, at the numeric tier.

    Each feed is compared as it is; the first one also at three sizes of every axis that has no fixed one. As for every
    original, the bound is never tighter than four times what onnxruntime's own optimizations change. A quantized
    model's outputs are equal within four times what the framework's own kernels differ by.

    Args:
        framework: The model in it.
        path: The file.
        feeds: At least one.
        evidence: What they are.
        asked: Axes that were asked to be of changing size.

    Returns:
        Differences and notes; ``feeds`` counts all that was compared.

    Raises:
        InputError: The framework itself does not run on the first feed.
    """
    found = _Found()
    try:
        sessions = [open_isolated(path, optimize=optimize) for optimize in (True, False)]
    except OutOfMemory:
        raise
    except OnnxSlimError as error:
        return _result(_Found([Difference("load", "", str(error))]), evidence)
    inputs = sessions[0].inputs
    for port in inputs:
        for axis, size in (asked or {}).get(port.name, {}).items():
            fixed = port.shape[axis] if axis < len(port.shape) else None
            if isinstance(fixed, int):
                detail = f"axis {axis} ({size}) was asked to change, and the file has {fixed}"
                found.differences.append(Difference("declared shape", port.name, detail))
    known = {port.name for port in inputs}
    given = [{name: value for name, value in feed.items() if name in known} for feed in feeds]
    missing = sorted(known - given[0].keys())
    if missing:
        found.differences.append(
            Difference("inputs", missing[0], "the file has this input, and nothing was given for it")
        )
        return _result(found, evidence)
    wanted = framework.run(given[0])
    again = framework.run(given[0])
    if _random(wanted, again):
        found.differences.append(Difference("random", "", f"{framework.framework} gives other outputs on a second run"))
        return _result(found, evidence)
    changes = len(given) == 1
    for index, feed in enumerate(given):
        outputs = wanted if index == 0 else framework.run(feed)
        changes = changes or _random(wanted, outputs)
        _compare(found, framework, outputs, sessions, feed, index)
    if not changes:
        found.note(
            f"{framework.framework} gives almost the same outputs for {len(given)} different inputs, so the comparison "
            "shows little: give --samples, or a trained model"
        )
    for words, feed in sizes_to_try(given[0], changing_axes(inputs)):
        try:
            wanted = framework.run(feed)
        except InputError as error:
            found.note(f"{framework.framework} itself does not run at {words}: {error.why or error.what}")
            continue
        _compare(found, framework, wanted, sessions, feed, len(given), f" at {words}")
    return _result(found, evidence)


def _result(found: _Found, evidence: Evidence) -> Parity:
    return Parity(
        not found.differences,
        Tier.NUMERIC,
        tuple(found.differences),
        found.feeds,
        evidence,
        found.worst,
        notes=tuple(found.notes),
    )


def _random(first: Sequence[tuple[str, np.ndarray]], second: Sequence[tuple[str, np.ndarray]]) -> bool:
    """Whether an output of two runs differs by more than the numeric tier allows."""
    return any(
        one.shape != two.shape or numeric(one, two, "", 0, own=0.0, scale=dtype_scale({one.dtype.name}))[0] is not None
        for (_, one), (_, two) in zip(first, second, strict=True)
    )


def _compare(
    found: _Found,
    framework: Framework,
    wanted: Sequence[tuple[str, np.ndarray]],
    sessions: Sequence[IsolatedSession],
    feed: Feed,
    index: int,
    where: str = "",
) -> None:
    """One feed: each of the framework's outputs beside the file's at the same place."""
    found.feeds += 1
    try:
        made, plain = (session.run(feed) for session in sessions)
    except OutOfMemory:
        raise
    except OnnxSlimError as error:
        found.differences.append(Difference("run", "", f"{error.why or error.what}{where}", index))
        return
    names = [port.name for port in sessions[0].outputs]
    if len(names) != len(wanted):
        detail = f"{len(wanted)} outputs before, {len(names)} after{where}"
        kind: Kind = "missing output" if len(names) < len(wanted) else "extra output"
        found.differences.append(Difference(kind, "", detail, index))
        return
    rounding = framework.rounding(feed)
    for place, (name, (_, before)) in enumerate(zip(names, wanted, strict=True)):
        after, other = _array(made[name]), _array(plain[name])
        if framework.narrows:
            before = _narrowed(found, before, after)
        difference = same_form(before, after, name, index)
        if difference is None and rounding is not None:
            difference, worst = within_rounding(before, after, name, index, rounding[place])
            if difference is not None and within_rounding(before, other, name, index, rounding[place])[0] is None:
                detail = (
                    f"{difference.detail}; without onnxruntime's optimizations it agrees: its integer kernels differ"
                )
                difference = Difference(difference.kind, name, detail, index, difference.error)
            found.worst = max(found.worst, worst)
            found.note(
                "the model is quantized: outputs may differ by 4 times what the framework's own kernels differ by"
            )
        elif difference is None:
            own = max_error(after, other)
            scale = dtype_scale({before.dtype.name, after.dtype.name})
            difference, worst = numeric(before, after, name, index, own=own, scale=scale)
            found.worst = max(found.worst, worst)
        if difference is not None:
            found.differences.append(
                Difference(difference.kind, name, difference.detail + where, index, difference.error)
            )


def within_rounding(
    before: np.ndarray, after: np.ndarray, name: str, index: int, own: float
) -> tuple[Difference | None, float]:
    """Whether an output of a quantized model differs by its rounding alone; also the worst error, of the bound.

    Args:
        before: The framework's.
        after: The file's.
        name: Of the output.
        index: Of the feed.
        own: By how much the framework's own kernels differ.
    """
    difference = non_finite(before, after, name, index)
    if difference is not None:
        return difference, float("inf")
    allowed, error = OWN_FACTOR * own, max_error(before, after)
    largest = float(np.iinfo(before.dtype).max) if before.dtype.kind in "iu" else peak(before)
    if allowed > TELLING * largest and error > 0:
        detail = (
            f"the framework's own kernels differ by {own:.3g} where the largest value is {largest:.3g}, "
            "which is too much to tell whether the file is right"
        )
        return Difference("value", name, detail, index, error), float("inf")
    if error > allowed:
        detail = f"differs by up to {error:.3g}, and its rounding explains {allowed:.3g}"
        return Difference("value", name, detail, index, error), error / allowed if allowed else float("inf")
    return None, error / allowed if allowed else 0.0


def _array(value: object) -> np.ndarray:
    """An output as an array; a map from classes to probabilities for each row is a table."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return np.array([list(each.values()) for each in value], np.float32)
    return np.asarray(value)


def _narrowed(found: _Found, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The framework's output in the type that its exporter gives it."""
    if before.dtype == np.float64 and after.dtype == np.float32:
        found.note("the exporter computes in float32 what the framework computes in float64")
        return before.astype(np.float32)
    if before.dtype.kind in "iub" and after.dtype.kind in "iub" and before.dtype != after.dtype:
        found.note(f"an output of {before.dtype} is {after.dtype} in the file")
        return before.astype(after.dtype)
    return before
