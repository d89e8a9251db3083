"""What a report says of a run, as plain data: whatever renders it stands on this alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxslim.converters.converted import Converted
    from onnxslim.evaluation import Parity
    from onnxslim.execution import Latency
    from onnxslim.pipeline import Guilty, Step
    from onnxslim.report.facts import ModelFacts
    from onnxslim.report.layers import Layers
    from onnxslim.search import Front


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that a command wrote."""

    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a verb was to do with a model, and what came of it.

    ``command`` is the verb. ``decision`` says in a word or two what came of it (``compressed``, ``kept float``,
    ``unchanged``) and ``reason`` why. ``output`` is None where no model came of it.
    ``warnings`` is what makes the samples, the labels or the original itself doubtful.
    """

    command: str
    decision: str
    input: ModelFacts
    output: ModelFacts | None = None
    reason: str = ""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was done to a model, and what was measured of the result.

    ``steps`` are the passes, and ``guilty`` the rewrites that were reverted because a check failed with them.
    ``parallel`` is the latency on all CPUs, where ``latency`` is that on fewer threads.
    ``scores`` holds the user's metric by model (``input``, ``output``).
    """

    steps: Sequence[Step] = ()
    guilty: Sequence[Guilty] = ()
    parity: Parity | None = None
    latency: Latency | None = None
    parallel: Latency | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


class Attempt(Record):
    """A lossy result that was dropped: what was done and measured before the reason was found."""


@dataclass(frozen=True, kw_only=True)
class Account(Record, Decision):  # the fields of the last base come first, in JSON too
    """What a command did to a model, and the evidence.

    ``evidence`` is ``samples``, ``random inputs`` or ``none``: what parity stands on.
    ``verified`` is False where the outputs were not compared, because nobody asked for it or because onnxruntime cannot
    run the model; a note says why. A model that nothing was done to needs no comparison.
    ``size_ratio`` is how many times smaller the file became: bytes before / bytes after; None where one is unknown.
    What a `Record` holds is of the model that came out; ``attempt`` was dropped for it.
    ``calibrated`` counts the samples that the lossy passes saw, ``held_out`` those that only judge the result and that
    the metric is taken on, ``held_back`` the first of these, which parity is measured on.
    ``metric`` is the name of the user's metric where it was given by one; ``notes`` is what a reader should know
    besides.
    ``macs`` is the multiply-accumulates of a run on the first sample that is not empty, by model (``input``,
    ``output``), where channels were to be removed; None where they are unknown.
    ``session_seconds`` is the time to open the model in onnxruntime, by model (``input``, ``output``), where measured.
    ``target`` is the machine that the result is for, where that is not this one; the speed is not measured then.
    ``recipe`` is the pipeline as TOML, every option resolved.
    ``machine`` is what measured: processor, CPUs and system.
    ``converted`` says how a framework's model became the input; None for an ONNX file.
    ``front`` is what a search across passes has tried; None where there was none.
    ``layers`` is both models layer by layer; None unless a report was to be written.
    ``files`` are those that were written. Where a model was replaced, its old data files are in ``removed_files``, or
    in ``unused_files`` where their names are not ours; no model in the folder refers to these any more.
    """

    size_ratio: float | None = field(init=False, default=None)
    evidence: str = "none"
    verified: bool = True
    attempt: Attempt | None = None
    calibrated: int = 0
    held_back: int = 0
    held_out: int = 0
    notes: Sequence[str] = ()
    metric: str = ""
    macs: Mapping[str, int | None] = field(default_factory=dict)
    session_seconds: Mapping[str, float] = field(default_factory=dict)
    target: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    converted: Converted | None = None
    front: Front | None = None
    layers: Layers | None = None
    files: Sequence[WrittenFile] = ()
    removed_files: Sequence[str] = ()
    unused_files: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Sets the ratio of the sizes."""
        after = None if self.output is None else self.output.bytes
        object.__setattr__(self, "size_ratio", size_ratio(self.input.bytes, after))


def size_ratio(before: int | None, after: int | None) -> float | None:
    """How many times smaller a file is than another; None where one of the two is in no file.

    >>> size_ratio(300, 100), size_ratio(None, 100)
    (3.0, None)
    """
    return before / after if before is not None and after else None
