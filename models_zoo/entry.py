"""What the zoo knows of a model: where its file comes from, and the task it is scored on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models_zoo.package import Package
from models_zoo.tally import Tally, ratio
from onnxslim.errors import InputError, did_you_mean
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

SPLITS = ("calibration", "selection", "report")
"""Disjoint in every task: statistics are taken from the first, choices made on the second, scores told of the third."""

Measure = Callable[[Run, Iterable[Sample]], dict[str, Tally]]
"""Runs a model over samples once and tallies each metric."""
Agreement = Callable[[Run, Run, Iterable[Sample]], dict[str, Tally]]
"""``agreement(run, reference, samples)``: how far two models say the same, without labels."""


@dataclass(frozen=True)
class LazySamples:
    """Samples that are made when they are read, the same ones each time.

    Args:
        ids: One id a sample, in order; the order mixes the kinds, so that the first n are like all of them.
        make: Makes the sample of an id; deterministic.
    """

    ids: Sequence[str]
    make: Callable[[str], Sample] = field(repr=False)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.make, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, count: int) -> LazySamples:
        """The first ``count`` of them."""
        return LazySamples(self.ids[:count], self.make)


@dataclass(frozen=True)
class Task:
    """What a model is asked to do, with data disjoint between the splits.

    Args:
        title: One line that says what is scored.
        metric: The name of the tally that is the score; higher is better.
        samples: Split -> samples. Imports and fetches what it needs when called, not before.
        measure: All metrics of a run over samples; holds ``metric``.
        usual: How many samples a score takes where nothing else is asked for.
        sizes: Number of samples of each split.
        band: The fp32 score of the report split lies in it, at the usual number of samples.
        agreement: Label-free agreement with a reference, where there is a natural one.
    """

    title: str
    metric: str
    samples: Callable[[str], LazySamples]
    measure: Measure
    usual: int
    sizes: Mapping[str, int]
    band: tuple[float, float]
    agreement: Agreement | None = None


@dataclass(frozen=True)
class PackageFile:
    """A model inside a published package."""

    package: Package
    file: str

    def __str__(self) -> str:
        return f"{self.package} {self.file}"

    def path(self) -> Path:
        """Its path in the cache, fetched where needed."""
        return self.package.file(self.file)


@dataclass(frozen=True)
class OwnFile:
    """A model that is kept in this repository."""

    name: str

    def __str__(self) -> str:
        return f"models_zoo/data/{self.name}"

    def path(self) -> Path:
        """Its path in the repository."""
        return Path(__file__).parent / "data" / self.name


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Args:
        name: Short name, as facts and benchmarks call it.
        source: Where its file comes from.
        license: As the package states it.
        opset: Of the default domain.
        notes: What is particular about the graph.
        task: How it is scored; None where the model can only be fetched.
    """

    name: str
    source: PackageFile | OwnFile
    license: str
    opset: int
    notes: str
    task: Task | None = None

    def path(self) -> Path:
        """The model's file, fetched and checked where needed.

        Raises:
            SetupError: It cannot be fetched, or is not the known file.
        """
        return self.source.path()

    def samples(self, split: str) -> LazySamples:
        """The samples of a split, labelled; re-iterable, made lazily.

        Raises:
            InputError: The model has no task, or there is no such split.
        """
        task = self.scored()
        if split not in SPLITS:
            raise InputError("no such split", where=split, mend=did_you_mean(split, SPLITS))
        return task.samples(split)

    def measure(self, run: Run, split: str = "report", limit: int | None = None) -> dict[str, Tally]:
        """All metrics of the task, item by item: see `models_zoo.tally`.

        Args:
            run: Runs the model once: feed -> outputs by name.
            split: Which samples.
            limit: How many of them, from the first; None for the task's usual number.

        Raises:
            InputError: The model has no task, or there is no such split.
        """
        task = self.scored()
        return task.measure(run, self.samples(split).first(task.usual if limit is None else limit))

    def score(self, run: Run, split: str = "report", limit: int | None = None) -> float:
        """The task's score of a model, higher is better. Arguments as in `measure`."""
        return ratio(self.measure(run, split, limit)[self.scored().metric])

    def scored(self) -> Task:
        """The task.

        Raises:
            InputError: There is none yet.
        """
        if self.task is None:
            raise InputError("this model has no scored task yet", where=self.name, mend="fetch it only")
        return self.task
