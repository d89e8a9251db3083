"""The algebra on Gram matrices against brute force, textbook forms and data that it has not seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxslim.linalg import (
    BLOCK,
    DAMPING,
    Lowrank,
    Project,
    compensate,
    damped,
    output_errors,
    ridge,
    ridge_of_rows,
)

RNG = np.random.default_rng(0)


def inputs(rows: int, features: int, seed: int = 0) -> np.ndarray:
    """Correlated rows, not centred; the same distribution for every seed."""
    mix = np.random.default_rng(features).normal(size=(features, features)) / np.sqrt(features)
    made: np.ndarray = np.abs(np.random.default_rng(seed).normal(size=(rows, features)) @ mix)
    return made


def to_grid(scale: np.ndarray, top: int) -> Project:
    return lambda values, column: np.clip(np.rint(values / scale), -top, top) * scale


def scale_of(weights: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    top: int = 2 ** (bits - 1) - 1
    return np.abs(weights).max(axis=1) / top, top


def nearest(weights: np.ndarray, project: Project) -> np.ndarray:
    return np.stack([project(column, place) for place, column in enumerate(weights.T)], axis=1)


def surgeon(weights: np.ndarray, gram: np.ndarray, project: Project) -> np.ndarray:
    """Optimal Brain Surgeon as its paper writes it: one weight after another, by the inverse that is downdated."""
    inverse = np.linalg.inv(damped(gram))
    left, result = weights.astype(np.float64), np.zeros(weights.shape)
    for j in np.argsort(-np.diagonal(gram), kind="stable"):
        result[:, j] = project(left[:, j], j)
        left = left - np.outer((left[:, j] - result[:, j]) / inverse[j, j], inverse[j])
        inverse = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        inverse[j, j] = 1.0
    return result


@pytest.mark.parametrize("features", [1, 7, BLOCK, 2 * BLOCK + 44])
def test_the_sweep_is_optimal_brain_surgeon(features: int) -> None:
    x, weights = inputs(3 * features + 10, features), RNG.normal(size=(5, features))
    project = to_grid(*scale_of(weights, 4))
    gram = x.T @ x
    assert np.allclose(compensate(weights, gram, project), surgeon(weights, gram, project))


def test_tiny_cases_come_near_to_the_best_of_all_integers() -> None:
    ratios = []
    for seed in range(40):
        x, weights = inputs(20, 4, seed), np.random.default_rng(seed).normal(size=(1, 4))
        scale, top = scale_of(weights, 3)
        gram, project = x.T @ x, to_grid(scale, top)
        every = np.array(list(itertools.product(range(-top, top + 1), repeat=4))) * scale
        best = output_errors(weights - every, gram).min()
        found = [
            output_errors(weights - each, gram)[0]
            for each in (compensate(weights, gram, project, damping=1e-6), nearest(weights, project))
        ]
        assert found[0] >= best * (1 - 1e-9)
        ratios.append([best, *found])
    best, swept, plain = np.mean(ratios, axis=0)
    assert swept < 0.5 * plain
    assert swept < 3 * best


def test_independent_features_are_rounded_to_the_nearest() -> None:
    weights = RNG.normal(size=(6, 20))
    project = to_grid(*scale_of(weights, 4))
    swept = compensate(weights, np.diag(RNG.uniform(1, 9, 20)), project)
    assert np.array_equal(swept, nearest(weights, project))


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_unseen_rows_come_out_clearly_better(bits: int) -> None:
    x, unseen, weights = inputs(1000, 96, 1), inputs(1000, 96, 2), RNG.normal(size=(32, 96))
    project = to_grid(*scale_of(weights, bits))
    gram = unseen.T @ unseen
    plain, swept = (
        output_errors(weights - each, gram).sum()
        for each in (nearest(weights, project), compensate(weights, x.T @ x, project))
    )
    assert swept < plain / 2


def test_errors_of_outputs_are_those_of_the_product() -> None:
    x, delta = inputs(50, 9), RNG.normal(size=(4, 9))
    assert np.allclose(output_errors(delta.astype(np.float32), x.T @ x), np.square(x @ delta.T).sum(axis=0), rtol=1e-5)


def test_weights_may_come_from_a_codebook() -> None:
    codebook = np.array([-1.3, -0.5, -0.1, 0.0, 0.2, 0.6, 1.5])

    def project(values: np.ndarray, column: int) -> np.ndarray:
        nearest: np.ndarray = codebook[np.abs(values[:, np.newaxis] - codebook).argmin(axis=1)]
        return nearest

    x, weights = inputs(300, 40), RNG.normal(size=(8, 40))
    swept = compensate(weights, x.T @ x, project)
    assert np.isin(swept, codebook).all()
    errors = [output_errors(weights - each, x.T @ x).sum() for each in (swept, nearest(weights, project))]
    assert errors[0] < errors[1] / 3


def test_columns_made_zero_first_leave_the_others_refitted() -> None:
    x = inputs(200, 12) * np.where(np.arange(12) < 4, 10, 1)  # the first four have the largest diagonal
    gram, weights = x.T @ x, RNG.normal(size=(5, 12))
    swept = compensate(weights, gram, lambda values, column: values if column >= 4 else np.zeros_like(values))
    kept = gram[4:, 4:]
    share = DAMPING * np.diagonal(gram).mean() / np.diagonal(kept).mean()
    refit = ridge(kept, gram[4:] @ weights.T, damping=share, toward=weights[:, 4:])
    assert not swept[:, :4].any()
    assert np.allclose(swept[:, 4:], refit)


def test_masks_chosen_block_by_block_beat_masks_by_magnitude() -> None:
    """Two of four: SparseGPT's choice and compensation against magnitude without any."""
    x, unseen, weights = inputs(2000, 200, 1), inputs(2000, 200, 2), RNG.normal(size=(16, 200))
    keep = np.zeros(weights.shape, bool)

    def best_two(saliency: np.ndarray) -> np.ndarray:
        four = saliency.reshape(len(saliency), -1, 4)
        return (four.argsort(axis=2).argsort(axis=2) >= 2).reshape(saliency.shape)

    def look(values: np.ndarray, columns: np.ndarray, pivots: np.ndarray) -> None:
        assert values.shape == (16, len(columns))
        keep[:, columns] = best_two(np.square(values) * pivots)

    swept = compensate(weights, x.T @ x, lambda values, column: values * keep[:, column], look=look)
    assert (swept != 0).mean() == pytest.approx(0.5)
    magnitude = weights * best_two(np.square(weights))
    errors = [output_errors(weights - each, unseen.T @ unseen).sum() for each in (swept, magnitude)]
    assert errors[0] < errors[1] / 2


