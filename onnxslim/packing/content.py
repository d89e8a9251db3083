"""What a tensor's bits hold: how many are zero, how few values there are, and what they must take at least."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

MOST = 256
"""Values of a palette: an index takes a byte at most."""
_PEEK = 1 << 14

Words = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class Content:
    """The elements of a tensor as words of bits. Zero means that no bit is set: -0.0 is a value.

    Attributes:
        words: ``uint8``, ``uint16``, ``uint32`` or ``uint64`` of its elements, flat.
    """

    words: Words

    @classmethod
    def of(cls, array: npt.NDArray[np.generic]) -> Content:
        """The content of an array with elements of 1, 2, 4 or 8 bytes; not copied where it is contiguous."""
        flat = np.ascontiguousarray(array).reshape(-1)
        return cls(flat.view(np.dtype(f"u{flat.itemsize}")))

    @property
    def count(self) -> int:
        """Elements."""
        return len(self.words)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.words.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements as they are."""
        return self.words.nbytes

    @cached_property
    def places(self) -> npt.NDArray[np.int64]:
        """Where the elements are that are not zero, ascending."""
        return np.flatnonzero(self.words).astype(np.int64, copy=False)

    @cached_property
    def values(self) -> Words:
        """The elements that are not zero."""
        return self.words if len(self.places) == self.count else self.words[self.places]

    @property
    def zeros(self) -> int:
        """Elements that are zero."""
        return self.count - len(self.places)

    @property
    def sparsity(self) -> float:
        """Share of the elements that are zero."""
        return self.zeros / self.count if self.count else 0.0

    @cached_property
    def palette(self) -> Words | None:
        """The distinct values other than zero, ascending; None where there are more than `MOST`."""
        if len(np.unique(self.values[:_PEEK])) > MOST:
            return None
        found = np.unique(self.values)
        return found if len(found) <= MOST else None

    @cached_property
    def bound(self) -> float:
        """Bytes under which no encoding gets that knows zeros and few values: see `bound`."""
        bits, stored = 8.0 * self.itemsize, len(self.places)
        if self.palette is not None and stored:  # a codebook has to be told too
            bits = min(bits, math.log2(len(self.palette)) + len(self.palette) * bits / stored)
        return bound(self.count, self.zeros, bits)


def bound(count: int, zeros: int, bits: float) -> float:
    """The entropy of a mask of ``count`` with ``zeros``, and ``bits`` for each of the others, in bytes.

    >>> round(bound(1000, 900, 32.0), 1)
    458.6
    """
    share = zeros / count if count else 0.0
    entropy = -sum(p * math.log2(p) for p in (share, 1 - share) if p > 0)
    return (count * entropy + (count - zeros) * bits) / 8


CAN_BE_PACKED = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
        ir.DataType.DOUBLE,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT16,
        ir.DataType.UINT16,
        ir.DataType.INT32,
        ir.DataType.UINT32,
        ir.DataType.INT64,
        ir.DataType.UINT64,
    }
)
"""Types whose elements are whole bytes that onnxruntime moves about; int4 it takes in no sparse tensor."""
