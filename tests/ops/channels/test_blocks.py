"""The runs of axes that a reshape keeps together."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.dims import Symbols, from_declared
from onnxslim.ops.channels.reshaping import blocks


def regrouped(rng: np.random.Generator, primes: list[int]) -> list[int]:
    """The same elements in other axes, some of size 1."""
    cuts = sorted(rng.integers(0, len(primes) + 1, rng.integers(1, 4)).tolist())
    return [math.prod(primes[a:b]) for a, b in zip([0, *cuts], [*cuts, len(primes)], strict=True)]


@pytest.mark.parametrize("seed", range(50))
def test_blocks_hold_the_same_elements(seed: int) -> None:
    rng = np.random.default_rng(seed)
    primes = rng.choice((2, 3, 2, 5), rng.integers(1, 6)).tolist()
    before, after = regrouped(rng, primes), regrouped(rng, primes)
    found = blocks(before, after)
    # All axes but those of size 1 are in one block each, in their order.
    assert [i for left, _ in found for i in left] == [i for i, size in enumerate(before) if size != 1]
    assert [i for _, right in found for i in right] == [i for i, size in enumerate(after) if size != 1]
    assert all(math.prod(before[i] for i in left) == math.prod(after[i] for i in right) for left, right in found)
    # The place within a block is the same on both sides.
    count = math.prod(before)
    places, others = np.indices(before).reshape(len(before), count), np.indices(after).reshape(len(after), count)
    for left, right in found:
        one = np.ravel_multi_index([places[i] for i in left], [before[i] for i in left])
        other = np.ravel_multi_index([others[i] for i in right], [after[i] for i in right])
        assert (one == other).all()


def test_what_is_not_known_hides_neither_what_comes_before_nor_after() -> None:
    symbols = Symbols()
    n, t = (from_declared(ir.SymbolicDim(name), symbols) for name in "NT")
    assert blocks([n, t, 12], [n, t, 3, 4]) == [([0], [0]), ([1], [1]), ([2], [2, 3])]
    assert blocks([n, 8, t], [n, 2, 4, t]) == [([0], [0]), ([1], [1, 2]), ([2], [3])]
    assert blocks([n, t, 12], [n * t, 12]) == [([0, 1], [0]), ([2], [1])]


def test_equal_sizes_are_matched_by_their_place() -> None:
    assert blocks([4, 4], [16]) == [([0, 1], [0])]
    assert blocks([4, 2, 2], [2, 2, 4]) == [([0], [0, 1]), ([1, 2], [2])]
    assert blocks([2, 1, 3], [1, 2, 3, 1]) == [([0], [1]), ([2], [2])]
