"""What was measured on the values of a model: asked for by `Request`, kept by fingerprint, merged, stored."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, cast

import numpy as np

from onnxslim.calibration.gram import Gram
from onnxslim.calibration.histogram import Histogram
from onnxslim.calibration.moments import Mean, Range
from onnxslim.errors import InputError
from onnxslim.graph import atomic_write
from onnxslim.graph.regular import open_regular
from onnxslim.ops.unfold import Unfold

Kind = Literal["range", "histogram", "mean", "gram"]
Statistic = Range | Histogram | Mean | Gram

VERSION = 1
"""Of the file format."""


@dataclass(frozen=True, slots=True)
class Request:
    """One statistic of one value of the main graph.

    Args:
        value: Name of the value; for ``gram`` the input of the contraction.
        kind: What is measured.
        axis: For ``range`` and ``mean``: one result for each index of this axis; None means one for all.
        unfold: For ``gram``: how the value becomes rows (see `onnxslim.ops.contraction`).
        others: For ``gram``: more values whose rows are added, where several nodes read one weight (see `pooled`).
    """

    value: str
    kind: Kind
    axis: int | None = None
    unfold: Unfold | None = None
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "gram") != (self.unfold is not None) or (
            self.kind in ("histogram", "gram") and self.axis is not None
        ):
            raise ValueError(f"a request for {self.kind} takes {'unfold only' if self.kind == 'gram' else 'no unfold'}")
        if self.others and self.kind != "gram":
            raise ValueError(f"a request for {self.kind} takes one value")

    @classmethod
    def pooled(cls, values: Iterable[str], unfold: Unfold) -> Self:
        """The Gram matrix of several values: one matrix, however many nodes read the weight.

        The order of ``values`` does not matter, so that weights that multiply the same values share it. Constants among
        them, such as the first state of a recurrence, are left out where there are others.
        """
        first, *others = sorted(set(values))
        return cls(first, "gram", unfold=unfold, others=tuple(others))

    @property
    def values(self) -> tuple[str, ...]:
        """All values that are measured."""
        return (self.value, *self.others)

    @property
    def name(self) -> str:
        """Under which `Statistics.names` holds the fingerprint: the value's own name where there is only one."""
        return "\0".join(self.values)

    @property
    def what(self) -> What:
        """The request without the name of the value."""
        return self.kind, self.axis, self.unfold

    def empty(self) -> Statistic:
        """The statistic before any sample."""
        return _make(self.what)


What = tuple[Kind, int | None, Unfold | None]
Key = tuple[str, What]
"""Fingerprint of the value, and what was measured. The hash of the sample set is the same for all of a `Statistics`."""


