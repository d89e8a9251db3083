"""What a verb is given: the model and the samples, in any of the forms that callers have them in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim import execution
from onnxslim.analysis.facts import Contradiction
from onnxslim.analysis.validity import examine
from onnxslim.api.convert import ConvertedFile
from onnxslim.api.frameworks import converted_source
from onnxslim.calibration import Statistics
from onnxslim.converters.converted import Converted
from onnxslim.converters.detect import is_foreign
from onnxslim.errors import CannotRun, InputError
from onnxslim.execution import Port
from onnxslim.graph import load, same_file
from onnxslim.graph.atomic import check_writable
from onnxslim.graph.listed import DEFAULTS_IR, defaults, make_constants
from onnxslim.graph.reader import source_of
from onnxslim.graph.thin import proto_bytes
from onnxslim.graph.wire import MAX_BYTES
from onnxslim.report.facts import ModelFacts, describe
from onnxslim.samples import load_samples, sample_set_hash

if TYPE_CHECKING:
    from onnxslim.samples import Samples
    from onnxslim.samples.sources import SampleSource

AnyModel = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model
Bytes = bytes  # `Source.bytes` is a number
AnySamples: TypeAlias = "SampleSource"


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded model, where it came from and what it weighs.

    ``bytes`` counts external data files too; None for an ``onnx_ir.Model``, which is in no file.
    """

    model: ir.Model
    path: str | None
    bytes: int | None
    given: AnyModel
    false_claims: tuple[Contradiction, ...] = ()
    """Shapes that the file declares and that cannot be true."""
    converted: Converted | None = None
    """How a framework's model became this one; None for what was an ONNX file."""

    def original(self) -> Bytes | None:
        """The very bytes that came in; None for an ``onnx_ir.Model``, and where they are no single file."""
        if isinstance(self.given, ir.Model):
            return None
        if isinstance(self.given, Bytes):
            return self.given
        if isinstance(self.given, onnx.ModelProto):
            fits = self.bytes is not None and self.bytes <= MAX_BYTES
            return bytes(self.given.SerializeToString()) if fits else None
        if self.path is not None and os.path.getsize(self.path) == self.bytes:
            return Path(self.path).read_bytes()
        return None

    @property
    def facts(self) -> ModelFacts:
        """The model in numbers."""
        return describe(self.model, self.path or (self.converted.source if self.converted else None), self.bytes)


_exported: ContextVar[ConvertedFile | None] = ContextVar("exported", default=None)


@contextlib.contextmanager
def given_as(made: ConvertedFile) -> Iterator[None]:
    """Has verbs know, while the block runs, that the file of a conversion comes from a framework."""
    token = _exported.set(made)
    try:
        yield
    finally:
        _exported.reset(token)


def open_source(
    model: AnyModel,
    *,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
    samples: AnySamples | None = None,
) -> Source:
    """Loads a model from any of its forms; a proto or an onnx_ir.Model of the caller's is not changed.

    Args:
        model: The model. What is no ONNX file but a framework's is converted (`onnxslim.api.convert.frameworks`).
        trust_data_dir: Where external data may lie besides the model's folder.
        freeze_initializers: Whether initializers that are inputs too are constants.
        samples: What a conversion is checked on.

    Raises:
        InputError: As ``onnxslim.load`` does, and ``onnxslim.convert``.
        CheckFailed: A conversion computes something else than the framework.
    """
    exported = _exported.get()
    if isinstance(model, str | os.PathLike) and ((exported and model == exported.path) or is_foreign(model)):
        made = exported if exported and model == exported.path else converted_source(model, samples)
        loaded = made.load()
        claims = refuse_broken(loaded, os.fspath(model))
        given: AnyModel = made.data or made.path
        return Source(loaded, None, made.report.size, given, claims, made.report)
    loaded = load(model, trust_data_dir=trust_data_dir)
    if isinstance(model, ir.Model):
        loaded = _copied(model)
    frozen = freeze_initializers and bool(defaults(loaded))
    if freeze_initializers or loaded.ir_version < DEFAULTS_IR:
        make_constants(loaded)
    claims = refuse_broken(loaded, os.fspath(model) if isinstance(model, str | os.PathLike) else "")
    given = loaded if frozen else model  # the very bytes that came in still list them
    if isinstance(model, ir.Model):
        return Source(loaded, None, None, given, claims)
    if isinstance(model, bytes):
        return Source(loaded, None, len(model), given, claims)
    if isinstance(model, onnx.ModelProto):
        return Source(loaded, None, proto_bytes(model), given, claims)
    found = source_of(loaded)
    files = () if found is None else {os.path.realpath(model), *map(str, found.data_files)}
    return Source(loaded, os.fspath(model), sum(map(os.path.getsize, files)), given, claims)


