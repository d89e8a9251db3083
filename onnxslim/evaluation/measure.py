"""How far the parts of some outputs moved: noise over signal, part by part. Everything that judges outputs uses it.

A part's noise is the sum of squares of its error, its signal the sum of squares of what varies in it
(`onnxslim.evaluation.signal`). Of integers and booleans the noise is how many differ, the signal how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.evaluation.compare import is_float
from onnxslim.evaluation.extents import Extents
from onnxslim.evaluation.fidelity import Fidelity
from onnxslim.evaluation.parts import Part
from onnxslim.evaluation.signal import Signal, Slice


@dataclass(frozen=True, slots=True)
class Noise:
    """How far outputs moved in all.

    Attributes:
        power: Noise over signal, at most 1 for each part, added up over the parts.
        peak: The largest error, as a multiple of the root mean square of what varies in its part.
    """

    power: float
    peak: float


class Measure:
    """The parts of a model's outputs and what varies in them, from the model's own values.

    Args:
        parts: What is compared.
        names: The tensor of each part.
        extents: Output -> entries of its parts, where they are known.
    """

    def __init__(
        self, parts: Sequence[Part], names: Sequence[str], extents: Mapping[str, Extents] | None = None
    ) -> None:
        self.parts, self.names, self.extents = list(parts), list(names), dict(extents or {})
        self._signals = [Signal() for _ in parts]
        self._discrete = [0] * len(parts)

    @property
    def seen(self) -> bool:
        """Whether any feed was seen."""
        return any(signal.arrays for signal in self._signals) or any(self._discrete)

    def see(self, arrays: Sequence[Any]) -> None:
        """Takes in the original's tensors for one feed, in the order of the parts. What is no array is left out."""
        for place, array in enumerate(arrays):
            if isinstance(array, np.ndarray) and is_float(array):
                self._signals[place].add(array)
            elif isinstance(array, np.ndarray):
                self._discrete[place] += array.size

    def tally(self, *, brief: bool = False) -> Tally:
        """A count of noise against what was seen so far.

        Args:
            brief: Whether only `Tally.noise` will be asked: searches ask it thousands of times.
        """
        # An output that saturates is divided where its parts are known: small values of a Sigmoid are no quantity.
        traced = {part.output for part in self.parts if part.path}
        slices = []
        for part, signal, count in zip(self.parts, self._signals, self._discrete, strict=True):
            known = self.extents.get(part.output) if not part.path else None
            divide = bool(part.path) or part.output not in traced
            found = signal.slices(divide, (known.axis, known.groups) if known else None)
            slices.append(found or ([Slice(float(count), count)] if count else []))
        return Tally(self, slices, [signal.arrays for signal in self._signals], brief)


@dataclass(slots=True)
class _Sums:
    """Of one quantity."""

    noise: float = 0.0
    peak: float = 0.0
    dot: float = 0.0
    own: float = 0.0
    other: float = 0.0


