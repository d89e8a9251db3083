"""All combinations of what the passes offer, and what each is expected to do.

A point says for each pass that offers something which of its offers is taken, or that the pass is left out. What single
offers do is in tables; of a point, noise and drops add up, and times and bytes multiply. Where whole models were built,
their residuals correct the prediction: a Gaussian process over the points, whose kernel adds up one kernel for each
pass (Duvenaud, Nickisch, Rasmussen, Additive Gaussian Processes, NIPS 2011), so that a pass that does more harm behind
another one is learned from few models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxslim.pipeline.offer import Effects, Offer
from onnxslim.pipeline.rewrite import Pass

Point = tuple[int, ...]
"""For each axis 0 where its pass is left out, else the place of an offer, counted from 1."""

TOGETHER = 0.5
"""Share of a residual that points have in common which take something of the same passes: passes do harm to each other.
"""
REACH = 1.5
"""Offers between which a residual carries over, about."""
RANDOM = 0.1
"""Variance of what is no property of a point, as a share of the residuals'."""
PRIOR = (math.log(1.6), math.log(1.15), math.log(1.1))
"""Logarithms by which noise, time and bytes are taken to be mispredicted before there is a whole model to tell."""
DROP_PRIOR = math.log(2.0)
"""The same of a drop."""
DROP_OF_NOISE = 0.3
"""Drop that a noise over signal of 1 is taken to bring, before a whole model tells: at 15 dB .01, as on most models."""
SMALL_DROP = 0.002
"""A drop below which logarithms mean nothing."""
LEAST_NOISE = 1e-7
"""Noise over signal that counts as none: 70 dB."""


@dataclass(eq=False)
class Axis:
    """The choices of one pass.

    Attributes:
        instance: The pass.
        offers: The mildest first.
        complete: Whether it has no more.
    """

    instance: Pass
    offers: list[Offer] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Residual:
    """Logarithms by which a whole model differed from the prediction."""

    noise: float
    time: float
    bytes: float
    drop: float

    def array(self) -> np.ndarray:
        """``float64[4]``."""
        return np.array([self.noise, self.time, self.bytes, self.drop])


class Space:
    """The points, and predictions for them.

    Args:
        passes: In their order; those that offer nothing run in every point.
        axes: Of some of these passes.
    """

    def __init__(self, passes: Sequence[Pass], axes: Sequence[Axis]) -> None:
        self.passes, self.axes = list(passes), list(axes)
        self._seen: list[tuple[Point, Residual]] = []
        self._squares = np.square(np.array([*PRIOR, DROP_PRIOR]))

    def points(self) -> Iterator[Point]:
        """All of them, the mildest first."""
        yield from itertools.product(*(range(len(axis.offers) + 1) for axis in self.axes))

    def offers(self, point: Point) -> list[tuple[Axis, Offer]]:
        """What is taken."""
        return [(axis, axis.offers[place - 1]) for axis, place in zip(self.axes, point, strict=True) if place]

    def passes_of(self, point: Point) -> list[Pass]:
        """The passes that make a point of the model that the offers are for."""
        taken = {id(axis.instance): offer for axis, offer in self.offers(point)}
        left_out = {id(axis.instance) for axis in self.axes} - taken.keys()
        return [
            each.following(taken[id(each)]) if id(each) in taken else each
            for each in self.passes
            if id(each) not in left_out
        ]

    def choices(self, point: Point) -> dict[str, str]:
        """Name of a pass -> the label of what is taken."""
        return {axis.instance.name: offer.label for axis, offer in self.offers(point)}

    def table(self, point: Point) -> Effects:
        """What the single offers do together, by the tables alone."""
        taken = self.offers(point)
        every = [offer.effects for _, offer in taken]
        # What stores all weights in few bits does so with those that another pass would have made smaller, too.
        stores = any(axis.instance.only_stores for axis, _ in taken)
        sizes = [
            offer.effects.bytes
            for axis, offer in taken
            if not stores or axis.instance.only_stores or axis.instance.removes_work
        ]
        return Effects(
            sum(each.noise for each in every),
            sum(each.drop for each in every),
            math.prod(each.time for each in every),
            math.prod(sizes),
        )

    def predict(self, point: Point, errors: float = 0.0) -> Effects:
        """What a point does, by the tables and by what was measured of other points.

        Args:
            point: Which.
            errors: Less noise and drop than that, in typical errors of the predictions so far.
        """
        plain = self.table(point)
        noise, time, size, drop = self._corrections(point)
        if errors:
            typical = np.sqrt(self._squares / (1 + len(self._seen)))
            noise, drop = noise - errors * typical[0], drop - errors * typical[3]
        return Effects(
            max(plain.noise, LEAST_NOISE) * math.exp(noise) if any(point) else 0.0,
            (_drop_of(plain) + SMALL_DROP) * math.exp(drop) - SMALL_DROP,
            plain.time * math.exp(time),
            plain.bytes * math.exp(size),
        )

    def learn(self, point: Point, found: Effects) -> None:
        """Takes in what was measured of a point."""
        if not any(point):
            return
        plain = self.table(point)
        residual = Residual(
            math.log(max(found.noise, LEAST_NOISE) / max(plain.noise, LEAST_NOISE)),
            math.log(found.time / plain.time),
            math.log(found.bytes / plain.bytes),
            math.log((max(found.drop, 0.0) + SMALL_DROP) / (_drop_of(plain) + SMALL_DROP)),
        )
        self._squares += np.square(residual.array() - np.array(self._corrections(point)))
        self._seen.append((point, residual))
        self._weights = self._solve()

    def _solve(self) -> np.ndarray:
        points = [point for point, _ in self._seen]
        kernel = np.array([[self._kernel(one, other) for other in points] for one in points])
        kernel += RANDOM * np.eye(len(points))
        return np.asarray(np.linalg.solve(kernel, np.array([each.array() for _, each in self._seen])))

    def _corrections(self, point: Point) -> tuple[float, ...]:
        if not self._seen or not any(point):
            return 0.0, 0.0, 0.0, 0.0
        near = np.array([self._kernel(point, other) for other, _ in self._seen])
        return tuple(float(each) for each in near @ self._weights)

    def _kernel(self, one: Point, other: Point) -> float:
        """1 for equal points."""
        alike = [
            float(a == b) if not (a and b) else math.exp(-abs(a - b) / REACH) for a, b in zip(one, other, strict=True)
        ]
        together = all(bool(a) == bool(b) for a, b in zip(one, other, strict=True))
        return TOGETHER * together + (1 - TOGETHER) * sum(alike) / max(len(alike), 1)


def _drop_of(table: Effects) -> float:
    """The drop that is predicted: what few samples show of single offers moves in steps, so noise counts too."""
    return max(table.drop, 0.0) + DROP_OF_NOISE * table.noise
