"""How many zeros each weight gets, so that all together cost least at the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.fitting import Noise
from onnxslim.graph.edit import set_constant

from .masks import least
from .weights import Weight

PROBE = 0.5
"""Share of the numbers other than zero that a weight is measured without."""
MOST = 0.98
"""Share of the numbers of one weight that may go."""
SAMPLED = 1 << 24
"""Numbers of all weights that a threshold is found by, at most."""


def uniform(weights: Sequence[Weight], share: float) -> dict[str, float]:
    """The same share of each."""
    return {weight.name: share for weight in weights}


def by_cost(weights: Sequence[Weight], costs: Mapping[str, float], share: float) -> dict[str, float]:
    """Shares of each, so that the last number that goes costs the same everywhere.

    Args:
        weights: Of a model.
        costs: Name -> what a square of a number that goes adds to the error at the outputs (`costs_of`).
        share: Of all numbers together that goes.
    """
    total = sum(weight.array.size for weight in weights)
    step = max(1, -(-total // SAMPLED))
    sampled = [costs[weight.name] * np.square(weight.array.reshape(-1)[::step], dtype=np.float64) for weight in weights]
    wanted = share * sum(map(len, sampled))
    every = np.sort(np.concatenate(sampled)) if sampled else np.zeros(0)
    low, high = 0, len(every) - 1
    while low < high:  # no weight loses more than MOST, so that the threshold is found by what goes
        middle = (low + high + 1) // 2
        gone = sum(min(float((each < every[middle]).mean()), MOST) * len(each) for each in sampled)
        low, high = (middle, high) if gone <= wanted else (low, middle - 1)
    limit = every[low] if len(every) else 0.0
    return {weight.name: min(float((each < limit).mean()), MOST) for weight, each in zip(weights, sampled, strict=True)}


def costs_of(
    model: ir.Model, weights: Sequence[Weight], noise: Noise, progress: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """What a square of a number that goes costs: measured at the outputs with half of those gone that are not zero.

    Args:
        model: The weights are changed in it and put back.
        weights: Of ``model``.
        noise: Against the same model.
        progress: Called before each.
    """
    found = {}
    for count, weight in enumerate(weights):
        progress(f"measure weight {count + 1} of {len(weights)}")
        array = weight.array
        zero = array.size - int(np.count_nonzero(array))  # by what is zero already nothing can be measured
        going = least(np.abs(array), zero + round(PROBE * (array.size - zero)))
        lost = float(np.square(array[going], dtype=np.float64).sum())
        set_constant(weight.value, np.where(going, np.float32(0), array))
        try:
            found[weight.name] = noise(model) / max(lost, 1e-300)
        finally:
            set_constant(weight.value, array)
    return found
