"""The ways to store a tensor of zeros and few values, and what each takes.

Where the values are: at *all* places; where a *mask* of one bit an element is set; or after *gaps* of zeros, whose
lengths take some bits each. A gap of the largest number is only skipped, and no value follows it, so that long gaps are
several. Of a share p of values, gaps of about log2(1 / p) + 2 bits come within some per cent of the entropy of the
mask (Golomb, Run-length encodings, 1966). What the values are: as they are (*plain*), or places in a *codebook*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .content import Content

GAP_BITS = range(2, 9)


@dataclass(frozen=True, slots=True)
class Packing:
    """One way.

    Attributes:
        places: How it is known where the values are.
        gap_bits: Of the length of a gap, else 0.
        value_bits: Of the place of a value in a codebook; 0 where the values are plain.
    """

    places: Literal["all", "mask", "gaps"]
    gap_bits: int = 0
    value_bits: int = 0

    def __str__(self) -> str:
        where = {"all": [], "mask": ["mask"], "gaps": [f"gaps{self.gap_bits}"]}[self.places]
        return "+".join([*where, *([f"codebook{self.value_bits}"] if self.value_bits else [])])


def packings(content: Content) -> Iterator[Packing]:
    """What can be tried for a content that has zeros or few values."""
    palette = content.palette
    sparse = 0 < content.zeros < content.count
    if palette is not None:
        together = len(palette) + bool(content.zeros)
        if together <= 256:
            yield Packing("all", value_bits=bits_for(together))
    for value_bits in (0, *([bits_for(len(palette) + 1)] if palette is not None and len(palette) < 256 else [])):
        if sparse:
            yield Packing("mask", value_bits=value_bits)
        # With fewer zeros a gap of two bits for each value takes more than a mask.
        if sparse and 4 * content.zeros >= content.count:
            yield from (Packing("gaps", bits, value_bits) for bits in GAP_BITS)


def payload(content: Content, packing: Packing) -> int:
    """Bytes of the numbers that are stored, without the nodes that unpack them."""
    if packing.places == "all":
        assert content.palette is not None
        return _packed(content.count, packing.value_bits) + (len(content.palette) + 1) * content.itemsize
    stored = len(content.places) + 1
    values = stored * content.itemsize
    if packing.value_bits:
        assert content.palette is not None
        values = _packed(stored, packing.value_bits) + (len(content.palette) + 1) * content.itemsize
    if packing.places == "mask":
        return _packed(content.count, 1) + values
    return _packed(len(content.places) + skips(content, packing.gap_bits), packing.gap_bits) + values


def bits_for(count: int) -> int:
    """Bits that tell ``count`` things apart.

    >>> [bits_for(n) for n in (1, 2, 3, 16, 17, 256)]
    [1, 1, 2, 4, 5, 8]
    """
    return max(1, (count - 1).bit_length())


def gaps(content: Content) -> npt.NDArray[np.int64]:
    """Zeros before each value."""
    return np.diff(content.places, prepend=-1) - 1


def skips(content: Content, bits: int) -> int:
    """Numbers that only skip zeros, where a gap is written in so many bits."""
    return int((gaps(content) // (2**bits - 1)).sum())


def gap_codes(content: Content, bits: int) -> npt.NDArray[np.uint8]:
    """The lengths of the gaps: ``2**bits - 1`` skips as many zeros, a smaller number that many and then one value.

    >>> content = Content.of(np.array([5, 0, 0, 0, 7, 0], np.uint8))
    >>> gap_codes(content, 2).tolist(), gap_codes(content, 3).tolist()
    ([0, 3, 0], [0, 3])
    """
    longest = 2**bits - 1
    long, rest = np.divmod(gaps(content), longest)
    codes = np.full(len(long) + int(long.sum()), longest, np.uint8)
    codes[np.cumsum(long + 1) - 1] = rest
    return codes


def pack(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Numbers below ``2**bits`` as bytes, filled up with zeros.

    A byte holds eight numbers of one bit, the first in its lowest. Of two and of four bits the lowest of all bytes hold
    the first numbers, in order, the next ones those that follow: so whole rows are unpacked at once. Where a byte does
    not hold a whole number of them, their lowest bits are packed, then all second ones and so on, each plane filled up
    to a multiple of 8.

    >>> pack(np.array([1, 2, 3, 4], np.uint8), 4).tolist(), pack(np.array([1, 4], np.uint8), 3).tolist()
    ([49, 66], [1, 0, 2])
    """
    if bits == 1:
        return np.packbits(codes, bitorder="little")
    if 8 % bits:
        planes = np.zeros((bits, -(-len(codes) // 8) * 8), np.uint8)
        planes[:, : len(codes)] = (codes[np.newaxis] >> np.arange(bits, dtype=np.uint8)[:, np.newaxis]) & 1
        return pack(planes.reshape(-1), 1)
    each = 8 // bits
    rows = np.zeros((each, -(-len(codes) // each)), np.uint8)
    rows.reshape(-1)[: len(codes)] = codes
    packed: npt.NDArray[np.uint8] = rows[0]
    for place in range(1, each):
        packed |= rows[place] << np.uint8(place * bits)
    return packed


def _packed(count: int, bits: int) -> int:
    """Bytes that `pack` gives."""
    return -(-count * bits // 8) if 8 % bits == 0 else bits * -(-count // 8)
