"""What a pass is given beside the model: permission for each rewrite, samples, and where to say what it did."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from onnxslim.calibration import model_digest
from onnxslim.pipeline.rewrite import Action, Declined, Pass, PassResult

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Statistics
    from onnxslim.execution.target import Target
    from onnxslim.samples import Metric, Samples

MAX_DECLINED = 10_000
"""Reasons kept of one pass; what comes after is counted in ``declined_beyond`` only, so that memory stays bounded."""
_NO_CONDITIONS = frozenset({"limit", "progress", "cache", "actions", "declined", "declined_beyond", "stages"})
"""Fields of a context that no decision may depend on; whatever else is added to it is part of every key."""
T = TypeVar("T")


@dataclass
class Context:
    """One run of one pass.

    Args:
        samples: Representative inputs, where the user gave any.
        selection: More of them, for choices: a pass that measures by ``samples`` what is best for them fools itself.
        statistics: What was measured before; a pass measures by ``samples`` only what these do not hold.
        metric: The user's score, where there is one; ``max_drop`` is how much of it may be lost.
        max_drop: In units of the metric.
        min_sqnr: dB of the outputs that a lossy result must keep.
        bench: Whether the pass may choose by the time that it measures on this machine.
        target: The machine that the result is for; None means this one.
        memory: Bytes that a streaming run may hold at once, and a pass in values that it computes.
        threads: Threads of onnxruntime sessions; fixed, so that statistics are reproducible.
        refused: Keys of actions that were found guilty and must not happen again.
        limit: How many actions are allowed; None means all. The pipeline bisects with it (cf. LLVM's opt-bisect-limit).
        progress: Called with a short text before a long step.
        cache: Shared by the runs of one pipeline. Passes use it through `recall`, which builds the keys.
    """

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
    refused: frozenset[str] = frozenset()
    limit: int | None = None
    progress: Callable[[str], None] = lambda _: None
    cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    actions: list[Action] = field(default_factory=list, init=False)
    declined: list[Declined] = field(default_factory=list, init=False)
    declined_beyond: int = field(default=0, init=False)
    stages: list[Pass] = field(default_factory=list, init=False, repr=False)

    def allow(self, action: Action) -> bool:
        """Whether the rewrite may happen. If so it is on record, and the caller must carry it out."""
        if action.key in self.refused:
            self.decline(action.rule, action.site or ",".join(action.outputs), "a check failed with this rewrite")
            return False
        if self.limit is not None and len(self.actions) >= self.limit:
            return False
        self.actions.append(action)
        return True

    def recall(self, what: str, model: ir.Model, make: Callable[[], T], *options: Hashable) -> T:
        """The result of ``make()``, or what it was when this pipeline last asked for it under the same conditions.

        A replay of a pass must come to the same choice, whatever the clock says, and need not measure again. The key
        covers the whole model (all outputs, names and weights), all that the context holds (samples, metric, target,
        refused actions, ...) and ``options``.

        Args:
            what: Name of the result.
            model: That the result depends on.
            make: Computes it.
            options: Whatever else it depends on: the pass itself, since its fields are its options.
        """
        conditions = (_Same.of(getattr(self, each.name)) for each in fields(self) if each.name not in _NO_CONDITIONS)
        key = (what, model_digest(model), options, *conditions)
        if key not in self.cache:
            self.cache[key] = make()
        found: T = self.cache[key]
        return found

    def decline(self, rule: str, site: str, reason: str) -> None:
        """Puts on record that ``rule`` left ``site`` alone, and why."""
        if len(self.declined) < MAX_DECLINED:
            self.declined.append(Declined(rule, site, reason))
        else:
            self.declined_beyond += 1

    def offer(self, *stages: Pass) -> None:
        """Passes that each do what this one came to at a stage, from the least; the last does all of it.

        Where the whole does not hold on samples that nothing was chosen by, the verdict can fall back on one of them.
        """
        self.stages = list(stages)

    def result(self) -> PassResult:
        """What has been put on record so far, as the result of the pass."""
        return PassResult(bool(self.actions), tuple(self.actions), tuple(self.declined), self.declined_beyond)


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Stands in a key for what cannot be hashed, such as a list of samples: equal to itself alone, and kept alive."""

    value: Any

    @classmethod
    def of(cls, value: Any) -> Hashable:
        """``value`` itself where it can be hashed."""
        try:
            hash(value)
        except TypeError:
            return cls(value)
        return value  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)
