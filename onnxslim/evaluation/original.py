"""What an original makes of the feeds that candidates are compared on, computed once.

With it goes what a candidate is not to be blamed for: how far onnxruntime's own optimizations move each output, and
which outputs two runs do not agree on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.at_load import made_at_load
from onnxslim.errors import CannotRun, Crashed, Hung, InputError, OnnxSlimError, TooSlow
from onnxslim.evaluation import compare
from onnxslim.evaluation.findings import Evidence
from onnxslim.evaluation.judging import Judging
from onnxslim.evaluation.opener import Opener, reason_of
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.affordable import opening_seconds, run_too_slow
from onnxslim.execution.clock import Clock
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.isolated import RUN_SECONDS, IsolatedSession
from onnxslim.execution.opening import AnyModel
from onnxslim.graph import load
from onnxslim.ops.determinism import HOLDS_SUBGRAPH, impurity

MEMORY = 256 << 20
"""Bytes of the original's outputs that are kept; those of further feeds are computed again for each candidate."""
MAX_MADE = 8 << 30
"""Bytes of constants that a model may compute anew in each run for it to be compared: a run costs seconds then."""
SIDES = 2
"""What runs of the original cost is counted so many times, for the candidate has as many."""
SECONDS = 6.0
"""Time that the runs on random inputs may take, over both sides; the first feed is always run."""
SAMPLE_SECONDS = 300.0
"""Time that one run on a sample may take."""
SLOW = 1.0
"""Seconds of one run above which a graph without random operators is not run twice to see whether it repeats itself."""


