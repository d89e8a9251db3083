"""Does a rewritten model still compute what the original computes?

Tiers (`onnxslim.evaluation.tier.Tier`):

- exact: the same bits, onnxruntime's optimizations disabled on both sides;
- numeric: within ``1e-5 + 1e-4 |a|`` for float32, scaled by dtype, and never tighter than four times the original's own
  difference between optimizations disabled and enabled on the same feed: half of all unchanged real models differ by
  more than 4 ULP there. That has a limit, for an optimizer may be wrong (`onnxslim.evaluation.compare.own_bound`). An
  integer that flips is judged by the floats that decided it;
- lossy: both optimized; how far each part of the outputs moved is measured (SQNR, cosine, top-1; see
  `onnxslim.evaluation.parts`), and only new NaN or infinities, shapes and types can fail.

In every tier the candidate is also loaded fully optimized and run once, from the file if it is one. Where onnxruntime
opens the original without optimizations only, the candidate need not do better, and a note says so.

A rewrite of a large graph that takes long to open is not compared on random inputs (`onnxslim.execution.affordable`).

All sessions live in child processes: a crash of onnxruntime is a difference, or the reason why nothing is compared.
Feeds after the first are left out where they would take too long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.at_load import made_at_load
from onnxslim.analysis.steps import stepped_outputs
from onnxslim.errors import CannotRun, Crashed, Hung, InputError, OnnxSlimError, OutOfMemory, TooSlow
from onnxslim.evaluation import compare, flips
from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.findings import Evidence, Findings, Parity
from onnxslim.evaluation.interface import interface_differences
from onnxslim.evaluation.judging import Judging
from onnxslim.evaluation.parts import Leaf, shown
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.affordable import opening_seconds, run_too_slow
from onnxslim.execution.clock import Clock
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.isolated import RUN_SECONDS, IsolatedSession
from onnxslim.execution.opening import AnyModel, Opening, opening_of
from onnxslim.execution.session import lean_config
from onnxslim.graph import load
from onnxslim.ops.determinism import HOLDS_SUBGRAPH, impurity

MEMORY = 256 << 20
"""Bytes of the original's outputs that are kept; those of further feeds are computed again for each candidate."""
MAX_MADE = 8 << 30
"""Bytes of constants that a model may compute anew in each run for it to be compared: a run costs seconds then."""
OPTIMIZED_FACTOR = 10.0
"""How much wider the numeric bound is where both sides are optimized: their fusions may differ."""
SIDES = 2
"""What runs of the original cost is counted so many times, for the candidate has as many."""
SECONDS = 6.0
"""Time that the runs on random inputs may take, over both sides; the first feed is always run."""
SAMPLE_SECONDS = 300.0
"""Time that one run on a sample may take."""
SLOW = 1.0
"""Seconds of one run above which a graph without random operators is not run twice to see whether it repeats itself."""


