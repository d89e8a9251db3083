"""A conversion checked: on what, with which outcome, and what a report says of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxslim.converters.blame import first_difference
from onnxslim.converters.converted import Converted
from onnxslim.converters.expectations import expected_inputs
from onnxslim.converters.inputs import Axes, resembling
from onnxslim.converters.verify import Framework, verified
from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import Port, open_isolated, random_feeds
from onnxslim.graph import load
from onnxslim.samples import load_samples

if TYPE_CHECKING:
    from onnxslim.evaluation.findings import Evidence, Parity
    from onnxslim.execution import Feed
    from onnxslim.samples.sources import SampleSource

COMPARED = 16
"""Samples that are compared, at most."""


def first_of(samples: SampleSource) -> dict[str, np.ndarray] | None:
    """The arrays of the first sample, before anything is known of the model: one without a name has the name ``0``.

    Returns:
        None where samples cannot be read without the model's inputs, such as images of no size.
    """
    for inputs in (None, (Port("0", None, (), ""),)):
        with contextlib.suppress(InputError):  # what is wrong with them is said when they are read for the file
            first = next(iter(load_samples(samples, inputs=inputs)), None)
            return None if first is None else {name: np.asarray(value) for name, value in first.feed.items()}
    return None


def inputs_for(
    path: str, samples: SampleSource | None, example: Callable[[], Feed | None]
) -> tuple[list[Feed], Evidence]:
    """What a framework and its file are compared on: samples, else an example and what resembles it, else random."""
    if samples is not None:
        ports = open_isolated(path, optimize=False).inputs
        found = load_samples(samples, inputs=ports)
        return [sample.feed for sample in itertools.islice(found, COMPARED)], "samples"
    known = example()
    if known is not None:
        return resembling(known), "random inputs"
    return random_feeds(load(path), enough=3), "random inputs"


def checked(
    framework: Framework, path: str, feeds: Sequence[Feed], evidence: Evidence, asked: Axes, *, source: str
) -> Parity:
    """The comparison, if it finds no difference.

    Raises:
        CheckFailed: The file computes something else; the message names the first operation that differs, where the
            framework lets us look.
    """
    found = verified(framework, path, feeds, evidence=evidence, asked=asked)
    if found.passed:
        return found
    if any(each.kind == "random" for each in found.differences):
        raise CheckFailed(
            "the model gives other outputs on every run, so they cannot be compared",
            where=source,
            why="something random, such as dropout, is on, or it keeps a state from one run to the next",
            mend="call eval() on the model, or leave that operation out for the export",
        )
    blamed = None
    if any(each.kind in ("value", "shape", "NaN/Inf") and each.output for each in found.differences):
        with contextlib.suppress(InputError):  # the difference is what counts, not that nobody can look into it
            steps = framework.trace(dict(feeds[0]))
            blamed = None if steps is None else first_difference(steps, path, feeds[0])
    raise CheckFailed(
        "the exported file does not compute what the framework computes",
        where=source,
        why="; ".join([str(found), *([] if blamed is None else [str(blamed)]), *framework.notes]),
        mend="try another --exporter or --opset, or rewrite that part of the model",
    )


def report_on(
    framework: Framework,
    source: str,
    exporter: str,
    parity: Parity,
    path: str,
    feeds: Sequence[Feed],
    notes: Sequence[str],
    *,
    seconds: float,
) -> Converted:
    """The report on a conversion whose file lies alone, or beside its weights, in a folder."""
    return Converted(
        source=source,
        framework=framework.framework,
        exporter=exporter,
        parity=parity,
        inputs=tuple(expected_inputs(load(path), list(feeds))),
        notes=(*framework.notes, *notes, *parity.notes),
        size=sum(each.stat().st_size for each in Path(path).parent.iterdir()),
        seconds=seconds,
    )
