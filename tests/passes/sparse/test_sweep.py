"""A sweep that makes up for what it does: less error at the outputs, and none of its promises broken."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.linalg import output_errors
from onnxslim.passes.sparse.grids import Values
from onnxslim.passes.sparse.masks import Pattern
from onnxslim.passes.sparse.sweep import HALF, Made, Wanted, plain, swept

COLUMNS = 60
WEIGHTS = np.random.default_rng(0).normal(size=(24, COLUMNS)).astype(np.float32).astype(np.float64)


def correlated() -> np.ndarray:
    generator = np.random.default_rng(1)
    few = generator.normal(size=(500, 20)) @ generator.normal(size=(20, COLUMNS))
    x = few + 0.3 * generator.normal(size=few.shape)
    return np.asarray(x.T @ x)


def both(wanted: Wanted, gram: np.ndarray, places: int = 1) -> tuple[Made, Made]:
    importance = np.diagonal(gram) / np.diagonal(gram).mean()
    return plain(WEIGHTS, importance, wanted, places), swept(WEIGHTS, gram, wanted, places)


def error(made: Made, gram: np.ndarray) -> float:
    return float(output_errors(made.rows - WEIGHTS, gram).sum())


ASKED = [
    Wanted(0.5, Pattern()),
    Wanted(0.8, Pattern()),
    Wanted(0.5, Pattern.parse("2:4")),
    Wanted(0.5, Pattern.parse("4x1")),
    Wanted(0.0, Pattern(), "int8"),
    Wanted(0.0, Pattern(), "int4"),
    Wanted(0.0, Pattern(), "codebook", 8),
    Wanted(0.6, Pattern(), "int4"),
    Wanted(0.6, Pattern(), "codebook", 8),
    Wanted(0.5, Pattern(), "float16"),
]


def label(wanted: Wanted) -> str:
    return f"{wanted.share:g} {wanted.pattern.keep}:{wanted.pattern.of} {wanted.pattern.block} {wanted.values}"


@pytest.mark.parametrize("wanted", ASKED, ids=label)
def test_a_sweep_errs_less_on_correlated_inputs(wanted: Wanted) -> None:
    gram = correlated()
    without, made = both(wanted, gram)
    limit = 0.9 if wanted.pattern.block != (1, 1) or wanted.share > 0.7 else 0.75
    assert error(made, gram) < limit * error(without, gram)


@pytest.mark.parametrize("wanted", ASKED, ids=label)
def test_both_keep_what_was_asked_for(wanted: Wanted) -> None:
    for made in both(wanted, correlated()):
        assert np.array_equal(made.rows, made.rows.astype(np.float32))
        zero = made.rows == 0
        if wanted.pattern.of:
            assert (zero.reshape(24, -1, 4).sum(axis=2) >= 2).all()
        elif wanted.pattern.block != (1, 1):
            tiles = zero.reshape(6, 4, COLUMNS)
            assert tiles.all(axis=1).sum() == int(wanted.share * 6 * COLUMNS)
        else:
            assert zero.sum() >= round(wanted.share * zero.size)
            if wanted.values in ("float", "float16"):
                assert zero.sum() == round(wanted.share * zero.size)
        if wanted.few:
            assert made.levels is not None
            values = made.levels.values(made.levels.nearest(made.rows))
            assert np.array_equal(values, made.rows)
        if wanted.values == "float16":
            assert np.array_equal(made.rows, made.rows.astype(np.float16))


@pytest.mark.parametrize("wanted", ASKED, ids=label)
def test_where_inputs_are_not_correlated_there_is_nothing_to_make_up_for(wanted: Wanted) -> None:
    without, made = both(wanted, np.eye(COLUMNS))
    assert np.array_equal(made.rows, without.rows)


@pytest.mark.parametrize("values", ["float", "int8", "int4", "codebook"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_what_is_zero_stays_zero(values: Values, share: float) -> None:
    rows = np.where(np.random.default_rng(2).random(WEIGHTS.shape) < 0.6, 0.0, WEIGHTS)
    wanted, gram = Wanted(share, Pattern(), values), correlated()
    for made in (plain(rows, np.ones(COLUMNS), wanted, 1), swept(rows, gram, wanted, 1)):
        assert (made.rows == 0).sum() >= (rows == 0).sum()
        if not share:
            assert not made.rows[rows == 0].any()


def test_half_precision_ends_at_its_largest_number() -> None:
    rows = np.full((1, 4), 1e6)
    assert plain(rows, np.ones(4), Wanted(0.0, Pattern(), "float16"), 1).rows.tolist() == [[HALF] * 4]
