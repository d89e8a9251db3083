from __future__ import annotations

import numpy as np
import pytest

from onnxslim.passes.sparse.grids import TOP, Levels, Values, codebook, levels


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    table = np.random.default_rng(seed).normal(0, 0.2, shape) * np.logspace(-2, 2, shape[0])[:, np.newaxis]
    return table.astype(np.float32).astype(np.float64)


def grid_of(table: np.ndarray, kind: Values, entries: int = 16, going: np.ndarray | None = None) -> Levels:
    none = np.zeros(table.shape, bool)
    return levels(table, np.ones(table.shape[1]), kind, entries, none if going is None else going)


@pytest.mark.parametrize("kind", ["int8", "int4", "codebook"])
def test_values_are_exact_in_single_precision_and_found_again(kind: Values) -> None:
    table = rows(12, 80)
    grid = grid_of(table, kind)
    codes = grid.nearest(table)
    values = grid.values(codes)
    assert values.dtype == codes.dtype == np.float32
    assert np.array_equal(grid.nearest(values.astype(np.float64)), codes)
    assert np.array_equal(grid.project(table[:, 0]), values[:, 0].astype(np.float64))
    assert np.array_equal(values, codes * grid.scale[:, np.newaxis])
    limit = {"int8": 0.01, "int4": 0.15, "codebook": 0.15}[kind]
    assert np.linalg.norm(values - table) < limit * np.linalg.norm(table)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_integers_are_symmetric_with_a_scale_for_each_row(kind: Values) -> None:
    table = rows(12, 80)
    grid = grid_of(table, kind)
    assert grid.codes.tolist() == list(range(-TOP[kind], TOP[kind] + 1))
    assert grid.whole
    assert len(np.unique(grid.scale)) == 12
    assert np.abs(grid.nearest(100 * table)).max() == TOP[kind]
    steps = np.abs(grid.values(grid.nearest(table)) - table) / grid.scale[:, np.newaxis]
    assert np.quantile(steps, 0.9) <= 0.5


def test_int4_cuts_off_where_that_is_better() -> None:
    table = rows(4, 200)
    table[:, 0] = 5 * np.abs(table).max(axis=1)
    importance = np.ones(200)
    importance[0] = 1e-3
    grid = levels(table, importance, "int4", 16, np.zeros(table.shape, bool))
    plain = np.abs(table).max(axis=1) / 7
    assert (grid.scale < plain).all()


def test_zeros_and_dead_rows_stay_zero() -> None:
    table = rows(5, 40)
    table[2] = 0
    going = np.random.default_rng(1).random(table.shape) < 0.5
    for kind in ("int8", "int4", "codebook"):
        grid = grid_of(table, kind, going=going)
        made = grid.values(grid.nearest(np.where(going, 0.0, table)))
        assert not made[going].any()
        assert not made[2].any()
        assert np.isfinite(made).all()


@pytest.mark.parametrize("entries", [2, 3, 16, 256])
@pytest.mark.parametrize("zero", [False, True])
def test_a_codebook_is_no_worse_than_quantiles(entries: int, zero: bool) -> None:
    numbers = np.concatenate([np.random.default_rng(0).standard_t(3, 4000), np.linspace(-9, 9, 50)])
    found = codebook(numbers, np.ones(len(numbers)), entries, zero)
    assert len(found) <= entries
    assert (np.diff(found) > 0).all()
    assert not zero or 0 in found
    free = entries - zero
    quantiles = np.quantile(numbers, (np.arange(free) + 0.5) / free)
    start = np.union1d(quantiles, 0.0) if zero else quantiles

    def error(codes: np.ndarray) -> float:
        return float(np.square(numbers[:, np.newaxis] - codes).min(axis=1).sum())

    assert error(found) <= (1 + 1e-6) * error(start)
    assert entries > 16 or error(found) < 0.95 * error(start)


def test_a_codebook_is_nearest_where_it_is_worth_most() -> None:
    numbers = np.linspace(-1, 1, 401)
    worth = np.where(numbers > 0.5, 1.0, 1e-6)
    found, even = (codebook(numbers, each, 8, False) for each in (worth, np.ones(401)))
    errors = [worth @ np.square(numbers[:, np.newaxis] - codes).min(axis=1) for codes in (found, even)]
    assert errors[0] < 0.9 * errors[1]


def test_a_codebook_of_few_numbers_is_these() -> None:
    assert codebook(np.array([3.0, 3.0, 3.0]), np.ones(3), 16, False).tolist() == [3]
    assert codebook(np.array([2.0, -1.0]), np.ones(2), 16, True).tolist() == [-1, 0, 2]
    rare = np.repeat([-1.0, 0.5, 0.75], [50, 50, 1])  # no quantile falls on the last one
    assert codebook(rare, np.ones(101), 3, False).tolist() == [-1, 0.5, 0.75]


@pytest.mark.parametrize("zero", [True, False])
def test_a_codebook_of_nothing_has_an_entry(zero: bool) -> None:
    assert codebook(np.zeros(0), np.zeros(0), 16, zero).tolist() == [0]


def test_the_largest_single_is_not_scaled_beyond_it() -> None:
    rows = np.array([[np.finfo(np.float32).max, -1e38]])
    made = levels(rows, np.ones(2), "int8", 16, np.zeros((1, 2), bool))
    assert np.allclose(made.project(rows) / rows, 1, atol=0.01)
