"""Zeros and few values for one matrix of weights, so that its outputs change least.

With the Gram matrix of what the weights are multiplied by, numbers are taken column by column, and those that are still
free make up for what zeros and rounding did before (`onnxslim.linalg.compensate`; Frantar & Alistarh, SparseGPT, ICML
2023, and Frantar et al., GPTQ, ICLR 2023: one sweep for both). Which numbers of some columns go is chosen when the
sweep comes there, by what it then costs to lose each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim.linalg import compensate

from .grids import Levels, Matrix, Values, levels
from .masks import Mask, Pattern, least, zeros


@dataclass(frozen=True, slots=True)
class Wanted:
    """What weights shall become.

    Attributes:
        share: Of the numbers that become zero.
        pattern: Where zeros may be.
        values: Which numbers are left.
        entries: Of a codebook.
    """

    share: float
    pattern: Pattern
    values: Values = "float"
    entries: int = 16

    @property
    def few(self) -> bool:
        """Whether only few values are allowed."""
        return self.values in ("int8", "int4", "codebook")


@dataclass(frozen=True, eq=False)
class Made:
    """What came of it.

    Attributes:
        rows: ``float64[outputs, columns]``: exact in single precision.
        levels: Of which the rows are, where only few values are allowed.
    """

    rows: Matrix
    levels: Levels | None


def plain(rows: Matrix, importance: Matrix, wanted: Wanted, places: int) -> Made:
    """The numbers that cost least go, the others are rounded; nothing makes up for it.

    Args:
        rows: ``[outputs, columns]``.
        importance: ``[columns]``: the mean square of what each column is multiplied by.
        wanted: What they shall become.
        places: Of a kernel.
    """
    going = _going(rows, rows == 0, importance, wanted, places)
    made = np.where(going, 0.0, rows)
    grid = levels(rows, importance, wanted.values, wanted.entries, going) if wanted.few else None
    if grid is not None:
        made = np.where(going, 0.0, grid.values(grid.nearest(made)))
    return Made(_exact(made, wanted), grid)


def swept(rows: Matrix, gram: Matrix, wanted: Wanted, places: int, gone: Mask) -> Made:
    """The same with columns that make up for those before them.

    Args:
        rows: ``[outputs, columns]``.
        gram: ``[columns, columns]``: X^T X of what they are multiplied by; not all zero.
        wanted: What they shall become.
        places: Of a kernel.
        gone: ``bool[outputs, columns]``: what is zero and stays so.
    """
    importance = np.diagonal(gram) / max(float(np.diagonal(gram).mean()), 1e-300)
    going = _going(rows, gone, importance, wanted, places)
    grid = levels(rows, importance, wanted.values, wanted.entries, going) if wanted.few else None
    free = wanted.pattern == Pattern() and wanted.share > 0

    def look(block: Matrix, columns: npt.NDArray[np.int64], pivots: Matrix) -> None:
        if free:  # as many as were to go there, but those that cost least now
            cost = np.where(gone[:, columns], -1.0, np.square(block) * pivots)
            going[:, columns] = least(cost, int(going[:, columns].sum()))

    def project(column: Matrix, place: int) -> Matrix:
        found = column if grid is None else grid.project(column)
        return _exact(np.where(going[:, place], 0.0, found), wanted)

    return Made(compensate(rows, gram, project, look=look), grid)


def _going(rows: Matrix, gone: Mask, importance: Matrix, wanted: Wanted, places: int) -> Mask:
    """What becomes zero, and what is."""
    if not wanted.share and not wanted.pattern.of:
        return gone.copy()
    cost = np.where(gone, -1.0, np.square(rows) * importance)
    return zeros(cost, wanted.share, wanted.pattern, places) | gone


def _exact(numbers: Matrix, wanted: Wanted) -> Matrix:
    """Rounded to what the file will hold."""
    kind = np.float16 if wanted.values == "float16" else np.float32
    return numbers.astype(kind).astype(np.float64)
