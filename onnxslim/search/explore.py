"""Anytime search across passes: tables of single choices, a proposal, whole models, corrected tables, and again.

1. Each pass measures what its choices do by themselves (`Pass.offers`): once, for all models of the search.
2. The best combination that is predicted to keep the limits is built and measured as a whole, beside those that are
   best if predictions err to the good or to the bad as much as they have so far: four at a time, whatever the number
   of workers, so that the search is the same on any.
3. What was measured corrects the predictions (`onnxslim.search.space`), and so on, until nothing better is predicted or
   the time is up.

There are few points, so the knapsack is solved by looking at all of them; inside a pass, which channels, nodes or bits
an offer is made of is a knapsack of its own, over channels, nodes and weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from onnxslim.pipeline.offer import Effects
from onnxslim.pipeline.rewrite import Pass
from onnxslim.search.front import INTERRUPTED, NOTHING, UP, Figures, Trial, dominates
from onnxslim.search.goal import EQUAL, Goal, Limits
from onnxslim.search.lab import Bound, BuiltTrial, Lab, OfferRequest
from onnxslim.search.space import Axis, Point, Space
from onnxslim.search.status import Status

HOPELESS = 2.0
"""Noise or drop of a single offer, as a multiple of what is allowed, behind which its pass is not asked for more."""
TABLES = 0.6
"""Share of the time within which single offers are asked for."""
CHUNK, EVERY = 2, 99
"""Offers that are asked for at once, where each goes on from the one before, and elsewhere."""
ERRORS = (0.0, 1.0, -1.0, -2.0)
"""What proposals take predictions to err by to the good, in typical errors so far; one proposal for each."""
GAIN = 0.01
"""Logarithm of the goal by which a proposal must be predicted to be better than the best model so far."""
ALIKE = 0.02
"""Logarithm of the goal within which models are as good as each other: times are measured with noise."""
MOST = 40
"""Whole models that are built, at most."""


def _removes_work(instance: Pass) -> bool:
    return instance.removes_work


@dataclass(eq=False)
class Tried:
    """A point that was built."""

    point: Point
    built: BuiltTrial
    predicted: Figures | None
    measured: Figures | None
    reason: str


@dataclass(eq=False)
class Explorer:
    """One search.

    Attributes:
        space: The passes and their axes, still without offers.
        lab: Makes and measures.
        goal: What is wanted.
        limits: What must be kept.
        ends: Time (`time.perf_counter`) at which no further model is begun; infinity where there is no limit.
        watch: Hears of the progress.
    """

    space: Space
    lab: Lab
    goal: Goal
    limits: Limits
    ends: float = math.inf
    watch: Callable[[Status], None] = lambda _: None
    tried: list[Tried] = field(default_factory=list)
    stopped: str = ""

    def run(self) -> None:
        """Searches until nothing better is predicted, the time is up, or it is interrupted; raises none of these."""
        self._started = time.perf_counter()
        try:
            self._run()
            if self.tried[0].measured is not None:
                self._take_known()
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED

    def _take_known(self) -> None:
        """Judges what earlier runs have built for other goals and limits by those of now."""
        seen = {each.point for each in self.tried}
        for point, built in self.lab.known(self.space):
            if point not in seen:
                self._take(point, None, built)

    def _run(self) -> None:
        none = (0,) * len(self.space.axes)
        # What only stores weights is there at once: a first result within seconds.
        first = [axis for axis in self.space.axes if axis.instance.only_stores]
        self._work([(none, None)], [self._asking(axis, 1) for axis in first])
        if self.tried[0].measured is None:
            self.stopped = f"the slimmed model could not be measured: {self.tried[0].built.reason}"
            return
        mildest = tuple(int(axis in first and bool(axis.offers)) for axis in self.space.axes)
        self._work([(mildest, None)] if any(mildest) else [], [] if self._late else self._open(EVERY))
        if not self._late:
            self._work(self.proposals(without=_removes_work), [])
        self.goal = Goal(self.goal.name, self._best_figures)
        while not self._late and len(self.tried) < MOST:
            proposals, opened = self.proposals(), self._open(CHUNK) if self._early else []
            if not proposals and not opened:
                self.stopped = NOTHING
                return
            self._work(proposals, opened)
        self.stopped = UP if self._late else f"{MOST} models were built"

    @property
    def _late(self) -> bool:
        return time.perf_counter() >= self.ends

    @property
    def _early(self) -> bool:
        return time.perf_counter() < self._started + TABLES * (self.ends - self._started)

    def _open(self, count: int) -> list[OfferRequest]:
        """Requests for more of what there is; what removes work goes in steps, each on the one before."""
        return [
            self._asking(axis, CHUNK if axis.instance.removes_work else count)
            for axis in self.space.axes
            if not axis.complete
        ]

    def _asking(self, axis: Axis, count: int) -> OfferRequest:
        drop = self.limits.max_drop
        return OfferRequest(axis, count, Bound(HOPELESS * self.limits.noise, None if drop is None else HOPELESS * drop))

    def proposals(self, *, without: Callable[[Pass], bool] = lambda _: False) -> list[tuple[Point, Figures | None]]:
        """The best points that were not built: one for each of `ERRORS` of the predictions.

        Args:
            without: Passes that are left out of them.
        """
        barred = [place for place, axis in enumerate(self.space.axes) if without(axis.instance)]
        seen = {each.point for each in self.tried}
        best = self._best
        least = -math.inf if best is None or best.measured is None else self.goal.value(best.measured) + GAIN
        valued = []
        for point in self.space.points():
            if point not in seen and not any(point[place] for place in barred):
                figures = self.figures(self.space.predict(point))
                value = self.goal.value(figures)
                if value > least:
                    valued.append((value, point, figures))
        valued.sort(key=lambda each: (-each[0], each[1]))
        found: list[tuple[Point, Figures | None]] = []
        for errors in ERRORS:
            for _, point, figures in valued:
                judged = self.figures(self.space.predict(point, errors))
                if all(point != other for other, _ in found) and not self.limits.broken(judged):
                    found.append((point, figures))
                    break
        return found

    def _work(self, points: Sequence[tuple[Point, Figures | None]], asked: Sequence[OfferRequest]) -> None:
        if not points and not asked:
            return
        stages = [self._label(point) for point, _ in points] + [
            f"what {each.axis.instance.name} can do" for each in asked
        ]
        self._say(f"measure {' | '.join(stages)}")
        found = self.lab.work(self.space, [point for point, _ in points], asked)
        for (point, predicted), built in zip(points, found, strict=True):
            self._take(point, predicted, built)

    def _take(self, point: Point, predicted: Figures | None, built: BuiltTrial) -> None:
        """Judges a whole model, and learns from it."""
        measured = None
        reason = built.reason
        if not reason:
            measured = Figures(
                built.bytes,
                self.limits.original_bytes / max(built.bytes, 1),
                built.speedup if built.speedup is not None else self._untimed(point),
                built.sqnr_db,
                built.drop,
                built.drop_bound,
            )
            reason = "; ".join(self.limits.broken(measured).values())
        self.tried.append(Tried(point, built, predicted, measured, reason))
        if measured is not None and len(self.tried) > 1:
            self.space.learn(point, self._effects(measured))
        self._say(f"{self._label(point)}: {reason or 'holds'}")

    def _label(self, point: Point) -> str:
        return (
            ", ".join(f"{name} {choice}" for name, choice in self.space.choices(point).items()) or "the slimmed model"
        )

    def _untimed(self, point: Point) -> float:
        return 1 / self.space.table(point).time

    def _effects(self, figures: Figures) -> Effects:
        base = self._base
        return Effects(
            float(10 ** (-figures.sqnr_db / 10)),
            (figures.drop if figures.drop_bound is None else figures.drop_bound) or 0.0,  # what the limit holds
            (base.speedup or 1.0) / (figures.speedup or 1.0),
            figures.bytes / base.bytes,
        )

    def figures(self, effects: Effects) -> Figures:
        """What effects on the slimmed model come to beside the original."""
        base = self._base
        size = max(1, round(base.bytes * effects.bytes))
        db = math.inf if effects.noise <= 0 else -10 * math.log10(effects.noise)
        drop = None if self.limits.max_drop is None else effects.drop
        return Figures(size, self.limits.original_bytes / size, (base.speedup or 1.0) / effects.time, db, drop)

    @property
    def _base(self) -> Figures:
        """Of the slimmed model."""
        measured = self.tried[0].measured
        assert measured is not None, "it is the model that came in, slimmed"
        return measured

    @property
    def ranked(self) -> list[Tried]:
        """The trials that hold, the best first; of those that are alike within the noise of times the more accurate."""
        holding = [each for each in self.tried if not each.reason and each.measured is not None and any(each.point)]

        def order(each: Tried) -> tuple[float, float]:
            assert each.measured is not None
            return -round(self.goal.value(each.measured) / ALIKE), -each.measured.sqnr_db

        return sorted(holding, key=order)

    @property
    def _best(self) -> Tried | None:
        return next(iter(self.ranked), None)

    @property
    def _best_figures(self) -> Figures | None:
        return None if self._best is None else self._best.measured

    @property
    def untried(self) -> int:
        """Points that were predicted and not built."""
        return sum(1 for _ in self.space.points()) - len(self.tried)

    def trials(self, kept: Tried | None) -> list[Trial]:
        """For a reader, in the order in which they were built.

        Args:
            kept: The result; None where it is none of them.
        """
        holding = [each for each in self.tried if not each.reason and each.measured is not None]
        found = []
        for each in self.tried:
            best = each in holding and not any(
                dominates(other.measured, each.measured)  # type: ignore[arg-type]
                for other in holding
            )
            found.append(
                Trial(
                    key=each.built.key,
                    choices=self.space.choices(each.point),
                    predicted=each.predicted,
                    measured=self._told(each),
                    reason=each.reason,
                    best=best,
                    kept=each is kept,
                    command=_command(self._told(each)) if best else "",
                    seconds=each.built.seconds,
                )
            )
        return found

    @staticmethod
    def _told(tried: Tried) -> Figures | None:
        """What was measured of a trial: a speed that was only predicted is not."""
        if tried.measured is None or tried.built.speedup is not None:
            return tried.measured
        return replace(tried.measured, speedup=None)

    def _say(self, stage: str) -> None:
        now = time.perf_counter()
        left = None if math.isinf(self.ends) else max(0.0, self.ends - now)
        self.watch(Status(stage, self._best_figures, len(self.tried), now - self._started, left))


def _command(figures: Figures | None) -> str:
    """Options that would choose a model of these figures again."""
    if figures is None:
        return ""
    fast = "" if figures.speedup is None else f" --min-speedup {EQUAL * figures.speedup:.2f}"
    return f"--max-size {figures.bytes}{fast}"
