"""Few values for a weight: integers with a scale for each output, or a codebook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Values = Literal["float", "float16", "int8", "int6", "int5", "int4", "codebook"]
SINGLE: np.dtype[np.floating] = np.dtype(np.float32)
TOP = {"int8": 127, "int6": 31, "int5": 15, "int4": 7}
"""The largest integer; the grid is symmetric."""
NARROW = np.linspace(0.5, 1.0, 26)
"""Shares of the largest number that are tried as the end of a grid."""
ROUNDS = 30
SAMPLED = 1 << 17
"""Numbers that a codebook is made by, at most."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The values that the numbers of some rows may have: each of ``codes`` times the row's scale.

    Attributes:
        codes: ``float32``, ascending; whole numbers where they are integers.
        scale: ``float32[rows]``.
        whole: Whether the codes are all whole numbers from the first to the last.
        dtype: Of the weight: what a product is rounded to, which single precision computes.
    """

    codes: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    whole: bool
    dtype: np.dtype[np.floating] = SINGLE

    def nearest(self, rows: Matrix) -> npt.NDArray[np.float32]:
        """The codes for ``[rows, ...]``."""
        scaled = rows / self._scales(rows.ndim)
        if self.whole:
            return np.clip(np.rint(scaled), self.codes[0], self.codes[-1]).astype(np.float32)
        middles = (self.codes[1:].astype(np.float64) + self.codes[:-1]) / 2
        return self.codes[np.searchsorted(middles, scaled)]

    def values(self, codes: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        """What they stand for, multiplied as the model will: in single precision, then rounded to ``dtype``."""
        product: npt.NDArray[np.floating] = codes * self._scales(codes.ndim, SINGLE)
        return product.astype(self.dtype, copy=False)

    def longer(self, factors: Matrix) -> Levels:
        """With scales that are so many times as large, as far as the largest value is a number of ``dtype``."""
        most = min(float(np.finfo(self.dtype).max), float(np.finfo(SINGLE).max)) / float(np.abs(self.codes).max() or 1)
        return replace(self, scale=np.minimum(self.scale * factors, most).astype(np.float32))

    def project(self, column: Matrix) -> Matrix:
        """The nearest values to ``[rows]``."""
        return self.values(self.nearest(column)).astype(np.float64)

    def _scales(self, rank: int, dtype: np.dtype[np.floating] | None = None) -> npt.NDArray[np.floating]:
        scales: npt.NDArray[np.floating] = self.scale.astype(dtype or np.float64)
        return scales.reshape(-1, *[1] * (rank - 1))


def levels(
    rows: Matrix,
    importance: Matrix,
    kind: Values,
    entries: int,
    going: npt.NDArray[np.bool_],
    dtype: np.dtype[np.floating] = SINGLE,
) -> Levels:
    """The values for a weight.

    Args:
        rows: ``[rows, columns]``.
        importance: ``[columns]``: what a squared error is worth in each.
        kind: ``int8``, ``int6``, ``int5``, ``int4`` or ``codebook``.
        entries: Of the codebook; 0 is one of them where numbers go.
        going: ``bool[rows, columns]``: numbers that become zero, and need no value.
        dtype: Of the weight.
    """
    kept = np.where(going, 0.0, rows)
    largest = np.abs(kept).max(axis=1, initial=0.0)
    if kind == "codebook":
        scale = _positive(largest)
        codes = codebook((kept / scale[:, np.newaxis])[~going], _weights(importance, going), entries, bool(going.any()))
        if dtype.itemsize < SINGLE.itemsize:  # a table of them shall be no larger than the weight was
            codes = np.unique(codes.astype(dtype).astype(np.float32))
        return Levels(codes, scale, whole=False, dtype=dtype)
    top = TOP[kind]
    whole = np.arange(-top, top + 1, dtype=np.float32)
    scale = _positive(np.minimum(largest / top, np.nextafter(np.finfo(SINGLE).max / top, 0, dtype=np.float32)))
    if kind == "int8":
        return Levels(whole, scale, whole=True, dtype=dtype)
    best, errors = scale, np.full(len(rows), np.inf)
    for share in NARROW:  # of few levels it is better to cut off the largest numbers
        trial = Levels(whole, _positive(share * largest / top), whole=True, dtype=dtype)
        found = np.square(trial.values(trial.nearest(kept)) - kept) @ importance
        best = np.where(found < errors, trial.scale, best)
        errors = np.minimum(found, errors)
    return Levels(whole, best, whole=True, dtype=dtype)


def _positive(scale: Matrix) -> npt.NDArray[np.float32]:
    made = scale.astype(np.float32)
    return np.where(made > np.finfo(np.float32).tiny, made, np.float32(1.0))


def _weights(importance: Matrix, going: npt.NDArray[np.bool_]) -> Matrix:
    return np.broadcast_to(importance, going.shape)[~going]


def codebook(numbers: Matrix, worth: Matrix, entries: int, zero: bool) -> npt.NDArray[np.float32]:
    """The ``entries`` values that are nearest to numbers, in squares times what each is worth.

    Lloyd's algorithm (Least squares quantization in PCM, 1957/1982) on sorted numbers: a cell is a run of them, and its
    mean a difference of two sums. It starts from quantiles, of the numbers and of what they
    are worth, and keeps what is nearer.

    Args:
        numbers: ``float64[n]``.
        worth: ``float64[n]``, not negative.
        entries: 2 at least.
        zero: Whether 0 is one of them.
    """
    if len(numbers) > SAMPLED:
        chosen = np.random.default_rng(0).choice(len(numbers), SAMPLED, replace=False)
        numbers, worth = numbers[chosen], worth[chosen]
    distinct = np.unique(numbers)
    if len(distinct) <= entries - zero:
        return np.unique(np.concatenate([distinct, [0.0] * (zero or not len(distinct))]).astype(np.float32))
    order = np.argsort(numbers, kind="stable")
    sorted_, worth = numbers[order], worth[order] + 1e-12 * worth.mean() + 1e-300
    sums = np.concatenate([[0.0], np.cumsum(worth * sorted_)])
    totals = np.concatenate([[0.0], np.cumsum(worth)])
    shares = (np.arange(entries - zero) + 0.5) / (entries - zero)
    starts = [np.quantile(sorted_, shares), np.interp(shares * totals[-1], totals[1:], sorted_)]
    found = [_lloyd(centres, sorted_, sums, totals, zero) for centres in starts]
    return min(found, key=lambda each: each[1])[0]


def _lloyd(
    centres: Matrix, numbers: Matrix, sums: Matrix, totals: Matrix, zero: bool
) -> tuple[npt.NDArray[np.float32], float]:
    """What centres become, and the error of it, less a constant."""

    def edges(codes: Matrix) -> npt.NDArray[np.int64]:
        cuts = np.searchsorted(numbers, (codes[1:] + codes[:-1]) / 2)
        return np.concatenate([[0], cuts, [len(numbers)]])

    for _ in range(ROUNDS):
        every = np.union1d(centres, 0.0) if zero else np.unique(centres)
        cells = edges(every)
        total = np.diff(totals[cells])
        filled = total > 0
        moved = np.where(filled, np.diff(sums[cells]) / np.where(filled, total, 1.0), every)
        if zero:
            moved[np.searchsorted(every, 0.0)] = 0.0
        if np.allclose(moved, every, rtol=1e-7, atol=1e-12):
            break
        centres = moved[moved != 0.0] if zero else moved
    codes = np.unique(np.concatenate([centres, [0.0] * zero]).astype(np.float32))
    cells = edges(codes.astype(np.float64))
    wide = codes.astype(np.float64)
    return codes, float(np.sum(np.square(wide) * np.diff(totals[cells]) - 2 * wide * np.diff(sums[cells])))
