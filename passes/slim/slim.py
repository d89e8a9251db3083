"""All slimming passes, again and again until nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import onnx_ir as ir

from onnxslim.errors import InputError, did_you_mean
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.walk import tensors
from onnxslim.pipeline.action import Declined, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.registry import pass_table
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.rule import Rule, apply_rules
from onnxslim.rewriter.shape_facts import forget_shape_facts
from onnxslim.rewriter.size import least_bytes, model_bytes, node_bytes

from .common_subexpressions import CommonSubexpressions
from .fold_constants import FoldConstants
from .fuse_conv_batchnorm import FuseConvBatchNorm
from .hoist_invariants import HoistInvariants
from .inline_functions import InlineFunctions, inline_functions
from .inline_if import InlineIf
from .inline_loop import InlineLoop
from .lift_constants import LiftConstants
from .lift_trees import LiftTrees
from .move_transposes import MoveTransposes
from .remove_identity import RemoveIdentity
from .remove_unused import RemoveUnused
from .same_numbers import SameNumbers
from .table import ONNXRUNTIME_RULES, RULES
from .unfold_constants import UnfoldConstants

TRIAL_GROWTH = 8
"""A function that is called so often that its copies take more times the main graph's nodes stays a function."""
MAX_ROUNDS = 100
"""Each round that acts removes something, so that rounds end; this bounds the time where they bring little."""
_PARTS = ("tie-initializers", "merge-nodes")
"""The halves of common-subexpressions, which may be left out one by one."""


def slim_passes() -> tuple[Pass, ...]:
    """What comes before the rules in one round, in order."""
    return (
        RemoveUnused(),
        InlineFunctions(),
        InlineIf(),
        InlineLoop(),
        LiftConstants(),
        HoistInvariants(),
        RemoveIdentity(),
        FoldConstants(),
        FuseConvBatchNorm(),
        CommonSubexpressions(),
        LiftTrees(),
        RemoveUnused(),
    )


def late_passes() -> tuple[Pass, ...]:
    """What comes after the rules, in order.

    Rules find what is written as exporters write it. Numbers are shared late, because a shape may only be computed for
    a target that a constant can stand for: who shared it would keep it, and onnxruntime fuses no attention around it.
    """
    return (RemoveUnused(), SameNumbers(), MoveTransposes())


@dataclass(frozen=True)
class Slim(Pass):
    """Remove what the model does not need, and compute beforehand what can be, without making the file larger.

    Runs the passes of ``slim_passes`` until a round changes nothing: slimming a slimmed model gives the same bytes.
    """

    name: ClassVar[str] = "slim"
    tier: ClassVar[Tier] = Tier.NUMERIC

    skip: tuple[str, ...] = field(default=(), metadata={"help": "passes and rules to leave out, by name"})
    fold_up_to: int | None = field(
        default=None, metadata={"help": "bytes of the largest value that is folded", "least": 0}
    )

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Slims in place.

        Raises:
            InputError: ``skip`` holds a name that nothing here has.
        """
        steps, allowed = self.steps(), least_bytes(model)
        run_rounds(steps, model, context)
        if (
            model.functions
            and "inline-functions" not in self.skip
            and inlined_is_smaller(steps, model, context, allowed)
        ):
            inline_functions(model, context, growth=trial_growth(model))
            run_rounds(steps, model, context)
        spend_savings(steps, model, context, allowed)
        if "unfold-constants" not in self.skip:
            acted = len(context.actions)
            UnfoldConstants().run(model, context)
            if len(context.actions) > acted:
                run_rounds(steps, model, context)
        forget_shape_facts(context)
        return context.result()

    def steps(self) -> tuple[Pass, ...]:
        """The passes of one round, without what is to be skipped; the rules are one of them."""
        known = {
            *pass_table(),
            *(each.name for each in (*slim_passes(), *late_passes(), *RULES, *ONNXRUNTIME_RULES)),
            *_PARTS,
        }
        for name in self.skip:
            if name not in known:
                raise InputError(f"slim has no pass or rule {name!r}", where="skip", mend=did_you_mean(name, known))
        early, late = (
            [self._limited(step) for step in steps if step.name not in self.skip]
            for steps in (slim_passes(), late_passes())
        )
        return (*early, ApplyRules(tuple(rule for rule in RULES if rule.name not in self.skip)), *late)

    def _limited(self, step: Pass) -> Pass:
        if isinstance(step, FoldConstants) and self.fold_up_to is not None:
            return FoldConstants(max_bytes=min(self.fold_up_to, step.max_bytes))
        if isinstance(step, CommonSubexpressions):
            return CommonSubexpressions(*(part not in self.skip for part in _PARTS))
        return step


@dataclass(frozen=True)
class ApplyRules(Pass):
    """Apply the local rules of the table, all in one walk."""

    name: ClassVar[str] = "apply-rules"

    rules: tuple[Rule, ...] = RULES

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Applies them in place."""
        if self.rules:
            apply_rules(self.rules, model, context)
        return context.result()


