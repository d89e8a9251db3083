"""Bytes that a tensor takes in a file, by encoding."""

from __future__ import annotations

import numpy as np

from .content import Content
from .packing import Packing, packings, payload, skips

TENSOR = 24
"""Bytes around the data of a tensor, without its name."""
EACH = 70
"""Bytes of the node and the constants that give one tensor of several that are unpacked together, about."""
NODES = {"all": 120, "mask": 285, "gaps": 455}
"""Bytes of the nodes and small constants that unpack them, about, without what takes numbers out of bytes."""
CODEBOOK = 115
"""The same for a codebook beside a mask or gaps."""
DIGITS = 135
"""The same for numbers that take less than a byte."""
TABLES = 450
"""The same for the bits of each byte, which a graph has once."""
STEP = 1 / 32
"""Bytes that a number which is computed on the way is worth, in time: gaps of 2 bits at 80 % zeros save 0.4 % of the
bytes that those of 4 bits take, and load 15 % longer."""


def dense(content: Content) -> int:
    """As it is."""
    return content.nbytes + TENSOR


def sparse(content: Content) -> int:
    """As a ``SparseTensorProto`` with int64 indices in varints, which take a byte for each 7 bits."""
    limits = np.searchsorted(content.places, [2 ** (7 * each) for each in range(1, 10)])
    indices = len(content.places) * 10 - int(limits.sum())
    return indices + len(content.places) * content.itemsize + 2 * TENSOR


def folded(content: Content, packing: Packing) -> int:
    """Packed beside others, estimated: without what the nodes take that unpack them together (`shared`)."""
    return payload(content, packing) + EACH


def shared(packing: Packing) -> int:
    """What it takes to unpack, however much is unpacked; the tables apart."""
    codebook = CODEBOOK if packing.value_bits and packing.places != "all" else 0
    return (
        NODES[packing.places] + codebook + DIGITS * sum(0 < bits < 8 for bits in (packing.gap_bits, packing.value_bits))
    )


def best(content: Content) -> Packing | None:
    """The packing that takes least, time to load counted in bytes; None where there is none."""
    return min(packings(content), key=lambda each: folded(content, each) + STEP * steps(content, each), default=None)


def steps(content: Content, packing: Packing) -> int:
    """Numbers that are computed to unpack a tensor."""
    values = len(content.places) * effort(packing.value_bits) if packing.value_bits else 0
    if packing.places == "all":
        return content.count * effort(packing.value_bits)
    if packing.places == "mask":
        return content.count + values
    return (len(content.places) + skips(content, packing.gap_bits)) * effort(packing.gap_bits) + values


def effort(bits: int) -> int:
    """Of a number of so many bits: where a byte does not hold a whole number of them, bits are summed up."""
    return 2 if 8 % bits else 1
