"""How many zeros each weight gets, so that all together cost least at the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import infer_shapes, model_cost
from onnxslim.analysis.cost import bound
from onnxslim.calibration import Request, Statistics, collect_in_groups
from onnxslim.evaluation import OutputNoise
from onnxslim.execution import Feed
from onnxslim.graph.edit import set_constant
from onnxslim.samples import Sample, Samples, typical
from onnxslim.samples.feeds import FITTED, first_of

from .fit import fit_alone
from .sweep import Wanted
from .weights import Weight

MACS, FEWEST = 1 << 32, 24
"""Multiply-accumulates of the runs that weights are compared by, and the fewest samples for that."""
FLATTEST = 1.0
"""The least by which the logarithm of the error is taken to rise from no zeros to nothing else."""
SILENT = 1e-12
"""OutputNoise that is taken for a weight whose loss does not show."""


class Asking(Protocol):
    """Whatever is fitted to statistics."""

    @property
    def request(self) -> Request | None:
        """Which; None where there are none."""


T = TypeVar("T", bound=Asking)


@dataclass(frozen=True, slots=True)
class Curve:
    """The error at the outputs by the share of a weight that is zero: ``exp(at + rise * share)``."""

    at: float
    rise: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Curve:
        """The curve through two points (share, noise)."""
        (one, low), (other, high) = ((share, math.log(max(noise, SILENT))) for share, noise in points)
        rise = max((high - low) / (other - one), FLATTEST)
        return cls((low + high - rise * (one + other)) / 2, rise)

    def share(self, price: float, count: int, most: float) -> float:
        """Where one more of ``count`` numbers costs the logarithm ``price``; at most ``most``."""
        return min(max((price + math.log(count / self.rise) - self.at) / self.rise, 0.0), most)


def uniform(weights: Sequence[Weight], share: float) -> dict[str, float]:
    """The same share of each."""
    return {weight.name: share for weight in weights}


def by_curves(sizes: Mapping[str, int], curves: Mapping[str, Curve], share: float) -> dict[str, float]:
    """Shares of each weight, so that the last number that goes costs the same everywhere.

    None is beyond the larger of the `probes`: what it would cost there was not measured.

    Args:
        sizes: Name -> numbers of a weight.
        curves: Name -> what zeros in it cost.
        share: Of all numbers together that goes.
    """
    wanted = share * sum(sizes.values())
    low, high, most = -200.0, 200.0, probes(share)[1]
    for _ in range(60):
        price = (low + high) / 2
        gone = sum(curves[name].share(price, size, most) * size for name, size in sizes.items())
        low, high = (price, high) if gone < wanted else (low, price)
    return {name: curves[name].share((low + high) / 2, size, most) for name, size in sizes.items()}


def probes(share: float) -> tuple[float, float]:
    """The shares of zeros that a weight is measured with: one below what all shall have, one above."""
    return 0.7 * share, share + 0.5 * (1 - share)


def curves_of(
    model: ir.Model,
    weights: Sequence[Weight],
    wanted: Mapping[float, Wanted],
    noise: OutputNoise,
    samples: Samples | None,
    *,
    compensate: bool,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Curve]:
    """What zeros in each weight cost at the outputs, measured: one weight at a time is made sparse.

    Args:
        model: The weights are changed in it and put back.
        weights: Of ``model``.
        wanted: Two shares of zeros -> what a weight becomes with them.
        noise: Against the same model.
        samples: That Gram matrices are measured on; None: the smallest numbers go.
        compensate: Whether the numbers that stay make up for the others.
        memory: Bytes for the Gram matrices that there are at once.
        threads: Of the sessions.
        progress: Called before each weight.
    """
    found: dict[str, Curve] = {}
    for some, statistics in measured(model, weights, samples, memory=memory, threads=threads, progress=progress):
        for weight in some:
            progress(f"measure weight {len(found) + 1} of {len(weights)}")
            array, points = weight.array, []
            for share, each in wanted.items():
                made = fit_alone(weight, each, statistics, compensate=compensate)
                set_constant(weight.value, made.array)
                try:
                    points.append((share, noise(model)))
                finally:
                    set_constant(weight.value, array)
            found[weight.name] = Curve.through(points)
    return found


def some_samples(model: ir.Model, feeds: Sequence[Feed], samples: Samples) -> list[Sample]:
    """As many as a comparison of weights is worth: where one run is long, it has many rows of each input.

    Args:
        model: That is run.
        feeds: Typical inputs, one at least.
        samples: The first of them are taken.
    """
    facts = infer_shapes(model)
    shapes = {name: np.shape(array) for name, array in typical(feeds)[0].items()}
    macs = model_cost(model, facts, bound(model, facts, shapes)).total.macs
    return first_of(samples, min(max(MACS // max(macs or MACS, 1), FEWEST), FITTED))


def measured(
    model: ir.Model,
    weights: Sequence[T],
    samples: Samples | None,
    *,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterable[tuple[list[T], Statistics | None]]:
    """The weights, each once, with the Gram matrices of those that have any, as many at once as there is memory for."""
    asked = [weight for weight in weights if weight.request is not None and samples is not None]
    yield [weight for weight in weights if weight not in asked], None
    if samples is None or not asked:
        return
    requests = list(dict.fromkeys(weight.request for weight in asked if weight.request is not None))
    left = list(asked)
    for statistics in collect_in_groups(model, samples, requests, memory=memory, threads=threads, progress=progress):
        here = [each for each in left if each.request is not None and statistics.get(each.request) is not None]
        left = [each for each in left if each not in here]
        yield here, statistics
    yield left, None
