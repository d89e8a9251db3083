"""In which order the channels of a group go, and what each costs: greedy Optimal Brain Surgeon on the Gram matrix.

A read computes y = W x. Without the channels P, and with the others making up for them as well as they can, the mean
squared error of y is tr(W_P S W_P^T), S the Schur complement of the kept block of E[x x^T]. Removing one channel p at a
time, that is W_p^T W_p / [H^-1]_pp with H = E[x x^T], after which W and H^-1 take a rank-one step (Hassibi & Stork,
Second order derivatives for network pruning: Optimal Brain Surgeon, 1993, section 3; Frantar & Alistarh, Optimal Brain
Compression, 2022, section 4). Only Q = W^T W is needed of the weights.

Long because the greedy order, its cost in memory and work, and what stands in where that is too much are one algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onnxslim.analysis.channels import Channels, Group
from onnxslim.calibration import Request
from onnxslim.graph.edit import constant_tensor
from onnxslim.linalg import Lowrank

from .reads import Matrix, Moments, Read

Criterion = Literal["obs", "activation", "magnitude"]
LARGEST = 4096
"""Channels of a read up to which whole matrices are held: their number squared, twice, and its cube to multiply."""
BLOCK = 64
"""Channels that go before their steps are taken of whole matrices."""
WORK = 4e12
"""Multiplications that the rankings of one stage may take together: some minutes of one core. Each group has an equal
share; one that needs more is ranked greedily as far as that goes, and from there by what each channel costs then."""
VECTORS = 8
"""Multiplications of matrices in the time of one of a matrix with a vector, which waits for memory."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The channels of a group in the order in which they go.

    Attributes:
        order: ``int64[atoms]``.
        errors: ``float64[atoms + 1]``: the squared error after so many are gone, as a share of what the reads compute,
            added up over them.
        short: Whether the greedy order ends before so many as were asked for, since more would take too long.
    """

    order: np.ndarray
    errors: Matrix
    short: bool = False


class _Sight:
    """What one read sees of a group: the products of its weights, and the inverse of its Gram matrix.

    Both take a step of low rank with each atom that goes. Of the whole matrices the steps of `BLOCK` channels are taken
    at once, as products of matrices; in between only the block of each atom is kept up to date, and the columns of the
    atom that goes next (the blocked updates of LAPACK and GPTQ).

    Where only few channels go, or the Gram matrix is one of few rows, no whole matrix is made: columns come of the rows
    and of W, and the steps stay beside them.

    Args:
        weights: ``[channels, channels]``: W^T W. Overwritten.
        inverse: ``[channels, channels]``: H^-1, written out (and overwritten) as ``weights`` is, or not as it is not.
        energy: Mean square of what the read computes.
        positions: ``int64[atoms, k]``: the channels of each atom.
        steps: Atoms that go, at most.
    """

    def __init__(
        self,
        weights: Matrix | Lowrank,
        inverse: Matrix | Lowrank,
        energy: float,
        positions: np.ndarray,
        steps: int,
    ) -> None:
        self.inverse, self.energy, self._weights, self._positions = inverse, energy, weights, positions
        self.own_weights, self.own_inverse = _blocks(weights, positions), _blocks(inverse, positions)
        self._dead = np.zeros(len(weights), bool)
        self._filled = 0
        whole = isinstance(inverse, np.ndarray)
        width = BLOCK + positions.shape[1] if whole else steps * positions.shape[1]
        # W^T W falls by U B + (U B)^T and H^-1 by C B. By row, as they are made.
        self._c, self._u, self._b = (np.zeros((width, len(weights))) for _ in range(3))

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
        c, u, b = (pending[: self._filled] for pending in (self._c, self._u, self._b))
        columns = _columns(self.inverse, gone) - c.T @ b[:, gone]
        seen = _columns(self._weights, gone) - u.T @ b[:, gone] - b.T @ u[:, gone]
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
            pending[self._filled : end] = made.T
        self._filled = end
        if end >= BLOCK and isinstance(self.inverse, np.ndarray):
            self._flush()

    def _flush(self) -> None:
        assert isinstance(self.inverse, np.ndarray)
        assert isinstance(self._weights, np.ndarray)
        c, u, b = (pending[: self._filled] for pending in (self._c, self._u, self._b))
        self.inverse -= c.T @ b
        fall = u.T @ b
        self._weights -= fall
        self._weights -= fall.T
        self._filled = 0


def _columns(matrix: Matrix | Lowrank, places: np.ndarray) -> Matrix:
    return matrix.columns(places) if isinstance(matrix, Lowrank) else matrix[:, places]


def _blocks(matrix: Matrix | Lowrank, places: np.ndarray) -> Matrix:
    if isinstance(matrix, Lowrank):
        return matrix.blocks(places)
    found: Matrix = matrix[places[:, :, None], places[:, None, :]]
    return found


@dataclass(frozen=True, slots=True)
class _Cost:
    """Multiplications and bytes of a greedy ranking by one read, of so many atoms."""

    read: Read
    places: np.ndarray
    rows: int | None
    """Of what it reads, where the rows are there and few; 0 where nothing was measured."""

    @classmethod
    def of(cls, read: Read, places: np.ndarray, moments: Moments | None) -> _Cost:
        few = moments is None or (moments.table is not None and 2 * moments.rows <= len(read.ids))
        return cls(read, places, (0 if moments is None else moments.rows) if few else None)

    def whole(self, steps: int) -> tuple[float, float]:
        """With whole matrices."""
        size, gone = float(len(self.read.ids)), steps * self.places.shape[1]
        outputs = self.read.outputs
        return size * size * (outputs + 2 * size + 3 * gone), 2 * size * size * 8

    def apart(self, steps: int) -> tuple[float, float]:
        """Without; infinite where there are none."""
        if self.rows is None:
            return np.inf, np.inf
        size, gone = float(len(self.read.ids)), steps * self.places.shape[1]
        held = self.rows + self.read.outputs + 3 * gone
        if 2 * held > size:
            return np.inf, np.inf  # the matrices are not larger then, and faster
        setup = size * self.rows * self.rows * 2
        each = VECTORS * size * (self.rows + self.read.outputs + 1.5 * gone)
        return setup + gone * each, held * size * 8

    def least(self, steps: int) -> tuple[float, float, bool]:
        """The cheaper of the two, and whether it is the one of whole matrices."""
        whole, apart = self.whole(steps), self.apart(steps)
        if len(self.read.ids) > LARGEST:
            return (*apart, False)
        return (*apart, False) if apart[0] < whole[0] else (*whole, True)


def affordable(costs: Sequence[_Cost], wanted: int, work: float, memory: float) -> int:
    """Steps of a group's reads that fit into both, at most ``wanted``; 0 where not even the first does."""

    def fits(steps: int) -> bool:
        found = [each.least(steps) for each in costs]
        held = [each[1] for each in found]
        # The largest is held twice while its Gram matrix is inverted.
        return sum(each[0] for each in found) <= work and sum(held) + max(held) <= memory

    if fits(wanted):
        return wanted
    if any(len(each.read.ids) > LARGEST for each in costs):
        return 0
    low, high = 0, wanted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def share_of_work(groups: Sequence[Group], channels: Channels, reads: Sequence[Read]) -> float:
    """The multiplications that each group may take, so that all together take no more than `WORK`.

    Those that need less than others leave the rest to them.
    """
    needs = [
        sum(
            _Cost(read, places, None).whole(len(group))[0]
            for read in reads
            if (places := positions_in(group, channels, read)) is not None
        )
        for group in groups
    ]
    left = WORK
    for number, need in enumerate(sorted(needs)):
        share = left / (len(needs) - number)
        if need > share:
            return share
        left -= need
    return WORK


