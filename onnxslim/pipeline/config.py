"""How a run is configured: one value for the job, its pipelines and every pass, shared by reference.

Long because each field carries the help text of its option.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from onnxslim.errors import InputError, did_you_mean
from onnxslim.execution import target as machines
from onnxslim.execution.target import TARGETS, Target

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Statistics
    from onnxslim.execution.ort import Libraries
    from onnxslim.pipeline.reached import Reached
    from onnxslim.samples import Metric
    from onnxslim.samples.sources import SampleSource

MIN_SQNR = 5.0
"""dB on held-out samples below which a lossy result is no longer the same function (magika in plain int8: 1 dB, 30 %
accuracy of 94 %; results that keep their task's score were measured at 9 dB and more)."""
MAX_DROP = 0.01
"""Loss of the metric that candidates are chosen by, where the user names none."""
MEMORY = 1 << 30
"""Bytes that a run may hold in statistics and values."""

Ops = Literal["standard", "onnxruntime"]
OPS: tuple[Ops, ...] = get_args(Ops)

Progress = Callable[[str], None]
Watch = Callable[["Reached"], None]


def unheard(_: object) -> None:
    """Takes what is said of a run that nobody watches; it can be sent to other processes."""


def _option(text: str, **shown: Any) -> dict[str, Any]:
    """Metadata of a field that is an option of the command line.

    Args:
        text: The help text.
        shown: How the command line shows it: ``kind`` (see `onnxslim.commands.options`), ``metavar``, ``many``.
    """
    return {"help": text, **shown}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a verb runs. The fields are the keyword arguments that all verbs share in Python.

    Those with a help text are options of the command line. A string as ``metric`` is a name, which the job looks up.
    """

    samples: SampleSource | None = None
    labels: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_option(
            "Labels for the metric: a .csv with NAME,LABEL in each line or with one label in each, or a .npy  "
            "[default: those of the samples]",
            kind="path",
            metavar="FILE",
        ),
    )
    stats: Sequence[str | os.PathLike[str] | Statistics] = field(
        default=(),
        metadata=_option(
            "Statistics of `onnxslim calibrate`: what they hold is not measured again; several are merged",
            kind="path",
            metavar="STATS",
            many=True,
        ),
    )
    plan: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_option(
            "File of what the passes decide: what it holds is applied, what it lacks is planned and added to it",
            kind="path",
            metavar="FILE",
        ),
    )
    verify: bool = field(
        default=True,
        metadata=_option(
            "Compare outputs with the original's, or only check the graph  [default: --verify]", kind="switch"
        ),
    )
    must_verify: bool = field(
        default=False,
        metadata=_option(
            "Fail with exit code 1 where onnxruntime cannot run the model, so that outputs cannot be compared",
            kind="flag",
        ),
    )
    bench: bool = field(
        default=True,
        metadata=_option("Measure latency and refuse a slower result, or do not  [default: --bench]", kind="switch"),
    )
    metric: Metric | str | None = field(
        default=None,
        metadata=_option(
            "Score before and after: top1, sqnr, cosine, agreement or module:function, which takes (run, samples) and "
            "returns a float, higher is better",
            kind="text",
            metavar="NAME",
        ),
    )
    min_sqnr: float = field(
        default=MIN_SQNR,
        metadata=_option(
            "SQNR on samples under which a lossy result does not pass; random inputs are not held to it; for "
            "compress without a metric 20  [default: 5]",
            kind="number",
            metavar="DB",
        ),
    )
    max_drop: float | None = field(
        default=None,
        metadata=_option(
            "How much of the metric may be lost on held-out samples; the original must score better than chance  "
            "[default: 0.01 guides the choice, and nothing is refused; compress keeps it]",
            kind="number",
            metavar="D",
        ),
    )
    in_place: bool = False
    external_data: bool | None = None
    strip: bool = False
    trust_data_dir: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_option(
            "Also read external data that lies in this folder  [default: only beside the model]", kind="path"
        ),
    )
    freeze_initializers: bool = field(
        default=False,
        metadata=_option(
            "Initializers that are inputs too are constants, which no caller replaces  [always so up to IR version 3]",
            kind="flag",
        ),
    )
    memory: int = field(
        default=MEMORY,
        metadata=_option(
            "Memory that statistics, and constants while they are folded, may take  [default: 1GiB]",
            kind="size",
            metavar="SIZE",
        ),
    )
    threads: int = field(default=1, metadata=_option("Threads of onnxruntime", kind="count"))
    target: str | None = field(
        default=None,
        metadata=_option(
            "Machine that int8 is for; on another one the speed is not measured  [default: this one]",
            kind=tuple(TARGETS),
        ),
    )
    ops: Ops = field(
        default="standard",
        metadata=_option(
            "Operators of the result: standard runs everywhere, onnxruntime also uses those that it alone has  "
            "[default: standard]",
            kind=OPS,
        ),
    )
    record: bool = field(default=False, metadata=_option("Store the recipe in the model's metadata", kind="flag"))
    report: str | os.PathLike[str] | None = field(
        default=None,
        metadata=_option(
            "Write the report: .html is a page with charts; .json, .md, .txt", kind="path", metavar="FILE"
        ),
    )
    recipe_path: str | os.PathLike[str] | None = None
    prepare: Callable[[ir.Model], Any] | None = None
    """Edits that the caller asked for, such as other input shapes: the result is compared with the edited model, and
    with the one before a conversion to another float type (the `Conversion` that it returns) that is to be checked."""
    custom_op_library: Libraries = ()
    """Path of a library of custom operators, or several, which every session loads."""
    time_sessions: bool = False
    """Whether to measure how long onnxruntime takes to open the model before and after."""
    progress: Progress = unheard
    watch: Watch = unheard
    """Sees how far a search is, whenever that changes."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The configuration that a caller names.

        Raises:
            InputError: A name is no field; the message offers the nearest.
        """
        for name in given:
            if name not in RUN_OPTIONS:
                raise InputError(f"there is no option {name!r}", mend=did_you_mean(name, RUN_OPTIONS))
        return cls(**given)

    def __post_init__(self) -> None:
        """Refuses a value that is out of its range.

        Raises:
            InputError: Which, and what to give instead.
        """
        from onnxslim.execution.ort import check_threads

        if math.isnan(self.min_sqnr):
            raise InputError("min_sqnr is not a number", mend=f"give dB, {MIN_SQNR:g} by default")
        if self.max_drop is not None and not self.max_drop >= 0:
            raise InputError(f"max_drop is {self.max_drop}", mend="give 0 or more, in units of the metric")
        if not isinstance(self.threads, int):
            raise InputError(f"threads is {self.threads!r}, no whole number", mend="give 1 or more")
        check_threads(self.threads)
        if not self.memory > 0:
            raise InputError(f"memory is {self.memory}", mend="give a number of bytes, 1 << 30 by default")
        if self.target is not None and self.target not in TARGETS:
            raise InputError(
                f"there is no target {self.target!r}", where="target", mend=did_you_mean(self.target, TARGETS)
            )
        if self.ops not in OPS:
            raise InputError(f"ops is {self.ops!r}", where="ops", mend=did_you_mean(str(self.ops), OPS))

    def checked(self) -> Self:
        """Itself, if its fields go together: what a verb refuses before it starts.

        Raises:
            InputError: Two fields contradict each other, or one needs another.
        """
        from onnxslim.evaluation.metrics import check_name

        if isinstance(self.metric, str):
            check_name(self.metric)
        elif self.metric is not None and not callable(self.metric):
            raise InputError(
                f"the metric is a {type(self.metric).__name__}, no function",
                mend="give metric(run, samples) -> float, or a name such as 'top1'",
            )
        if self.max_drop is not None and self.metric is None:
            raise InputError("max_drop needs a metric", mend="give metric too, or min_sqnr instead")
        if self.must_verify and not self.verify:
            raise InputError("must_verify and verify=False contradict each other", mend="leave one of the two out")
        if self.plan is not None and not isinstance(self.plan, str | os.PathLike):
            raise InputError(f"plan is a {type(self.plan).__name__}, no path", mend="name a file")
        if isinstance(self.stats, str | os.PathLike):
            raise InputError("stats is one path", mend="give a list of them")
        if self.labels is not None and self.samples is None:
            raise InputError("labels need samples", mend="give samples too, or leave them out")
        return self

    @property
    def score(self) -> Metric | None:
        """The metric as a function, once its name has been looked up."""
        assert not isinstance(self.metric, str)
        return self.metric

    @property
    def allowed_drop(self) -> float:
        """How much of the metric a choice may lose."""
        return MAX_DROP if self.max_drop is None else self.max_drop

    @property
    def machine(self) -> Target:
        """The machine that the result is for."""
        return machines.host_target() if self.target is None else TARGETS[self.target]

    @property
    def elsewhere(self) -> str:
        """The name of the target where it is another machine than this one; else empty."""
        return self.target if self.target is not None and self.target != machines.host_target().name else ""

    @property
    def timed(self) -> bool:
        """Whether candidates may be chosen by the time that they take on this machine."""
        return self.bench and not self.elsewhere

    @property
    def conditions(self) -> tuple[Any, ...]:
        """The fields that a pass may decide by: half the key of whatever is kept of a decision."""
        return (
            self.metric,
            self.allowed_drop,
            self.min_sqnr,
            self.timed,
            self.target,
            self.ops,
            self.memory,
            self.threads,
        )

    @property
    def planned_under(self) -> tuple[Any, ...]:
        """The same as values that are the same in every process: a metric counts by its name."""
        return (_named(self.metric), *self.conditions[1:])


def _named(metric: Metric | str | None) -> str:
    """What a metric is called in every process."""
    if metric is None or isinstance(metric, str):
        return metric or ""
    kind = metric if hasattr(metric, "__qualname__") else type(metric)
    return f"{kind.__module__}:{kind.__qualname__}"


RUN_OPTIONS = frozenset(each.name for each in fields(RunConfig))
"""Names of the fields."""
