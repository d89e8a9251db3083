"""Consecutive passes of one tier: run, checked, and where a check fails, bisected to the guilty rewrite.

A check that fails is repeated on clones, with fewer and fewer actions allowed, until the first action is found with
which it fails. That action is refused by its key from then on, and the passes run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim.errors import CheckFailed, OnnxSlimError, out_of_memory
from onnxslim.graph import problems
from onnxslim.pipeline.config import Progress
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.options import values_of
from onnxslim.pipeline.outcome import Guilty, Step, all_actions
from onnxslim.pipeline.rewrite import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.evaluation import Parity, Reference

MAX_REFUSALS = 32
"""Guilty rewrites looked for in one stage before the whole stage is given up."""


@dataclass(frozen=True)
class Stage:
    """The passes, and what they are run with.

    Attributes:
        passes: Of one tier.
        context: Makes the context of one run of one pass, from the keys that are refused and the number of actions.
        reference: Makes the right side of a comparison, from the model of before; None where nothing is compared with.
        progress: Called with a short text before a long step.
        verify: Whether outputs are compared.
    """

    passes: list[Pass]
    context: Callable[[frozenset[str], int | None], Context]
    reference: Callable[[ir.Model], Reference | None]
    progress: Progress
    verify: bool

    def run(self, model: ir.Model) -> tuple[ir.Model, list[Step], list[Guilty], Parity | None]:
        """Runs the passes without the rewrites with which the check fails.

        Args:
            model: May be changed.

        Raises:
            CheckFailed: The check fails, and no rewrites could be found without which it passes.
        """
        if not self.verify:
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
                problem, parity = compare(reference, model)
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
            self.progress(f"revert {guilty[-1].action.key}")
            model = before.clone()

    def _reference(self, before: ir.Model) -> Reference | None:
        self.progress("compare outputs")
        return self.reference(before)

    def _replay(self, model: ir.Model, refused: frozenset[str], limit: int | None) -> tuple[list[Step], str]:
        """Runs the passes on ``model`` with at most ``limit`` actions; returns the steps and the first problem."""
        steps: list[Step] = []
        for instance in self.passes:
            context = self.context(refused, limit)
            self.progress(instance.name)
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
        at_bad, reason = all_actions(self._replay(before.clone(), refused, count)[0]), problem
        while bad - good > 1:
            middle = (good + bad) // 2
            candidate = before.clone()
            steps, found = self._replay(candidate, refused, middle)
            if not found:
                found, _ = compare(reference, candidate)
            if found:
                bad, at_bad, reason = middle, all_actions(steps), found
            else:
                good = middle
        return Guilty(at_bad[bad - 1], reason)


def compare(reference: Reference | None, candidate: ir.Model) -> tuple[str, Parity | None]:
    """The first difference, empty where there is none, and all that was found; nothing without a reference."""
    if reference is None:
        return "", None
    parity = reference.check(candidate)
    return "" if parity.passed else first_difference(parity), parity


def first_difference(parity: Parity) -> str:
    """What to say of a comparison that failed."""
    return str(parity.differences[0]) if parity.differences else "the outputs differ"