def run_rounds(steps: Sequence[Pass], model: ir.Model, context: Context) -> None:
    """Runs the passes in turn until each of them has left alone what is there now.

    A pass that did nothing is not run again before another one did something. Of the reasons for what was left alone
    those of each pass's last run stay.
    """
    before, beyond = list(context.declined), context.declined_beyond
    reasons: dict[int, tuple[list[Declined], int]] = {}
    idle_at: dict[int, int] = {}
    for _ in range(MAX_ROUNDS):
        for index, step in enumerate(steps):
            acted = len(context.actions)
            if idle_at.get(index) == acted:
                continue
            context.declined, context.declined_beyond = [], 0
            step.run(model, context)
            reasons[index] = (context.declined, context.declined_beyond)
            if len(context.actions) == acted:
                idle_at[index] = acted
        if all(idle_at.get(index) == len(context.actions) for index in range(len(steps))):
            break
    context.declined, context.declined_beyond = before, beyond
    for declined, more in reasons.values():
        context.declined_beyond += more
        for each in dict.fromkeys(declined):
            context.decline(each.rule, each.site, each.reason)


def trial_growth(model: ir.Model) -> int:
    """Bytes that a function may take more in the place of its calls before it is slimmed there: bounds the work."""
    return max(1 << 16, TRIAL_GROWTH * sum(node_bytes(node) for node in model.graph))


def would_grow(context: Context, rule: str) -> bool:
    """Whether a rule left something alone for its size."""
    return any(each.rule == rule and each.reason.startswith("the file would grow") for each in context.declined)


def spend_savings(steps: Sequence[Pass], model: ir.Model, context: Context, allowed: int) -> None:
    """Does what is worth more bytes, as far as the model stays within those that it came with.

    The slimmed model has no bytes to spare when it is slimmed again, so that a second run does nothing.
    """
    for step in steps:
        if not isinstance(step, (FoldConstants, MoveTransposes)):
            continue
        if not would_grow(context, "fold-constant" if isinstance(step, FoldConstants) else step.name):
            continue
        spare, acted = allowed - model_bytes(model), len(context.actions)
        if spare > 0:
            replace(step, spare=spare).run(model, context)
        if len(context.actions) > acted:
            run_rounds(steps, model, context)


def inlined_is_smaller(steps: Sequence[Pass], model: ir.Model, context: Context, allowed: int) -> bool:
    """Whether the model stays within the bytes allowed once all functions are inlined and the result is slimmed.

    Found out on a copy.
    """
    trial, scratch = model.clone(), Context(context.config, refused=context.refused)
    names = [(tensor, tensor.name) for tensor in tensors(model)]  # tensors are shared, and named as in the copy
    inline_functions(trial, scratch, growth=trial_growth(model))
    acted = bool(scratch.actions)
    if acted:
        run_rounds(steps, trial, scratch)
    smaller = acted and model_bytes(trial) <= max(allowed, model_bytes(model))
    for tensor, name in names:
        tensor.name = name
    return smaller
