"""What varies in a tensor over the samples: the signal that noise is held against.

A constant offset is no signal: an output of 1000 +- 1 that is off by 1 tells nothing. So every element is centred over
the samples, over the axes whose size varies too. Where a run of entries of a channel axis differs from its neighbours
by `GAP` or more in magnitude, they are several quantities (boxes beside scores); each is judged by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

GAP = 10.0
"""Ratio of root mean squares between two neighbours in size along an axis that makes them two quantities."""
MAX_SLICES = 4
"""Quantities told apart along an axis."""
MAX_RUNS = 4
"""Runs of neighbouring entries that two quantities make: classes that never occur are scattered among the others."""
LARGEST_AXIS = 8192
"""Entries of an axis beyond which it is not divided."""
FLOOR, HALF_FLOOR = 1e-10, 1e-6
"""Shares of the mean square, offset included, that count as signal at least: -100 dB, and -60 dB in half precision.

What varies by less is within the rounding errors of a network. An output of 10000 +- 2 is above them in float32.
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """A quantity within a tensor: some entries of an axis, or the whole tensor."""

    energy: float
    """Sum of squares of what varies, over all samples; 0 where the tensor is always zero."""
    count: int
    """Elements over all samples."""
    axis: int | None = None
    index: npt.NDArray[np.int64] | None = None
    """``int64[entries]`` of the axis, ascending."""
    fixed: bool = False
    """Whether nothing varies from sample to sample: it is judged by how it varies within the tensor."""

    def of(self, array: Vector) -> Vector:
        """Its elements of a tensor."""
        return array if self.axis is None or self.index is None else np.take(array, self.index, self.axis)

    @property
    def label(self) -> str:
        """Entries of the axis for a person; empty for the whole.

        >>> Slice(1.0, 8, 1, np.array([0, 1, 2, 3])).label
        'entries 0..3 of axis 1'
        """
        if self.axis is None or self.index is None:
            return ""
        first, last = int(self.index[0]), int(self.index[-1])
        if len(self.index) == 1:
            return f"entry {first} of axis {self.axis}"
        if last - first + 1 == len(self.index):
            return f"entries {first}..{last} of axis {self.axis}"
        return f"{len(self.index)} entries {first}, {int(self.index[1])}, ... of axis {self.axis}"


