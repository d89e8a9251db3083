"""The one shape that calibration, selection and scoring data have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from onnxslim.execution.feeds import Feed, Run


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One input of the model.

    ``id`` is stable over runs and machines (a file name, an index): splits are made by its hash.
    ``feed`` maps input names to arrays; the batch axis is kept.
    ``label`` is whatever a metric compares with; None where there is none.
    """

    id: str
    feed: Feed
    label: Any = None


class Samples(Protocol):
    """A source of samples that can be read more than once, each time in the same order."""

    def __iter__(self) -> Iterator[Sample]: ...


@runtime_checkable
class Indexed(Protocol):
    """Samples of which any one can be read without the others. A list of samples is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


Metric = Callable[[Run, Iterable[Sample]], float]
"""``metric(run, samples) -> score``; higher is better."""
