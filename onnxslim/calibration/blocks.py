"""Float sums that do not depend on who computed which part.

Addition of floats is not associative, so a sum over samples is made in one fixed order: the samples of a block (16
consecutive ones) one after another, the blocks in a binary tree over their indices. A node ``(level, index)`` of the
tree covers the ``2**level`` blocks from ``index * 2**level`` on; two siblings are added as soon as both are there, so
that at any time about log2(blocks) nodes are held, and parts computed elsewhere fit in bit for bit.
"""

from __future__ import annotations

import numpy as np

BLOCK = 16
"""Consecutive samples that form one block, the smallest part of a sample set that is computed in one place."""


class BlockSum:
    """A sum of float64 arrays of one shape."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], np.ndarray] = {}
        self._open: tuple[int, np.ndarray] | None = None

    def add(self, array: np.ndarray, block: int) -> None:
        """Adds one sample's term; the samples of a block come in order, and blocks one after another.

        ``array`` may be kept and added to: hand over one that nobody else uses.
        """
        if self._open is not None and self._open[0] == block:
            total = self._open[1]
            total += array
            return
        self.close()
        self._open = (block, array)

    def close(self) -> None:
        """Ends the block in progress."""
        if self._open is not None:
            block, array = self._open
            self._open = None
            self._push(0, block, array)

    def merge(self, other: BlockSum) -> BlockSum:
        """The sum over the blocks of both, which must be disjoint (`Statistics` sees to it). Neither is changed."""
        self.close()
        result = BlockSum()
        for (level, index), array in [*self.nodes().items(), *other.nodes().items()]:
            result._push(level, index, array.copy())
        return result

    def nodes(self) -> dict[tuple[int, int], np.ndarray]:
        """The finished nodes of the tree by ``(level, index)``."""
        self.close()
        return self._nodes

    def total(self) -> np.ndarray:
        """The sum: what the tree has left, added from the right."""
        nodes = sorted(self.nodes().items(), key=lambda item: item[0][1] << item[0][0], reverse=True)
        if not nodes:
            raise ValueError("a sum of nothing has no shape")
        result = nodes[0][1].copy()
        for _, array in nodes[1:]:
            result += array
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The nodes as two arrays, for a file."""
        nodes = sorted(self.nodes().items())
        return {"nodes": np.array([key for key, _ in nodes], np.int64), "sums": np.array([array for _, array in nodes])}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> BlockSum:
        """What `to_arrays` gave. Raises ValueError where it cannot have."""
        nodes, sums = arrays["nodes"], arrays["sums"]
        if (
            nodes.dtype != np.int64
            or nodes.ndim != 2
            or nodes.shape[1] != 2
            or len(nodes) != len(sums)
            or not len(nodes)
        ):
            raise ValueError("malformed blocks")
        if sums.dtype != np.float64 or nodes.min() < 0:
            raise ValueError("malformed sums")
        result = cls()
        for (level, index), array in zip(nodes.tolist(), sums, strict=True):
            result._push(level, index, np.asarray(array))
        return result

    def _push(self, level: int, index: int, array: np.ndarray) -> None:
        if (level, index) in self._nodes:
            raise ValueError(f"block {index << level} was added twice")
        while (sibling := self._nodes.pop((level, index ^ 1), None)) is not None:
            array += sibling
            level, index = level + 1, index >> 1
        self._nodes[level, index] = array
