from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.calibration.blocks import BlockSum
from onnxslim.calibration.moments import Mean, Range
from onnxslim.ops.unfold import Uneven

TERMS = np.random.default_rng(0).standard_normal((40, 3)) * 10.0 ** np.random.default_rng(1).integers(-8, 8, (40, 1))


def summed(blocks: list[int]) -> BlockSum:
    result = BlockSum()
    for block in blocks:
        result.add(TERMS[block].copy(), block)
        result.add(TERMS[-1 - block].copy(), block)
    return result


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 20), st.integers(1, 5), st.randoms())
def test_any_shards_give_the_same_bits(blocks: int, shards: int, random: Any) -> None:
    whole = summed(list(range(blocks)))
    parts = [summed(list(range(blocks * i // shards, blocks * (i + 1) // shards))) for i in range(shards)]
    random.shuffle(parts)
    while len(parts) > 1:
        parts.append(parts.pop(0).merge(parts.pop(0)))
    assert parts[0].total().tobytes() == whole.total().tobytes()
    assert parts[0].nodes().keys() == whole.nodes().keys()


def test_few_nodes_are_held() -> None:
    total = BlockSum()
    for block in range(1000):
        total.add(np.ones(1), block)
        assert len(total.nodes()) <= 10
    assert total.total() == 1000


def test_merging_changes_neither_and_refuses_overlap() -> None:
    one, other = summed([0, 1]), summed([2, 3])
    before = one.total()
    one.merge(other)
    assert np.array_equal(one.total(), before)
    with pytest.raises(ValueError, match="block 2 was added twice"):
        other.merge(summed([2, 3]))
    with pytest.raises(ValueError, match="nothing"):
        BlockSum().total()


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_mean_and_range_against_numpy(axis: int | None) -> None:
    data = np.random.default_rng(0).standard_normal((7, 2, 5, 3)).astype(np.float32)
    mean, spread = Mean(axis), Range(axis)
    for block, x in enumerate(data):
        mean.add(x, block)
        spread.add(x)
    others = None if axis is None else tuple(i for i in range(4) if i != (axis % 3) + 1)
    assert mean.value == pytest.approx(data.mean(axis=others, dtype=np.float64), rel=1e-12)
    assert np.array_equal(spread.low, data.min(axis=others))  # type: ignore[arg-type]
    assert np.array_equal(spread.high, data.max(axis=others))  # type: ignore[arg-type]
    again = Mean.from_arrays(mean.to_arrays(), axis)
    assert again.value.tobytes() == mean.value.tobytes()
    bounds = Range.from_arrays(spread.to_arrays(), axis)
    assert np.array_equal(bounds.low, spread.low)  # type: ignore[arg-type]


def test_what_is_not_finite_is_counted_apart() -> None:
    x = np.array([[1.0, np.nan, -np.inf], [3.0, 5.0, 0.5]], np.float32)
    mean, spread = Mean(0), Range()
    mean.add(x, 0)
    spread.add(x)
    assert mean.value.tolist() == [1.0, 8.5 / 3]
    assert np.array_equal(np.array([spread.low, spread.high], np.float64), [0.5, 5.0])
    assert spread.nonfinite == 2


@pytest.mark.parametrize("kind", [Mean, Range])
def test_uneven_channels_are_refused(kind: Any) -> None:
    statistic = kind(1)
    statistic.add(np.ones((1, 3)), 0)
    with pytest.raises(Uneven, match="axis 1 has size 3 in one sample and 4 in another"):
        statistic.add(np.ones((1, 4)), 0)
    with pytest.raises(Uneven, match="there is no axis 1"):
        statistic.add(np.ones(3), 0)
