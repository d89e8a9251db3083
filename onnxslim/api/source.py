"""What a verb is given: the model and the samples, in any of the forms that callers have them in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxslim.calibration import Samples, load_samples
from onnxslim.calibration.sources import SampleSource
from onnxslim.errors import InputError
from onnxslim.graph import load, same_file
from onnxslim.report.facts import ModelFacts, describe
from onnxslim.runtime import open_session

AnyModel = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model
Bytes = bytes  # `Source.bytes` is a number
AnySamples = SampleSource


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded model, where it came from and what it weighs.

    ``bytes`` counts external data files too; None for an ``onnx_ir.Model``, which is in no file.
    """

    model: ir.Model
    path: str | None
    bytes: int | None
    given: AnyModel

    def original(self) -> Bytes | None:
        """The very bytes that came in; None for an ``onnx_ir.Model``, and where weights lie in other files."""
        if isinstance(self.given, Bytes):
            return self.given
        if isinstance(self.given, onnx.ModelProto):
            return bytes(self.given.SerializeToString())
        if self.path is not None and os.path.getsize(self.path) == self.bytes:
            return Path(self.path).read_bytes()
        return None

    @property
    def facts(self) -> ModelFacts:
        """The model in numbers."""
        return describe(self.model, self.path, self.bytes)


def open_source(model: AnyModel, *, trust_data_dir: str | os.PathLike[str] | None = None) -> Source:
    """Loads a model from any of its forms; a proto or an onnx_ir.Model of the caller's is not changed.

    Raises:
        InputError: As ``onnxslim.load`` does.
    """
    loaded = load(model, trust_data_dir=trust_data_dir)
    if isinstance(model, ir.Model):
        return Source(model.clone(), None, None, model)
    if isinstance(model, bytes):
        return Source(loaded, None, len(model), model)
    if isinstance(model, onnx.ModelProto):
        return Source(loaded, None, model.ByteSize(), model)
    return Source(loaded, os.fspath(model), describe(loaded, model).bytes, model)


def open_samples(samples: AnySamples | None, model: ir.Model) -> Samples | None:
    """Samples from any source, checked against the model's inputs when they are read.

    Raises:
        InputError: The source is unusable, or does not fit the model.
    """
    if samples is None:
        return None
    return load_samples(samples, inputs=open_session(model, optimize=False).inputs)


def check_output(source: Source, output: str | os.PathLike[str] | None, *, in_place: bool) -> None:
    """Refuses to overwrite the input unasked.

    Raises:
        InputError: The output is the input's file, and ``in_place`` is not set.
    """
    if output is None or source.path is None or in_place or not same_file(source.path, output):
        return
    raise InputError(
        "the output is the input", where=os.fspath(output), mend="give --in-place to replace it, or another output"
    )
