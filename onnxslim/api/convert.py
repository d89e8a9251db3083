"""A framework's model as an ONNX file whose outputs were compared with the framework's own."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from onnxslim.converters.blame import first_difference
from onnxslim.converters.child import ChildFramework
from onnxslim.converters.converted import Converted
from onnxslim.converters.detect import detect
from onnxslim.converters.expectations import expected_inputs
from onnxslim.converters.inputs import Axes, parse_axes, resembling
from onnxslim.converters.verify import Framework, verified
from onnxslim.errors import CheckFailed, InputError, did_you_mean
from onnxslim.execution import Port, open_isolated, random_feeds
from onnxslim.graph import atomic_write, load, save
from onnxslim.graph.atomic import check_writable
from onnxslim.samples import load_samples

if TYPE_CHECKING:
    import onnx_ir as ir

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
        source_kind: The converter; None to go by the source's form.
        python: The interpreter of the framework's environment, or the folder of its venv; None for this one.
        trust_code: Whether forms may be read that run code which their file brings.
        opset: Of the default domain; None for what the exporter chooses.
        dynamic: Axes whose size may change: ``{"x": {0: "batch"}}``, or texts ``x:0=batch``.
        exporter: One of the framework's several exporters by name; None for the best one.
    """

    source_kind: str | None = None
    python: str | None = None
    trust_code: bool = False
    opset: int | None = None
    dynamic: Mapping[str, Mapping[int, str]] | Sequence[str] = ()
    exporter: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ConvertOptions:
        """The options that a caller names.

        Raises:
            InputError: A name is none of them; the message offers the nearest.
        """
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise InputError(f"convert has no option {name!r}", mend=did_you_mean(name, cls.__dataclass_fields__))
        return cls(**given)

    @property
    def axes(self) -> Axes:
        """``dynamic`` as a table."""
        if isinstance(self.dynamic, Mapping):
            return {name: dict(axes) for name, axes in self.dynamic.items()}
        return parse_axes([self.dynamic] if isinstance(self.dynamic, str) else self.dynamic)


class ConvertResult(NamedTuple):
    """A converted model and the report on it; ``model, report = result`` works."""

    model: ir.Model
    report: Converted

    def __repr__(self) -> str:
        """The headline, since the repr of a model is all of its graph."""
        return f"<ConvertResult: {self.report}>"

    def save(self, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
        """Writes the model as ``onnxslim.save`` does."""
        save(self.model, path, external_data=external_data)


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    samples: SampleSource | None = None,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> ConvertResult:
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
    how = ConvertOptions.of(options)
    if output is not None:
        check_writable(output)
    made = converted_file(source, samples, how, progress)
    if output is None:
        return ConvertResult(made.load(), made.report)
    progress(f"write {os.fspath(output)}")
    if (data := made.data) is not None:
        atomic_write(output, data)
    else:
        save(made.load(), output, external_data=True)
    return ConvertResult(load(output), replace(made.report, output=os.fspath(output)))


@dataclass(eq=False)
class ConvertedFile:
    """A file that a conversion made, in a temporary folder that lives as long as this does.

    Attributes:
        path: Of the ONNX file.
        report: On the conversion.
    """

    path: str
    report: Converted
    _folder: tempfile.TemporaryDirectory[str]

    @property
    def data(self) -> bytes | None:
        """The file; None where there are others beside it."""
        return Path(self.path).read_bytes() if len(os.listdir(self._folder.name)) == 1 else None

    def load(self) -> ir.Model:
        """The model; files of weights beside it must outlive it, so it keeps the folder."""
        model = load(self.data or self.path)
        model.meta["onnxslim.folder"] = self._folder
        return model


def converted_file(
    source: str | os.PathLike[str],
    samples: SampleSource | None,
    how: ConvertOptions,
    progress: Callable[[str], None] = lambda _: None,
) -> ConvertedFile:
    """The conversion itself; see `convert`."""
    started = time.perf_counter()
    detected = detect(source, how.source_kind)
    if detected.form.danger and not how.trust_code:
        danger = f"loading a {detected.form} file can run any code"
        raise InputError(danger, where=detected.source, why=detected.form.danger, mend=TRUST)
    folder = tempfile.TemporaryDirectory(prefix="onnxslim-", ignore_cleanup_errors=True)
    path = os.path.join(folder.name, "model.onnx")
    with ChildFramework(detected, how.python, trust_code=how.trust_code) as child:
        progress(f"load {detected.source} in {child.python}")
        child.load(None if samples is None else first_of(samples))
        progress(f"export from {child.framework}")
        exporter, notes = child.export(path, opset=how.opset, dynamic=how.axes, exporter=how.exporter)
        progress("compare outputs")
        feeds, evidence = inputs_for(path, samples, child.example)
        parity = checked(child, path, feeds, evidence, how.axes, source=detected.source)
    report = Converted(
        source=detected.source,
        framework=child.framework,
        exporter=exporter,
        parity=parity,
        inputs=tuple(expected_inputs(load(path), list(feeds))),
        notes=(*child.notes, *notes, *parity.notes),
        size=sum(each.stat().st_size for each in Path(folder.name).iterdir()),
        seconds=time.perf_counter() - started,
    )
    return ConvertedFile(path, report, folder)


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


@dataclass(eq=False)
class _Frameworks:
    """How sources are converted while a block runs.

    The last one is kept: it is read twice where images are to be made for its inputs.
    """

    options: ConvertOptions
    key: object = None
    made: ConvertedFile | None = None
    progress: Callable[[str], None] = field(default=lambda _: None)

    def convert(self, source: str | os.PathLike[str], samples: SampleSource | None) -> ConvertedFile:
        text = os.fspath(source)
        key = os.path.realpath(text), os.path.getmtime(text) if os.path.exists(text) else None
        if self.made is None or key != self.key:
            self.key, self.made = key, converted_file(source, samples, self.options, self.progress)
        return self.made


_frameworks: ContextVar[_Frameworks | None] = ContextVar("frameworks", default=None)


@contextlib.contextmanager
def frameworks(**options: Any) -> Iterator[None]:
    """How verbs convert sources that are no ONNX files while the block runs; without it, with this interpreter.

    ``with onnxslim.frameworks(python="torch-venv"): onnxslim.compress("mine:build", ...)``

    Args:
        options: Fields of `ConvertOptions`, and ``progress``.

    Raises:
        InputError: A name is none of these.
    """
    progress = options.pop("progress", lambda _: None)
    token = _frameworks.set(_Frameworks(ConvertOptions.of(options), progress=progress))
    try:
        yield
    finally:
        _frameworks.reset(token)


def converted_source(source: str | os.PathLike[str], samples: SampleSource | None) -> ConvertedFile:
    """A source as the block of `frameworks` wants it converted; see `convert` for what it raises."""
    return (_frameworks.get() or _Frameworks(ConvertOptions())).convert(source, samples)
