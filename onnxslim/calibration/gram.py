"""The Gram matrix of what a contraction contracts: for rows X of inputs, X^T X and the sums of the columns.

Refitting after pruning, error-compensated rounding and compensated sparsification are linear algebra on it: the squared
error of an output is ``(w - v)^T X^T X (w - v)`` (Optimal Brain Surgeon, Hassibi & Stork 1993; Frantar & Alistarh,
Optimal Brain Compression, 2022).

Long because rows of inputs are unfolded, multiplied and merged in one order, on which the bits of the sums depend.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from onnxslim.calibration.blocks import BlockSum
from onnxslim.ops.unfold import Uneven, Unfold


class Gram:
    """``X^T X`` and the column sums of X over all samples, in float64.

    As long as X has no more rows than `Unfold.most_rows`, the rows are kept and multiplied when the matrix is asked
    for. Which of the two ways it is depends on all rows together, never on how they were shared out.
    """

    def __init__(self, unfold: Unfold) -> None:
        self.unfold = unfold
        self.rows = 0
        self._sum = BlockSum()
        self._kept: list[tuple[int, np.ndarray]] | None = []
        """Rows with their blocks, in order, ``[rows, features]``; None once they are too many."""
        self._buffer: np.ndarray | None = None
        self._filled = self._block = 0
        self._kind: np.dtype[Any] = np.dtype(np.float32)

    @property
    def matrix(self) -> np.ndarray:
        """``float64[groups, features, features]``, symmetric."""
        self.close()
        if self._kept:
            total = np.zeros((1, self.unfold.features, self.unfold.features))
            for _, rows in self._kept:
                wide = rows.astype(np.float64)
                total[0] += wide.T @ wide
            return total
        return self._sum.total()[:, :-1]

    @property
    def sums(self) -> np.ndarray:
        """``float64[groups, features]``: the sum of each column of X."""
        self.close()
        if self._kept:
            return np.array([sum(rows.sum(axis=0, dtype=np.float64) for _, rows in self._kept)])
        return self._sum.total()[:, -1]

    @property
    def table(self) -> np.ndarray | None:
        """X itself, ``float[rows, features]``, where it was kept; then there are at most twice as many rows."""
        self.close()
        return np.concatenate([rows for _, rows in self._kept]) if self._kept else None

    def add(self, values: np.ndarray, block: int) -> None:
        """Takes in one sample's input of the contraction."""
        if not np.isfinite(values).all():
            raise Uneven("the activations hold NaN or Inf")
        if block != self._block:
            self._multiply()
            self._block = block
        unfold = self.unfold
        if values.dtype.itemsize > self._kind.itemsize:
            self._kind = values.dtype
        if self._buffer is None:
            self._buffer = np.empty((unfold.groups, unfold.gathered, unfold.features))
        for table in unfold.rows(values):
            self.rows += table.shape[1]
            start = 0
            while start < table.shape[1]:
                piece = table[:, start : start + unfold.gathered - self._filled]
                self._buffer[:, self._filled : self._filled + piece.shape[1]] = piece
                self._filled += piece.shape[1]
                start += piece.shape[1]
                if self._filled == unfold.gathered:
                    self._multiply()

    def close(self) -> None:
        """Ends the block in progress and frees the buffer."""
        self._multiply()
        self._buffer = None
        if self._kept is not None and self.rows > self.unfold.most_rows:
            self._settle()
        self._sum.close()

    def _multiply(self) -> None:
        """Takes in the rows gathered, all of one block."""
        if self._buffer is None or not self._filled:
            return
        rows, self._filled = self._buffer[:, : self._filled], 0
        if self._kept is not None and self.rows <= self.unfold.most_rows:
            self._kept.append((self._block, rows[0].astype(self._kind)))
            return
        self._settle()
        self._product(rows, self._block)

    def _settle(self) -> None:
        """Multiplies the rows that were kept."""
        for block, rows in self._kept or ():
            self._product(rows[np.newaxis].astype(np.float64), block)
        self._kept = None

    def _product(self, table: np.ndarray, block: int) -> None:
        total = np.empty((self.unfold.groups, self.unfold.features + 1, self.unfold.features))
        for group, rows in enumerate(table):
            np.matmul(rows.T, rows, out=total[group, :-1])  # syrk: half the work, and exactly symmetric
            rows.sum(axis=0, out=total[group, -1])
        self._sum.add(total, block)

    def merge(self, other: Gram) -> Gram:
        """The Gram matrix over the data of both, whose blocks must be disjoint. Neither is changed."""
        result = Gram(self.unfold)
        result.rows = self.rows + other.rows
        few = result.rows <= self.unfold.most_rows
        for each in (self, other):
            each.close()
            if not few:
                each._settle()
        if few:
            result._kept = sorted([*(self._kept or ()), *(other._kept or ())], key=lambda item: item[0])
        else:
            result._kept = None
            result._sum = self._sum.merge(other._sum)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays, for a file."""
        self.close()
        whole = np.array([self.rows], np.int64)
        if self._kept:
            places = np.array([(block, len(rows)) for block, rows in self._kept], np.int64)
            return {"whole": whole, "places": places, "table": np.concatenate([rows for _, rows in self._kept])}
        return {"whole": whole, **self._sum.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], unfold: Unfold) -> Self:
        """What `to_arrays` gave. Raises ValueError where it cannot have."""
        result = cls(unfold)
        if arrays["whole"].dtype != np.int64 or arrays["whole"].shape != (1,):
            raise ValueError("malformed count")
        result.rows = int(arrays["whole"][0])
        if "table" in arrays:
            table, places = arrays["table"], arrays["places"]
            if (
                places.dtype != np.int64
                or places.ndim != 2
                or places.shape[1] != 2
                or places.min() < 0
                or table.dtype.kind != "f"
                or table.shape != (result.rows, unfold.features)
                or places[:, 1].sum() != result.rows
                or result.rows > unfold.most_rows
            ):
                raise ValueError("malformed rows")
            ends = np.cumsum(places[:, 1])[:-1]
            result._kept = list(zip(places[:, 0].tolist(), np.split(table, ends), strict=True))
            return result
        if arrays["sums"].shape[1:] != (unfold.groups, unfold.features + 1, unfold.features):
            raise ValueError("malformed Gram matrix")
        result._kept, result._sum = None, BlockSum.from_arrays(arrays)
        return result