@dataclass(slots=True)
class Signal:
    """Sums over the arrays of one tensor, any number of them, of one rank; sizes may vary.

    What is not finite counts as zero.
    """

    shape: list[int | None] | None = None
    """Sizes; None of an axis where they vary."""
    total: Vector = field(default_factory=lambda: np.zeros(()))
    """Sum of the arrays, over the axes that vary too."""
    values: int = 0
    """How many values each element of ``total`` is the sum of."""
    count: int = 0
    squares: dict[int, Vector] = field(default_factory=dict)
    """Axis -> sums of squares of its entries, of axes whose size is fixed."""
    square: float = 0.0
    arrays: int = 0
    floor: float = FLOOR

    def add(self, array: np.ndarray) -> None:
        """Takes in the tensor of one sample. One of another rank is left out."""
        if array.dtype.kind not in "iub" and array.dtype.itemsize < 4:
            self.floor = HALF_FLOOR
        x = np.asarray(np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0))
        if self.shape is None:
            self.shape, self.total = list(x.shape), np.zeros(x.shape)
            self.squares = {a: np.zeros(n) for a, n in enumerate(x.shape) if 1 < n <= LARGEST_AXIS}
        if x.ndim != len(self.shape):
            return
        self.arrays += 1
        for axis, size in enumerate(self.shape):
            if size is not None and size != x.shape[axis]:
                self.total = self.total.sum(axis=axis, keepdims=True)
                self.values *= size
                self.shape[axis] = None
                self.squares.pop(axis, None)
        varying = tuple(axis for axis, size in enumerate(self.shape) if size is None)
        self.total = self.total + (x.sum(axis=varying, keepdims=True) if varying else x)
        self.values += math.prod(x.shape[axis] for axis in varying)
        self.count += x.size
        x = np.asarray(np.square(x))
        self.square += float(x.sum())
        for axis, sums in self.squares.items():
            sums += x.sum(axis=tuple(a for a in range(x.ndim) if a != axis))

    def slices(
        self, divide: bool = True, given: tuple[int, Sequence[npt.NDArray[np.int64]]] | None = None
    ) -> list[Slice]:
        """The quantities in the tensor; none where it has no elements.

        Args:
            divide: Whether to divide it by magnitude.
            given: An axis and its entries by quantity, where they are known.
        """
        if self.shape is None or not self.count:
            return []
        axis, groups = self._divided() if divide else (None, [])
        if given is not None and given[0] in self.squares and sum(map(len, given[1])) == self.shape[given[0]]:
            axis, groups = given[0], list(given[1])
        if axis is None:
            whole = self._energy(self.square, float(np.square(self.total).sum()), float(self.total.sum()), self.count)
            return [Slice(whole[0], self.count, fixed=whole[1])]
        others = tuple(a for a in range(self.total.ndim) if a != axis)
        means, sums = np.square(self.total).sum(axis=others), self.total.sum(axis=others)
        found = []
        for index in groups:
            count = self.count // len(means) * len(index)
            energy, fixed = self._energy(
                float(self.squares[axis][index].sum()), float(means[index].sum()), float(sums[index].sum()), count
            )
            found.append(Slice(energy, count, axis, index, fixed))
        return found

    def _energy(self, square: float, squared_sums: float, total: float, count: int) -> tuple[float, bool]:
        """Sum of squares of what varies, and whether that is within the samples only.

        Args:
            square: Sum of squares.
            squared_sums: Sum of the squares of the sums of each element.
            total: Sum of all.
            count: Of values.
        """
        within = max(square - total**2 / count, 0.0)
        if self.values < 2:
            return max(within, self.floor * square), True
        over = max(square - squared_sums / self.values, 0.0) * self.values / (self.values - 1)
        if over <= self.floor * square:
            return max(within, self.floor * square), square > 0
        return over, False

    def _divided(self) -> tuple[int | None, list[npt.NDArray[np.int64]]]:
        """The channel axis with the widest gap between magnitudes, and its entries by magnitude."""
        best: tuple[float, int, list[int]] | None = None
        for axis in self._channel_axes():
            order = np.argsort(self.squares[axis], kind="stable")
            ranked = self.squares[axis][order]
            zeros = int((ranked <= 0).sum())
            ratios = np.concatenate([np.zeros(min(zeros + 1, len(ranked))), ranked[zeros + 1 :] / ranked[zeros:-1]])
            cuts = [
                int(cut)
                for cut in np.argsort(-ratios, kind="stable")[: 2 * MAX_SLICES]
                if ratios[cut] >= GAP**2 and _runs(order[:cut], len(order)) <= MAX_RUNS
            ][: MAX_SLICES - 1]
            if cuts and (best is None or ratios[cuts[0]] > best[0]):
                best = float(ratios[cuts[0]]), axis, sorted(cuts)
        if best is None:
            return None, []
        order = np.argsort(self.squares[best[1]], kind="stable")
        groups = [np.sort(order[a:b]) for a, b in itertools.pairwise([0, *best[2], len(order)])]
        return best[1], sorted(groups, key=lambda index: int(index[0]))

    def _channel_axes(self) -> list[int]:
        """Axes that may hold several quantities: of pictures not the rows, of batches not the items."""
        rank = len(self.shape or ())
        likely = {1, rank - 1} if rank > 3 else set(range(1, rank))
        return [axis for axis in self.squares if axis in likely]


def _runs(index: npt.NDArray[np.int64], size: int) -> int:
    """Runs of neighbours that the entries and the others make of an axis.

    >>> _runs(np.array([0, 1, 4]), 6)
    4
    """
    inside = np.zeros(size, bool)
    inside[index] = True
    return 1 + int(np.count_nonzero(inside[1:] != inside[:-1]))
