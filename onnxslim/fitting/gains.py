"""What least squares makes too small is made longer.

A fit of y loses, along y, the share of y's variance that it does not explain. Other errors add up from layer to layer
and from step to step of a recurrence; this one multiplies, always in the same direction (the variance that is lost in
Jordan et al., REPAIR: REnormalizing Permuted Activations for Interpolation Repair, ICLR 2023, section 3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim.fitting.problem import Matrix, Normal, Problem

MOST = 1.1
"""Factor; a fit that is shorter still is far from y, whatever its length."""


def gains(along: Matrix, squares: Matrix, made: Matrix, rows: int) -> Matrix:
    """By how much outputs are to be longer for their part along y to be as long as y.

    What may be chance is left: the estimate counts less its standard error.

    Args:
        along: Sums of y times what is made of it, in any shape.
        squares: Sums of y squared.
        made: Sums of the squares of what is made.
        rows: How many were summed up.

    Returns:
        Factors from 1 / `MOST` to `MOST`; below 1 where outputs are too long.

    >>> gains(np.array([0.95, 0.2]), np.array([1.0, 1.0]), np.array([0.95, 0.2]), 1 << 30).round(3).tolist()
    [1.053, 1.1]
    """
    known = np.where(squares > 0, squares, 1.0)
    slope = np.where((squares > 0) & (along > 0), along / known, 1.0)
    error = np.maximum(squares - 2 * along + made, 0.0) / known
    off, chance = 1 / slope - 1, np.sqrt(error / max(rows, 1))
    return np.asarray(1 + np.clip(np.sign(off) * np.maximum(np.abs(off) - chance, 0.0), 1 / MOST - 1, MOST - 1))


def gains_of(problem: Problem, weights: Matrix) -> Matrix:
    """The same for other weights of a problem, on all its samples; where a bias is free, of what is left without means.

    Args:
        problem: Not changed.
        weights: ``[groups, features, outputs]``, without the row that is for the bias.

    Returns:
        ``[groups, outputs]``.
    """
    sides, features = (problem.fitted, problem.judging), weights.shape[1]

    def summed(each: Callable[[Normal], Matrix]) -> Matrix:
        return each(sides[0]) + each(sides[1])

    squares = summed(lambda side: side.target)
    along = summed(lambda side: np.einsum("gfo,gfo->go", weights, side.cross[:, :features]))
    made = summed(lambda side: np.einsum("gfo,gfo->go", weights, side.gram[:, :features, :features] @ weights))
    if problem.bias is not None:
        count, wanted = summed(lambda side: side.gram[:, -1, -1:]), summed(lambda side: side.cross[:, -1])
        mean = summed(lambda side: np.einsum("gf,gfo->go", side.gram[:, -1, :features], weights))
        along, made, squares = along - mean * wanted / count, made - mean**2 / count, squares - wanted**2 / count
    return gains(along, squares, made, sum(side.rows for side in sides))
