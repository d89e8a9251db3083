"""How close one array is to another, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Signal to quantization noise ratio in dB: 10 log10(sum a^2 / sum (a - b)^2); inf where they are equal.

    >>> round(sqnr_db(np.array([1.0, 2.0]), np.array([1.0, 1.9])), 1)
    27.0
    """
    return Agreement().add(reference, other).sqnr_db


def cosine(reference: np.ndarray, other: np.ndarray) -> float:
    """Cosine of the angle between two arrays seen as vectors; 1 where both are zero.

    >>> cosine(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    0.0
    """
    return Agreement().add(reference, other).cosine


def top1_agreement(reference: np.ndarray, other: np.ndarray) -> float:
    """Share of rows (along the last axis) with the same largest element.

    >>> top1_agreement(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.2, 0.8], [0.4, 0.6]]))
    0.5
    """
    return Agreement().add(reference, other).top1 or 0.0


@dataclass(slots=True)
class Agreement:
    """The measures above over any number of array pairs, without keeping the arrays."""

    signal: float = 0.0
    noise: float = 0.0
    dot: float = 0.0
    other: float = 0.0
    rows: int = 0
    same: int = 0

    def add(self, reference: np.ndarray, other: np.ndarray) -> Agreement:
        """Takes in a pair of equal shape. Elements that are not finite in ``reference`` do not count.

        Raises:
            ValueError: The shapes differ.
        """
        if reference.shape != other.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {other.shape}")
        a, b = reference.astype(np.float64), other.astype(np.float64)
        if a.ndim and a.shape[-1] > 1 and a.size:
            self.rows += a.size // a.shape[-1]
            self.same += int((a.argmax(axis=-1) == b.argmax(axis=-1)).sum())
        finite = np.isfinite(a)
        a, b = a[finite], b[finite]
        self.signal += float(a @ a)
        self.noise += float((a - b) @ (a - b))
        self.dot += float(a @ b)
        self.other += float(b @ b)
        return self

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in dB; NaN where the other side is not finite."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf

    @property
    def cosine(self) -> float:
        """Cosine similarity, -1 to 1."""
        norms = math.sqrt(self.signal) * math.sqrt(self.other)
        return self.dot / norms if norms > 0 else float(self.signal == self.other)

    @property
    def top1(self) -> float | None:
        """Share of rows whose largest element stands at the same place."""
        return self.same / self.rows if self.rows else None
