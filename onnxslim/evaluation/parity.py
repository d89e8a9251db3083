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

from collections.abc import Sequence

import numpy as np

from onnxslim.analysis.steps import stepped_outputs
from onnxslim.errors import OnnxSlimError, OutOfMemory
from onnxslim.evaluation import compare, flips
from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.findings import Evidence, Findings, Parity
from onnxslim.evaluation.interface import interface_differences
from onnxslim.evaluation.opener import reason_of
from onnxslim.evaluation.original import MEMORY, Original
from onnxslim.evaluation.parts import Leaf
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.opening import AnyModel
from onnxslim.graph import load

OPTIMIZED_FACTOR = 10.0
"""How much wider the numeric bound is where both sides are optimized: their fusions may differ."""


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
            first one is always run. None means `onnxslim.evaluation.original.SECONDS` for random inputs, and as long as
            it takes for samples.
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
        self.tier, self.evidence, self._threads = tier, evidence, threads
        self._original = Original(
            model,
            feeds,
            tier=tier,
            threads=threads,
            evidence=evidence,
            memory=memory,
            seconds=seconds,
            patient=patient,
        )
        self.feeds = self._original.feeds
        self._stepped = stepped_outputs(self._original.model) if tier is Tier.NUMERIC else set()

    def check(self, candidate: AnyModel) -> Parity:
        """Compares ``candidate`` with the original. Whatever it does wrong, loading included, is a difference."""
        original = self._original
        found = Findings(list(original.notes))
        original.opener.forget()  # the candidate may have been edited since
        try:
            count = self._check_optimized(candidate, found)
            leaves: list[Leaf] = []
            if original.judging.leaves:
                candidate = load(candidate)
                leaves = original.judging.candidate(candidate)
            session, shown_names = original.opener.compared(candidate, leaves, found.notes)
        except OutOfMemory:
            raise  # no fault of the candidate's
        except OnnxSlimError as error:
            found.add(Difference("load", "", reason_of(error)))
            return found.result(self.tier, 0, self.evidence, original.dropped)
        names = dict(zip((leaf.part for leaf in leaves), shown_names, strict=False))
        measure = original.judging.measure
        tally = measure.tally()
        for index, feed in enumerate(self.feeds):
            try:
                after = session.run(feed)
            except OutOfMemory:
                raise
            except OnnxSlimError as error:
                found.add(Difference("run", "", reason_of(error), index))
                break
            found.see(after)
            before = original.before(index)
            self._check_outputs(before, after, index, found, candidate)
            tally.add(
                [before.get(name) for name in measure.names],
                [after.get(names.get(part, "")) for part in measure.parts],
            )
        original.judging.judge(tally, names.keys(), original.unstable, found)
        # Both sides unoptimized: some of onnxruntime's fusions declare other shapes than they give.
        ports = session.inputs, session.outputs[:count]
        changed = interface_differences((original.inputs, original.ports), ports, found.sizes)
        found.differences[:0] = changed
        return found.result(self.tier, len(self.feeds), self.evidence, original.dropped)

    def _check_optimized(self, candidate: AnyModel, found: Findings) -> int:
        """The candidate as users run it: it must run, and agree within a wider bound with the original so run.

        Returns:
            How many outputs it has.
        """
        original = self._original
        if original.opener.unoptimized:
            return len(load(candidate).graph.outputs)  # it need not do better than the original
        session = original.opener.open(candidate)
        count = len(session.outputs)
        try:
            after = session.run(self.feeds[0])
        except OutOfMemory:
            raise
        except OnnxSlimError as error:
            why = reason_of(error)
            if original.first_optimized is None and self.tier is not Tier.LOSSY:
                found.notes.append(f"like the original, the candidate does not run optimized: {why}")
            else:
                found.add(Difference("run", "", f"fully optimized: {why}", 0))
            return count
        for name in original.outputs:
            if original.first_optimized is None or name in original.unstable or name not in after:
                continue
            before = compare.flatten(original.first_optimized[name], name)
            for (label, a), (_, b) in zip(before, compare.flatten(after[name], name), strict=False):
                if a is None or b is None or not compare.is_float(a) or compare.same_form(a, b, label, 0):
                    continue
                own = original.own[0].get(label, 0.0) * OPTIMIZED_FACTOR
                scale = original.scale * OPTIMIZED_FACTOR
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
        for name in self._original.outputs:
            if name in self._original.unstable or name not in after:
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
        original = self._original
        own = original.own[index].get(label, 0.0)
        difference, worst = compare.numeric(a, b, label, index, own=own, scale=original.scale, stepped=stepped)
        if difference is not None and a.dtype.kind in "iub":
            feed = self.feeds[index]
            tie = flips.explained(
                original.model, candidate, label, a, b, feed, scale=original.scale, threads=self._threads
            )
            if tie:
                found.notes.append(tie)
                return
        found.add(difference, worst)
