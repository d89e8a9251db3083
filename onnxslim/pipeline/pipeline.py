"""Running passes so that a wrong rewrite never survives.

After every pass the model is validated. Where the passes' tier changes, and at the end, the outputs are compared with
those from before. When a check fails, the guilty rewrite is found and refused (`onnxslim.pipeline.bisection`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from onnxslim import evaluation, execution
from onnxslim.errors import CannotRun, CheckFailed, Crashed, OutOfMemory
from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.bisection import Stage, first_difference
from onnxslim.pipeline.config import RunConfig
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.outcome import Guilty, Outcome, Step
from onnxslim.pipeline.rewrite import Pass
from onnxslim.pipeline.store import Store
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import COMPARED

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Statistics
    from onnxslim.evaluation import Parity, Reference
    from onnxslim.evaluation.findings import Evidence
    from onnxslim.execution import Feed
    from onnxslim.samples import Samples


@dataclass
class Pipeline:
    """Passes in order, run and checked.

    Args:
        passes: What to run.
        config: How.
        samples: Representative inputs; without them parity stands on random inputs.
        selection: More of them, which passes choose by.
        statistics: What was measured before, of this model.
        store: Where plans are kept; one of its own for each run where none is given.
    """

    passes: Sequence[Pass]
    config: RunConfig = field(default_factory=RunConfig)
    samples: Samples | None = None
    selection: Samples | None = None
    statistics: Sequence[Statistics] = ()
    store: Store | None = None

    def run(self, model: ir.Model) -> Outcome:
        """Runs the passes.

        Args:
            model: Is left as it was; its weights are shared with the result.

        Raises:
            CheckFailed: The model is invalid, or its outputs are wrong, and no rewrites could be found whose refusal
                mends it. Nothing should be written then.
        """
        evidence = _Evidence(self.config, self.samples, model)
        store = Store() if self.store is None else self.store
        verify = self.config.verify
        original = model
        if not (verify and self.passes):
            model = model.clone()  # a stage that is verified works on a copy of its own
        steps: list[Step] = []
        guilty: list[Guilty] = []
        parity: Parity | None = None
        for tier, group in itertools.groupby(self.passes, key=lambda p: p.tier):
            stage = Stage(
                list(group),
                partial(self._context, store, original),
                partial(evidence.reference, tier=tier),
                self.config.progress,
                verify,
            )
            model, done, bad, parity = stage.run(model)
            steps += done
            guilty += bad
        if verify and len({p.tier for p in self.passes}) > 1:
            self.config.progress("compare the result with the original")
            reference = evidence.reference(original, tier=max(p.tier for p in self.passes))
            if reference is not None:
                parity = reference.check(model)
                if not parity.passed:
                    raise CheckFailed("the result differs from the original model", where=first_difference(parity))
        return Outcome(model, tuple(steps), parity, tuple(guilty), evidence.kind, evidence.obstacle)

    def _context(self, store: Store, original: ir.Model, refused: frozenset[str], limit: int | None) -> Context:
        return Context(self.config, self.samples, self.selection, self.statistics, refused, limit, store, original)


class _Evidence:
    """The inputs that outputs are compared on, and why they cannot be.

    Args:
        config: Whether they are compared at all.
        samples: Representative inputs; None stands for random ones.
        model: The original.
    """

    def __init__(self, config: RunConfig, samples: Samples | None, model: ir.Model) -> None:
        self._config, self._samples = config, samples
        self.obstacle = ""
        self._feeds: list[Feed] = []
        self._tried = False
        if not config.verify:
            return
        if samples is not None:
            self._feeds = feeds_of(samples, COMPARED)
            return
        try:
            self._feeds = execution.untried_feeds(model)
        except CannotRun as error:
            self.obstacle = str(error)

    @property
    def kind(self) -> str:
        """What parity stands on."""
        if not self._config.verify or self.obstacle:
            return "none"
        return "random inputs" if self._samples is None else "samples"

    def reference(self, model: ir.Model, *, tier: Tier) -> Reference | None:
        """The side of a comparison that is right; None where onnxruntime cannot run it, which is no fault of a pass."""
        if self.obstacle:
            return None
        kind: Evidence = "random inputs" if self._samples is None else "samples"
        try:
            return evaluation.Reference(
                model,
                self._feeds,
                tier=tier,
                threads=self._config.threads,
                evidence=kind,
                patient=self._config.must_verify,
            )
        except (CannotRun, OutOfMemory) as error:
            if self._samples is None and not self._tried and not isinstance(error, Crashed):
                return self._at_other_sizes(model, tier)
            self.obstacle = str(error)
            return None

    def _at_other_sizes(self, model: ir.Model, tier: Tier) -> Reference | None:
        """The same where the model runs at none of the usual sizes, on inputs that it does run."""
        self._tried = True
        try:
            self._feeds = execution.random_feeds(model)
        except (CannotRun, OutOfMemory) as error:
            self.obstacle = str(error)
            return None
        return self.reference(model, tier=tier)
