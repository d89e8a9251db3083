from __future__ import annotations

import numpy as np
import pytest

from onnxslim.packing import MOST as MOST_VALUES
from onnxslim.packing import Content, Packing, Together, groups, sizes, together
from onnxslim.packing.packing import bits_for, payload
from tests.packing.arrays import Array, bytes_of, words


def grouped(arrays: list[Array], kinds: list[str] | None = None) -> tuple[list[Content], list[Together]]:
    """Packed in the best way of each alone; every one is in one group."""
    contents = [Content.of(each) for each in arrays]
    best = [way for each in contents if (way := sizes.best(each)) is not None]
    found = together(contents, kinds or [each.dtype.name for each in arrays], best)
    assert sorted(place for group in found for place in group.members) == list(range(len(arrays)))
    assert all(group.members == sorted(group.members) for group in found)
    assert all(group.count == sum(contents[place].count for place in group.members) for group in found)
    return contents, found


def codes(*values: int, count: int = 3000, zeros: float = 0.0, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    array = generator.choice(np.array(values, np.float32), count)
    array[generator.random(count) < zeros] = 0
    return array


def test_tensors_alike_are_together_and_dtypes_apart() -> None:
    arrays = [words(dtype, (2000,), 0.9, seed=seed) for seed in range(3) for dtype in (np.float32, np.int32)]
    _, found = grouped(arrays)
    assert sorted(group.members for group in found) == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("zeros", [0.0, 0.6, 0.95])
def test_a_codebook_never_gets_more_values_than_its_bits_tell_apart(zeros: float) -> None:
    arrays = [codes(*range(10 * seed + 1, 10 * seed + 4), zeros=zeros, seed=seed) for seed in range(12)]
    arrays += [codes(*range(1, 2 + 20 * seed), zeros=zeros, seed=seed) for seed in range(6)]
    contents, found = grouped(arrays)
    assert any(group.packing.value_bits and len(group.members) > 1 for group in found)
    for group in found:
        if not group.packing.value_bits:
            continue
        every = np.unique(np.concatenate([contents[place].values for place in group.members]))
        zero = group.packing.places != "all" or any(contents[place].zeros for place in group.members)
        assert len(every) + zero <= 2**group.packing.value_bits
        assert len(every) <= MOST_VALUES
        assert group.palette is not None
        assert np.array_equal(np.setdiff1d(group.palette, [0]), every)


def test_values_that_are_shared_need_one_codebook() -> None:
    _, found = grouped([codes(1, 2, 3, 4, seed=seed) for seed in range(4)])
    assert [group.packing for group in found] == [Packing("all", value_bits=2)]
    assert bits_for(4) == 2
    _, found = grouped([codes(1, 2, 3, 4), codes(1, 2, 3, 0, seed=1), codes(1, 2, 4, 0, seed=2)])
    assert all(len(group.palette) <= 4 for group in found if group.palette is not None)


def test_a_group_of_several_has_most_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST", 5000)
    arrays = [words(np.float32, (count,), 0.9, seed=count) for count in (2000, 2001, 6000, 2002, 900, 2003)]
    _, found = grouped(arrays)
    assert all(len(group.members) == 1 or group.count <= 5000 for group in found)
    assert [2] in [group.members for group in found]
    assert len(found) >= 3


def test_a_small_group_joins_another_where_that_takes_fewer_bytes() -> None:
    arrays = [words(np.float32, (20000,), 0.9), words(np.float32, (400,), 0.6, seed=1), words(np.float32, (350,), 0.99)]
    contents = [Content.of(each) for each in arrays]
    alone = [sizes.best(each) for each in contents]
    assert len(set(alone)) == 3
    _, found = grouped(arrays)
    assert len(found) == 1

    def estimate(parts: list[tuple[list[Content], Packing]]) -> int:
        return sum(sizes.shared(way) + sum(payload(each, way) for each in some) for some, way in parts)

    apart = [([each], way) for each, way in zip(contents, alone, strict=True) if way is not None]
    joined = [([contents[place] for place in group.members], group.packing) for group in found]
    assert estimate(joined) < estimate(apart)
    real = [([arrays[place] for place in group.members], group.packing) for group in found]
    assert bytes_of(real) < bytes_of([([array], way) for array, (_, way) in zip(arrays, apart, strict=True)])


def test_large_groups_of_other_ways_stay_apart() -> None:
    arrays = [words(np.float32, (60000,), 0.5), words(np.float32, (60000,), 0.97, seed=1)]
    _, found = grouped(arrays)
    assert len(found) == 2
