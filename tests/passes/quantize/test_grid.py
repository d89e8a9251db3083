from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.passes.quantize.grid import activation_grid, weight_grid

bounds = st.floats(-1e6, 1e6, width=32)


@given(bounds, bounds, st.sampled_from(["uint8", "int8"]))
def test_the_grid_covers_its_range_and_holds_zero_exactly(a: float, b: float, dtype: str) -> None:
    low, high = min(a, b), max(a, b)
    grid = activation_grid(low, high, dtype)
    points = np.linspace(min(low, 0), max(high, 0), 257).astype(np.float32)
    real = (grid.quantize(points).astype(np.float64) - int(grid.zero_point)) * float(grid.scale)
    assert np.abs(real - points).max() <= 1.01 * float(grid.scale)
    assert grid.quantize(np.zeros(1, np.float32))[0] == grid.zero_point


def test_a_constant_zero_tensor_has_a_usable_scale() -> None:
    for dtype in ("uint8", "int8"):
        grid = activation_grid(0.0, 0.0, dtype)
        assert np.isfinite(1 / grid.scale)
        assert grid.quantize(np.zeros(3, np.float32)).tolist() == [int(grid.zero_point)] * 3


def test_per_channel_scales_follow_the_axis_and_lose_less() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    weight *= np.array([1, 10, 100, 1000], np.float32)[:, None, None]
    errors = {}
    for axis in (0, None):
        grid = weight_grid(weight, axis)
        scale = grid.scale.reshape(-1, 1, 1)
        error = grid.quantize(weight) * scale - weight
        assert np.all(np.abs(error) <= 0.5001 * scale)
        errors[axis] = np.abs(error[0]).max()
    assert errors[0] * 100 < errors[None]


def test_seven_bits_and_dead_channels() -> None:
    weight = np.array([[1.0, -1.0], [0.0, 0.0]], np.float32)
    grid = weight_grid(weight, 0, bits=7)
    assert grid.quantize(weight).tolist() == [[63, -63], [0, 0]]
    assert np.all(np.isfinite(1 / grid.scale))
