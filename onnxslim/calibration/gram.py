"""The Gram matrix of what a contraction contracts: for rows X of inputs, X^T X and the sums of the columns.

Refitting after pruning, error-compensated rounding and compensated sparsification are linear algebra on it: the squared
error of an output is ``(w - v)^T X^T X (w - v)`` (Optimal Brain Surgeon, Hassibi & Stork 1993; Frantar & Alistarh,
Optimal Brain Compression, 2022).

Long because rows of inputs are unfolded, multiplied and merged in one order, on which the bits of the sums depend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx_ir as ir

from onnxslim.calibration.blocks import BlockSum
from onnxslim.calibration.moments import Uneven

CHUNK = 1 << 18
"""Entries of X in float64 that are unfolded at a time."""
WIDE = 512
"""Features from which on few rows are kept as they are: the matrix would be larger, and slower to invert."""


@dataclass(frozen=True, slots=True)
class Unfold:
    """How a tensor becomes rows of inputs: along ``axis``, or the patches of a convolution where there is a kernel."""

    features: int
    """Columns of X (of each group)."""
    groups: int = 1
    axis: int = -1
    kernel: tuple[int, ...] = ()
    """Sizes of the kernel; empty means rows along ``axis``."""
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    """Begins, then ends, as in ONNX."""
    auto_pad: str = "NOTSET"

    @property
    def nbytes(self) -> int:
        """Bytes of one Gram matrix with its sums."""
        return self.groups * self.features * (self.features + 1) * 8

    @property
    def gathered(self) -> int:
        """Rows that are multiplied at once, enough that the matrix is not updated for every few of them.

        From the weights' shape alone: it decides the order of the sums, hence the bits.
        """
        return max(1, self.features // 4, min(256, CHUNK // (self.groups * self.features)))

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the rows gathered."""
        return self.gathered * self.groups * self.features * 8

    @property
    def most_rows(self) -> int:
        """Rows up to which X itself is kept, not X^T X: in float32 they take the bytes of the matrix."""
        return 2 * self.features if self.features >= WIDE and self.groups == 1 and not self.kernel else 0

    def rows(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """Yields ``float64[groups, rows, features]`` in chunks of about `CHUNK` entries.

        Raises:
            Uneven: ``x`` has not the features that the weights have.
        """
        if self.kernel:
            yield from self._patches(x)
            return
        if not -x.ndim <= self.axis < x.ndim or x.shape[self.axis] != self.features:
            raise Uneven(f"shape {list(x.shape)} has not {self.features} features on axis {self.axis}")
        table = np.moveaxis(x, self.axis, -1).reshape(-1, self.features)
        step = max(1, CHUNK // self.features)
        for start in range(0, len(table), step):
            yield table[np.newaxis, start : start + step].astype(np.float64)

    def weight_rows(self, weight: np.ndarray, axis: int) -> np.ndarray:
        """The weights that multiply the rows: ``[groups, outputs of a group, features]``, columns as those of X.

        Args:
            weight: Of the contraction.
            axis: The one that holds its output channels.
        """
        return np.moveaxis(weight, axis, 0).reshape(self.groups, -1, self.features)

    @staticmethod
    def weight_of_rows(rows: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
        """What `weight_rows` made rows of, in its own ``shape``."""
        moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))

    def _patches(self, x: np.ndarray) -> Iterator[np.ndarray]:
        windows = self.windows(x)
        rest = math.prod(windows.shape[2 : len(self.kernel) + 1]) * self.features * self.groups
        step = max(1, CHUNK // max(1, rest))
        for image in windows:
            for start in range(0, len(image), step):
                table = image[start : start + step].astype(np.float64).reshape(-1, self.groups, self.features)
                yield table.transpose(1, 0, 2)

    def windows(self, x: np.ndarray) -> np.ndarray:
        """The patches under the kernel: a view ``[N, *out, C, *kernel]`` of the padded input.

        Raises:
            Uneven: ``x`` has not the channels or axes that the weights have.
        """
        rank = len(self.kernel)
        channels = self.features * self.groups // math.prod(self.kernel)
        if x.ndim != rank + 2 or x.shape[1] != channels:
            raise Uneven(f"shape {list(x.shape)} has not {channels} channels and {rank} spatial axes")
        begins, ends = self._padding(x.shape[2:])
        padded = np.pad(x, [(0, 0), (0, 0), *zip(begins, ends, strict=True)])
        extents = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        if any(size < extent for size, extent in zip(padded.shape[2:], extents, strict=True)):
            return np.empty((0,) * (rank + 1) + (channels, *self.kernel), x.dtype)
        windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=tuple(range(2, rank + 2)))
        steps = (1, 1, *self.strides, *self.dilations)
        windows = windows[tuple(slice(None, None, step) for step in steps)]
        # [N, C, *out, *kernel] -> [N, *out, C, *kernel]: the columns are in the order of a flattened weight.
        return np.moveaxis(windows, 1, rank + 1)

    def _padding(self, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        rank = len(self.kernel)
        if not self.auto_pad.startswith("SAME"):
            return self.pads[:rank], self.pads[rank:]
        totals = [
            max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            for size, k, s, d in zip(sizes, self.kernel, self.strides, self.dilations, strict=True)
        ]
        small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        return (small, large) if self.auto_pad == "SAME_UPPER" else (large, small)


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


def unfold_of(node: ir.Node) -> Unfold | str:
    """How the first input of a contraction becomes rows, or the reason why it cannot be said.

    Known are Conv, Gemm, and MatMul with a constant matrix on the right.
    """
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain}::{node.op_type} is no contraction that is known"
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return f"{node.op_type} is no contraction that is known"
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = ir.convenience.get_const_tensor(weight) if weight is not None else None
    if tensor is None:
        return "the weights are not constant"
    shape = tuple(tensor.shape.numpy())
    if node.op_type == "Conv":
        return _conv(node, shape)
    if len(shape) != 2:
        return f"the weights have {len(shape)} axes, not 2"
    transposed, across = (
        node.op_type == "Gemm" and (node.attributes.get_int(name, 0) or 0) != 0 for name in ("transB", "transA")
    )
    return Unfold(shape[1] if transposed else shape[0], axis=0 if across else -1)


def _conv(node: ir.Node, shape: tuple[int, ...]) -> Unfold | str:
    if len(shape) < 3:
        return f"the weights have {len(shape)} axes, fewer than 3"
    rank = len(shape) - 2
    unfold = Unfold(
        features=math.prod(shape[1:]),
        groups=node.attributes.get_int("group", 1),
        kernel=shape[2:],
        strides=tuple(node.attributes.get_ints("strides", (1,) * rank)),
        dilations=tuple(node.attributes.get_ints("dilations", (1,) * rank)),
        pads=tuple(node.attributes.get_ints("pads", (0,) * 2 * rank)),
        auto_pad=node.attributes.get_string("auto_pad", "NOTSET"),
    )
    lengths = len(unfold.strides), len(unfold.dilations), len(unfold.pads)
    if lengths != (rank, rank, 2 * rank) or min(unfold.pads, default=0) < 0:
        return "strides, dilations or pads do not suit the weights"
    return unfold
