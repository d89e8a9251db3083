"""Passes that change what is computed: their result, measured on samples that nothing was chosen by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxslim.api.output import size_of, weigh
from onnxslim.api.task import Task
from onnxslim.api.widening import run_narrowing
from onnxslim.evaluation.measurement import Constraints, Rejection
from onnxslim.execution import target
from onnxslim.pipeline import Outcome, Pass, Step, Store
from onnxslim.report.wording import common, kind_of
from onnxslim.report.words import VERBS, verb_named
from onnxslim.search import Candidate, Fallback
from onnxslim.search.fallback import lossy_of

if TYPE_CHECKING:
    from onnxslim.calibration import Statistics

LEAST_GAIN = 0.001
"""Share of the bytes that zeros and few values must save."""
OWN = "--ops onnxruntime would"
"""In reasons against what only operators of onnxruntime's own could do."""
LONG_REASON = 100
"""Characters of a reason beyond which only its first clause is repeated for the whole model."""


@dataclass(frozen=True)
class Lossy:
    """The lossy passes of a verb, on its lossless result.

    Attributes:
        task: What the verb works on.
        base: The lossless result.
        statistics: What was measured before.
        max_size: Bytes of the file, at most; None where it need only be no larger than the original.
        min_speedup: Against the original, at least; None where it need only be no slower.
    """

    task: Task
    base: Candidate
    statistics: Sequence[Statistics]
    max_size: int | None = None
    min_speedup: float | None = None

    def best(self, passes: Sequence[Pass]) -> tuple[Candidate, Candidate | None]:
        """As much of the lossy result as holds, and all of it where that does not; see `Fallback.best`."""

        def judge(some: Sequence[Pass]) -> Candidate:
            made = self.judged(some)
            left = [each.name for each in lossy_of(some)]
            gone = any(each.name not in left for each in lossy_of(passes))
            words = VERBS.get(left[-1]) if gone and left else None
            return made if words is None else replace(made, decision=words.done)

        kept, dropped = Fallback(judge, self.timed).best(passes)
        # What the stages hold would outlive the run in its report.
        bare = [
            replace(each, steps=tuple(replace(step, stages=()) for step in each.steps))
            for each in (kept, dropped)
            if each is not None
        ]
        return bare[0], bare[1] if len(bare) > 1 else None

    def judged(self, passes: Sequence[Pass]) -> Candidate:
        """Runs the passes, and compares outputs and scores on the report part."""
        task, config, parts = self.task, self.task.config, self.task.evaluator.parts
        outcome, beyond = self.run(passes)
        made = Candidate.of(outcome, weigh(outcome.model) if outcome.modified else None, task.verb.done)
        made = replace(made, notes=self.base.notes + (parts.notes if parts is not None else ()), unverified="")
        made = replace(made, found=replace(made.found, parity=None))
        names = [each.name for each in lossy_of(passes) if not each.secondary]
        every = [each.name for each in lossy_of(passes)]
        computing = [step for step in outcome.steps if step.name in (names or every)]
        nothing = next((VERBS[name].nothing for name in names if name in VERBS), task.verb.nothing)
        acted = [each.name for each in lossy_of(passes) if outcome.acted(each.name)]
        if not acted:
            return replace(made, rejection=Rejection(why_nothing(computing, nothing)))
        if not set(acted) & set(names):
            made = replace(made, decision=VERBS[acted[-1]].done)
            made = made.because(why_nothing(computing, nothing)) if names else made
        if parts is None:
            made = made.noting("there were no samples: what this does to the outputs was not measured")
        if promised := [each.reason for step in outcome.steps for each in step.result.declined if OWN in each.reason]:
            more = f" (and {len(promised) - 1} more)" if len(promised) > 1 else ""
            made = made.noting(f"{promised[0]}{more}")
        if beyond:
            much = f"{len(beyond)} weights were stored in half precision and are float32 now"
            made = made.noting(f"{much}: they are beyond its range")
        if config.elsewhere:
            here = target.host_target().name
            elsewhere = f"the result is for {config.elsewhere}, and this machine is {here}"
            made = made.noting(f"the speed is not measured: {elsewhere}")
        drop = config.max_drop or 0
        found, rejection = task.evaluator.measure(made.model, size_of(made.encoded), self._limits(passes))
        if config.score is not None and parts is not None and 0 < drop * len(parts.report) < 1:
            few = f"a drop of {drop:g} is less than one of the {len(parts.report)} held-out samples"
            made = made.noting(f"{few} that the metric is taken on: more samples are needed to show it")
        return replace(made, found=found, rejection=rejection)

    def run(self, passes: Sequence[Pass], store: Store | None = None) -> tuple[Outcome, list[str]]:
        """The outcome, and the names of constants that left half precision.

        Args:
            passes: Of the verb.
            store: Where plans are kept; the verb's own where none is given.
        """
        task, parts, base = self.task, self.task.evaluator.parts, self.base
        plans = task.store if store is None else store
        calibration = None if parts is None else parts.calibration
        selection = parts.selection if parts is not None and len(parts.selection) else None

        def run(some: Sequence[Pass], model: object) -> Outcome:
            return task.pipeline(some, calibration, selection, self.statistics, plans).run(model)  # type: ignore[arg-type]

        if base.halves:
            return run_narrowing(base.model, passes, base.halves, run)
        return run(passes, base.model), []

    def timed(self, made: Candidate, passes: Sequence[Pass]) -> Candidate:
        """Adds the latency, unless the candidate is rejected already."""
        if made.rejection is not None:
            return made
        found, rejection = self.task.evaluator.time(made.model, made.found, self._limits(passes))
        return replace(made, found=found, rejection=rejection)

    def _limits(self, passes: Sequence[Pass]) -> Constraints:
        """What a result of these passes must keep."""
        task, lossy = self.task, lossy_of(passes)
        slowing = [each for each in lossy if not each.secondary and each.name in VERBS]
        for_size = len(lossy) == 1 and lossy[0].for_size and any(each.packs for each in passes)
        return Constraints(
            most_bytes=task.source.bytes,
            least_gain=LEAST_GAIN,
            gain_over=(size_of(self.base.encoded) or task.source.bytes) if for_size else None,
            min_sqnr=task.config.min_sqnr,
            max_drop=task.config.max_drop,
            max_size=self.max_size,
            min_speedup=self.min_speedup,
            what=verb_named((slowing or lossy)[-1].name).result if lossy else task.verb.result,
        )


def why_nothing(steps: Sequence[Step], what: str) -> str:
    """Why lossy passes did nothing: what is wrong with the whole model, or else why most places were skipped.

    Args:
        steps: What the passes did.
        what: What is said first where no reason is of the whole model, such as ``"nothing could be quantized"``.
    """
    declined = [(step.name, each) for step in steps for each in step.result.declined]
    whole = [each.reason for _, each in declined if each.site == "model"]
    if whole:
        return whole[0]
    # What an option matches is no place; what another rule of the pass skipped is no reason of this one.
    own = [each.reason for name, each in declined if each.rule == name and not each.site.startswith("--")]
    if not own:
        return what
    (most, count), *_ = Counter(map(kind_of, own)).most_common(1)
    reason = common(each for each in own if kind_of(each) == most)
    if len(reason) > LONG_REASON:
        reason = reason.partition(": ")[0]
    return f"{what}: {reason} ({count} of {len(own)})"
