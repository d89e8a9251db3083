"""One split for all: what calibrates, what selects, what is reported never share data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from onnxslim.errors import InputError
from onnxslim.samples.identity import Digest, content_hash
from onnxslim.samples.sample import Indexed, Sample, Samples

ENOUGH = 8
"""Distinct samples below which no change of a score can be claimed."""

_ORDER = ("calibration", "report", "selection", "calibration")
"""Part of the first, second, third, fourth group in the order of their hashes, and so on: 50, 25 and 25 in 100, and one
each where there are three."""


class Subset:
    """Some samples of a source, in its order. Re-iterable; a source with indices is read only where it must be."""

    def __init__(self, samples: Samples, ids: dict[str, int]) -> None:
        self._samples, self._ids = samples, ids

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids in order."""
        return tuple(self._ids)

    def __iter__(self) -> Iterator[Sample]:
        if isinstance(self._samples, Indexed):
            for name, index in self._ids.items():
                sample = self._samples[index]
                if sample.id != name:
                    raise _changed(name)
                yield sample
            return
        left = set(self._ids)
        for sample in self._samples:
            if sample.id in left:
                left.remove(sample.id)
                yield sample
            if not left:
                return
        if left:
            raise _changed(min(left))


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint parts of one source."""

    calibration: Subset
    """About half: ranges, means, Gram matrices are taken from it."""
    selection: Subset
    """About a quarter: choices are made by it."""
    report: Subset
    """About a quarter: seen by nothing but the final score."""
    can_claim: bool
    """Whether a change of a score on these samples means anything."""
    notes: tuple[str, ...] = ()
    """What the reader of a report must know: why nothing can be claimed, data that repeats or never varies."""


def split(samples: Samples) -> Split:
    """Splits by the hash of the ids: the same on every machine, whatever the order of the source.

    Samples of equal content form one group and go to the same part, whatever their ids; groups are dealt out in the
    order of the SHA-256 of their least id, so that even three samples give three parts.

    Raises:
        InputError: There are no samples, or two have the same id.
    """
    places: dict[str, int] = {}
    groups: dict[Digest, list[str]] = {}
    for sample in samples:
        _place(sample, places)
        groups.setdefault(content_hash(sample), []).append(sample.id)
    if not places:
        raise InputError("there are no samples to split", mend="give at least 8: half are calibrated on")
    dealt = sorted(groups.values(), key=lambda ids: hashlib.sha256(min(ids).encode()).digest())
    part_of = {name: _ORDER[rank % 4] for rank, ids in enumerate(dealt) for name in ids}
    parts = {
        part: Subset(samples, {name: index for name, index in places.items() if part_of[name] == part})
        for part in ("calibration", "selection", "report")
    }
    notes = _notes(len(places), len(groups))
    return Split(parts["calibration"], parts["selection"], parts["report"], len(groups) >= ENOUGH, notes)


def undivided(samples: Samples) -> Split:
    """All samples in the report part, for what only looks at finished models and chooses nothing.

    Raises:
        InputError: There are no samples, or two have the same id.
    """
    places: dict[str, int] = {}
    for sample in samples:
        _place(sample, places)
    if not places:
        raise InputError("there are no samples")
    none = Subset(samples, {})
    return Split(none, none, Subset(samples, places), len(places) >= ENOUGH)


def _place(sample: Sample, places: dict[str, int]) -> None:
    """Notes where a sample stands."""
    if sample.id in places:
        raise InputError(
            f"two samples have the id {sample.id!r}",
            why="samples are distinguished and split by their ids",
            mend="give each its own",
        )
    places[sample.id] = len(places)


def _notes(samples: int, distinct: int) -> tuple[str, ...]:
    notes = []
    if distinct < ENOUGH:
        notes.append(f"no change of a score can be claimed: {distinct} distinct samples, at least {ENOUGH} are needed")
    if distinct == 1 and samples > 1:
        notes.append(f"all {samples} samples hold the same data: calibration sees one point only")
    elif distinct < samples:
        notes.append(f"{samples - distinct} of {samples} samples repeat the data of others and share their part")
    return tuple(notes)


def _changed(name: str) -> InputError:
    return InputError(
        f"sample {name!r} is gone since the samples were split",
        why="the source does not give the same samples each time it is read",
        mend="make the source deterministic: fix its seed and its order",
    )
