"""In which order the channels of a group go, and what each costs: greedy Optimal Brain Surgeon on the Gram matrix.

A read computes y = W x. Without the channels P, and with the others making up for them as well as they can, the mean
squared error of y is tr(W_P S W_P^T), S the Schur complement of the kept block of E[x x^T]. Removing one channel p at a
time, that is W_p^T W_p / [H^-1]_pp with H = E[x x^T], after which W and H^-1 take a rank-one step (Hassibi & Stork,
Second order derivatives for network pruning: Optimal Brain Surgeon, 1993, section 3; Frantar & Alistarh, Optimal Brain
Compression, 2022, section 4). Only Q = W^T W is needed of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxslim.analysis.channels import Channels, Group
from onnxslim.calibration import Request
from onnxslim.graph.edit import constant_tensor

from .reads import Matrix, Moments, Read, damped

Criterion = Literal["obs", "activation", "magnitude"]
LARGEST = 4096
"""Channels of a read beyond which the order is that of ``activation``: the greedy one costs their cube."""
BLOCK = 64
"""Channels that go before their steps are taken of whole matrices."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The channels of a group in the order in which they go.

    Attributes:
        order: ``int64[atoms]``.
        errors: ``float64[atoms + 1]``: the squared error after so many are gone, as a share of what the reads compute,
            added up over them.
    """

    order: np.ndarray
    errors: Matrix


class _Sight:
    """What one read sees of a group: the products of its weights, and the inverse of its Gram matrix.

    Both take a step of low rank with each atom that goes. Of the whole matrices the steps of `BLOCK` channels are taken
    at once, as products of matrices; in between only the block of each atom is kept up to date, and the columns of the
    atom that goes next (the blocked updates of LAPACK and GPTQ).

    Args:
        weights: ``float64[channels, channels]``: W^T W. Overwritten.
        inverse: ``float64[channels, channels]``: H^-1. Overwritten.
        energy: Mean square of what the read computes.
        positions: ``int64[atoms, k]``: the channels of each atom.
    """

    def __init__(self, weights: Matrix, inverse: Matrix, energy: float, positions: np.ndarray) -> None:
        self.inverse, self.energy, self._weights, self._positions = inverse, energy, weights, positions
        block = positions[:, :, None], positions[:, None, :]
        self.own_weights, self.own_inverse = weights[block], inverse[block]
        self._dead = np.zeros(len(weights), bool)
        self._filled = 0
        # W^T W falls by U B + (U B)^T and H^-1 by C B.
        self._c, self._u, self._b = (np.zeros((len(weights), BLOCK + positions.shape[1])) for _ in range(3))

    def scores(self, alive: np.ndarray) -> Matrix:
        """tr(Q_pp [H^-1]_pp^-1) of each atom p that is left, as a share of the energy."""
        found = np.zeros(len(alive))
        if self._positions.shape[1] == 1:
            found[alive] = self.own_weights[alive, 0, 0] / np.maximum(self.own_inverse[alive, 0, 0], 1e-300)
        else:
            solved = np.linalg.solve(self.own_inverse[alive], self.own_weights[alive])
            found[alive] = np.trace(solved, axis1=1, axis2=2)
        result: Matrix = found / self.energy
        return result

    def remove(self, atom: int) -> None:
        """Q <- Q - Q_p B - (Q_p B)^T + B^T Q_pp B and H^-1 <- H^-1 - [H^-1]_:p B, with B = [H^-1]_pp^-1 [H^-1]_p:."""
        gone = self._positions[atom]
        c, u, b = (pending[:, : self._filled] for pending in (self._c, self._u, self._b))
        columns = self.inverse[:, gone] - c @ b[gone].T
        seen = self._weights[:, gone] - u @ b[gone].T - b @ u[gone].T
        self._dead[gone] = True
        columns[self._dead & ~np.isin(np.arange(len(columns)), gone)] = 0.0  # whatever rounding left
        step = np.linalg.solve(self.own_inverse[atom], columns.T).T
        half = seen - step @ self.own_weights[atom] / 2
        places = self._positions
        turned = step[places].transpose(0, 2, 1)
        self.own_inverse -= columns[places] @ turned
        fall = half[places] @ turned
        self.own_weights -= fall + fall.transpose(0, 2, 1)
        end = self._filled + len(gone)
        for pending, made in ((self._c, columns), (self._u, half), (self._b, step)):
            pending[:, self._filled : end] = made
        self._filled = end
        if end >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        c, u, b = (pending[:, : self._filled] for pending in (self._c, self._u, self._b))
        self.inverse -= c @ b.T
        fall = u @ b.T
        self._weights -= fall
        self._weights -= fall.T
        self._filled = 0


def rank_channels(
    group: Group,
    channels: Channels,
    reads: Sequence[Read],
    moments: Mapping[Request, Moments],
    criterion: Criterion = "obs",
) -> Ranking:
    """The order of a group's channels.

    Args:
        group: Of ``channels``.
        channels: Of the model.
        reads: All of them; those that read the group count. Where none does, its own weights tell.
        moments: Of the reads. Where there are none, and for ``magnitude``, all channels are taken to be alike.
        criterion: ``obs``: see above; ``activation``: the error of each alone, nothing making up for it;
            ``magnitude``: the same, of channels that are alike.
    """
    seen = [(read, places) for read in reads if (places := positions_in(group, channels, read)) is not None]
    if not seen:
        return _by_weights(group)
    if criterion == "magnitude":
        moments = {}
    if criterion != "obs" or any(len(read.ids) > LARGEST for read, _ in seen):
        alone = [_alone(read, moments.get(read.request), places) for read, places in seen]
        return _ordered(np.sum(alone, axis=0))
    return _greedy([_sight(read, moments.get(read.request), places) for read, places in seen], len(group))


def _alone(read: Read, moments: Moments | None, places: np.ndarray) -> Matrix:
    """What each atom makes of a read by itself, as a share of all: of W^T W only its own blocks are computed."""
    matrix = read.matrix()
    own = matrix[:, places]
    if moments is None:
        energy = np.einsum("oc,oc->", matrix, matrix, dtype=np.float64)
        scores: Matrix = np.einsum("oai,oai->a", own, own, dtype=np.float64)
    else:
        second = damped(moments.second, moments.rows)
        energy = np.einsum("oc,oc->", matrix @ second, matrix, dtype=np.float64)
        within = second[places[:, :, None], places[:, None, :]]
        scores = np.einsum("oai,oaj,aij->a", own, own, within, dtype=np.float64, optimize=True)
    return scores / max(float(energy), 1e-30)


def _sight(read: Read, moments: Moments | None, places: np.ndarray) -> _Sight:
    matrix = read.matrix()
    weights = (matrix.T @ matrix).astype(np.float64)
    second = np.eye(len(read.ids)) if moments is None else damped(moments.second, moments.rows)
    energy = float(np.einsum("ij,ij->", weights, second))
    return _Sight(weights, np.linalg.inv(second).astype(np.float64), max(energy, 1e-30), places)


def positions_in(group: Group, channels: Channels, read: Read) -> np.ndarray | None:
    """``int64[atoms, k]``: the entries of the read's axis that each atom takes; None where it takes none."""
    site = next((s for s in group.weights if s.value is read.weight and s.axis == read.weight_axis), None)
    return None if site is None else site.positions


