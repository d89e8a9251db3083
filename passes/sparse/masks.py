"""Which numbers of a weight become zero."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim.errors import InputError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where zeros may be.

    Attributes:
        keep: Of each ``of`` channels that follow each other, so many may stay; 0 where any may.
        of: See ``keep``.
        block: Outputs and channels that are zero together.
    """

    keep: int = 0
    of: int = 0
    block: tuple[int, int] = (1, 1)

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """``unstructured``, ``2:4``, or ``4x1`` for blocks of 4 outputs.

        Raises:
            InputError: It is none of these.
        """
        if text == "unstructured":
            return cls()
        pair = re.fullmatch(r"(\d+)([:x])(\d+)", text)
        if pair is not None:
            one, other = int(pair[1]), int(pair[3])
            if pair[2] == ":" and 0 < one < other:
                return cls(keep=one, of=other)
            if pair[2] == "x" and one > 0 and other > 0:
                return cls(block=(one, other))
        raise InputError(
            f"pattern is {text!r}",
            mend="give unstructured, N:M such as 2:4, or blocks of outputs x channels such as 4x1",
        )

    @property
    def share(self) -> float | None:
        """Of the zeros, where the pattern fixes it."""
        return 1 - self.keep / self.of if self.of else None


def zeros(saliency: npt.NDArray[np.floating], share: float, pattern: Pattern, places: int = 1) -> Mask:
    """Which numbers go: those of least saliency.

    Args:
        saliency: ``[outputs, columns]``: what it costs to lose each.
        share: Of the numbers; blocks and whole numbers may give a little less.
        pattern: Where zeros may be.
        places: Of a kernel: the last factor of the columns. Patterns run over the channels, the first one.

    >>> zeros(np.array([[4.0, 1.0, 3.0, 2.0]]), 0.5, Pattern.parse("2:4")).tolist()
    [[False, True, False, True]]
    """
    outputs, columns = saliency.shape
    if pattern.of:
        return _of_each(saliency.reshape(outputs, columns // places, places), pattern).reshape(saliency.shape)
    if pattern.block != (1, 1):
        return _blocks(saliency.reshape(outputs, columns // places, places), share, pattern.block).reshape(
            saliency.shape
        )
    return least(saliency, round(share * saliency.size))


def least(saliency: npt.NDArray[np.floating], count: int) -> Mask:
    """The ``count`` entries of least saliency."""
    result = np.zeros(saliency.size, bool)
    if count > 0:
        flat = saliency.reshape(-1)
        result[np.argpartition(flat, min(count, flat.size) - 1)[:count]] = True
    return result.reshape(saliency.shape)


def _of_each(table: npt.NDArray[np.floating], pattern: Pattern) -> Mask:
    """``[outputs, channels, places]``: the last channels that make no whole run stay."""
    outputs, channels, places = table.shape
    whole = channels - channels % pattern.of
    result = np.zeros(table.shape, bool)
    if not whole:
        return result
    runs = table[:, :whole].reshape(outputs, -1, pattern.of, places)
    going = np.argsort(runs, axis=2, kind="stable")[:, :, : pattern.of - pattern.keep]
    marked = np.zeros(runs.shape, bool)
    np.put_along_axis(marked, going, True, axis=2)
    result[:, :whole] = marked.reshape(outputs, whole, places)
    return result


def _blocks(table: npt.NDArray[np.floating], share: float, block: tuple[int, int]) -> Mask:
    outputs, channels, places = table.shape
    block = min(block[0], outputs), min(block[1], channels)
    grown = [-(-size // each) * each for size, each in zip((outputs, channels), block, strict=True)]
    padded = np.zeros((*grown, places))
    padded[:outputs, :channels] = table
    tiles = padded.reshape(grown[0] // block[0], block[0], grown[1] // block[1], block[1], places).sum(axis=(1, 3))
    going = least(tiles, int(share * tiles.size))
    spread = np.repeat(np.repeat(going, block[0], axis=0), block[1], axis=1)
    return spread[:outputs, :channels]