def rank_channels(
    group: Group,
    channels: Channels,
    reads: Sequence[Read],
    moments: Mapping[Request, Moments],
    criterion: Criterion = "obs",
    *,
    count: int | None = None,
    work: float = WORK,
    memory: int = 1 << 30,
) -> Ranking:
    """The order of a group's channels.

    Args:
        group: Of ``channels``.
        channels: Of the model.
        reads: All of them; those that read the group count. Where none does, its own weights tell.
        moments: Of the reads. Where there are none, and for ``magnitude``, all channels are taken to be alike.
        criterion: ``obs``: see above; ``activation``: the error of each alone, nothing making up for it;
            ``magnitude``: the same, of channels that are alike.
        count: How many may go: the order of the others does not matter. None means all.
        work: Multiplications that the greedy order may take; beyond them, channels are ranked by what each costs then,
            and where there is not even one step, as for ``activation``.
        memory: Bytes that it may hold.
    """
    seen = [(read, places) for read in reads if (places := positions_in(group, channels, read)) is not None]
    if not seen:
        return _by_weights(group)
    if criterion == "magnitude":
        moments = {}
    found = [moments.get(read.request) for read, _ in seen]
    if criterion == "obs":
        costs = [_Cost.of(read, places, each) for (read, places), each in zip(seen, found, strict=True)]
        wanted = min(max(1, len(group) if count is None else count), len(group))
        steps = affordable(costs, wanted, work, memory)
        if steps:
            sights = [_sight(cost, each, steps) for cost, each in zip(costs, found, strict=True)]
            return replace(_greedy(sights, len(group), steps), short=steps < wanted)
    alone = [_alone(read, each, places) for (read, places), each in zip(seen, found, strict=True)]
    return replace(_ordered(np.sum(alone, axis=0)), short=criterion == "obs")


