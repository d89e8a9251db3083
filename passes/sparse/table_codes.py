"""What the rows of an embedding table are rounded to: int8, or fewer bits in blocks along the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

BLOCKS = (16, 32, 64, 128)
"""Numbers of a row that share a scale in int4."""
CLIPS = np.linspace(0.7, 1.0, 7)
"""Shares of a block's largest number that are tried as the end of its grid."""
BITS = {"int8": 8, "int6": 6, "int5": 5, "int4": 4}
CHUNK = 1 << 20
"""Numbers that are rounded at a time, so that a large table takes little memory."""


@dataclass(frozen=True, slots=True)
class TableForm:
    """How a table is stored.

    Attributes:
        kind: int8 has a scale for each row or column, the others one for each block of a row.
        axis: Which of them, in int8.
        block: Numbers in a block, below 8 bits.
        half: Whether the scales of blocks are float16.
    """

    kind: Literal["int8", "int6", "int5", "int4"]
    axis: Literal["row", "column"] = "row"
    block: int = 32
    half: bool = False


@dataclass(frozen=True, eq=False)
class TableCodes:
    """A table as it is stored.

    Attributes:
        form: How.
        codes: ``int8[rows, length]``; in int4 from -8 to 7, and so on.
        scale: ``[rows, 1]``, ``[1, length]`` or, below 8 bits, ``[rows, blocks]``.
    """

    form: TableForm
    codes: npt.NDArray[np.int8]
    scale: npt.NDArray[np.floating]

    def floats(self) -> npt.NDArray[np.float32]:
        """What the model computes, bit for bit; GatherBlockQuantized rounds it to the type of the scales."""
        scale = self.scale.astype(np.float32)
        if self.form.kind != "int8":
            scale = np.repeat(scale, self.form.block, axis=1)
        product: npt.NDArray[np.float32] = self.codes.astype(np.float32) * scale
        return product

    def squared_error(self, array: npt.NDArray[np.float32]) -> float:
        """Of a table, some rows at a time: a large one takes little memory."""
        step = max(CHUNK // max(array.shape[1], 1), 1)
        total = 0.0
        for at in range(0, len(array), step):
            scale = self.scale[at : at + step] if len(self.scale) > 1 else self.scale
            some = TableCodes(self.form, self.codes[at : at + step], scale)
            total += float(np.square(some.floats() - array[at : at + step]).sum(dtype=np.float64))
        return total

    def bytes(self) -> int:
        """What the codes and scales take in the file."""
        return self.codes.size * BITS[self.form.kind] // 8 + self.scale.nbytes

    def packed(self, halves: bool) -> np.ndarray:
        """The codes as stored; in int4 two in a byte, plus 8. Of 5 and 6 bits they are bytes, which `encode` packs.

        Args:
            halves: ``uint8[rows, blocks, block / 2]`` with a block's first half in the low nibbles; else
                ``uint8[rows, length / 2]`` with neighbours in a byte, the first in the low nibble.
        """
        if self.form.kind == "int8":
            return self.codes
        if self.form.kind != "int4":
            return self.codes.reshape(len(self.codes), -1, self.form.block)
        codes = (self.codes + 8).astype(np.uint8)
        if not halves:
            return codes[:, 0::2] | codes[:, 1::2] << 4
        blocks = codes.reshape(len(codes), -1, 2, self.form.block // 2)
        return blocks[:, :, 0] | blocks[:, :, 1] << 4

    def stored_scale(self, flat: bool) -> np.ndarray:
        """The scales as stored: those of blocks with an axis for their numbers unless ``flat``."""
        if self.form.kind == "int8":  # those of columns as a vector: a scalar index gives one, too
            return self.scale if self.form.axis == "row" else self.scale[0]
        return self.scale if flat else self.scale[..., np.newaxis]


def forms_of(array: np.ndarray) -> list[TableForm]:
    """The forms that ``[rows, length]`` can have, int8 first; only blocks that divide the row."""
    length = array.shape[1]
    kinds: tuple[Literal["int6", "int5", "int4"], ...] = ("int6", "int5", "int4")
    blocks = [TableForm(kind, block=block) for kind in kinds for block in BLOCKS if length % block == 0]
    return [TableForm("int8", axis="row"), TableForm("int8", axis="column"), *blocks]


def round_table(array: npt.NDArray[np.float32], form: TableForm) -> TableCodes:
    """Rounds a table; scales of blocks have the least squared error of those tried, of both signs.

    Args:
        array: ``float32[rows, length]``, finite.
        form: One of `forms_of` for it, or that with scales in float16.

    Raises:
        ValueError: The blocks do not divide the rows.
    """
    if form.kind == "int8":
        along = 1 if form.axis == "row" else 0
        scale = (np.abs(array).max(axis=along, keepdims=True) / np.float32(127)).astype(np.float32)
        scale[scale == 0] = 1
        return TableCodes(form, np.clip(np.rint(array / scale), -127, 127).astype(np.int8), scale)
    if array.shape[1] % form.block:
        raise ValueError(f"blocks of {form.block} do not divide rows of {array.shape[1]}")
    blocks = array.reshape(-1, form.block)
    step = max(CHUNK // form.block, 1)
    parts = [_round(blocks[at : at + step], form.half, BITS[form.kind]) for at in range(0, len(blocks), step)]
    codes = np.concatenate([each for each, _ in parts]).reshape(array.shape)
    return TableCodes(form, codes, np.concatenate([each for _, each in parts]).reshape(len(array), -1))


def _round(
    blocks: npt.NDArray[np.float32], half: bool, bits: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.floating]]:
    """Codes and scales of ``[blocks, block]``. A negative scale lets the lowest code stand for the largest number."""
    end = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, np.newaxis], axis=1)
    unit = np.where(end == 0, np.float32(1), np.abs(end))  # squares of large numbers would be infinite
    best = np.full((len(blocks), 1), np.inf, np.float32)
    codes, scales = np.zeros(blocks.shape, np.int8), np.ones((len(blocks), 1), np.float16 if half else np.float32)
    most = np.finfo(scales.dtype).max
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for share in CLIPS if bits == 4 else CLIPS[-1:]:  # of more levels it is not worth while to cut numbers off
        for least in (lowest, highest):
            scale = np.clip(end * np.float32(share / least), -most, most).astype(scales.dtype)
            scale[scale == 0] = 1
            single = scale.astype(np.float32)
            tried = np.clip(np.rint(blocks / single), lowest, highest)
            error = np.square((tried * single - blocks) / unit).sum(axis=1, keepdims=True)
            better = error < best
            best = np.where(better, error, best)
            codes = np.where(better, tried, codes).astype(np.int8)
            scales = np.where(better, scale, scales)
    return codes, scales
