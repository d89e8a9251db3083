"""What a pass is given beside the model: how the verb runs, samples, permission for each rewrite, and a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onnxslim.calibration import model_digest
from onnxslim.evaluation.scoring import score_of
from onnxslim.pipeline.action import Action, Declined, PassResult, Planner
from onnxslim.pipeline.config import RUN_OPTIONS, Progress, RunConfig
from onnxslim.pipeline.plan import Plan
from onnxslim.pipeline.store import Store

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Statistics
    from onnxslim.execution.target import Target
    from onnxslim.samples import Metric, Samples

MAX_DECLINED = 10_000
"""Reasons kept of one pass; what comes after is counted in ``declined_beyond`` only, so that memory stays bounded."""
T = TypeVar("T")


@dataclass
class Context:
    """One run of one pass.

    Args:
        config: How the verb runs.
        samples: Representative inputs, where the user gave any.
        selection: More of them, for choices: a pass that measures by ``samples`` what is best for them fools itself.
        statistics: What was measured before; a pass measures by ``samples`` only what these do not hold.
        refused: Keys of actions that were found guilty and must not happen again.
        limit: How many actions are allowed; None means all. The pipeline bisects with it (cf. LLVM's opt-bisect-limit).
        store: Plans and measurements of the run; passes use it through `planned` and `recall`.
        original: The model before the passes of the run; None where a pass runs by itself.
    """

    config: RunConfig = field(default_factory=RunConfig)
    samples: Samples | None = None
    selection: Samples | None = None
    statistics: Sequence[Statistics] = ()
    refused: frozenset[str] = frozenset()
    limit: int | None = None
    store: Store = field(default_factory=Store, repr=False)
    original: ir.Model | None = field(default=None, repr=False)
    actions: list[Action] = field(default_factory=list, init=False)
    declined: list[Declined] = field(default_factory=list, init=False)
    declined_beyond: int = field(default=0, init=False)
    stages: list[Any] = field(default_factory=list, init=False, repr=False)
    scratch: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What the passes of this run share, such as inferred shapes."""

    @classmethod
    def of(cls, **given: Any) -> Self:
        """A context from its own fields and those of a `RunConfig`, named side by side."""
        config = RunConfig(**{name: value for name, value in given.items() if name in RUN_OPTIONS - {"samples"}})
        return cls(config, **{name: value for name, value in given.items() if name not in RUN_OPTIONS - {"samples"}})

    @property
    def metric(self) -> Metric | None:
        """The user's score, where there is one."""
        return self.config.score

    @property
    def max_drop(self) -> float:
        """How much of the metric a choice may lose."""
        return self.config.allowed_drop

    @property
    def min_sqnr(self) -> float:
        """DB of the outputs that a lossy result must keep."""
        return self.config.min_sqnr

    @property
    def bench(self) -> bool:
        """Whether the pass may choose by the time that it measures on this machine."""
        return self.config.timed

    @property
    def target(self) -> Target:
        """The machine that the result is for."""
        return self.config.machine

    @property
    def memory(self) -> int:
        """Bytes that a streaming run may hold at once, and a pass in values that it computes."""
        return self.config.memory

    @property
    def threads(self) -> int:
        """Threads of onnxruntime sessions; fixed, so that statistics are reproducible."""
        return self.config.threads

    @property
    def progress(self) -> Progress:
        """Called with a short text before a long step."""
        return self.config.progress

    def allow(self, action: Action) -> bool:
        """Whether the rewrite may happen. If so it is on record, and the caller must carry it out."""
        if action.key in self.refused:
            self.decline(action.rule, action.site or ",".join(action.outputs), "a check failed with this rewrite")
            return False
        if self.limit is not None and len(self.actions) >= self.limit:
            return False
        self.actions.append(action)
        return True

    def score(self, model: ir.Model, config: Mapping[str, str] | None = None) -> float:
        """The metric of a model on the samples to choose by; of those to measure by, where there are no others.

        Args:
            model: What is scored.
            config: Session config entries.
        """
        assert self.metric is not None, "a pass asks only where there is a metric"
        samples = self.samples if self.selection is None else self.selection
        return score_of(self.metric, model, samples or (), threads=self.threads, config=config)

    def planned(self, of: Planner, model: ir.Model) -> Any:
        """What a pass decides about the model: kept from when it was asked before, else decided now.

        What it left alone is put on record each time.
        """

        def make() -> Plan:
            own = replace(self, limit=None)
            decided = of.plan(model, own) if of.followed is None else of.adapt(of.followed, model, own)
            return Plan(decided, tuple(own.declined), own.declined_beyond)

        conditions = (self.config.planned_under, self.refused, self._origin, of.followed)
        plan = self.store.plan(of, model, conditions, make)
        for each in plan.declined:
            self.decline(each.rule, each.site, each.reason)
        self.declined_beyond += plan.declined_beyond
        return plan.decided

    @property
    def _origin(self) -> str:
        return "" if self.original is None else model_digest(self.original)

    def recall(self, what: str, model: ir.Model, make: Callable[[], T], *options: Any) -> T:
        """The result of ``make()``, or what it was when this run last asked for it under the same conditions.

        The key covers the whole model (all outputs, names and weights), all that the pass may decide by (samples,
        metric, target, refused actions, ...) and ``options``.

        Args:
            what: Name of the result.
            model: That the result depends on.
            make: Computes it.
            options: Whatever else it depends on.
        """
        conditions = (
            self.config.conditions,
            self.samples,
            self.selection,
            self.statistics,
            self.refused,
            self._origin,
        )
        return self.store.recall(make, what, model_digest(model), options, conditions)

    def decline(self, rule: str, site: str, reason: str) -> None:
        """Puts on record that ``rule`` left ``site`` alone, and why."""
        if len(self.declined) < MAX_DECLINED:
            self.declined.append(Declined(rule, site, reason))
        else:
            self.declined_beyond += 1

    def offer(self, *stages: Planner) -> None:
        """Passes that each do what this one came to at a stage, from the least; the last does all of it.

        Where the whole does not hold on samples that nothing was chosen by, the verdict can fall back on one of them.
        """
        self.stages = list(stages)

    def result(self) -> PassResult:
        """What has been put on record so far, as the result of the pass."""
        return PassResult(bool(self.actions), tuple(self.actions), tuple(self.declined), self.declined_beyond)
