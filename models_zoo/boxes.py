"""Upright boxes: which of two sets are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""Shape [boxes, 4]: left, top, right, bottom; where classes count, a fifth column holds them."""


def hits(found: Boxes, wanted: Boxes, *, least: float = 0.5) -> int:
    """How many of ``wanted`` have a match; each box is matched once, best pairs first.

    Args:
        found: Boxes of one model.
        wanted: Boxes to find.
        least: A match has a larger intersection over union than this.

    >>> hits(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [5, 5, 6, 6]]))
    1
    """
    low = np.maximum(found[:, None, :2], wanted[None, :, :2])
    high = np.minimum(found[:, None, 2:4], wanted[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (found, wanted)]
    quality = shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-12)
    if found.shape[1] > 4:
        quality[found[:, None, 4] != wanted[None, :, 4]] = 0
    count = 0
    while quality.size and quality.max() > least:
        row, column = np.unravel_index(quality.argmax(), quality.shape)
        quality[row, :] = quality[:, column] = 0
        count += 1
    return count


def f1(found: Boxes, wanted: Boxes, *, least: float = 0.5) -> tuple[int, int]:
    """What a picture earns and could earn of an F1: twice the hits, and the boxes of both sides."""
    return 2 * hits(found, wanted, least=least), len(found) + len(wanted)
