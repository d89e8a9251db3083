"""What varies in a tensor over the samples: the signal that noise is held against.

A constant offset is no signal: an output of 1000 +- 1 that is off by 1 tells nothing. So every element is centred over
the samples, over the axes whose size varies too. An axis along which magnitudes differ by `GAP` or more holds several
quantities (boxes beside scores, states beside logits); each is judged by itself.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

GAP = 30.0
"""Ratio of root mean squares between two neighbours in size along an axis that makes them two quantities."""
MAX_SLICES = 4
"""Quantities told apart along an axis."""
LARGEST_AXIS = 8192
"""Entries of an axis beyond which it is not divided."""
FLOOR = 1e-6
"""Share of the mean square, offset included, that counts as signal at least: -60 dB."""


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

    def add(self, array: np.ndarray) -> None:
        """Takes in the tensor of one sample. One of another rank is left out."""
        x = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
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
        np.square(x, out=x)
        self.square += float(x.sum())
        for axis, sums in self.squares.items():
            sums += x.sum(axis=tuple(a for a in range(x.ndim) if a != axis))

    def slices(self) -> list[Slice]:
        """The quantities in the tensor; none where it has no elements."""
        if self.shape is None or not self.count:
            return []
        axis, groups = self._divided()
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
            return max(within, FLOOR * square), True
        over = max(square - squared_sums / self.values, 0.0) * self.values / (self.values - 1)
        if over <= FLOOR * square:
            return max(within, FLOOR * square), square > 0
        return over, False

    def _divided(self) -> tuple[int | None, list[npt.NDArray[np.int64]]]:
        """The axis with the widest gap between magnitudes, and its entries by magnitude."""
        best: tuple[float, int] | None = None
        for axis, sums in self.squares.items():
            positive = np.sort(sums[sums > 0])
            if len(positive) > 1:
                ratio = float((positive[1:] / positive[:-1]).max())
                if ratio >= GAP**2 and (best is None or ratio > best[0]):
                    best = ratio, axis
        if best is None:
            return None, []
        sums = self.squares[best[1]]
        order = np.argsort(sums, kind="stable")
        ranked = sums[order]
        zeros = int((ranked <= 0).sum())
        ratios = ranked[zeros + 1 :] / ranked[zeros:-1]
        cuts = np.sort(np.argsort(-ratios, kind="stable")[: MAX_SLICES - 1])
        cuts = cuts[ratios[cuts] >= GAP**2]
        bounds = np.concatenate([[0], zeros + 1 + cuts, [len(order)]])
        groups = [np.sort(order[a:b]) for a, b in itertools.pairwise(bounds)]
        return best[1], sorted(groups, key=lambda index: int(index[0]))
