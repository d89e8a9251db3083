"""Running passes so that a wrong rewrite never survives.

After every pass the model is validated. Where the passes' tier changes, and at the end, the outputs are compared with
those from before. When a check fails, the passes since the last good check are replayed on a clone with fewer and
fewer actions allowed until the guilty one is found; it is refused by its key from then on, and reported.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxslim import runtime
from onnxslim.errors import CannotRun, CheckFailed, Crashed, OnnxSlimError, OutOfMemory, out_of_memory
from onnxslim.graph import problems
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.options import values_of
from onnxslim.pipeline.rewrite import Action, Pass, PassResult
from onnxslim.runtime.tier import Tier

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Metric, Samples, Statistics
    from onnxslim.runtime import Feed, Parity, Reference, Target
    from onnxslim.runtime.findings import Evidence

MAX_REFUSALS = 32
"""Guilty rewrites looked for in one stage before the whole stage is given up."""
MAX_SAMPLE_FEEDS = 4
"""Samples that parity of the exact and numeric tiers runs on; a reordering shows on the first, or hardly ever."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass of the pipeline did.

    ``stages`` are passes that do a part of it each, from the least, and in the end all of it (`Context.offer`).
    """

    name: str
    options: dict[str, Any]
    result: PassResult
    seconds: float
    stages: tuple[Pass, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """What a report shows."""
        return {"name": self.name, "options": self.options, "result": self.result, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Guilty:
    """A rewrite that was reverted because a check failed with it and passed without."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rewritten model and the evidence.

    ``parity`` compares the result with the original model at the loosest tier that was used; None without verification.
    ``evidence`` is ``samples`` or ``random inputs`` or ``none``; ``unverified`` says why there is none although it was
    asked for: onnxruntime cannot run the original.
    """

    model: ir.Model
    steps: tuple[Step, ...]
    parity: Parity | None
    guilty: tuple[Guilty, ...]
    evidence: str
    unverified: str = ""

    @property
    def modified(self) -> bool:
        """Whether any pass changed the model."""
        return any(step.result.modified for step in self.steps)


@dataclass
class Pipeline:
    """Passes in order, run and checked.

    Args:
        passes: What to run.
        verify: Whether to compare outputs in onnxruntime. Validation of the graph is always done.
        samples: Representative inputs; without them parity stands on random inputs.
        selection: More of them, which passes choose by.
        statistics: What was measured before, of this model.
        metric: The user's score, which passes choose by.
        max_drop: How much of the score may be lost.
        min_sqnr: dB of the outputs that a lossy pass must keep.
        bench: Whether passes may choose by the time that they measure.
        target: The machine that the result is for; None means this one.
        memory: Bytes that a streaming run may hold, and that constants may take half of while they are folded.
        threads: Threads of the sessions.
        patient: Whether to compare a large graph on random inputs however long that takes.
        progress: Called with a short text before a long step.
    """

    passes: Sequence[Pass]
    verify: bool = True
    samples: Samples | None = None
    selection: Samples | None = None
    statistics: Sequence[Statistics] = ()
    metric: Metric | None = None
    max_drop: float = 0.01
    min_sqnr: float = 5.0
    bench: bool = True
    target: Target | None = None
    memory: int = 1 << 30
    threads: int = 1
    patient: bool = False
    progress: Callable[[str], None] = lambda _: None
    _cache: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)
    _obstacle: str = field(default="", init=False, repr=False)
    """Why outputs cannot be compared."""
    _tried: bool = field(default=False, init=False, repr=False)
    """Whether random feeds have been replaced by those that the model runs."""

    def run(self, model: ir.Model) -> Outcome:
        """Runs the passes.

        Args:
            model: Is left as it was; its weights are shared with the result.

        Raises:
            CheckFailed: The model is invalid, or its outputs are wrong, and no rewrites could be found whose refusal
                mends it. Nothing should be written then.
        """
        self._cache, self._obstacle, self._tried = {}, "", False
        feeds, evidence = self._evidence(model)
        original = model
        if not (self.verify and self.passes):
            model = model.clone()  # a stage that is verified works on a copy of its own
        steps: list[Step] = []
        guilty: list[Guilty] = []
        parity: Parity | None = None
        for tier, group in itertools.groupby(self.passes, key=lambda p: p.tier):
            stage = _Stage(self, list(group), tier, feeds)
            model, done, bad, parity = stage.run(model)
            steps += done
            guilty += bad
        if self.verify and len({p.tier for p in self.passes}) > 1:
            loosest = max(p.tier for p in self.passes)
            self.progress("compare the result with the original")
            reference = self.reference(original, feeds, loosest)
            if reference is not None:
                parity = reference.check(model)
                if not parity.passed:
                    raise CheckFailed("the result differs from the original model", where=_first_difference(parity))
        evidence = "none" if self._obstacle else evidence
        return Outcome(model, tuple(steps), parity, tuple(guilty), evidence, self._obstacle)

    def context(self, refused: frozenset[str], limit: int | None) -> Context:
        """The context of one run of one pass."""
        return Context(
            samples=self.samples,
            selection=self.selection,
            statistics=self.statistics,
            metric=self.metric,
            max_drop=self.max_drop,
            min_sqnr=self.min_sqnr,
            bench=self.bench,
            target=self.target,
            memory=self.memory,
            threads=self.threads,
            refused=refused,
            limit=limit,
            progress=self.progress,
            cache=self._cache,
        )

    def reference(self, model: ir.Model, feeds: list[Feed], tier: Tier) -> Reference | None:
        """The side of a comparison that is right; None where onnxruntime cannot run it, which is no fault of a pass."""
        if self._obstacle:
            return None
        evidence: Evidence = "random inputs" if self.samples is None else "samples"
        try:
            return runtime.Reference(
                model, feeds, tier=tier, threads=self.threads, evidence=evidence, patient=self.patient
            )
        except (CannotRun, OutOfMemory) as error:
            if self.samples is None and not self._tried and not isinstance(error, Crashed):
                return self._reference_at_other_sizes(model, feeds, tier)
            self._obstacle = str(error)
            return None

    def _reference_at_other_sizes(self, model: ir.Model, feeds: list[Feed], tier: Tier) -> Reference | None:
        """The same where the model runs at none of the usual sizes: ``feeds`` become what it does run."""
        self._tried = True
        try:
            feeds[:] = runtime.random_feeds(model)
        except (CannotRun, OutOfMemory) as error:
            self._obstacle = str(error)
            return None
        return self.reference(model, feeds, tier)

    def _evidence(self, model: ir.Model) -> tuple[list[Feed], str]:
        if not self.verify:
            return [], "none"
        if self.samples is not None:
            return [sample.feed for sample in itertools.islice(self.samples, MAX_SAMPLE_FEEDS)], "samples"
        try:
            return runtime.untried_feeds(model), "random inputs"
        except CannotRun as error:
            self._obstacle = str(error)
            return [], "none"


@dataclass
class _Stage:
    """Consecutive passes of one tier: the unit that is checked and, where a check fails, bisected."""

    pipeline: Pipeline
    passes: list[Pass]
    tier: Tier
    feeds: list[Feed]

    def run(self, model: ir.Model) -> tuple[ir.Model, list[Step], list[Guilty], Parity | None]:
        if not self.pipeline.verify:
            steps, problem = self._replay(model, frozenset(), None)
            if problem:
                raise CheckFailed("a pass broke the model", where=problem)
            return model, steps, [], None
        before = model
        model = before.clone()
        reference: Reference | None = None  # made when first needed: many stages change nothing
        guilty: list[Guilty] = []
        while True:
            refused = frozenset(g.action.key for g in guilty)
            steps, problem = self._replay(model, refused, None)
            parity = None
            if not problem and any(step.result.modified for step in steps):
                reference = reference or self._reference(before)
                problem, parity = _compare(reference, model)
            if not problem:
                return model, steps, guilty, parity
            count = sum(len(step.result.actions) for step in steps)
            if count == 0 or len(guilty) >= MAX_REFUSALS:
                raise CheckFailed(
                    "the passes break the model, and no single rewrite is to blame",
                    where=", ".join(p.name for p in self.passes),
                    why=problem,
                    mend="leave the pass out, and report the model",
                )
            reference = reference or self._reference(before)
            guilty.append(self._bisect(before, reference, refused, count, problem))
            self.pipeline.progress(f"revert {guilty[-1].action.key}")
            model = before.clone()

    def _reference(self, before: ir.Model) -> Reference | None:
        self.pipeline.progress("compare outputs")
        return self.pipeline.reference(before, self.feeds, self.tier)

    def _replay(self, model: ir.Model, refused: frozenset[str], limit: int | None) -> tuple[list[Step], str]:
        """Runs the passes on ``model`` with at most ``limit`` actions; returns the steps and the first problem."""
        steps: list[Step] = []
        for instance in self.passes:
            context = self.pipeline.context(refused, limit)
            self.pipeline.progress(instance.name)
            started = time.perf_counter()
            try:
                result = instance.run(model, context)
            except OnnxSlimError:
                raise
            except Exception as error:
                exhausted = out_of_memory(error, where=f"the pass {instance.name!r}")
                if exhausted is not None:
                    raise exhausted from error
                # Not swallowed: a pass that crashes has a bug, and the model it worked on is unusable.
                raise CheckFailed(
                    f"the pass {instance.name!r} crashed",
                    why=f"{type(error).__name__}: {error}",
                    mend="leave the pass out, and report the model with the traceback that ONNXSLIM_DEBUG=1 shows",
                ) from error
            seconds = time.perf_counter() - started
            steps.append(Step(instance.name, values_of(instance), result, seconds, tuple(context.stages)))
            if limit is not None:
                limit -= len(result.actions)
            found = problems(model) if result.modified else []
            if found:
                return steps, f"after {instance.name}: {found[0]}"
        return steps, ""

    def _bisect(
        self, before: ir.Model, reference: Reference | None, refused: frozenset[str], count: int, problem: str
    ) -> Guilty:
        """The first action with which the check fails.

        Invariant: the check passes with ``good`` actions and fails with ``bad``.
        """
        good, bad = 0, count
        at_bad, reason = _all_actions(self._replay(before.clone(), refused, count)[0]), problem
        while bad - good > 1:
            middle = (good + bad) // 2
            candidate = before.clone()
            steps, found = self._replay(candidate, refused, middle)
            if not found:
                found, _ = _compare(reference, candidate)
            if found:
                bad, at_bad, reason = middle, _all_actions(steps), found
            else:
                good = middle
        return Guilty(at_bad[bad - 1], reason)


def _compare(reference: Reference | None, candidate: ir.Model) -> tuple[str, Parity | None]:
    """The first difference, empty where there is none, and all that was found; nothing without a reference."""
    if reference is None:
        return "", None
    parity = reference.check(candidate)
    return "" if parity.passed else _first_difference(parity), parity


def _all_actions(steps: Iterable[Step]) -> list[Action]:
    return [action for step in steps for action in step.result.actions]


def _first_difference(parity: Parity) -> str:
    return str(parity.differences[0]) if parity.differences else "the outputs differ"
