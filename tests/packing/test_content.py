from __future__ import annotations

import math

import numpy as np
import pytest

from onnxslim.packing import MOST, Content, bound
from tests.packing.arrays import DTYPES, name_of, words


def test_zero_means_that_no_bit_is_set() -> None:
    content = Content.of(np.array([0.0, -0.0, 1.0, 0.0], np.float32))
    assert content.places.tolist() == [1, 2]
    assert (content.count, content.zeros, content.sparsity) == (4, 2, 0.5)
    assert content.palette is not None
    assert content.palette.tolist() == [0x3F800000, 0x80000000]


def test_nans_of_other_payloads_are_other_values() -> None:
    array = np.array([0x7FC00000, 0x7FC00001, 0xFFC00000, 0x7FC00000], np.uint32).view(np.float32)
    palette = Content.of(array).palette
    assert palette is not None
    assert palette.tolist() == [0x7FC00000, 0x7FC00001, 0xFFC00000]


@pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
def test_words_are_the_elements(dtype: np.dtype[np.generic]) -> None:
    array = words(dtype, (5, 7), 0.4)[:, ::2].T  # neither contiguous nor flat
    content = Content.of(array)
    assert content.words.tobytes() == array.tobytes()
    assert (content.itemsize, content.nbytes) == (array.itemsize, array.nbytes)
    assert content.zeros == int((np.frombuffer(array.tobytes(), f"u{array.itemsize}") == 0).sum())
    assert np.array_equal(content.words[content.places], content.values)


@pytest.mark.parametrize("values", [1, 2, MOST - 1, MOST, MOST + 1])
def test_a_palette_has_so_many_values_at_most(values: int) -> None:
    array = np.concatenate([np.zeros(100, np.float32), np.arange(1, values + 1, dtype=np.float32)])
    palette = Content.of(array).palette
    if values > MOST:
        assert palette is None
    else:
        assert palette is not None
        assert palette.view(np.float32).tolist() == array[100:].tolist()


def test_values_that_only_come_late_are_in_the_palette() -> None:
    array = np.ones(1 << 15, np.uint16)
    array[-MOST:] = np.arange(1, MOST + 1)
    palette = Content.of(array).palette
    assert palette is not None
    assert len(palette) == MOST
    array[-MOST - 1] = MOST + 1
    assert Content.of(array).palette is None


def test_the_bound_is_the_entropy_of_the_mask_and_the_values() -> None:
    assert bound(8000, 4000, 32.0) == 8000 / 8 + 4000 * 4
    assert bound(1000, 0, 16.0) == 2000
    assert bound(1000, 1000, 32.0) == bound(0, 0, 32.0) == 0
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert bound(1000, 900, 8.0) == pytest.approx((1000 * entropy + 100 * 8) / 8)


def test_few_values_lower_the_bound_by_a_codebook() -> None:
    array = np.repeat(np.array([0, 1, 2, 3, 4], np.float32), 1000)
    mask = bound(5000, 1000, 0.0)
    assert Content.of(array).bound == pytest.approx(mask + 4000 * 2 / 8 + 4 * 4)
    assert Content.of(words(np.float32, (5000,), 0.0)).bound == 20000
    assert Content.of(np.zeros(5000, np.float32)).bound == 0
    assert Content.of(np.zeros(0, np.float32)).bound == 0
