"""Zeros and few values for one matrix of weights, so that its outputs change least.

With the Gram matrix of what the weights are multiplied by, numbers are taken column by column, and those that are still
free make up for what zeros and rounding did before (`onnxslim.linalg.compensate`; Frantar & Alistarh, SparseGPT, ICML
2023, and Frantar et al., GPTQ, ICLR 2023: one sweep for both). Which numbers of some columns go is chosen when the
sweep comes there, by what it then costs to lose each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from onnxslim.linalg import compensate

from .grids import SINGLE, Levels, Matrix, Values, levels
from .masks import Mask, Pattern, least, zeros

HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What weights shall become.

    Attributes:
        share: Of the numbers that become zero.
        pattern: Where zeros may be.
        values: Which numbers are left.
        entries: Of a codebook.
        dtype: Of the weight, which its numbers are rounded to.
    """

    share: float
    pattern: Pattern
    values: Values = "float"
    entries: int = 16
    dtype: np.dtype[np.floating] = SINGLE

    def of(self, dtype: np.dtype[np.floating]) -> Wanted:
        """The same of a weight of that type."""
        return replace(self, dtype=dtype)

    @property
    def few(self) -> bool:
        """Whether only few values are allowed."""
        return self.values not in ("float", "float16")


@dataclass(frozen=True, eq=False)
class Made:
    """What came of it.

    Attributes:
        rows: ``float64[outputs, columns]``: exact in the type of the weight.
        levels: Of which the rows are, where only few values are allowed.
    """

    rows: Matrix
    levels: Levels | None

    def longer(self, factors: Matrix, wanted: Wanted) -> Made:
        """With outputs that are so many times as large: ``factors`` is [outputs]."""
        if self.levels is None:
            return Made(_exact(self.rows * factors[:, np.newaxis], wanted), None)
        codes, grid = self.levels.nearest(self.rows), self.levels.longer(factors)
        return Made(grid.values(codes).astype(np.float64), grid)


def plain(rows: Matrix, importance: Matrix, wanted: Wanted, places: int) -> Made:
    """The numbers that cost least go, the others are rounded; nothing makes up for it.

    Args:
        rows: ``[outputs, columns]``.
        importance: ``[columns]``: the mean square of what each column is multiplied by.
        wanted: What they shall become.
        places: Of a kernel.
    """
    going = _going(rows, importance, wanted, places, rows == 0)
    made = np.where(going, 0.0, rows)
    grid = _grid(rows, importance, wanted, going) if wanted.few else None
    if grid is not None:
        made = np.where(going, 0.0, grid.values(grid.nearest(made)))
    return Made(_exact(made, wanted), grid)


def swept(rows: Matrix, gram: Matrix, wanted: Wanted, places: int, zero: Mask | None = None) -> Made:
    """The same with columns that make up for those before them.

    Args:
        rows: ``[outputs, columns]``.
        gram: ``[columns, columns]``: X^T X of what they are multiplied by; not all zero.
        wanted: What they shall become.
        places: Of a kernel.
        zero: Which numbers were zero before ``rows`` were fitted; None means those that are.
    """
    importance = np.diagonal(gram) / max(float(np.diagonal(gram).mean()), 1e-300)
    was = rows == 0 if zero is None else zero
    going = _going(rows, importance, wanted, places, was)
    grid = _grid(rows, importance, wanted, going) if wanted.few else None
    free = wanted.pattern == Pattern() and wanted.share > 0

    def look(block: Matrix, columns: npt.NDArray[np.int64], pivots: Matrix) -> None:
        if free:  # as many as were to go there, but those that cost least now
            cost = np.where(was[:, columns], -1.0, np.square(block) * pivots)
            going[:, columns] = least(cost, int(going[:, columns].sum()))

    def project(column: Matrix, place: int) -> Matrix:
        found = column if grid is None else grid.project(column)
        return _exact(np.where(going[:, place], 0.0, found), wanted)

    return Made(compensate(rows, gram, project, look=look), grid)


def _going(rows: Matrix, importance: Matrix, wanted: Wanted, places: int, was: Mask) -> Mask:
    """What becomes zero, what was so before among it: few values and sweeps would make other numbers of it."""
    if not wanted.share and not wanted.pattern.of:
        return was.copy()
    saliency = np.square(np.where(was, 0.0, rows)) * importance
    return zeros(saliency, wanted.share, wanted.pattern, places) | was


def _grid(rows: Matrix, importance: Matrix, wanted: Wanted, going: Mask) -> Levels:
    return levels(rows, importance, wanted.values, wanted.entries, going, wanted.dtype)


def _exact(numbers: Matrix, wanted: Wanted) -> Matrix:
    """Rounded to what the file will hold."""
    if wanted.values == "float16" or wanted.dtype == np.float16:
        return np.clip(numbers, -HALF, HALF).astype(np.float16).astype(np.float64)
    return numbers.astype(wanted.dtype).astype(np.float64)