class Original:
    """The original's side of a comparison; for the arguments and errors see `onnxslim.evaluation.parity.Reference`.

    Attributes:
        model: As it was loaded.
        opener: Opens candidates as the original was opened.
        judging: Which tensors are compared at the lossy tier.
        feeds: Those that the original runs on.
        dropped: Those that it does not, and why.
        own: For each feed, by how much optimizations change each output.
        scale: Of the numeric bound, by the float types of the model.
        first_optimized: Outputs of the optimized original on the first feed; None where it does not run so.
        inputs, ports: As the session declares them.
        unstable: Outputs that two runs do not agree on.
        notes: What could not be compared.
    """

    def __init__(
        self,
        model: AnyModel,
        feeds: Sequence[Feed],
        *,
        tier: Tier,
        threads: int,
        evidence: Evidence,
        memory: int,
        seconds: float | None,
        patient: bool,
    ) -> None:
        self._tier, self._evidence, self._threads = tier, evidence, threads
        self._seconds = seconds if seconds is not None or evidence == "samples" else SECONDS
        self.model = load(model)
        self._most = math.inf if patient or evidence == "samples" else opening_seconds(self.model)
        self.opener = Opener(
            self.model,
            tier=tier,
            threads=threads,
            run_seconds=RUN_SECONDS if evidence == "random inputs" else SAMPLE_SECONDS,
            most=self._most,
        )
        made = made_at_load(self.model, MAX_MADE)
        if made > MAX_MADE:
            raise CannotRun(
                f"its nodes make {made:,} bytes of constants in every run",
                why=f"a model is compared where they make at most {MAX_MADE:,}",
                mend="store small constants where these nodes stand",
            )
        self.scale = compare.dtype_scale(_float_types(self.model))
        self.judging = Judging(self.model if tier is Tier.LOSSY else None)
        self.notes: list[str] = []
        self.feeds: list[Feed] = []
        self.dropped: list[str] = []
        self._kept: list[Outputs | None] = []
        self.own: list[dict[str, float]] = []
        self._peaks: dict[str, float] = {}
        """Largest magnitude of each float output that optimizations change."""
        self.first_optimized: Outputs | None = None

        optimized = self.opener.optimized()
        session = self._open()
        self.inputs, self.ports = session.inputs, session.outputs[: len(self.model.graph.outputs)]
        self.outputs = [port.name for port in self.ports]
        self._compute(session, optimized, feeds, memory)
        self.unstable = self._find_unstable(session)
        self._session = session if any(kept is None for kept in self._kept) else None
        self.opener.forget()

    def before(self, index: int) -> Outputs:
        """What the original makes of a feed: kept, or computed again."""
        kept = self._kept[index]
        if kept is not None:
            return kept
        assert self._session is not None, "the session is kept where outputs are not"
        return self._session.run(self.feeds[index])

    def _open(self) -> IsolatedSession:
        """The session that the original's outputs come from."""
        notes: list[str] = []
        try:
            session, names = self.opener.compared(self.model, self.judging.leaves, notes)
        except CannotRun as error:
            if self._tier is not Tier.LOSSY or isinstance(error, TooSlow):
                raise
            self.opener.unoptimized = reason_of(error)
            session, names = self.opener.compared(self.model, self.judging.leaves, notes)
        self.judging.bind(names, [value.name or "" for value in self.model.graph.outputs])
        if self.opener.unoptimized:
            self.notes.append(f"onnxruntime opens the original only without optimizations: {self.opener.unoptimized}")
        self.notes += notes
        return session

    def _compute(
        self, session: IsolatedSession, optimized: IsolatedSession | None, feeds: Sequence[Feed], memory: int
    ) -> None:
        clock = Clock(self._seconds, SIDES)
        left_out = 0
        for index, feed in enumerate(feeds):
            if not clock.has_time_for(feed):
                left_out += 1
                continue
            with clock.counting(feed):
                try:
                    outputs = session.run(feed)
                except Hung as error:
                    if not self.feeds and self._most < math.inf:
                        raise run_too_slow(self._most, self.model) from None
                    if not self.feeds:
                        raise  # the others are hardly any smaller
                    self.dropped.append(f"feed {index}: {reason_of(error)}")
                    break
                except OnnxSlimError as error:
                    self.dropped.append(f"feed {index}: {reason_of(error)}")
                    continue
                own: dict[str, float] = {}
                if optimized is not None and (self._tier is Tier.NUMERIC or not self.feeds):
                    try:
                        own = self._own_difference(optimized, feed, outputs)
                    except OnnxSlimError as error:
                        self.notes.append(f"the original does not run optimized: {reason_of(error)}")
                        optimized = None if isinstance(error, Crashed) else optimized
            memory -= _nbytes(outputs)
            self.judging.see(feed, outputs, self._threads)
            self.feeds.append(feed)
            self.own.append(own)
            self._kept.append(outputs if memory >= 0 else None)
        if left_out:
            self.notes.append(
                f"{left_out} of {len(feeds)} random inputs were left out: comparing on them too takes more than "
                f"{self._seconds:g} s"
            )
        self._slow = clock.longest > SLOW
        if not self.feeds:
            why = self.dropped[0] if self.dropped else "there are none"
            kind = InputError if self._evidence == "samples" else CannotRun
            raise kind(
                "the original model runs on none of the feeds", why=why, mend="give samples that the model accepts"
            )
        self._tell_own()

    def _tell_own(self) -> None:
        """Notes outputs that onnxruntime's optimizations change by more than the bound is widened for."""
        for label, own in {label: max(each.get(label, 0.0) for each in self.own) for label in self.own[0]}.items():
            largest = max(self._peaks.get(label, 0.0), 1e-30)
            if compare.OWN_FACTOR * own > compare.own_limit(largest, self.scale):
                self.notes.append(
                    f"onnxruntime's own optimizations change the original's output {label!r} by up to {own:.3g}, "
                    f"{own / largest:.2g} of its largest value"
                )

    def _own_difference(self, optimized: IsolatedSession, feed: Feed, outputs: Outputs) -> dict[str, float]:
        """Largest absolute difference of each output with its optimized self."""
        fused = optimized.run(feed)
        if not self.feeds:
            self.first_optimized = fused
        own: dict[str, float] = {}
        for name in self.outputs:
            pairs = zip(compare.flatten(outputs[name], name), compare.flatten(fused[name], name), strict=False)
            for (label, a), (_, b) in pairs:
                own[label] = _difference_of(a, b)
                if own[label] and compare.is_float(a):
                    self._peaks[label] = max(self._peaks.get(label, 0.0), compare.peak(a))
        return own

    def _find_unstable(self, session: IsolatedSession) -> set[str]:
        """Outputs that two runs of the original do not agree on: random operators without a seed."""
        if self._slow and not _may_be_random(self.model):
            return set()
        once, twice = self._kept[0] or session.run(self.feeds[0]), session.run(self.feeds[0])
        unstable = set()
        for name in self.outputs:
            left, right = compare.flatten(once[name], name), compare.flatten(twice[name], name)
            same = len(left) == len(right) and all(
                compare.same_form(a, b, label, 0) is None and (a is None or compare.exact(a, b, label, 0)[0] is None)
                for (label, a), (_, b) in zip(left, right, strict=True)
            )
            if not same:
                unstable.add(name)
                self.notes.append(f"output {name!r} is not compared: two runs of the original differ")
        return unstable


def _may_be_random(model: ir.Model) -> bool:
    """Whether two runs may differ: a node draws random numbers, or it is not known what it does."""
    versions = model.opset_imports
    return any(
        impurity(node, versions.get(node.domain, 1), model.functions) not in (None, HOLDS_SUBGRAPH)
        for node in model.graph.all_nodes()
    )


def _float_types(model: ir.Model) -> set[str]:
    """Names of the float types that values of the main graph have."""
    types = {value.dtype for value in (*model.graph.inputs, *model.graph.outputs)}
    types |= {value.dtype for value in model.graph.initializers.values()}
    for node in model.graph:
        types |= {value.dtype for value in node.outputs}
        if node.op_type == "Cast":
            types.add(ir.DataType(node.attributes["to"].as_int()))
    return {t.numpy().name for t in types if t is not None and t.is_floating_point()}


def _difference_of(a: Any, b: Any) -> float:
    return compare.max_error(a, b) if a is not None and b is not None else 0.0


def _nbytes(outputs: Outputs) -> int:
    return sum(
        array.nbytes
        for name, value in outputs.items()
        for _, array in compare.flatten(value, name)
        if array is not None
    )
