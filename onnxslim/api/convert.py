"""A framework's model as an ONNX file whose outputs were compared with the framework's own."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.converters.blame import first_difference
from onnxslim.converters.child import ChildFramework
from onnxslim.converters.converted import Converted
from onnxslim.converters.detect import detect
from onnxslim.converters.expectations import expected_inputs
from onnxslim.converters.inputs import Axes, parse_axes, resembling
from onnxslim.converters.verify import Framework, verified
from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import Port, open_isolated, random_feeds
from onnxslim.graph import atomic_write, load, save
from onnxslim.graph.atomic import check_writable, scratch_folder
from onnxslim.samples import load_samples

if TYPE_CHECKING:
    from onnxslim.evaluation.findings import Evidence, Parity
    from onnxslim.execution import Feed
    from onnxslim.samples.sources import SampleSource

COMPARED = 16
"""Samples that are compared, at most."""
TRUST = "give --trust-code (trust_code=True) if you trust who made it"


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a framework's model is converted.

    Attributes:
        kind: The converter; None to go by the source's form.
        python: The interpreter of the framework's environment, or the folder of its venv; None for this one.
        trust_code: Whether forms may be read that run code which their file brings.
        opset: Of the default domain; None for what the exporter chooses.
        dynamic: Axes whose size may change: ``{"x": {0: "batch"}}``, or texts ``x:0=batch``.
        exporter: One of the framework's several exporters by name; None for the best one.
    """

    kind: str | None = None
    python: str | None = None
    trust_code: bool = False
    opset: int | None = None
    dynamic: Mapping[str, Mapping[int, str]] | Sequence[str] = ()
    exporter: str | None = None

    @property
    def axes(self) -> Axes:
        """``dynamic`` as a table."""
        if isinstance(self.dynamic, Mapping):
            return {name: dict(axes) for name, axes in self.dynamic.items()}
        return parse_axes([self.dynamic] if isinstance(self.dynamic, str) else self.dynamic)


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    samples: SampleSource | None = None,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Converted:
    """Converts a framework's model with the framework's own exporter, and compares the outputs.

    The framework runs in a process of its own, in the environment of ``python``; this one needs none.

    Args:
        source: A file or folder of the framework, or ``module:object``: a model, or a function that returns
            ``(model, example inputs)``.
        output: Where to write the ONNX file.
        samples: Inputs to compare on; without them the framework's own example and random ones are taken.
        progress: Called with a short text before a long step.
        options: Fields of `ConvertOptions`.

    Raises:
        InputError: The source is none, or cannot be read.
        CheckFailed: It cannot be exported, or the file computes something else. Nothing is written.
        SetupError: The environment lacks a package, or the framework's process crashed.
    """
    how = ConvertOptions(**options)
    if output is not None:
        check_writable(output)
    with scratch_folder() as folder:
        made, path = converted_in(folder, source, samples, how, progress)
        if output is not None:
            progress(f"write {os.fspath(output)}")
            if made.data:
                atomic_write(output, made.data)
            else:
                save(load(path), output, external_data=True)
        elif not made.data:
            raise InputError("the model takes more than one file", where=made.source, mend="name an output")
    return replace(made, output=None if output is None else os.fspath(output))


def converted_in(
    folder: str,
    source: str | os.PathLike[str],
    samples: SampleSource | None,
    how: ConvertOptions,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Converted, str]:
    """The same, with the file in a folder.

    Returns:
        What was found, and the file's path.
    """
    started = time.perf_counter()
    detected = detect(source, how.kind)
    if detected.form.danger and not how.trust_code:
        raise InputError(
            f"loading a {detected.form} file can run any code",
            where=detected.source,
            why=detected.form.danger,
            mend=TRUST,
        )
    with ChildFramework(detected, how.python) as child:
        progress(f"load {detected.source} in {child.python}")
        child.load(None if samples is None else first_of(samples))
        progress(f"export from {child.framework}")
        path = os.path.join(folder, "model.onnx")
        exporter, notes = child.export(path, opset=how.opset, dynamic=how.axes, exporter=how.exporter)
        progress("compare outputs")
        feeds, evidence = inputs_for(path, samples, child.example)
        made = checked(child, path, feeds, evidence, how.axes, source=detected.source)
    return (
        Converted(
            source=detected.source,
            framework=child.framework,
            exporter=exporter,
            parity=made,
            inputs=tuple(expected_inputs(load(path), list(feeds))),
            notes=(*child.notes, *notes, *made.notes),
            size=sum(each.stat().st_size for each in Path(folder).iterdir()),
            seconds=time.perf_counter() - started,
            data=Path(path).read_bytes() if len(os.listdir(folder)) == 1 else b"",
        ),
        path,
    )


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
            why="something random, such as dropout, is on",
            mend="call eval() on the model, or leave the random operation out for the export",
        )
    blamed = None
    if any(each.kind in ("value", "shape", "NaN/Inf") and each.output for each in found.differences):
        steps = framework.trace(dict(feeds[0]))
        blamed = None if steps is None else first_difference(steps, path, feeds[0])
    raise CheckFailed(
        "the exported file does not compute what the framework computes",
        where=source,
        why=f"{found}" + ("" if blamed is None else f"; {blamed}"),
        mend="try another --exporter or --opset, or rewrite that part of the model",
    )
