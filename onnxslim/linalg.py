"""Least squares on a Gram matrix ``H = X^T X``: what a change of weights does to outputs, and how to make up for it.

Weights ``V`` in place of ``W`` (rows are outputs, columns features) move the outputs ``X W^T`` by
``||X (W - V)^T||^2 = trace((W - V) H (W - V)^T)``. Rounding, sparsification and refitting minimize that over the ``V``
that they allow. With ``H = A A^T``, A upper triangular, and errors ``E = W - V`` it is ``||E A||^2``, column by column

    (E A)_j = E_j A_jj + sum_{i < j} E_i A_ij ,

so that column j, the earlier ones given, is best at ``W_j + sum_{i < j} E_i A_ij / A_jj``, from where it is projected
onto what is allowed. That is the update of Optimal Brain Surgeon (Hassibi & Stork, NIPS 1992), and for a fixed order of
columns that of GPTQ (Frantar et al., ICLR 2023, "The GPTQ Algorithm"), whose Cholesky factor of the inverse of H is
``A^-1``; without an inverse it is one factorization, and better conditioned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DAMPING = 0.01
"""Share of the mean diagonal that is added to it, as GPTQ does ("Step 3: Cholesky Reformulation")."""
BLOCK = 128
"""Columns whose earlier columns are taken in by one product of matrices."""
SEEN = 16
"""The same where they are looked at before. What a pivot tells holds as long as later columns can make up, and a look
takes some of that away: of 128 columns at once the first ones lose too much, and the error is up to twice as large."""

Project = Callable[[np.ndarray, int], np.ndarray]
"""What a column may become: (its wanted values float64[outputs], its index) -> float64[outputs]."""
Look = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""Sees a block before it is projected: (float64[outputs, columns], indices int[columns], pivots float64[columns]).

The pivot of a column is ``A_jj^2``: a step of size d away from what is wanted there costs ``pivot * d^2``, later
columns making up for it as well as they can. SparseGPT (Frantar & Alistarh, ICML 2023, "Adaptive Mask Selection")
chooses its masks by that."""


def damped(gram: np.ndarray, damping: float = DAMPING) -> np.ndarray:
    """``H + damping * m I``, where m is the mean of the diagonal over the features that are not dead (always zero).

    A dead feature gets a diagonal of its own and is tied to no other, so that it can stay in all computations.

    Args:
        gram: float64[features, features].
        damping: Share of the mean diagonal; greater than 0 makes the result positive definite.

    Raises:
        ValueError: All features are dead, or the diagonal is negative or not finite.
    """
    diagonal = np.diagonal(gram)
    live = diagonal[diagonal > 0]
    if not live.size or not np.isfinite(diagonal).all() or (diagonal < 0).any():
        raise ValueError("the diagonal of a Gram matrix is finite, not negative, and not all zero")
    result: np.ndarray = gram + 0.0  # a copy, without negative zeros
    np.fill_diagonal(result, diagonal + damping * live.mean())
    return result


@dataclass(frozen=True, slots=True)
class Lowrank:
    """``diag(d) + s F^T F`` with s = 1 or -1: a damped Gram matrix of few rows, or its inverse, never written out.

    Attributes:
        diagonal: ``float64[features]``.
        factor: ``float64[rows, features]``.
        sign: s.
    """

    diagonal: np.ndarray
    factor: np.ndarray
    sign: float = 1.0

    def __len__(self) -> int:
        return len(self.diagonal)

    def columns(self, places: np.ndarray) -> np.ndarray:
        """``float64[features, places]``."""
        found: np.ndarray = self.sign * (self.factor.T @ self.factor[:, places])
        found[places, np.arange(len(places))] += self.diagonal[places]
        return found

    def blocks(self, places: np.ndarray) -> np.ndarray:
        """The diagonal blocks of ``int[blocks, k]`` places: ``float64[blocks, k, k]``."""
        own = self.factor[:, places]
        found: np.ndarray = self.sign * np.matmul(own.transpose(1, 2, 0), own.transpose(1, 0, 2))
        inner = np.arange(places.shape[1])
        found[:, inner, inner] += self.diagonal[places]
        return found

    def times(self, right: np.ndarray) -> np.ndarray:
        """The product with ``float[features, columns]``."""
        found: np.ndarray = self.diagonal[:, np.newaxis] * right + self.sign * (self.factor.T @ (self.factor @ right))
        return found

    def energy(self, weights: np.ndarray) -> float:
        """``trace(W M W^T)`` of ``float[outputs, features]``."""
        plain = np.einsum("of,of,f->", weights, weights, self.diagonal)
        return float(plain + self.sign * np.square(self.factor @ weights.T).sum())

    def whole(self) -> np.ndarray:
        """Written out, ``float64[features, features]``."""
        found: np.ndarray = self.sign * (self.factor.T @ self.factor)
        found[np.diag_indices_from(found)] += self.diagonal
        return found

    def only(self, places: np.ndarray) -> Lowrank:
        """The block of some features."""
        return Lowrank(self.diagonal[places], self.factor[:, places], self.sign)

    def inverse(self) -> Lowrank:
        """Of a positive definite one: with F / sqrt(d) = G it is ``(I - G^T (I + G G^T)^-1 G)`` between 1 / sqrt(d).

        (Woodbury, Inverting modified matrices, 1950.) It costs the cube of the rows, not of the features.
        """
        root = np.sqrt(self.diagonal)
        scaled = self.factor / root
        inner = scaled @ scaled.T
        inner[np.diag_indices_from(inner)] += 1.0
        return Lowrank(1 / self.diagonal, np.linalg.solve(np.linalg.cholesky(inner), scaled) / root, -1.0)


