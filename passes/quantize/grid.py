"""Affine grids: real = scale * (integer - zero_point), as QuantizeLinear and DequantizeLinear define them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TINY = float(np.finfo(np.float32).tiny) * 2**23
"""Smallest scale: a scale that underflows to a subnormal number makes 0/0 of a constant tensor."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The integers that stand for a tensor.

    ``scale`` is float32 and ``zero_point`` uint8 or int8, both of shape [] or [channels]; ``axis`` is the channel axis,
    None per tensor. ``low`` and ``high`` are the integers used, which may be fewer than the dtype's.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    low: int
    high: int

    def quantize(self, array: np.ndarray) -> np.ndarray:
        """``array`` on the grid, rounded half to even and saturated.

        Args:
            array: float32, any shape.

        Returns:
            Integers of the zero point's dtype, the same shape.
        """
        scale, zero = self._along(array)
        integers: np.ndarray = np.clip(np.rint(array / scale) + zero, self.low, self.high)
        return np.asarray(integers.astype(self.zero_point.dtype))  # numpy makes a scalar of a 0-d array

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """The numbers that integers on the grid stand for: float32, the same shape."""
        scale, zero = self._along(integers)
        numbers: np.ndarray = (integers - zero) * scale
        return numbers.astype(np.float32)

    def _along(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point in double precision, in a shape that broadcasts."""
        scale, zero = self.scale.astype(np.float64), self.zero_point.astype(np.float64)
        if self.axis is None:
            return scale, zero
        shape = [1] * array.ndim
        shape[self.axis] = -1
        return scale.reshape(shape), zero.reshape(shape)


def activation_grid(low: float, high: float, dtype: str) -> Grid:
    """The asymmetric grid that covers [low, high] and zero.

    Asymmetric for int8 too: only a grid that starts at zero makes the Relu before it redundant and the kernel possible.

    Args:
        low: Smallest value to represent.
        high: Largest value to represent.
        dtype: ``uint8`` or ``int8``.

    >>> [int(activation_grid(0.0, 2.55, dtype).zero_point) for dtype in ("uint8", "int8")]
    [0, -128]
    """
    first, last = (0, 255) if dtype == "uint8" else (-128, 127)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, TINY)
    zero = int(np.clip(np.rint(first - low / scale), first, last))
    return Grid(np.array(scale, np.float32), np.array(zero, dtype), None, first, last)


def weight_grid(weight: np.ndarray, axis: int | None, *, bits: int = 8, floor: np.ndarray | None = None) -> Grid:
    """The symmetric int8 grid of a weight.

    Args:
        weight: float32, any shape.
        axis: Channel axis; None for one scale.
        bits: 8, or 7 where products of 8 bits saturate.
        floor: Smallest scales allowed, [channels] or []; a bias that would overflow int32 needs them.
    """
    top = 2 ** (bits - 1) - 1
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, initial=0.0).astype(np.float64)
    scale = np.maximum(largest / top, TINY if floor is None else np.maximum(floor, TINY)).astype(np.float32)
    scale = np.asarray(scale)  # numpy makes a scalar of a 0-d array
    return Grid(scale, np.zeros(scale.shape, np.int8), axis, -top, top)