def _alone(read: Read, moments: Moments | None, places: np.ndarray) -> Matrix:
    """What each atom makes of a read by itself, as a share of all: of W^T W only its own blocks are computed."""
    matrix = read.matrix()
    own = matrix[:, places]
    if moments is None:
        energy = np.einsum("oc,oc->", matrix, matrix, dtype=np.float64)
        scores: Matrix = np.einsum("oai,oai->a", own, own, dtype=np.float64)
    else:
        second = moments.damped()
        energy = _energy(matrix, second)
        scores = np.einsum("oai,oaj,aij->a", own, own, _blocks(second, places), dtype=np.float64, optimize=True)
    return scores / max(float(energy), 1e-30)


def _energy(matrix: np.ndarray, second: Matrix | Lowrank) -> float:
    if isinstance(second, Lowrank):
        return second.energy(matrix)
    return float(np.einsum("oc,oc->", matrix @ second, matrix, dtype=np.float64))


def _sight(cost: _Cost, moments: Moments | None, steps: int) -> _Sight:
    matrix, size = cost.read.matrix(), len(cost.read.ids)
    second: Matrix | Lowrank = Lowrank(np.ones(size), np.zeros((0, size)))
    if moments is not None:
        second = moments.damped()
    if cost.least(steps)[2]:
        whole = second.whole() if isinstance(second, Lowrank) else second
        weights: Matrix = (matrix.T @ matrix).astype(np.float64)
        energy = float(np.einsum("ij,ij->", weights, whole))
        return _Sight(weights, np.linalg.inv(whole), max(energy, 1e-30), cost.places, steps)
    assert isinstance(second, Lowrank)
    products = Lowrank(np.zeros(size), matrix.astype(np.float64))
    return _Sight(products, second.inverse(), max(second.energy(matrix), 1e-30), cost.places, steps)


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


def _greedy(sights: Sequence[_Sight], count: int, steps: int) -> Ranking:
    """The first ``steps`` one after another, the others by what each costs after them."""
    alive = np.ones(count, bool)
    order = np.empty(count, np.int64)
    errors = np.zeros(count + 1)
    for step in range(steps):
        scores = _scores(sights, alive)
        gone = int(np.argmin(scores))
        order[step], alive[gone] = gone, False
        errors[step + 1] = errors[step] + max(float(scores[gone]), 0.0)
        if step + 1 < count:
            for sight in sights:
                sight.remove(gone)
    if steps < count:
        scores = _scores(sights, alive)
        order[steps:] = np.argsort(scores, kind="stable")[: count - steps]
        errors[steps + 1 :] = errors[steps] + np.cumsum(np.maximum(scores[order[steps:]], 0.0))
    return Ranking(order, errors)


def _scores(sights: Sequence[_Sight], alive: np.ndarray) -> Matrix:
    scores: Matrix = np.sum([sight.scores(alive) for sight in sights], axis=0)
    scores[~alive] = np.inf
    return scores
