"""The forms that a float weight may be stored in, what each costs in the file and at the outputs, and a choice.

The error of a weight is measured once, in the coarsest form; the others are predicted from it: the noise at the outputs
grows with the squared error of the weights, each number weighed by what it is multiplied by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.calibration import Gram, Statistics

from .fit import Fitted, fit_alone
from .grids import Values
from .masks import Pattern
from .sweep import Wanted
from .weights import Weight

BITS: dict[Values, int] = {"float": 32, "float16": 16, "int8": 8, "int6": 6, "int5": 5, "int4": 4, "codebook": 4}
COARSEST: tuple[Values, ...] = ("int4", "codebook")
"""Those of fewest bits. The better of them is measured: its effect shows most."""
NODES = 130
"""Bytes of the nodes and constants that give one weight back, about, where it is stored in whole bytes."""
UNPACKED = 200
"""The same where its numbers take less than a byte."""


@dataclass(frozen=True, slots=True)
class PricedForm:
    """One form of one weight.

    Attributes:
        form: Which.
        bytes: That it takes in the file.
        noise: That it adds to the outputs, over their signal.
    """

    form: str
    bytes: float
    noise: float


def size_of(weight: Weight, form: Values) -> float:
    """Bytes that a weight takes in a form."""
    tensor = weight.tensor
    if form == "float":
        return float(tensor.nbytes)
    scales = 0 if form == "float16" else 4 * tensor.size / max(weight.columns, 1)
    return tensor.size * BITS[form] / 8 + scales + (UNPACKED if BITS[form] < 8 else NODES)


def fitted(weight: Weight, form: Values, statistics: Statistics | None) -> Fitted:
    """A weight in a form. Where its inputs were measured, its numbers make up for each other's rounding."""
    return fit_alone(weight, Wanted(0.0, Pattern(), form), statistics)


def sweep_cost(weight: Weight) -> float:
    """Multiplications of a sweep over the columns of a weight, about: what `fitted` takes with statistics."""
    columns = weight.columns
    return float(weight.tensor.size) * columns + columns**3 / 3


def squared_error(weight: Weight, array: np.ndarray, statistics: Statistics | None) -> float:
    """The squared error of a weight, each number by the mean square of what it is multiplied by, where known."""
    error = weight.geometry.matrix(array.astype(np.float64) - weight.array)  # [groups, rows, columns]
    found = None if statistics is None or weight.request is None else statistics.get(weight.request)
    if not isinstance(found, Gram) or not found.rows:
        return float(np.square(error).sum())
    total = 0.0
    for place, group in enumerate(error):
        gram = found.matrix[min(place, len(found.matrix) - 1)]
        # Rounding that makes up for itself correlates: the whole matrix counts, not its diagonal alone.
        total += float(np.einsum("ij,jk,ik->", group, gram, group, optimize=True)) / found.rows
    return max(total, 0.0)


def cheapest(tables: Mapping[str, Sequence[PricedForm]], budget: float) -> dict[str, str]:
    """The forms that take fewest bytes while their noise adds up to no more than a budget.

    A multiplier turns noise into bytes; it is bisected. Shoham & Gersho, Efficient bit allocation for an arbitrary set
    of quantizers (IEEE Transactions on Acoustics, Speech and Signal Processing, 1988).

    Args:
        tables: Name of a weight -> its choices, one of them without noise.
        budget: Noise over signal.

    >>> table = [PricedForm("float", 400.0, 0.0), PricedForm("int8", 100.0, 1.0), PricedForm("int4", 50.0, 256.0)]
    >>> cheapest({"a": table}, 0.5), cheapest({"a": table, "b": table}, 260.0)
    ({'a': 'float'}, {'a': 'int8', 'b': 'int8'})
    """

    def at(price: float) -> dict[str, PricedForm]:
        return {
            name: min(each, key=lambda one: (one.bytes + price * one.noise, one.noise)) for name, each in tables.items()
        }

    def noise(found: Mapping[str, PricedForm]) -> float:
        return sum(each.noise for each in found.values())

    low, high = 1e-3, 1e18
    found = at(low)
    if noise(found) > budget:
        found = at(high)
        for _ in range(80):
            price = float(np.sqrt(low * high))
            trial = at(price)
            if noise(trial) <= budget:
                high, found = price, trial
            else:
                low = price
    return {name: each.form for name, each in found.items()}
