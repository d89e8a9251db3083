from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.errors import InputError
from onnxslim.samples import Sample, check_samples
from onnxslim.samples.check import checked
from onnxslim.samples.sample import Indexed
from tests.calibration.nets import Port, port


def fit(array: Any, expected: Port, name: str = "x") -> np.ndarray:
    (sample,) = check_samples([Sample("cat.npz", {name: array})], [expected])
    return sample.feed["x"]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0.1, 2]]), np.float32),
        (np.array([[1, 2]], np.int32), np.int64),
        (np.array([[1, 2]], np.int64), np.int32),
        (np.array([[1, 255]], np.uint8), np.float32),
        (np.array([[True, False]]), np.int64),
        (np.array([[0.5, 2]], np.float16), np.float32),
        (np.array([["a", "bc"]]), object),
    ],
)
def test_conversions_that_are_safe(array: np.ndarray, dtype: Any) -> None:
    result = fit(array, port(dtype=dtype, shape=("N", 2)))
    assert result.dtype == np.dtype(dtype)
    assert np.array_equal(result, array.astype(dtype))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[1.5, 2]]), np.int64),
        (np.array([[1.0, 2]]), np.int64),
        (np.array([[1, 2**40]]), np.int32),
        (np.array([[-1, 2]]), np.uint8),
        (np.array([[1e300, 2]]), np.float32),
        (np.array([[0.1, 2]], np.float32), np.float16),
        (np.array([[2**24 + 1, 2]]), np.float32),
        (np.array([["a", "b"]]), np.float32),
        (np.array([[1j, 2]]), np.float32),
    ],
)
def test_conversions_that_lose_are_refused(array: np.ndarray, dtype: Any) -> None:
    with pytest.raises(InputError, match=f"an array is .*, the model takes {np.dtype(dtype)}.*'cat.npz', input 'x'"):
        fit(array, port(dtype=dtype, shape=("N", 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_name_the_sample_and_the_place(bad: float) -> None:
    array = np.zeros((1, 3), np.float32)
    array[0, 2] = bad
    with pytest.raises(InputError, match=r"NaN or Inf \(sample 'cat.npz', input 'x'\): 1 of 3 values.*\(0, 2\)"):
        fit(array, port())


def test_names() -> None:
    array = np.zeros((1, 3), np.float32)
    with pytest.raises(InputError, match=r"'cat.npz' has an array 'pixels'.*did you mean 'pixel'"):
        next(check_samples([Sample("cat.npz", {"pixels": array})], [port("pixel")]))
    with pytest.raises(InputError, match=r"'cat.npz' has no array for input 'mask'.*holds 'x'.*float32\[N, 3\]"):
        next(check_samples([Sample("cat.npz", {"x": array})], [port(), port("mask")]))


def test_ranks_and_sizes() -> None:
    with pytest.raises(InputError, match=r"wrong rank.*expected float32\[N, 3\], came float32\[3\].*np.newaxis"):
        fit(np.zeros(3, np.float32), port())
    with pytest.raises(InputError, match=r"wrong size on axis 1.*expected float32\[N, 3\], came float32\[1, 4\]"):
        fit(np.zeros((1, 4), np.float32), port())
    with pytest.raises(InputError, match="transpose it"):
        fit(np.zeros((1, 4, 3), np.float32), port(shape=(1, 3, 4)))
    with pytest.raises(InputError, match=r"batches of 8: stack whole batches, \[samples, 8, ...\]"):
        fit(np.zeros((1, 3), np.float32), port(shape=(8, 3)))
    assert fit(np.zeros((5, 3), np.float32), port()).shape == (5, 3)
    assert fit(np.zeros((5, 3, 2), np.float32), port(shape=())).shape == (5, 3, 2)


def test_what_is_no_tensor_is_left_to_the_runtime() -> None:
    inputs = [port(), Port("state", None, ())]
    (sample,) = check_samples([Sample("a", {"x": np.zeros((1, 3), np.float32)})], inputs)
    assert list(sample.feed) == ["x"]


def test_checked_views_keep_label_and_access() -> None:
    samples = [Sample(str(i), {"x": np.full((1, 3), i, np.float64)}, label=i) for i in range(3)]
    view = checked(samples, [port()])
    assert isinstance(view, Indexed)
    assert len(view) == 3
    assert [sample.label for sample in view] == [sample.label for sample in view] == [0, 1, 2]
    assert view[2].feed["x"].dtype == np.float32
