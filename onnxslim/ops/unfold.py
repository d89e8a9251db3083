"""How the input of a contraction becomes rows X, so that what it computes is X times a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 18
"""Entries of X in float64 that are unfolded at a time."""
WIDE = 512
"""Features from which on few rows are kept as they are: the matrix would be larger, and slower to invert."""


class Uneven(ValueError):
    """An axis does not exist or has another size than in the samples before; the text says which."""


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
