"""The search across passes, on a world whose truth is known: models do what their offers do, and interact."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from onnxslim.pipeline import Effects, Offer, Pass
from onnxslim.search.explore import MOST, Explorer
from onnxslim.search.front import INTERRUPTED, NOTHING, UP, Figures, dominates
from onnxslim.search.goal import Goal, GoalName, Limits
from onnxslim.search.lab import BuiltTrial, OfferRequest
from onnxslim.search.space import Axis, Point, Space

ORIGINAL = 1_000_000


@dataclass(frozen=True)
class Prune(Pass):
    """Offers fewer channels."""

    name: ClassVar[str] = "prune"
    removes_work: ClassVar[bool] = True


@dataclass(frozen=True)
class Kernels(Pass):
    """Offers faster kernels."""

    name: ClassVar[str] = "kernels"


@dataclass(frozen=True)
class Bits(Pass):
    """Offers fewer bytes."""

    name: ClassVar[str] = "bits"
    only_stores: ClassVar[bool] = True


OFFERS = {
    "prune": [Effects(10 ** (k / 2 - 4.5), 0.002 * k, 1 - 0.1 * k, 1 - 0.09 * k) for k in range(1, 9)],
    "kernels": [Effects(10 ** (k - 4.0), 0.001 * k, 1 - 0.2 * k, 0.9 - 0.2 * k) for k in range(1, 4)],
    "bits": [Effects(10 ** (k / 2 - 5.0), 0.001 * k, 1.0, 0.5 - 0.05 * k) for k in range(1, 8)],
}


@dataclass
class World:
    """Builds what the tables say, but for what passes do to each other.

    Attributes:
        worse: Logarithm by which pruned models suffer more from kernels.
        timed: Whether it measures times.
        interrupted: Builds after which a user interrupts; None for never.
    """

    worse: float = 1.0
    timed: bool = True
    interrupted: int | None = None
    asked: list[str] = field(default_factory=list)
    built: list[Point] = field(default_factory=list)

    def _offer(self, asking: OfferRequest) -> None:
        axis = asking.axis
        every = OFFERS[axis.instance.name]
        self.asked.append(axis.instance.name)
        for place, effects in list(enumerate(every, 1))[len(axis.offers) :][: asking.count]:
            axis.offers.append(Offer(f"level {place}", place, effects))
            if asking.bound.passed(effects):
                axis.complete = True
                return
        axis.complete = len(axis.offers) == len(every)

    def truth(self, space: Space, point: Point) -> Effects:
        table = space.table(point)
        both = bool(point[0] and point[1])
        return replace(table, noise=table.noise * math.exp(self.worse * both), time=table.time * (1.1 if both else 1.0))

    def work(self, space: Space, points: Sequence[Point], asked: Sequence[OfferRequest]) -> list[BuiltTrial]:
        if self.interrupted is not None and len(self.built) >= self.interrupted:
            raise KeyboardInterrupt
        self.built += points
        for each in asked:
            self._offer(each)
        return [self._built(space, point) for point in points]

    def known(self, space: Space) -> list[tuple[Point, BuiltTrial]]:
        return []

    def _built(self, space: Space, point: Point) -> BuiltTrial:
        found = self.truth(space, point)
        db = math.inf if found.noise == 0 else -10 * math.log10(found.noise)
        speed = 1.2 / found.time if self.timed else None
        return BuiltTrial(str(point), round(0.9 * ORIGINAL * found.bytes), db, found.drop, found.drop, speed)


def explorer(world: World, limits: Limits, goal: GoalName = "balanced", ends: float = math.inf) -> Explorer:
    passes = [Prune(), Kernels(), Bits()]
    return Explorer(Space(passes, [Axis(each) for each in passes]), world, Goal(goal), limits, ends)


def best_possible(search: Explorer, world: World) -> float:
    """By looking at all points."""
    values = []
    for point in itertools.product(*(range(len(OFFERS[axis.instance.name]) + 1) for axis in search.space.axes)):
        for axis in search.space.axes:
            missing = OFFERS[axis.instance.name][len(axis.offers) :]
            axis.offers += [Offer(f"more {i}", None, each) for i, each in enumerate(missing)]
        figures = search.figures(world.truth(search.space, point))
        if any(point) and not search.limits.broken(figures):
            values.append(search.goal.value(figures))
    return max(values)


@pytest.mark.parametrize("goal", ["balanced", "smallest", "fastest"])
@pytest.mark.parametrize("worse", [0.0, 1.5, -1.0])
def test_the_search_comes_near_to_the_best_with_few_models(goal: GoalName, worse: float) -> None:
    world = World(worse)
    search = explorer(world, Limits(15.0, 0.01, ORIGINAL), goal)
    search.run()
    best = search.ranked[0]
    assert best.measured is not None
    assert not search.limits.broken(best.measured)
    assert search.stopped == NOTHING
    assert len(world.built) <= MOST / 2
    assert search.goal.value(best.measured) >= best_possible(search, world) - math.log(1.05)


def test_what_was_measured_corrects_the_predictions() -> None:
    world = World(2.0)
    search = explorer(world, Limits(15.0, None, ORIGINAL))
    search.run()
    new = [each for each in search.tried if each.predicted is not None and each.measured is not None]
    errors = [abs(each.predicted.sqnr_db - each.measured.sqnr_db) for each in new if each.predicted and each.measured]
    assert max(errors) > 5.0
    assert sorted(errors[len(errors) // 2 :])[len(errors) // 4] < 2.0


def test_a_first_result_holds_before_anything_else_is_measured() -> None:
    world = World()
    search = explorer(world, Limits(15.0, 0.01, ORIGINAL))
    search.run()
    assert world.asked[0] == "bits"
    assert world.built[:2] == [(0, 0, 0), (0, 0, 1)]
    assert len(search.space.axes[0].offers) < len(OFFERS["prune"]), "a hopeless offer ends the row"


def test_limits_are_kept_and_the_shortest_one_is_named() -> None:
    search = explorer(World(), Limits(15.0, 0.01, ORIGINAL, max_size=150_000, min_speedup=2.5))
    search.run()
    for each in search.ranked:
        assert each.measured is not None
        assert each.measured.bytes <= 150_000
        assert each.measured.speedup is not None
        assert each.measured.speedup >= 2.5
    tight = explorer(World(), Limits(15.0, 0.01, ORIGINAL, max_size=1_000))
    tight.run()
    assert not tight.ranked
    assert all("1,000 are allowed" in each.reason for each in tight.tried if any(each.point))


def test_time_and_interrupts_end_it_with_what_there_is() -> None:
    late = explorer(World(), Limits(15.0, 0.01, ORIGINAL), ends=time.perf_counter() - 1)
    late.run()
    assert late.stopped == UP
    assert late.ranked, "the first result is always made"
    stopped = explorer(World(interrupted=3), Limits(15.0, 0.01, ORIGINAL))
    stopped.run()
    assert stopped.stopped == INTERRUPTED
    assert stopped.ranked


def test_the_same_world_gives_the_same_search() -> None:
    runs = []
    for _ in range(2):
        search = explorer(World(timed=False), Limits(15.0, 0.01, ORIGINAL))
        search.run()
        runs.append([(each.point, each.measured) for each in search.tried])
    assert runs[0] == runs[1]
    assert all(each is not None for _, each in runs[0])


def test_the_front_is_of_models_that_hold() -> None:
    search = explorer(World(), Limits(15.0, 0.01, ORIGINAL))
    search.run()
    trials = search.trials(search.ranked[0])
    front = [each for each in trials if each.best]
    assert next(each for each in trials if each.kept).best
    for one, other in itertools.permutations(front, 2):
        assert one.measured
        assert other.measured
        assert not dominates(one.measured, other.measured)
    assert all(not each.reason and each.command for each in front)


def test_a_balanced_result_is_neither_larger_nor_slower_than_the_plain_one() -> None:
    plain = Figures(1, 4.0, 2.0, 30.0)
    goal = Goal("balanced", plain)
    fast, both = Figures(1, 3.0, 4.0, 30.0), Figures(1, 4.2, 2.1, 30.0)
    assert goal.value(both) > goal.value(fast)
    assert Goal("balanced").value(fast) > Goal("balanced").value(both)
