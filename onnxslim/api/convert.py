"""A framework's model as an ONNX file whose outputs were compared with the framework's own."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onnxslim.converters.checked import checked, first_of, inputs_for, report_on
from onnxslim.converters.child import ChildFramework
from onnxslim.converters.converted import Converted
from onnxslim.converters.detect import detect
from onnxslim.converters.inputs import Axes, parse_axes
from onnxslim.errors import InputError, did_you_mean
from onnxslim.graph import atomic_write, load, save
from onnxslim.graph.atomic import check_writable

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.samples.sources import SampleSource

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


class Folder:
    """A temporary folder that is gone when nothing refers to this any more.

    Attributes:
        path: Of the folder.
    """

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="onnxslim-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    @property
    def model(self) -> str:
        """Path of the ONNX file in it."""
        return os.path.join(self.path, "model.onnx")


@dataclass(eq=False)
class ConvertedFile:
    """A file that a conversion made, in a temporary folder that lives as long as this does.

    Attributes:
        folder: Where it lies.
        report: On the conversion.
    """

    folder: Folder
    report: Converted

    @property
    def path(self) -> str:
        """Of the ONNX file."""
        return self.folder.model

    @property
    def data(self) -> bytes | None:
        """The file; None where there are others beside it."""
        return Path(self.path).read_bytes() if len(os.listdir(self.folder.path)) == 1 else None

    def load(self) -> ir.Model:
        """The model; files of weights beside it must outlive it, so it keeps the folder."""
        model = load(self.data or self.path)
        model.meta["onnxslim.folder"] = self.folder
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
    folder = Folder()
    path = folder.model
    with ChildFramework(detected, how.python, trust_code=how.trust_code) as child:
        progress(f"load {detected.source} in {child.python}")
        child.load(None if samples is None else first_of(samples))
        progress(f"export from {child.framework}")
        exporter, notes = child.export(path, opset=how.opset, dynamic=how.axes, exporter=how.exporter)
        progress("compare outputs")
        feeds, evidence = inputs_for(path, samples, child.example)
        parity = checked(child, path, feeds, evidence, how.axes, source=detected.source)
    seconds = time.perf_counter() - started
    return ConvertedFile(
        folder, report_on(child, detected.source, exporter, parity, path, feeds, notes, seconds=seconds)
    )
