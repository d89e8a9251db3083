"""Does a rewritten model still compute what the original computes?

Tiers (`onnxslim.runtime.tier.Tier`):

- exact: the same bits, onnxruntime's optimizations disabled on both sides;
- numeric: within ``1e-5 + 1e-4 |a|`` for float32, scaled by dtype, and never tighter than four times the original's own
  difference between optimizations disabled and enabled on the same feed: half of all unchanged real models differ by
  more than 4 ULP there. An integer that flips is judged by the floats that decided it;
- lossy: both optimized; how far the outputs moved is measured (SQNR, cosine, top-1), and only new NaN or infinities,
  shapes and types can fail.

In every tier the candidate is also loaded fully optimized and run once, from the file if it is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CannotRun, InputError, OnnxSlimError
from onnxslim.graph import load
from onnxslim.runtime import compare, flips
from onnxslim.runtime.compare import Difference
from onnxslim.runtime.feeds import Feed, Outputs
from onnxslim.runtime.findings import Evidence, Findings, Parity
from onnxslim.runtime.interface import interface_differences
from onnxslim.runtime.session import AnyModel, Session, lean_config, open_session
from onnxslim.runtime.tier import Tier
from onnxslim.runtime.views import exposed, logits_view, named

MEMORY = 256 << 20
"""Bytes of the original's outputs that are kept; those of further feeds are computed again for each candidate."""
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

    Raises:
        CannotRun: onnxruntime does not load the original, or it runs on none of the random feeds.
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
    ) -> None:
        self.tier, self.evidence = tier, evidence
        self._model = load(model)
        self._threads = threads
        self._config = lean_config(self._model)
        self._scale = compare.dtype_scale(_float_types(self._model))
        self._views = logits_view(self._model) if tier is Tier.LOSSY else {}
        self._notes: list[str] = []
        self.feeds: list[Feed] = []
        self.dropped: list[str] = []
        self._kept: list[Outputs | None] = []
        self._own: list[dict[str, float]] = []
        self._first_optimized: Outputs | None = None

        optimized = self._open_optimized()
        session = self._open_compared(self._model, self._views, self._notes)
        self._inputs, self._ports = session.inputs, session.outputs[: len(self._model.graph.outputs)]
        self._outputs = [port.name for port in self._ports]
        self._compute(session, optimized, feeds, memory)
        self._unstable = self._find_unstable(session)
        self._session = session if any(kept is None for kept in self._kept) else None

    def check(self, candidate: AnyModel) -> Parity:
        """Compares ``candidate`` with the original. Whatever it does wrong, loading included, is a difference."""
        found = Findings(list(self._notes))
        try:
            count = self._check_optimized(candidate, found)
            views = {}
            if self._views:
                candidate = load(candidate)
                views = {name: view for name, view in logits_view(candidate).items() if name in self._views}
            session = self._open_compared(candidate, views, [])
        except OnnxSlimError as error:
            found.add(Difference("load", "", error.why or error.what))
            return found.result(self.tier, 0, self.evidence, self.dropped)
        for index, feed in enumerate(self.feeds):
            try:
                after = session.run(feed)
            except OnnxSlimError as error:
                found.add(Difference("run", "", error.why or error.what, index))
                break
            found.see(after)
            self._check_outputs(self._before(index), after, index, found, views, candidate)
        measured = {output for output, _ in found.agreement}
        for name in dict.fromkeys(each.output for each in found.differences if each.kind == "shape"):
            if name in measured:  # values decide its length
                found.notes.append(f"output {name!r} is measured on the feeds on which its length is the same")
        # Both sides unoptimized: some of onnxruntime's fusions declare other shapes than they give.
        ports = session.inputs, session.outputs[:count]
        changed = interface_differences((self._inputs, self._ports), ports, found.sizes)
        found.differences[:0] = changed
        return found.result(self.tier, len(self.feeds), self.evidence, self.dropped)

    # The original's side.

    def _open_optimized(self) -> Session | None:
        """The optimized session that the numeric bound stands on; None where the original does not load so."""
        if self.tier is Tier.LOSSY:
            return None  # the compared session is optimized
        try:
            return open_session(self._model, threads=self._threads, config=self._config)
        except OnnxSlimError as error:
            self._notes.append(f"the original does not load optimized: {error.why or error.what}")
            return None

    def _compute(self, session: Session, optimized: Session | None, feeds: Sequence[Feed], memory: int) -> None:
        for index, feed in enumerate(feeds):
            try:
                outputs = session.run(feed)
            except OnnxSlimError as error:
                self.dropped.append(f"feed {index}: {error.why or error.what}")
                continue
            own: dict[str, float] = {}
            if optimized is not None and (self.tier is Tier.NUMERIC or not self.feeds):
                own = self._own_difference(optimized, feed, outputs)
            memory -= _nbytes(outputs)
            self.feeds.append(feed)
            self._own.append(own)
            self._kept.append(outputs if memory >= 0 else None)
        if not self.feeds:
            why = self.dropped[0] if self.dropped else "there are none"
            kind = InputError if self.evidence == "samples" else CannotRun
            raise kind(
                "the original model runs on none of the feeds", why=why, mend="give samples that the model accepts"
            )

    def _own_difference(self, optimized: Session, feed: Feed, outputs: Outputs) -> dict[str, float]:
        """Largest absolute difference of each output with its optimized self."""
        try:
            fused = optimized.run(feed)
        except OnnxSlimError as error:
            self._notes.append(f"the original does not run optimized: {error.why or error.what}")
            return {}
        if not self.feeds:
            self._first_optimized = fused
        own: dict[str, float] = {}
        for name in self._outputs:
            pairs = zip(compare.flatten(outputs[name], name), compare.flatten(fused[name], name), strict=False)
            own.update({label: _difference_of(a, b) for (label, a), (_, b) in pairs})
        return own

    def _find_unstable(self, session: Session) -> set[str]:
        """Outputs that two runs of the original do not agree on: random operators without a seed."""
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

    def _open_compared(self, model: AnyModel, views: dict[str, str], notes: list[str]) -> Session:
        """The session that outputs are compared from; for the lossy tier with the tensors that SQNR is taken on."""
        if self.tier is not Tier.LOSSY:
            return _least_optimized(model, self._threads, self._config, notes)
        if not views or not isinstance(model, ir.Model):
            return open_session(model, threads=self._threads, config=self._config)
        with exposed(model, named(model, list(views.values()))):
            return open_session(model, threads=self._threads, config=self._config)

    # The candidate's side.

    def _check_optimized(self, candidate: AnyModel, found: Findings) -> int:
        """The candidate as users run it: it must run, and agree within a wider bound with the original so run.

        Returns:
            How many outputs it has.
        """
        session = open_session(candidate, threads=self._threads, config=self._config)
        count = len(session.outputs)
        try:
            after = session.run(self.feeds[0])
        except OnnxSlimError as error:
            why = error.why or error.what
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
                difference, _ = compare.numeric(a, b, label, 0, own=own, scale=scale)
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
        views: dict[str, str],
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
                    self._check_numeric(a, b, label, index, found, candidate)
                else:
                    broken = compare.non_finite(a, b, label, index) if compare.is_float(a) else None
                    found.add(broken, compare.max_error(a, b))
                    if compare.is_float(a) and broken is None:
                        found.measure(*self._viewed(label, a, b, before, after, views))

    def _check_numeric(
        self, a: np.ndarray, b: np.ndarray, label: str, index: int, found: Findings, candidate: AnyModel
    ) -> None:
        own = self._own[index].get(label, 0.0)
        difference, worst = compare.numeric(a, b, label, index, own=own, scale=self._scale)
        if difference is not None and a.dtype.kind in "iub":
            feed = self.feeds[index]
            tie = flips.explained(self._model, candidate, label, a, b, feed, scale=self._scale, threads=self._threads)
            if tie:
                found.notes.append(tie)
                return
        found.add(difference, worst)

    def _viewed(
        self, name: str, a: np.ndarray, b: np.ndarray, before: Outputs, after: Outputs, views: dict[str, str]
    ) -> tuple[str, str, np.ndarray, np.ndarray]:
        """The logits behind an output where both sides have them in one shape, else the output itself."""
        view = self._views.get(name, "")
        if view in before and views.get(name, "") in after:
            logits, others = before[view], after[views[name]]
            if logits.shape == others.shape and np.isfinite(others[np.isfinite(logits)]).all():
                return name, view, logits, others
        return name, name, a, b


def _least_optimized(model: AnyModel, threads: int, config: dict[str, str], notes: list[str]) -> Session:
    """Some models have no kernels until the optimizer has been at them."""
    try:
        return open_session(model, threads=threads, optimize=False, config=config)
    except InputError as error:
        try:
            session = open_session(model, threads=threads, optimize="basic", config=config)
        except InputError:
            raise error from None
        notes.append(f"compared with basic optimizations, since it does not load without: {error.why}")
        return session


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
