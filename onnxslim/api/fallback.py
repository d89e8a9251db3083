"""What is kept where a lossy result does not hold: as much of it as does (docs/decisions/013).

The report part of the samples accepts or rejects; it does not choose. If the stages of a search were tried from the
last one back, and the first that passes were kept, each look would be another chance for a bad one to pass by luck. So
the order is fixed before the samples are looked at, and it ends where one fails (fixed-sequence testing: Bauer,
Multiple testing in clinical trials, 1991; for models: Angelopoulos et al., Learn then Test, 2021):

1. the whole, which the passes chose by the selection part;
2. without the last lossy pass, then without the last two, and so on: each of these is a whole of its own;
3. where the outputs or the score of one pass do not hold, its stages from the least on, as long as they do.

A bad stage can be kept only where it is the first bad one of its row and passes, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline import Pass, Step


class Tried(Protocol):
    """A result that was judged."""

    @property
    def steps(self) -> Sequence[Step]:
        """What the passes did."""
        ...

    @property
    def veto(self) -> str:
        """Why it must not be the output; empty where it may."""
        ...

    @property
    def poor(self) -> bool:
        """Whether it is the outputs or the score that speak against it, and not size or speed."""
        ...

    def because(self, reason: str) -> Self:
        """The same, with the reason why it is not all that was asked for."""
        ...


T = TypeVar("T", bound=Tried)


@dataclass(frozen=True)
class Fallback(Generic[T]):
    """Judges passes, and less of them where they do not hold.

    Attributes:
        judge: Runs passes, and compares outputs and scores on the report part.
        time: Adds the latency; what is slower gets a veto.
    """

    judge: Callable[[Sequence[Pass]], T]
    time: Callable[[T, Sequence[Pass]], T]

    def best(self, passes: Sequence[Pass]) -> tuple[T, T | None]:
        """What is kept, and the whole where that was dropped for it.

        Where nothing holds, what is kept has the whole's veto.
        """
        whole = tried = self.time(self.judge(passes), passes)
        if not whole.veto:
            return whole, None
        left: Sequence[Pass] = _acting(passes, tried.steps)
        while len(lossy := _lossy(left)) > 1:
            gone = lossy[-1]
            left = [_again(each, tried.steps) for each in left if each is not gone]
            tried = self.time(self.judge(left), left)
            if not tried.veto:
                return tried.because(f"{gone.name} was left out: {whole.veto}"), whole
            left = _acting(left, tried.steps)
        found = self._stage(left, tried) if tried.poor else None
        return (whole, None) if found is None else (found, whole)

    def _stage(self, passes: Sequence[Pass], tried: T) -> T | None:
        """The last of the stages before the first that does not hold."""
        stages = next((step.stages for step in tried.steps if step.stages), ())
        kept: tuple[int, T, Sequence[Pass]] | None = None
        for count, stage in enumerate(stages[:-1], 1):
            some: Sequence[Pass] = [stage if each.name == stage.name else each for each in passes]
            judged = self.judge(some)
            if judged.veto and judged.poor:
                break
            if not judged.veto:  # what is too large says nothing of those behind it
                kept = count, judged, some
        if kept is None:
            return None
        count, judged, some = kept
        judged = self.time(judged, some)
        if judged.veto:
            return None
        return judged.because(
            f"stage {count} of {len(stages)} was kept, because a later one does not hold: {tried.veto}"
        )


def _lossy(passes: Sequence[Pass]) -> list[Pass]:
    return [each for each in passes if each.tier is Tier.LOSSY]


def _acting(passes: Sequence[Pass], steps: Sequence[Step]) -> Sequence[Pass]:
    """The passes without lossy ones that changed nothing."""
    acted = {step.name for step in steps if step.result.actions}
    return [each for each in passes if each.tier is not Tier.LOSSY or each.name in acted]


def _again(each: Pass, steps: Sequence[Step]) -> Pass:
    """The same pass, without its search where it offers to do again what it did."""
    return next((step.stages[-1] for step in steps if step.name == each.name and step.stages), each)