def output_errors(delta: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The squared error of each output, summed over the rows of X: the diagonal of ``delta H delta^T``.

    Args:
        delta: float[outputs, features], the change of the weights.
        gram: float64[features, features].

    Returns:
        float64[outputs].
    """
    delta = delta.astype(np.float64)
    errors: np.ndarray = np.einsum("of,of->o", delta @ gram, delta)
    return errors


def compensate(
    weights: np.ndarray,
    gram: np.ndarray,
    project: Project,
    *,
    damping: float = DAMPING,
    look: Look | None = None,
) -> np.ndarray:
    """Projects weights column by column; each column makes up for the errors of those before it.

    Columns are taken in descending order of the diagonal of H: the largest are projected while most of the others are
    still free (GPTQ's activation order). A projection that keeps its input leaves the column to compensate alone.

    Args:
        weights: float[outputs, features].
        gram: float64[features, features].
        project: Onto a grid of each row, a codebook, or zero.
        damping: As for `damped`.
        look: Called before each block of `SEEN` columns.

    Returns:
        float64[outputs, features]: what ``project`` gave.

    Raises:
        ValueError: As of `damped`.
    """
    order = np.argsort(-np.diagonal(gram), kind="stable")
    factor = _upper_factor(damped(gram, damping)[np.ix_(order, order)])
    pivots = np.square(np.diagonal(factor))
    factor /= np.diagonal(factor)
    wanted = weights.T[order].astype(np.float64)  # features first: a column is contiguous
    errors, result = np.empty_like(wanted), np.empty_like(wanted)
    width = BLOCK if look is None else SEEN
    for start in range(0, len(wanted), width):
        stop = min(start + width, len(wanted))
        block = wanted[start:stop] + factor[:start, start:stop].T @ errors[:start]
        if look is not None:
            look(block.T, order[start:stop], pivots[start:stop])
        for place, column in enumerate(block, start):
            column += factor[start:place, place] @ errors[start:place]
            found = project(column, int(order[place]))
            errors[place] = wanted[place] - found
            result[order[place]] = found
    return np.ascontiguousarray(result.T)


def _upper_factor(matrix: np.ndarray) -> np.ndarray:
    """Upper triangular A with ``matrix = A A^T``, of a positive definite float64[n, n]."""
    return np.ascontiguousarray(np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1])


def ridge(
    gram: np.ndarray, cross: np.ndarray, *, damping: float = DAMPING, toward: np.ndarray | None = None
) -> np.ndarray:
    """The weights V that minimize ``||X V^T - Y||^2 + r ||V - toward||^2``, r as `damped` adds it.

    For features that stay where others were removed, ``cross`` is ``H[kept] @ W.T`` with the whole H and W.

    Args:
        gram: ``X^T X``, float64[features, features].
        cross: ``X^T Y``, float64[features, outputs].
        damping: As for `damped`.
        toward: Weights to stay near to, float[outputs, features]; None means zero.

    Returns:
        float64[outputs, features].

    Raises:
        ValueError: As of `damped`.
    """
    matrix = damped(gram, damping)
    target = cross.astype(np.float64)
    if toward is not None:
        target = target + (np.diagonal(matrix) - np.diagonal(gram))[:, np.newaxis] * toward.T
    return np.ascontiguousarray(np.linalg.solve(matrix, target).T)


def ridge_of_rows(
    rows: np.ndarray, cross: np.ndarray, *, damping: float = DAMPING, toward: np.ndarray | None = None
) -> np.ndarray:
    """What `ridge` gives with ``gram = X^T X``, of X itself: it costs the cube of the rows, not of the features.

    ``(X^T X + r I)^-1 = (I - X^T (X X^T + r I)^-1 X) / r``.

    Args:
        rows: X, float64[rows, features].
        cross: As for `ridge`.
        damping: As for `damped`.
        toward: As for `ridge`.

    Returns:
        float64[outputs, features].

    Raises:
        ValueError: As of `damped`.
    """
    diagonal = np.square(rows).sum(axis=0)
    live = diagonal[diagonal > 0]
    if not live.size or not np.isfinite(diagonal).all():
        raise ValueError("the diagonal of a Gram matrix is finite, not negative, and not all zero")
    added = damping * live.mean()
    start = np.zeros((rows.shape[1], cross.shape[1])) if toward is None else toward.T.astype(np.float64)
    # From where it starts: what is left to explain is small, and loses nothing when it is divided by r.
    wanted = cross - rows.T @ (rows @ start)
    inner = rows @ rows.T
    inner[np.diag_indices_from(inner)] += added
    found = start + (wanted - rows.T @ np.linalg.solve(inner, rows @ wanted)) / added
    return np.ascontiguousarray(found.T)