class Reference:
    """The original model's side of comparisons; its outputs are computed once.

    Args:
        model: The original. It must not be edited while the reference is in use.
        feeds: Inputs to compare on. Those that the original itself does not run are dropped, and `Parity` says so.
        tier: How closely candidates are asked to agree.
        threads: Threads of the sessions.
        evidence: What the feeds are; a claim about accuracy needs ``samples``.
        memory: Bytes of outputs to keep.
        seconds: Time that the runs may take, over both sides: further feeds are left out, and `Parity` says so. The
            first one is always run. None means `SECONDS` for random inputs, and as long as it takes for samples.
        patient: Whether to wait for a large graph however long it takes (`onnxslim.execution.affordable`). For samples
            it always is.

    Raises:
        CannotRun: onnxruntime does not load the original, or it runs on none of the random feeds.
        Crashed: It does not survive the original.
        TooSlow: The graph is large and takes long to open or to run, and ``patient`` is not set.
        InputError: It runs on none of the samples.
    """

    def __init__(
        self,
        model: AnyModel,
        feeds: Sequence[Feed],
        *,
        tier: Tier,
        threads: int = 1,
        evidence: Evidence = "random inputs",
        memory: int = MEMORY,
        seconds: float | None = None,
        patient: bool = True,
    ) -> None:
        self.tier, self.evidence = tier, evidence
        self._seconds = seconds if seconds is not None or evidence == "samples" else SECONDS
        self._run_seconds = RUN_SECONDS if evidence == "random inputs" else SAMPLE_SECONDS
        self._model = load(model)
        self._threads = threads
        self._most = math.inf if patient or evidence == "samples" else opening_seconds(self._model)
        self._packed: tuple[AnyModel, Opening] | None = None
        """What was opened last, for it is opened twice."""
        self._config = lean_config(self._model)
        made = made_at_load(self._model, MAX_MADE)
        if made > MAX_MADE:
            raise CannotRun(
                f"its nodes make {made:,} bytes of constants in every run",
                why=f"a model is compared where they make at most {MAX_MADE:,}",
                mend="store small constants where these nodes stand",
            )
        self._scale = compare.dtype_scale(_float_types(self._model))
        self._stepped = stepped_outputs(self._model) if tier is Tier.NUMERIC else set()
        self._judging = Judging(self._model if tier is Tier.LOSSY else None)
        self._notes: list[str] = []
        self.feeds: list[Feed] = []
        self.dropped: list[str] = []
        self._kept: list[Outputs | None] = []
        self._own: list[dict[str, float]] = []
        self._peaks: dict[str, float] = {}
        """Largest magnitude of each float output that optimizations change."""
        self._first_optimized: Outputs | None = None
        self._unoptimized = ""
        """Why the original opens only without optimizations; empty where it opens with them."""

        optimized = self._open_optimized()
        session = self._open_original()
        self._inputs, self._ports = session.inputs, session.outputs[: len(self._model.graph.outputs)]
        self._outputs = [port.name for port in self._ports]
        self._compute(session, optimized, feeds, memory)
        self._unstable = self._find_unstable(session)
        self._session = session if any(kept is None for kept in self._kept) else None
        self._packed = None

    def check(self, candidate: AnyModel) -> Parity:
        """Compares ``candidate`` with the original. Whatever it does wrong, loading included, is a difference."""
        found = Findings(list(self._notes))
        self._packed = None  # the candidate may have been edited since
        try:
            count = self._check_optimized(candidate, found)
            leaves: list[Leaf] = []
            if self._judging.leaves:
                candidate = load(candidate)
                leaves = self._judging.candidate(candidate)
            session, shown_names = self._open_compared(candidate, leaves, found.notes)
        except OutOfMemory:
            raise  # no fault of the candidate's
        except OnnxSlimError as error:
            found.add(Difference("load", "", _reason(error)))
            return found.result(self.tier, 0, self.evidence, self.dropped)
        names = dict(zip((leaf.part for leaf in leaves), shown_names, strict=False))
        measure = self._judging.measure
        tally = measure.tally()
        for index, feed in enumerate(self.feeds):
            try:
                after = session.run(feed)
            except OutOfMemory:
                raise
            except OnnxSlimError as error:
                found.add(Difference("run", "", _reason(error), index))
                break
            found.see(after)
            before = self._before(index)
            self._check_outputs(before, after, index, found, candidate)
            tally.add(
                [before.get(name) for name in measure.names],
                [after.get(names.get(part, "")) for part in measure.parts],
            )
        self._judging.judge(tally, names.keys(), self._unstable, found)
        # Both sides unoptimized: some of onnxruntime's fusions declare other shapes than they give.
        ports = session.inputs, session.outputs[:count]
        changed = interface_differences((self._inputs, self._ports), ports, found.sizes)
        found.differences[:0] = changed
        return found.result(self.tier, len(self.feeds), self.evidence, self.dropped)

    # The original's side.

    def _open(self, model: AnyModel, optimize: bool | str = True) -> IsolatedSession:
        if self._packed is None or self._packed[0] is not model or self.tier is Tier.LOSSY:  # parts become outputs
            self._packed = model, opening_of(model, threads=self._threads, config=self._config)
        opening = replace(self._packed[1], optimize=optimize)
        if model is self._model:
            return IsolatedSession(opening, min(self._run_seconds, self._most), self._most)
        return IsolatedSession(opening, self._run_seconds)  # a candidate that is a little slower is no wrong one

    def _open_optimized(self) -> IsolatedSession | None:
        """The optimized session that the numeric bound stands on; None where the original does not load so."""
        if self.tier is Tier.LOSSY:
            return None  # the compared session is optimized
        try:
            return self._open(self._model)
        except TooSlow:
            raise
        except CannotRun as error:
            self._unoptimized = _reason(error)
            return None

    def _open_original(self) -> IsolatedSession:
        """The session that the original's outputs come from."""
        notes: list[str] = []
        try:
            session, names = self._open_compared(self._model, self._judging.leaves, notes)
        except CannotRun as error:
            if self.tier is not Tier.LOSSY or isinstance(error, TooSlow):
                raise
            self._unoptimized = _reason(error)
            session, names = self._open_compared(self._model, self._judging.leaves, notes)
        self._judging.bind(names, [value.name or "" for value in self._model.graph.outputs])
        if self._unoptimized:
            self._notes.append(f"onnxruntime opens the original only without optimizations: {self._unoptimized}")
        self._notes += notes
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
                        raise run_too_slow(self._most, self._model) from None
                    if not self.feeds:
                        raise  # the others are hardly any smaller
                    self.dropped.append(f"feed {index}: {_reason(error)}")
                    break
                except OnnxSlimError as error:
                    self.dropped.append(f"feed {index}: {_reason(error)}")
                    continue
                own: dict[str, float] = {}
                if optimized is not None and (self.tier is Tier.NUMERIC or not self.feeds):
                    try:
                        own = self._own_difference(optimized, feed, outputs)
                    except OnnxSlimError as error:
                        self._notes.append(f"the original does not run optimized: {_reason(error)}")
                        optimized = None if isinstance(error, Crashed) else optimized
            memory -= _nbytes(outputs)
            self._judging.see(feed, outputs, self._threads)
            self.feeds.append(feed)
            self._own.append(own)
            self._kept.append(outputs if memory >= 0 else None)
        if left_out:
            self._notes.append(
                f"{left_out} of {len(feeds)} random inputs were left out: comparing on them too takes more than "
                f"{self._seconds:g} s"
            )
        self._slow = clock.longest > SLOW
        if not self.feeds:
            why = self.dropped[0] if self.dropped else "there are none"
            kind = InputError if self.evidence == "samples" else CannotRun
            raise kind(
                "the original model runs on none of the feeds", why=why, mend="give samples that the model accepts"
            )
        self._tell_own()

    def _tell_own(self) -> None:
        """Notes outputs that onnxruntime's optimizations change by more than the bound is widened for."""
        for label, own in {label: max(each.get(label, 0.0) for each in self._own) for label in self._own[0]}.items():
            largest = max(self._peaks.get(label, 0.0), 1e-30)
            if compare.OWN_FACTOR * own > compare.own_limit(largest, self._scale):
                self._notes.append(
                    f"onnxruntime's own optimizations change the original's output {label!r} by up to {own:.3g}, "
                    f"{own / largest:.2g} of its largest value"
                )

    def _own_difference(self, optimized: IsolatedSession, feed: Feed, outputs: Outputs) -> dict[str, float]:
        """Largest absolute difference of each output with its optimized self."""
        fused = optimized.run(feed)
        if not self.feeds:
            self._first_optimized = fused
        own: dict[str, float] = {}
        for name in self._outputs:
            pairs = zip(compare.flatten(outputs[name], name), compare.flatten(fused[name], name), strict=False)
            for (label, a), (_, b) in pairs:
                own[label] = _difference_of(a, b)
                if own[label] and compare.is_float(a):
                    self._peaks[label] = max(self._peaks.get(label, 0.0), compare.peak(a))
        return own

    def _find_unstable(self, session: IsolatedSession) -> set[str]:
        """Outputs that two runs of the original do not agree on: random operators without a seed."""
        if self._slow and not _may_be_random(self._model):
            return set()
        once, twice = self._kept[0] or session.run(self.feeds[0]), session.run(self.feeds[0])
        unstable = set()
        for name in self._outputs:
            left, right = compare.flatten(once[name], name), compare.flatten(twice[name], name)
            same = len(left) == len(right) and all(
                compare.same_form(a, b, label, 0) is None and (a is None or compare.exact(a, b, label, 0)[0] is None)
                for (label, a), (_, b) in zip(left, right, strict=True)
            )
            if not same:
                unstable.add(name)
                self._notes.append(f"output {name!r} is not compared: two runs of the original differ")
        return unstable

    def _before(self, index: int) -> Outputs:
        kept = self._kept[index]
        if kept is not None:
            return kept
        assert self._session is not None, "the session is kept where outputs are not"
        return self._session.run(self.feeds[index])

    # Both sides.

    def _open_compared(
        self, model: AnyModel, leaves: Sequence[Leaf], notes: list[str]
    ) -> tuple[IsolatedSession, list[str]]:
        """The session that outputs are compared from, at the lossy tier with the tensors of the parts.

        Returns:
            The session, and the name of each leaf's tensor; none where they cannot be shown.
        """
        if leaves and isinstance(model, ir.Model):
            try:
                with shown(model, leaves) as names:
                    return self._open_at_level(model, notes), names
            except TooSlow:
                raise
            except OnnxSlimError as error:
                session = self._open_at_level(model, notes)
                notes.append(f"outputs are compared as they are, not part by part: {_reason(error)}")
                return session, []
        return self._open_at_level(model, notes), []

    def _open_at_level(self, model: AnyModel, notes: list[str]) -> IsolatedSession:
        """Optimized for the lossy tier, else as little as can be: some models have no kernels without."""
        if self.tier is Tier.LOSSY and not self._unoptimized:
            return self._open(model)
        try:
            return self._open(model, False)
        except TooSlow:
            raise
        except CannotRun as error:
            try:
                session = self._open(model, "basic")
            except CannotRun:
                raise error from None
            notes.append(f"compared with basic optimizations, since it does not load without: {_reason(error)}")
            return session

    # The candidate's side.

    def _check_optimized(self, candidate: AnyModel, found: Findings) -> int:
        """The candidate as users run it: it must run, and agree within a wider bound with the original so run.

        Returns:
            How many outputs it has.
        """
        if self._unoptimized:
            return len(load(candidate).graph.outputs)  # it need not do better than the original
        session = self._open(candidate)
        count = len(session.outputs)
        try:
            after = session.run(self.feeds[0])
        except OutOfMemory:
            raise
        except OnnxSlimError as error:
            why = _reason(error)
            if self._first_optimized is None and self.tier is not Tier.LOSSY:
                found.notes.append(f"like the original, the candidate does not run optimized: {why}")
            else:
                found.add(Difference("run", "", f"fully optimized: {why}", 0))
            return count
        for name in self._outputs:
            if self._first_optimized is None or name in self._unstable or name not in after:
                continue
            before = compare.flatten(self._first_optimized[name], name)
            for (label, a), (_, b) in zip(before, compare.flatten(after[name], name), strict=False):
                if a is None or b is None or not compare.is_float(a) or compare.same_form(a, b, label, 0):
                    continue
                own = self._own[0].get(label, 0.0) * OPTIMIZED_FACTOR
                scale = self._scale * OPTIMIZED_FACTOR
                difference, _ = compare.numeric(a, b, label, 0, own=own, scale=scale, stepped=name in self._stepped)
                if difference is not None:
                    detail = f"fully optimized: {difference.detail}"
                    found.add(Difference(difference.kind, label, detail, 0, difference.error))
        return count

    def _check_outputs(
        self,
        before: Outputs,
        after: Outputs,
        index: int,
        found: Findings,
        candidate: AnyModel,
    ) -> None:
        for name in self._outputs:
            if name in self._unstable or name not in after:
                continue  # a missing output is the interface's difference
            left, right = compare.flatten(before[name], name), compare.flatten(after[name], name)
            if len(left) != len(right):
                found.add(Difference("type", name, f"{len(left)} parts before, {len(right)} after", index))
                continue
            for (label, a), (_, b) in zip(left, right, strict=True):
                form = compare.same_form(a, b, label, index)
                if form is not None or a is None:
                    found.add(form)
                elif self.tier is Tier.EXACT:
                    found.add(*compare.exact(a, b, label, index))
                elif self.tier is Tier.NUMERIC:
                    self._check_numeric(a, b, label, index, found, candidate, name in self._stepped)
                else:
                    broken = compare.non_finite(a, b, label, index) if compare.is_float(a) else None
                    found.add(broken, compare.max_error(a, b))

    def _check_numeric(
        self,
        a: np.ndarray,
        b: np.ndarray,
        label: str,
        index: int,
        found: Findings,
        candidate: AnyModel,
        stepped: bool,
    ) -> None:
        own = self._own[index].get(label, 0.0)
        difference, worst = compare.numeric(a, b, label, index, own=own, scale=self._scale, stepped=stepped)
        if difference is not None and a.dtype.kind in "iub":
            feed = self.feeds[index]
            tie = flips.explained(self._model, candidate, label, a, b, feed, scale=self._scale, threads=self._threads)
            if tie:
                found.notes.append(tie)
                return
        found.add(difference, worst)


def _may_be_random(model: ir.Model) -> bool:
    """Whether two runs may differ: a node draws random numbers, or it is not known what it does."""
    versions = model.opset_imports
    return any(
        impurity(node, versions.get(node.domain, 1), model.functions) not in (None, HOLDS_SUBGRAPH)
        for node in model.graph.all_nodes()
    )


def _reason(error: OnnxSlimError) -> str:
    return error.why or error.what


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
