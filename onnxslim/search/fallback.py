"""What is kept where a lossy result does not hold: as much of it as does (docs/decisions/013).

The report part of the samples accepts or rejects; it does not choose. If the stages of a search were tried from the
last one back, and the first that passes were kept, each look would be another chance for a bad one to pass by luck. So
the order is fixed before the samples are looked at, and it ends where one fails (fixed-sequence testing: Bauer,
Multiple testing in clinical trials, 1991; for models: Angelopoulos et al., Learn then Test, 2021):

1. the whole, which the passes chose by the selection part;
2. without the last lossy pass, then without the last two, and so on: each of these is a whole of its own;
   What only stores weights in few bits takes no time: where the whole is slower, the others go before it;
3. where the outputs or the score of one pass do not hold, its stages from the least on, as long as they do;
4. what only stores weights, by itself.

A bad stage can be kept only where it is the first bad one of its row and passes, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxslim.evaluation.measurement import Rejection
from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.outcome import Step
from onnxslim.pipeline.rewrite import Pass
from onnxslim.search.candidate import Candidate


@dataclass(frozen=True)
class Fallback:
    """Judges passes, and less of them where they do not hold.

    Attributes:
        judge: Runs passes, and compares outputs and scores on the report part.
        time: Adds the latency; what is slower is rejected.
    """

    judge: Callable[[Sequence[Pass]], Candidate]
    time: Callable[[Candidate, Sequence[Pass]], Candidate]

    def best(self, passes: Sequence[Pass]) -> tuple[Candidate, Candidate | None]:
        """What is kept, and the whole where that was dropped for it.

        Where nothing holds, what is kept has the whole's rejection.
        """
        whole = tried = self.time(self.judge(passes), passes)
        if whole.rejection is None:
            return whole, None
        left: Sequence[Pass] = _acting(passes, tried.steps)
        while len(lossy := lossy_of(left)) > 1:
            gone = _suspect(lossy, tried.rejection)
            left = [_again(each, tried.steps) for each in left if each is not gone]
            tried = self.time(self.judge(left), left)
            if tried.rejection is None:
                return tried.because(f"{gone.name} was left out: {whole.rejection.reason}"), whole
            left = _acting(left, tried.steps)
        found = self._stage(left, tried) or self._stored(passes, left, whole)
        return (whole, None) if found is None else (found, whole)

    def _stored(self, passes: Sequence[Pass], tried: Sequence[Pass], whole: Candidate) -> Candidate | None:
        """The passes that only store weights, where they were dropped before the others failed."""
        alone = [each for each in passes if each.tier is not Tier.LOSSY or each.only_stores]
        if lossy_of(alone) in ([], lossy_of(tried), lossy_of(passes)):
            return None
        found = self.time(self.judge(alone), alone)
        return None if found.rejection is not None or whole.rejection is None else found.because(whole.rejection.reason)

    def _stage(self, passes: Sequence[Pass], tried: Candidate) -> Candidate | None:
        """The last of the stages before the first that does not hold."""
        if tried.rejection is None or not tried.rejection.poor:
            return None
        stages = next((step.stages for step in tried.steps if step.stages), ())
        kept: tuple[int, Candidate, Sequence[Pass]] | None = None
        for count, stage in enumerate(stages[:-1], 1):
            some: Sequence[Pass] = [stage if each.name == stage.name else each for each in passes]
            judged = self.judge(some)
            if judged.rejection is None:
                kept = count, judged, some
            elif judged.rejection.poor:  # what is too large says nothing of those behind it
                break
        if kept is None:
            return None
        count, judged, some = kept
        judged = self.time(judged, some)
        if judged.rejection is not None:
            return None
        why = tried.rejection.reason
        return judged.because(f"stage {count} of {len(stages)} was kept, because a later one does not hold: {why}")


def _suspect(lossy: Sequence[Pass], rejection: Rejection | None) -> Pass:
    """The pass to leave out: the last one; what only stores weights is not to blame for time."""
    slows = [each for each in lossy if not each.only_stores]
    return lossy[-1] if not slows or (rejection is not None and rejection.poor) else slows[-1]


def lossy_of(passes: Sequence[Pass]) -> list[Pass]:
    """Those that change what is computed."""
    return [each for each in passes if each.tier is Tier.LOSSY]


def _acting(passes: Sequence[Pass], steps: Sequence[Step]) -> Sequence[Pass]:
    """The passes without lossy ones that changed nothing."""
    acted = {step.name for step in steps if step.result.actions}
    return [each for each in passes if each.tier is not Tier.LOSSY or each.name in acted]


def _again(each: Pass, steps: Sequence[Step]) -> Pass:
    """The same pass, without its search where it offers to do again what it did."""
    return next((step.stages[-1] for step in steps if step.name == each.name and step.stages), each)
