"""Bytes that a tensor takes in a file, by encoding."""

from __future__ import annotations

import numpy as np

from .content import Content
from .packing import PLANES, Packing, packings, payload

TENSOR = 24
"""Bytes around the data of a tensor, without its name."""
EACH = 70
"""Bytes of the node and the constants that give one tensor of several that are unpacked together, about."""
NODES = {"all": 230, "mask": 290, "gaps": 560}
"""Bytes of the nodes and small constants that unpack them, about."""
CODEBOOK = 220
"""The same for a codebook beside a mask or gaps."""
TABLES = 450
"""The same for the tables of what a byte says, which a graph has once."""


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
    extra = CODEBOOK if packing.value_bits and packing.places != "all" else 0
    return NODES[packing.places] + extra


def best(content: Content) -> Packing | None:
    """The packing that takes least, one that is slower to unpack for 3 % only; None where there is none."""
    return min(packings(content), key=lambda each: folded(content, each) * cost(each), default=None)


def cost(packing: Packing) -> float:
    """A factor by which packings that unpack slowly are thought to be larger."""
    return PLANES if any(bits and 8 % bits for bits in (packing.gap_bits, packing.value_bits)) else 1.0
