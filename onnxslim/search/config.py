"""How a search is configured: what it is for, what its result must keep, and how long and where it may run."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from onnxslim.errors import InputError, did_you_mean
from onnxslim.search.goal import GOALS, GoalName

SECONDS = 600.0
"""That a search may take where nobody says."""
UNITS = {"max_size": "bytes", "min_speedup": "a ratio, such as 1.5", "time": "seconds", "workers": "a whole number"}
MIN_SQNR = 20.0
"""dB of the worst part that a result keeps where neither a metric nor another bound is given: labels of classifiers and
boxes of detectors were measured to agree with float for 9 of 10 and more from there on."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Options of a search across passes.

    Attributes:
        goal: What is to be best: ``balanced`` (size times speed), ``smallest`` or ``fastest``.
        max_size: Bytes of the file, at most.
        min_speedup: Against the model that comes in, at least.
        time: Seconds that it may take.
        work: Folder of the journal; the same command with the same folder goes on where it was ended.
        front: Folder for the models of which none is both smaller and faster.
        engine: Where trials run: ``dask://HOST:PORT``, ``in-process``, or None for processes of this machine.
        workers: Processes; None means one for each CPU.
        keep_nearest: Whether to write the nearest result where none keeps ``max_size`` and ``min_speedup``.

    Raises:
        InputError: A value is out of its range.
    """

    goal: GoalName = "balanced"
    max_size: int | None = None
    min_speedup: float | None = None
    time: float = SECONDS
    work: str | os.PathLike[str] | None = None
    front: str | os.PathLike[str] | None = None
    engine: str | None = None
    workers: int | None = None
    keep_nearest: bool = False

    def __post_init__(self) -> None:
        """Refuses a value that is out of its range."""
        for name, kinds in (("max_size", int), ("min_speedup", int | float), ("time", int | float), ("workers", int)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise InputError(f"{name} is {value!r}, no number", mend=f"give {UNITS[name]}")
        if self.goal not in GOALS:
            raise InputError(f"goal is {self.goal!r}", where="goal", mend=did_you_mean(str(self.goal), GOALS))
        if self.max_size is not None and not self.max_size > 0:
            raise InputError(f"max_size is {self.max_size}", mend="give bytes, more than 0")
        if self.min_speedup is not None and not 0 < self.min_speedup < float("inf"):
            raise InputError(f"min_speedup is {self.min_speedup}", mend="give a ratio, such as 1.5")
        if self.front is not None:
            where = self.front if isinstance(self.front, str | os.PathLike) else None
            if where is None or not os.fspath(where) or (os.path.exists(where) and not os.path.isdir(where)):
                raise InputError(f"front is {self.front!r}, no folder", mend="name a folder, which may be new")
        if not self.time > 0:
            raise InputError(f"time is {self.time}", mend="give seconds, more than 0")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers is {self.workers}", mend="give 1 or more")


SEARCH_OPTIONS = frozenset(each.name for each in fields(SearchConfig))
"""Names of the fields."""