def test_features_that_are_always_zero_change_nothing_else() -> None:
    x, weights = inputs(200, 10), RNG.normal(size=(4, 10))
    project = to_grid(*scale_of(weights, 4))
    whole = np.insert(x, [3, 7], 0.0, axis=1)
    wide = np.insert(weights, [3, 7], 0.1, axis=1)
    live = [place for place in range(12) if place not in (3, 8)]
    swept = compensate(wide, whole.T @ whole, project)
    assert np.array_equal(swept[:, live], compensate(weights, x.T @ x, project))
    assert np.array_equal(swept[:, [3, 8]], nearest(wide[:, [3, 8]], project))


@pytest.mark.parametrize("diagonal", [[0.0, 0.0], [1.0, -1.0], [1.0, np.nan]])
def test_what_is_no_gram_matrix_is_refused(diagonal: list[float]) -> None:
    with pytest.raises(ValueError, match="diagonal"):
        damped(np.diag(diagonal))


def test_ridge_finds_the_weights_and_stays_near_others() -> None:
    x, weights = inputs(300, 8), RNG.normal(size=(3, 8))
    gram, cross = x.T @ x, x.T @ (x @ weights.T)
    assert np.allclose(ridge(gram, cross, damping=1e-12), weights, atol=1e-6)
    assert np.allclose(ridge(gram, cross, toward=weights), weights)
    near, far = (np.abs(ridge(gram, cross, damping=each) - weights).max() for each in (1e-4, 1.0))
    assert near < far
    assert np.abs(ridge(gram, cross, damping=1e9)).max() < 1e-6


def test_a_matrix_of_few_rows_is_what_it_would_be_written_out() -> None:
    factor, weights, right = inputs(7, 30), RNG.normal(size=(4, 30)), RNG.normal(size=(30, 3))
    made = Lowrank(RNG.uniform(0.5, 2, 30), factor)
    whole, places = made.whole(), np.array([[3, 9], [0, 29]])
    np.testing.assert_allclose(whole, np.diag(made.diagonal) + factor.T @ factor)
    for one, other in ((made, whole), (made.inverse(), np.linalg.inv(whole))):
        np.testing.assert_allclose(one.whole(), other, atol=1e-10)
        np.testing.assert_allclose(one.columns(places[0]), other[:, places[0]], atol=1e-10)
        np.testing.assert_allclose(one.blocks(places), other[places[:, :, None], places[:, None, :]], atol=1e-10)
        np.testing.assert_allclose(one.times(right), other @ right, atol=1e-10)
        np.testing.assert_allclose(one.energy(weights), np.trace(weights @ other @ weights.T))
        np.testing.assert_allclose(one.only(places[0]).whole(), other[np.ix_(places[0], places[0])], atol=1e-10)


@pytest.mark.parametrize("damping", [1e-4, 1e-2, 1.0])
def test_a_ridge_of_few_rows_is_that_of_their_matrix(damping: float) -> None:
    rows, toward = inputs(9, 40), RNG.normal(size=(5, 40))
    rows[:, 4] = 0  # never there
    cross = rows.T @ RNG.normal(size=(9, 5))
    expected = ridge(rows.T @ rows, cross, damping=damping, toward=toward)
    np.testing.assert_allclose(ridge_of_rows(rows, cross, damping=damping, toward=toward), expected, atol=1e-9)
    with pytest.raises(ValueError, match="not all zero"):
        ridge_of_rows(np.zeros((3, 4)), np.zeros((4, 2)))
