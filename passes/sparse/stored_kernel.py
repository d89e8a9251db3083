"""An int8 kernel's weight with few distinct integers, which make up for each other where inputs were measured.

Exact: a codebook of k integers is a choice of k among 255, and its error a sum over the gaps between neighbours. So the
best one is the shortest path (dynamic programming; cf. Bruce, Optimum quantization, 1965) through the histogram of the
integers. Zero is always one of them: what was pruned stays so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.calibration import Gram, Statistics
from onnxslim.linalg import Project, compensate
from onnxslim.packing import Packing, sizes
from onnxslim.packing.packing import bits_for

from .grids import Levels, Matrix
from .kernel_weights import KernelWeight

BITS = {"4 bits": 4, "5 bits": 5, "6 bits": 6}
"""By form; each is a codebook of so many bits."""
OWN = 1 << 15
"""Numbers from which on a weight has a codebook of its own. Smaller ones share one, and with it the nodes."""
SWEEP = 1e10
"""Multiplications up to which every form of a weight is fitted to its inputs; beyond only the coarsest."""
SPARSE = 0.25
"""Share of zeros from which on they are no chance, and stay."""
LOWEST = -128
Codes: TypeAlias = npt.NDArray[np.float32]


class StoredKernel:
    """A weight that an int8 kernel reads.

    Args:
        weight: Of the model; not changed.
        common: Bits -> the codebook of small weights.
    """

    def __init__(self, weight: KernelWeight, common: Mapping[int, Codes]) -> None:
        self.weight, self.common = weight, common
        self.name, self.nodes, self.value, self.request = weight.name, weight.nodes, weight.value, weight.request
        self._made: dict[str, npt.NDArray[np.int8]] = {}
        self._errors: dict[str, float] = {}
        self._distinct = len(np.unique(weight.array))

    @property
    def tensor(self) -> ir.TensorProtocol:
        """Its integers."""
        return self.weight.tensor

    def fit(self, statistics: Statistics | None, forms: Sequence[str] | None = None) -> None:
        """See `Storable.fit`. Kept are the integers and their errors, not the statistics."""
        if statistics is None:
            return
        wanted = [form for form in (self.forms() if forms is None else forms) if form != "int8"]
        grams = self._grams(statistics)
        for form in wanted if self.sweep_cost() < SWEEP else wanted[:1]:
            self._made[form] = self._rounded(form, grams)
        if forms is None:
            self._errors = {form: self._error(self.array(form), grams) for form in (*wanted, "int8")}

    def error_of(self, integers: npt.NDArray[np.int8], statistics: Statistics | None) -> float:
        """The squared error of other integers, each number by what it is multiplied by where that was measured."""
        return self._error(integers, None if statistics is None else self._grams(statistics))

    def sweep_cost(self) -> float:
        """Multiplications of one fit, about."""
        columns = self._matrix().shape[2]
        return float(self.tensor.size * columns + columns**3 / 3)

    def forms(self) -> Sequence[str]:
        """Those that have fewer integers than it has, and itself."""
        return [*(form for form, bits in BITS.items() if 2**bits < self._distinct), "int8"]

    def bytes(self, form: str) -> float:
        """Of codes and a codebook of its own; the nodes of the common one are not counted."""
        size = self.tensor.size
        if form == "int8":
            bits = bits_for(self._distinct)
            return float(size + sizes.TENSOR if bits == 8 else size * bits / 8 + sizes.EACH)
        bits = BITS[form]
        own = sizes.shared(Packing("all", value_bits=bits)) + 2**bits if size >= OWN else 0
        return size * bits / 8 + sizes.EACH + own

    def error(self, form: str) -> float:
        """The squared error, each number by what it is multiplied by where that was measured."""
        if form not in self._errors:
            self._errors[form] = self._error(self.array(form), None)
        return self._errors[form]

    def array(self, form: str) -> npt.NDArray[np.int8]:
        """The integers that the kernel reads."""
        return self.made(form)

    def made(self, form: str) -> npt.NDArray[np.int8]:
        """The same: they are all that is stored."""
        if form == "int8":
            return self.weight.array
        if form not in self._made:
            self._made[form] = self._rounded(form, None)
        return self._made[form]

    def _matrix(self) -> npt.NDArray[np.int8]:
        return self.weight.geometry.matrix(self.weight.array)

    def _grams(self, statistics: Statistics) -> Matrix | None:
        """``[groups, columns, columns]`` for one row of inputs each."""
        found = None if self.request is None else statistics.get(self.request)
        if not isinstance(found, Gram) or not found.rows:
            return None
        grams: Matrix = found.matrix / found.rows
        return grams if np.isfinite(grams).all() and grams.any() else None

    def _rounded(self, form: str, grams: Matrix | None) -> npt.NDArray[np.int8]:
        matrix = self._matrix().astype(np.float64)
        codes = self._codes(BITS[form], matrix, grams)
        zero = matrix == 0
        if zero.mean() < SPARSE:
            zero[:] = False
        made = np.empty_like(matrix)
        for place, (rows, scale) in enumerate(zip(matrix, self.weight.scale, strict=True)):
            grid = Levels(codes, scale, whole=False)
            wanted = rows * scale[:, np.newaxis].astype(np.float64)
            if grams is not None and np.diagonal(grams[place]).any():
                wanted = compensate(wanted, grams[place], _onto(grid, zero[place]))
            made[place] = np.where(zero[place], 0, grid.nearest(wanted))
        return self.weight.geometry.with_matrix(made).astype(np.int8)

    def _codes(self, bits: int, matrix: Matrix, grams: Matrix | None) -> Codes:
        """Within the range of the integers as they are, which a machine may need to be small."""
        top = np.abs(matrix).max()
        if matrix.size < OWN:
            common = self.common[bits]
            return np.asarray(common[np.abs(common) <= top])
        worth = np.square(self.weight.scale.astype(np.float64))[:, :, np.newaxis]
        if grams is not None:
            worth = worth * np.diagonal(grams, axis1=1, axis2=2)[:, np.newaxis]
        return codebook(histogram(matrix, np.broadcast_to(worth, matrix.shape)), 2**bits)

    def _error(self, array: npt.NDArray[np.int8], grams: Matrix | None) -> float:
        delta = self.weight.geometry.matrix(array).astype(np.float64) - self._matrix()
        delta *= self.weight.scale[:, :, np.newaxis]
        if grams is None:
            return float(np.square(delta).sum())
        # Rounding that makes up for itself correlates: the whole matrix counts, not its diagonal alone.
        return max(sum(float(((each @ gram) * each).sum()) for each, gram in zip(delta, grams, strict=True)), 0.0)


def common_codes(weights: Sequence[KernelWeight]) -> dict[int, Codes]:
    """Bits -> the codebook that small weights share, each of which counts the same.

    Args:
        weights: All of a model.
    """
    small = [each.array for each in weights if each.tensor.size < OWN]
    if not small:
        return {}
    whole = sum(histogram(each, np.full(each.shape, 1 / each.size)) for each in small)
    return {bits: codebook(np.asarray(whole), 2**bits) for bits in BITS.values()}


def histogram(integers: npt.NDArray[np.generic], worth: Matrix) -> Matrix:
    """``float64[256]``: what the integers from -128 on are worth; what is there counts a little in any case."""
    places = integers.astype(np.int64).reshape(-1) - LOWEST
    found = np.bincount(places, worth.reshape(-1), minlength=256)
    there = np.bincount(places, minlength=256) / len(places)
    return np.asarray(found / max(found.sum(), 1e-300) + 1e-9 * there)


def codebook(worth: Matrix, entries: int) -> Codes:
    """The integers, 0 among them, that others are nearest to, in squares times what each is worth.

    Args:
        worth: ``float64[256]``, from -128 on.
        entries: 2 at least.

    >>> worth = np.zeros(256)
    >>> worth[[28, 100, 102, 128, 228]] = 1
    >>> codebook(worth, 4).tolist()
    [-100.0, -27.0, 0.0, 100.0]
    """
    there = np.flatnonzero(worth)
    low, high = min(int(there[0]), -LOWEST), max(int(there[-1]), -LOWEST)
    if len(np.union1d(there, -LOWEST)) <= entries:
        return (np.union1d(there, -LOWEST) + LOWEST).astype(np.float32)
    numbers = np.arange(low, high + 1, dtype=np.float64) + LOWEST
    count, zero = len(numbers), -LOWEST - low
    sums = np.zeros((3, count + 1))
    np.cumsum([worth[low : high + 1] * numbers**power for power in range(3)], axis=1, out=sums[:, 1:])

    def error(first: npt.NDArray[np.int64], end: npt.NDArray[np.int64], code: Matrix) -> Matrix:
        """Of what is in [first, end), as one code."""
        total, linear, square = sums[:, np.maximum(end, first)] - sums[:, first]
        return np.asarray(square - 2 * code * linear + code**2 * total)

    one, other = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    middle = (one + other) // 2 + 1
    between = error(one + 1, middle, numbers[one]) + error(middle, other, numbers[other])
    between[(one >= other) | ((one < zero) & (zero < other))] = np.inf
    places = np.arange(count)
    best = np.where(places <= zero, error(np.zeros(count, np.int64), places, numbers), np.inf)
    end = np.where(places >= zero, error(places + 1, np.full(count, count), numbers), np.inf)
    steps = []
    for _ in range(entries - 1):
        through = best[:, np.newaxis] + between
        steps.append(through.argmin(axis=0))
        best = through[steps[-1], places]
    found = [int((best + end).argmin())]
    for step in reversed(steps):
        found.append(int(step[found[-1]]))
    return numbers[found[::-1]].astype(np.float32)


def _onto(grid: Levels, zero: npt.NDArray[np.bool_]) -> Project:
    def project(column: np.ndarray, place: int) -> np.ndarray:
        return np.where(zero[:, place], 0.0, grid.project(column))

    return project
