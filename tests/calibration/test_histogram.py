from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.calibration import Histogram, entropy, min_max, mse, percentile
from onnxslim.calibration.histogram import BINS, MIN_EXPONENT
from onnxslim.errors import InputError

FLOATS = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32, allow_nan=True))
DOUBLES = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(allow_nan=False, allow_infinity=False))


def made(*arrays: np.ndarray) -> Histogram:
    result = Histogram()
    for array in arrays:
        result.add(array)
    return result


def state(histogram: Histogram) -> Any:
    arrays = histogram.to_arrays()
    return {name: array.tolist() for name, array in arrays.items()}


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(FLOATS, DOUBLES), min_size=1, max_size=6), st.randoms())
def test_any_split_in_any_order_merges_to_the_same(parts: list[np.ndarray], random: Any) -> None:
    whole = made(*parts)
    pieces = [made(part) for part in parts]
    random.shuffle(pieces)
    while len(pieces) > 1:
        pieces.append(pieces.pop(0).merge(pieces.pop(0)))
    assert state(pieces[0]) == state(whole)


@settings(deadline=None, max_examples=150)
@given(st.one_of(FLOATS, DOUBLES))
def test_counts_are_those_of_numpy(data: np.ndarray) -> None:
    histogram = made(data)
    finite = data[np.isfinite(data)].astype(np.float64)
    assert histogram.total == finite.size
    assert histogram.nonfinite == data.size - finite.size
    if finite.size and np.isfinite(histogram.edges).all():
        largest = np.abs(finite).max()
        assert largest < BINS // 2 * histogram.width
        assert largest >= BINS // 4 * histogram.width or histogram.exponent == MIN_EXPONENT
        # numpy's bins are half open too, except the last, whose right edge no value reaches here
        assert np.array_equal(np.histogram(finite, histogram.edges)[0], histogram.counts)
        assert min_max(histogram) == (finite.min(), finite.max())


def test_tiny_negative_values_beside_huge_ones() -> None:
    data = np.array([-5e-324, -1e-300, -1e-20, 5e-324, 1e300])
    whole, parts = made(data), made(data[:3]).merge(made(data[3:]))
    assert state(whole) == state(parts)
    assert whole.counts[BINS // 2 - 1] == 3
    assert whole.counts[BINS // 2] == 1


def test_the_file_form_round_trips_and_is_checked() -> None:
    histogram = made(np.arange(100, dtype=np.float32) - 7)
    arrays = histogram.to_arrays()
    assert state(Histogram.from_arrays(arrays)) == state(histogram)
    for name, broken in (
        ("counts", np.zeros(3, np.int64)),
        ("counts", np.full(BINS, -1)),
        ("whole", np.array([5000, 0])),
        ("extremes", np.array([1.0, 0.0])),
    ):
        with pytest.raises(ValueError, match="malformed"):
            Histogram.from_arrays({**arrays, name: broken})


@pytest.mark.parametrize("share", [50.0, 99.0, 99.9, 99.99, 100.0])
@pytest.mark.parametrize("skew", [False, True])
def test_percentiles_are_within_a_bin(share: float, skew: bool) -> None:
    data = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    data = np.maximum(data * 3 + 1, 0) if skew else data
    histogram = made(data)
    low, high = percentile(histogram, share)
    tail = (100 - share) / 2
    assert low == pytest.approx(np.percentile(data, tail, method="inverted_cdf"), abs=histogram.width)
    assert high == pytest.approx(np.percentile(data, 100 - tail, method="inverted_cdf"), abs=histogram.width)


def quantized_error(data: np.ndarray, bounds: tuple[float, float], levels: int) -> float:
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (high - low) / (levels - 1)
    zero = np.round(-low / scale)
    return float(np.mean(((np.clip(np.round(data / scale) + zero, 0, levels - 1) - zero) * scale - data) ** 2))


@pytest.mark.parametrize("levels", [16, 256])
def test_mse_beats_min_max_on_outliers_and_is_near_the_best_cut(levels: int) -> None:
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.standard_normal(50_000), rng.standard_normal(20) * 12])
    histogram = made(data)
    found = quantized_error(data, mse(histogram, levels), levels)
    assert found < 0.9 * quantized_error(data, min_max(histogram), levels)
    best = min(quantized_error(data, (data.min() * a, data.max() * a), levels) for a in np.linspace(0.02, 1, 300))
    assert found <= 1.05 * best


def test_mse_keeps_a_range_without_outliers() -> None:
    low, high = mse(made(np.linspace(0, 6, 10_000)))
    assert low == 0
    assert high == pytest.approx(6, rel=0.02)


def test_entropy_cuts_outliers_and_keeps_what_fits() -> None:
    rng = np.random.default_rng(0)
    wide = np.concatenate([rng.standard_normal(100_000), [60.0, -60.0]])
    low, high = entropy(made(wide))
    assert -30 < low < -3
    assert 3 < high < 30
    assert entropy(made(np.linspace(-1, 1, 5000))) == pytest.approx((-1, 1), abs=0.05)


@pytest.mark.parametrize("estimate", [min_max, mse, entropy, lambda h: percentile(h, 99)])
def test_special_data(estimate: Any) -> None:
    with pytest.raises(InputError, match="the histogram is empty"):
        estimate(made(np.array([np.nan, np.inf])))
    assert estimate(made(np.zeros(9))) == (0, 0)
    low, high = estimate(made(np.full(9, 3.5, np.float32)))
    assert low <= high <= 3.5
    assert math.isclose(high, 3.5, rel_tol=0.02)


def test_refused_options() -> None:
    histogram = made(np.ones(3))
    with pytest.raises(InputError, match="percentile 101"):
        percentile(histogram, 101)
    with pytest.raises(InputError, match="1 levels"):
        mse(histogram, 1)
    with pytest.raises(InputError, match="5000 levels"):
        entropy(histogram, 5000)
