"""How slim, quantize and compress run: the keyword arguments that the verbs share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import onnx_ir as ir

from onnxslim import execution
from onnxslim.api.quality import MIN_SQNR
from onnxslim.api.source import AnySamples
from onnxslim.errors import InputError, did_you_mean
from onnxslim.evaluation.metrics import check_name
from onnxslim.execution.ort import Libraries, check_threads
from onnxslim.pipeline import Pass, get_pass

if TYPE_CHECKING:
    from onnxslim.api.converting import Conversion
    from onnxslim.calibration import Statistics
    from onnxslim.samples import Metric

MAX_DROP = 0.01
"""Loss of the metric that candidates are chosen by, where the user names none."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a verb runs; the fields are the keyword arguments that the verbs share."""

    samples: AnySamples | None = None
    labels: str | os.PathLike[str] | None = None
    """A file of the samples' labels (`onnxslim.samples.labels.read_labels`); they replace what samples bring."""
    stats: Sequence[str | os.PathLike[str] | Statistics] = ()
    """Statistics that `onnxslim.calibrate` made, or their files: what they hold is not measured again."""
    verify: bool = True
    bench: bool = True
    metric: Metric | str | None = None
    """A function, or a name: ``top1``, ``sqnr``, ``cosine``, ``agreement`` or ``module:function``."""
    min_sqnr: float = MIN_SQNR
    max_drop: float | None = None
    """How much of the metric a lossy result may lose on samples that nothing was chosen by; None only reports it, and
    chooses by `MAX_DROP`."""
    in_place: bool = False
    external_data: bool | None = None
    strip: bool = False
    """Whether the pass ``strip`` runs at the end: no doc strings, metadata and inner types, and short names inside."""
    trust_data_dir: str | os.PathLike[str] | None = None
    freeze_initializers: bool = False
    """Whether initializers that are inputs too are constants, which no caller replaces."""
    memory: int = 1 << 30
    """Bytes that statistics may take, and half of which constants may while they are folded."""
    threads: int = 1
    target: str | None = None
    """Name of the machine that int8 is for (`onnxslim.execution.TARGETS`); None means this one."""
    record: bool = False
    recipe_path: str | os.PathLike[str] | None = None
    prepare: Callable[[ir.Model], Conversion | None] | None = None
    """Edits that the caller asked for, such as other input shapes: the result is compared with the edited model, and
    with the one before a conversion to another float type that is to be checked."""
    must_verify: bool = False
    """Whether outputs that cannot be compared are a failed check."""
    custom_op_library: Libraries = ()
    """Path of a library of custom operators, or several, which every session loads."""
    time_sessions: bool = False
    """Whether to measure how long onnxruntime takes to open the model before and after."""
    progress: Progress = lambda _: None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The settings that a caller names.

        Raises:
            InputError: A name is none of a setting; the message offers the nearest.
        """
        for name in given:
            if name not in SETTINGS:
                raise InputError(f"there is no option {name!r}", mend=did_you_mean(name, SETTINGS))
        return cls(**given)

    def __post_init__(self) -> None:
        """Refuses what the command line would refuse.

        Raises:
            InputError: A number is none, or out of its range.
        """
        if isinstance(self.metric, str):
            check_name(self.metric)
        elif self.metric is not None and not callable(self.metric):
            raise InputError(
                f"the metric is a {type(self.metric).__name__}, no function",
                mend="give metric(run, samples) -> float, or a name such as 'top1'",
            )
        if math.isnan(self.min_sqnr):
            raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
        if self.max_drop is not None and not self.max_drop >= 0:
            raise InputError(f"max_drop is {self.max_drop}", mend="give 0 or more, in units of the metric")
        if self.max_drop is not None and self.metric is None:
            raise InputError("max_drop needs a metric", mend="give metric too, or min_sqnr instead")
        if self.must_verify and not self.verify:
            raise InputError("must_verify and verify=False contradict each other", mend="leave one of the two out")
        if self.labels is not None and self.samples is None:
            raise InputError("labels need samples", mend="give samples too, or leave them out")
        check_threads(self.threads)
        if not self.memory > 0:
            raise InputError(f"memory is {self.memory}", mend="give a number of bytes, 1 << 30 by default")
        if self.target is not None and self.target not in execution.TARGETS:
            mend = did_you_mean(self.target, execution.TARGETS)
            raise InputError(f"there is no target {self.target!r}", where="target", mend=mend)

    @property
    def score(self) -> Metric | None:
        """The metric as a function, once its name has been looked up."""
        assert not isinstance(self.metric, str)
        return self.metric

    @property
    def elsewhere(self) -> str:
        """The name of the target where it is another machine than this one; else empty."""
        return self.target if self.target is not None and self.target != execution.host_target().name else ""

    def complete(self, passes: Sequence[Pass]) -> list[Pass]:
        """The passes with what the settings add; encodings stay the last ones, for they name what they pack."""
        found = list(passes)
        if self.strip and all(each.name != "strip" for each in found):
            at = next((i for i, each in enumerate(found) if each.name == "encode"), len(found))
            found.insert(at, get_pass("strip")())
        return found


SETTINGS = frozenset(field.name for field in fields(Settings))
"""Their names."""


def divide(verb: str, given: Mapping[str, Any], *passes: str) -> tuple[Settings, list[dict[str, Any]]]:
    """The keyword arguments of a verb, by what they are of: the settings, then each pass.

    Args:
        verb: Its name, for messages.
        given: The arguments.
        passes: Names of the passes whose fields are the verb's options too.

    Raises:
        InputError: A name is none of these; the message offers the nearest of all of them.
    """
    known = [{field.name for field in get_pass(name).options()} for name in passes]
    for name in given:
        if name not in SETTINGS.union(*known):
            raise InputError(f"{verb} has no option {name!r}", mend=did_you_mean(name, SETTINGS.union(*known)))
    settings = Settings(**{name: value for name, value in given.items() if name in SETTINGS})
    own = [{name: value for name, value in given.items() if name in each - SETTINGS} for each in known]
    return settings, own