@dataclass
class Statistics:
    """Statistics of one sample set, or of some blocks of it."""

    samples: str
    """Hash of the sample set."""
    blocks: int
    """Blocks of the whole sample set."""
    covered: tuple[tuple[int, int], ...]
    """Half-open, disjoint, ascending ranges of blocks that were measured."""
    entries: dict[Key, Statistic] = field(default_factory=dict)
    declined: dict[Request, str] = field(default_factory=dict)
    """What could not be measured, and why."""
    names: dict[str, str] = field(default_factory=dict)
    """Fingerprints of the values that were asked for, by their names in the model that was run."""

    @property
    def complete(self) -> bool:
        """Whether every block was measured."""
        return self.covered == ((0, self.blocks),)

    def range(self, value: str, axis: int | None = None) -> Range | None:
        """The range of a value, if measured; ``value`` is a name in the model that was run, or a fingerprint."""
        return cast("Range | None", self._get(value, ("range", axis, None)))

    def histogram(self, value: str) -> Histogram | None:
        """The histogram of a value, if measured; ``value`` as for `range`."""
        return cast("Histogram | None", self._get(value, ("histogram", None, None)))

    def mean(self, value: str, axis: int | None = None) -> Mean | None:
        """The mean of a value, if measured; ``value`` as for `range`."""
        return cast("Mean | None", self._get(value, ("mean", axis, None)))

    def gram(self, value: str, unfold: Unfold) -> Gram | None:
        """The Gram matrix of a value, if measured; ``value`` as for `range`."""
        return cast("Gram | None", self._get(value, ("gram", None, unfold)))

    def get(self, request: Request) -> Statistic | None:
        """The statistic that a request asks for, if measured."""
        return self._get(request.name, request.what)

    def _get(self, value: str, what: What) -> Statistic | None:
        return self.entries.get((self.names.get(value, value), what))

    def merge(self, other: Statistics) -> Statistics:
        """Joins two shards of the same statistics, or two collections of different ones over the same blocks.

        Shards give, bit for bit, what one run over all samples gives, in whatever order they are merged.

        Raises:
            InputError: The sample sets differ, or the blocks overlap without being the same.
        """
        if (self.samples, self.blocks) != (other.samples, other.blocks):
            raise InputError("statistics of different sample sets cannot be merged")
        declined, names = self.declined | other.declined, other.names | self.names
        if self.covered == other.covered or not (self.covered and other.covered):
            entries = other.entries | self.entries
            return Statistics(self.samples, self.blocks, self.covered or other.covered, entries, declined, names)
        covered = _joined(self.covered, other.covered)
        # What one shard declined for its data (sizes that differ, NaN) is declined for all.
        both = self.entries.keys() & other.entries.keys()
        if self.entries.keys() != other.entries.keys() and self.declined == other.declined:
            raise InputError("the statistics cannot be merged", why="the shards answer different requests")
        entries = {key: _merge(self.entries[key], other.entries[key]) for key in self.entries if key in both}
        return Statistics(self.samples, self.blocks, covered, entries, declined, names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an ``.npz`` without pickle, atomically."""
        arrays: dict[str, np.ndarray] = {}
        keys = []
        for number, ((fingerprint, (kind, axis, unfold)), statistic) in enumerate(self.entries.items()):
            keys.append([fingerprint, kind, axis, asdict(unfold) if unfold else None])
            arrays |= {f"{number}.{name}": array for name, array in statistic.to_arrays().items()}
        declined = [
            [r.value, r.kind, r.axis, asdict(r.unfold) if r.unfold else None, why, *r.others]
            for r, why in self.declined.items()
        ]
        head = {"version": VERSION, "samples": self.samples, "blocks": self.blocks, "covered": self.covered}
        text = json.dumps({**head, "names": self.names, "keys": keys, "declined": declined})
        arrays["head"] = np.frombuffer(text.encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        atomic_write(path, _pieces(buffer))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Statistics:
        """Reads what `save` wrote.

        Raises:
            InputError: The file cannot be read, is of another version, or is damaged.
        """
        try:
            with open_regular(path, "the file of statistics") as file, np.load(file, allow_pickle=False) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.zip.infolist()):
                    raise ValueError("an array is compressed, which none of ours is")  # it may unpack to anything
                head = json.loads(archive["head"].tobytes())
                if head["version"] != VERSION:
                    raise InputError(
                        f"the statistics are of version {head['version']}", where=str(path), mend="collect them again"
                    )
                covered = tuple((int(start), int(end)) for start, end in head["covered"])
                result = cls(str(head["samples"]), int(head["blocks"]), covered)
                if covered != _joined(covered, ()) or any(
                    not 0 <= start < end <= result.blocks for start, end in covered
                ):
                    raise ValueError("malformed blocks")
                names: dict[str, dict[str, str]] = {}
                for name in archive.files:
                    number, _, part = name.partition(".")
                    names.setdefault(number, {})[part] = name
                for number, (fingerprint, *what) in enumerate(head["keys"]):
                    arrays = {part: archive[name] for part, name in names[str(number)].items()}
                    key = _what(*what)
                    result.entries[str(fingerprint), key] = _restore(key, arrays)
                for value, kind, axis, unfold, why, *others in head["declined"]:
                    request = Request(str(value), *_what(kind, axis, unfold), others=tuple(map(str, others)))
                    result.declined[request] = str(why)
                result.names = {str(name): str(fingerprint) for name, fingerprint in head["names"].items()}
        except InputError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
            raise InputError("the statistics cannot be read", where=str(path), why=why) from error
        except _DAMAGED as error:
            raise InputError(
                "the file holds no statistics, or is damaged",
                where=str(path),
                why=f"{type(error).__name__}: {error}",
                mend="collect them again",
            ) from error
        return result


_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error)


def _make(what: What) -> Statistic:
    kind, axis, unfold = what
    if kind == "histogram":
        return Histogram()
    if kind == "gram":
        assert unfold is not None
        return Gram(unfold)
    return Range(axis) if kind == "range" else Mean(axis)


def _restore(what: What, arrays: dict[str, np.ndarray]) -> Statistic:
    kind, axis, unfold = what
    if kind == "histogram":
        return Histogram.from_arrays(arrays)
    if kind == "gram":
        assert unfold is not None
        return Gram.from_arrays(arrays, unfold)
    return Range.from_arrays(arrays, axis) if kind == "range" else Mean.from_arrays(arrays, axis)


def _what(kind: Any, axis: Any, unfold: Any) -> What:
    if kind not in ("range", "histogram", "mean", "gram") or not isinstance(axis, int | None):
        raise ValueError("malformed key")
    if unfold is None:
        return kind, axis, None
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in unfold.items()
    }
    return kind, axis, Unfold(**fields)


def _merge(one: Any, other: Any) -> Statistic:
    return one.merge(other)  # type: ignore[no-any-return]


def _joined(one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges of both as few ascending ones."""
    result: list[tuple[int, int]] = []
    for start, end in sorted((*one, *other)):
        if result and start < result[-1][1]:
            raise InputError("the statistics cannot be merged", why=f"both cover block {start}")
        if result and start == result[-1][1]:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return tuple(result)


def _pieces(buffer: io.BytesIO) -> Iterator[bytes]:
    view = buffer.getbuffer()
    for start in range(0, len(view), 1 << 24):
        yield bytes(view[start : start + (1 << 24)])