@dataclass(slots=True)
class Tally:
    """The noise of one candidate. Made by `Measure.tally`."""

    measure: Measure
    slices: list[list[Slice]]
    arrays: list[int]
    brief: bool = False
    rows: list[list[int]] = field(init=False)
    """Rows along the last axis of each part, and those with the same largest element."""
    uneven: dict[int, int] = field(default_factory=dict, init=False)
    """Place of a part -> feeds on which its shape differs."""
    _sums: list[list[_Sums]] = field(init=False)

    def __post_init__(self) -> None:
        self._sums = [[_Sums() for _ in each] for each in self.slices]
        self.rows = [[0, 0] for _ in self.slices]

    def add(self, before: Sequence[Any], after: Sequence[Any]) -> None:
        """Takes in one feed: tensors of both sides in the order of the parts."""
        for place, (a, b) in enumerate(zip(before, after, strict=True)):
            if not isinstance(a, np.ndarray) or not self.slices[place]:
                continue
            if not isinstance(b, np.ndarray) or a.shape != b.shape:
                self._lose(place, a)
            elif is_float(a):
                self._add(place, a, b)
            else:
                differ = float(np.count_nonzero(a != b))
                sums = self._sums[place][0]
                sums.noise, sums.peak = sums.noise + differ, max(sums.peak, float(differ > 0))
                sums.own, sums.other, sums.dot = sums.own + a.size, sums.other + a.size, sums.dot + a.size - differ
                self.rows[place][0] += a.size
                self.rows[place][1] += int(a.size - differ)

    def noise(self) -> Noise:
        """All parts together; of an output's parts and the output itself, whichever is worse."""
        powers: dict[tuple[str, bool], float] = {}
        peak = 0.0
        for part, slices, sums in zip(self.measure.parts, self.slices, self._sums, strict=True):
            for quantity, found in zip(slices, sums, strict=True):
                if quantity.energy > 0:
                    key = part.output, bool(part.path)
                    powers[key] = powers.get(key, 0.0) + min(found.noise / quantity.energy, 1.0)
                    peak = max(peak, found.peak / math.sqrt(quantity.energy / quantity.count))
        outputs = dict.fromkeys(output for output, _ in powers)
        power = sum(max(powers.get((each, True), 0.0), powers.get((each, False), 0.0)) for each in outputs)
        return Noise(power, peak)

    @property
    def noisy(self) -> bool:
        """Whether anything differs at all."""
        return any(found.noise > 0 for sums in self._sums for found in sums)

    def fidelity(self, places: Sequence[int]) -> list[Fidelity]:
        """What was measured of the parts at these places; a quantity that is always zero cannot be judged."""
        found = []
        for place in places:
            part, name, rows = self.measure.parts[place], self.measure.names[place], self.rows[place]
            measured = 1.0 if self.brief else 1 - self.uneven.get(place, 0) / max(self.arrays[place], 1)
            for quantity, sums in zip(self.slices[place], self._sums[place], strict=True):
                if quantity.energy > 0 and measured > 0:
                    top1 = rows[1] / rows[0] if rows[0] and quantity.axis is None else None
                    found.append(
                        Fidelity(
                            part.output,
                            name,
                            _decibels(quantity.energy * measured, sums.noise),
                            _cosine(sums),
                            top1,
                            before=part.before,
                            entries=quantity.label,
                        )
                    )
        return found

    def notes(self, places: Sequence[int]) -> list[str]:
        """What a reader should know of these parts."""
        found = []
        for place in places:
            part, name = self.measure.parts[place], self.measure.names[place]
            for quantity, sums in zip(self.slices[place], self._sums[place], strict=True):
                label = Fidelity(part.output, name, 0.0, 0.0, None, part.before, quantity.label).label
                if quantity.energy == 0 and sums.noise > 0:
                    found.append(
                        f"{label} cannot be judged: it is zero on every sample; its largest error is {sums.peak:.3g}"
                    )
                elif quantity.fixed and self.arrays[place] > 1 and sums.noise > 0:
                    found.append(f"{label} is the same on every sample: it was judged by how it varies within one")
        return found

    @np.errstate(invalid="ignore", over="ignore")  # what is not finite is infinitely noisy
    def _add(self, place: int, a: np.ndarray, b: np.ndarray) -> None:
        x = a.astype(np.float64)
        error = b.astype(np.float64) - x
        if not np.isfinite(error).all():
            finite = np.isfinite(x)
            x, error = np.where(finite, x, 0.0), np.where(finite, error, 0.0)
        if not self.brief and a.ndim and a.shape[-1] > 1 and a.size:
            self.rows[place][0] += a.size // a.shape[-1]
            self.rows[place][1] += int((a.argmax(axis=-1) == b.argmax(axis=-1)).sum())
        for quantity, sums in zip(self.slices[place], self._sums[place], strict=True):
            wrong = quantity.of(error).ravel()
            noise = float(wrong @ wrong)
            sums.noise += math.inf if math.isnan(noise) else noise
            sums.peak = max(sums.peak, math.inf if math.isnan(noise) else float(np.abs(wrong).max(initial=0.0)))
            if not self.brief:
                own = quantity.of(x).ravel()
                other = own + wrong
                sums.dot += float(own @ other)
                sums.own += float(own @ own)
                sums.other += float(other @ other)

    def _lose(self, place: int, a: np.ndarray) -> None:
        """A tensor whose shape changed: for a search all of its signal is lost, a report tells of the other feeds."""
        self.uneven[place] = self.uneven.get(place, 0) + 1
        if not self.brief:
            return
        for quantity, sums in zip(self.slices[place], self._sums[place], strict=True):
            sums.noise += quantity.energy / max(self.arrays[place], 1) if is_float(a) else float(a.size)
            sums.peak = math.inf


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if math.isfinite(noise) else -math.inf


def _cosine(sums: _Sums) -> float:
    norms = math.sqrt(sums.own) * math.sqrt(sums.other)
    return sums.dot / norms if norms > 0 else float(sums.own == sums.other)