def _copied(model: ir.Model) -> ir.Model:
    """A copy of a caller's model. A clone names nodes that have no name, and may give one that another node has."""
    made = model.clone()
    every = (ir.traversal.RecursiveGraphIterator(each.graph) for each in (model, made))
    for node, twin in zip(*every, strict=True):
        twin.name = node.name
    return made


def refuse_broken(model: ir.Model, path: str = "") -> tuple[Contradiction, ...]:
    """Refuses a model that no runtime could run, whatever it knows; returns the shapes that it declares falsely.

    Args:
        model: The model.
        path: Its file, for the message.

    Raises:
        InputError: The model uses a standard operator in a way that onnx does not define.
    """
    fault, claims = examine(model)
    if fault is not None:
        place = f"{path}: {fault.where}" if path else fault.where
        raise InputError(f"the model is broken: {fault.what}", where=place, why=fault.why, mend=fault.mend)
    return claims


def open_samples(
    samples: AnySamples | None, model: ir.Model, labels: str | os.PathLike[str] | None = None
) -> Samples | None:
    """Samples from any source, checked against the model's inputs when they are read.

    Raises:
        InputError: The source is unusable, or does not fit the model.
    """
    if samples is None:
        return None
    return load_samples(samples, inputs=inputs_of(model), labels=labels)


def inputs_of(model: ir.Model) -> tuple[Port, ...]:
    """The inputs as onnxruntime sees them, or as the model declares them where onnxruntime cannot open it."""
    try:
        return execution.open_session(model, optimize=False).inputs
    except CannotRun:
        return tuple(_declared(v) for v in model.graph.inputs if v.name not in model.graph.initializers)


def _declared(value: ir.Value) -> Port:
    dtype = value.dtype if isinstance(value.type, ir.TensorType) else None
    shape = tuple(size if isinstance(size, int) else size.value for size in value.shape or ())
    if dtype is None:
        return Port(value.name or "", None, shape, str(value.type))
    kind = {ir.DataType.STRING: np.dtype(object)}.get(dtype) or dtype.numpy()
    word = {ir.DataType.FLOAT: "float", ir.DataType.DOUBLE: "double"}.get(dtype, dtype.name.lower())
    return Port(value.name or "", kind, shape, f"tensor({word})")


def open_statistics(given: Sequence[str | os.PathLike[str] | Statistics], parts: Sequence[Samples]) -> list[Statistics]:
    """Reads statistics, and refuses those of the very samples that shall judge the result.

    Args:
        given: Statistics or their files.
        parts: Samples that must not have been calibrated on, as a whole.

    Raises:
        InputError: A file holds no statistics, or nothing would be left to judge by.
    """
    found = [each if isinstance(each, Statistics) else Statistics.load(each) for each in given]
    marks = {sample_set_hash(part) for part in parts} if found else set()
    if any(each.samples in marks for each in found):
        raise InputError(
            "the statistics were made on the samples that shall judge the result",
            where="--stats",
            mend="calibrate without --all-samples, or give other samples",
        )
    return found


def check_output(
    source: Source,
    output: str | os.PathLike[str] | None,
    *,
    in_place: bool,
    others: Mapping[str, object] | None = None,
) -> None:
    """Refuses to overwrite what was given: the input unasked, anything else always.

    Args:
        source: The model.
        output: Where it shall go.
        in_place: Whether the model's own file may be replaced.
        others: What else was given, by what it is called; paths among them are protected.

    Raises:
        InputError: The output is one of them, or no file can be there.
    """
    if output is None:
        return
    where = os.fspath(output)
    if where == "":
        raise InputError("the output's path is empty", mend="name a file")
    check_writable(output)
    if source.converted is not None and same_file(source.converted.source, output):
        raise InputError("the output is the input", where=where, mend="name another output")
    loaded = source_of(source.model)
    for data in loaded.data_files if loaded is not None else ():
        if same_file(data, output):
            raise InputError("the output is the input's data file", where=where, mend="name another output")
    for kind, path in (others or {}).items():
        if isinstance(path, str | os.PathLike) and path and (os.path.exists(path) or same_file(path, output)):
            inside = os.path.isdir(path) and Path(os.path.realpath(output)).is_relative_to(os.path.realpath(path))
            if same_file(path, output) or (inside and os.path.exists(output)):
                raise InputError(f"the output would overwrite the {kind}", where=where, mend="name another output")
    if source.path is not None and not in_place and same_file(source.path, output):
        raise InputError(
            "the output is the input", where=where, mend="give --in-place to replace it, or another output"
        )