def _by_weights(group: Group) -> Ranking:
    """By the squares of an atom's own weights, as a share of all: of channels that no constant weight reads."""
    scores = np.zeros(len(group))
    for site in group.weights:
        tensor = constant_tensor(site.value)
        if tensor is not None:
            array = np.moveaxis(tensor.numpy(), site.axis, 0).astype(np.float64)
            squares = np.square(array).reshape(len(array), -1).sum(axis=1)
            scores += squares[site.positions].sum(axis=1) / max(float(squares.sum()), 1e-300)
    return _ordered(scores / len(group.weights))


def _ordered(scores: np.ndarray) -> Ranking:
    order = np.argsort(scores, kind="stable")
    return Ranking(order, np.concatenate([[0.0], np.cumsum(scores[order])]))


def _greedy(sights: Sequence[_Sight], count: int) -> Ranking:
    alive = np.ones(count, bool)
    order = np.empty(count, np.int64)
    errors = np.zeros(count + 1)
    for step in range(count):
        scores = np.zeros(count)
        for sight in sights:
            scores += sight.scores(alive)
        scores[~alive] = np.inf
        gone = int(np.argmin(scores))
        order[step], alive[gone] = gone, False
        errors[step + 1] = errors[step] + max(float(scores[gone]), 0.0)
        if step + 1 < count:
            for sight in sights:
                sight.remove(gone)
    return Ranking(order, errors)
