"""All slimming passes, again and again until nothing changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import onnx_ir as ir

from onnxslim.errors import InputError, did_you_mean
from onnxslim.graph.walk import tensors
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.registry import pass_table
from onnxslim.pipeline.rewrite import Pass, PassResult
from onnxslim.runtime.tier import Tier

from .common_subexpressions import CommonSubexpressions
from .fold_constants import FoldConstants
from .fuse_conv_batchnorm import FuseConvBatchNorm
from .inline_functions import InlineFunctions, inline_functions
from .inline_if import InlineIf
from .lift_constants import LiftConstants
from .remove_identity import RemoveIdentity
from .remove_unused import RemoveUnused
from .rewriting import Rule, apply_rules
from .size import model_bytes, node_bytes
from .table import RULES

TRIAL_GROWTH = 8
"""A function that is called so often that its copies take more times the main graph's nodes stays a function."""
MAX_ROUNDS = 100
"""Each round that acts removes something, so that rounds end; this bounds the time where they bring little."""

Plan = tuple[tuple[Pass, ...], tuple[Rule, ...]]
"""Passes and rules of one round."""
_PARTS = ("tie-initializers", "merge-nodes")
"""The halves of common-subexpressions, which may be left out one by one."""


def slim_passes() -> tuple[Pass, ...]:
    """The passes of one round, in order."""
    return (
        RemoveUnused(),
        InlineFunctions(),
        InlineIf(),
        LiftConstants(),
        RemoveIdentity(),
        FoldConstants(),
        FuseConvBatchNorm(),
        CommonSubexpressions(),
        RemoveUnused(),
    )


@dataclass(frozen=True)
class Slim(Pass):
    """Remove what the model does not need, and compute beforehand what can be, without making the file larger.

    Runs the passes of ``slim_passes`` until a round changes nothing: slimming a slimmed model gives the same bytes.
    """

    name: ClassVar[str] = "slim"
    tier: ClassVar[Tier] = Tier.NUMERIC

    skip: tuple[str, ...] = field(default=(), metadata={"help": "passes and rules to leave out, by name"})
    fold_up_to: int | None = field(default=None, metadata={"help": "bytes of the largest value that is folded"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Slims in place.

        Raises:
            InputError: ``skip`` holds a name that nothing here has.
        """
        steps = tuple(self._limited(step) for step in slim_passes() if step.name not in self.skip)
        rules = tuple(rule for rule in RULES if rule.name not in self.skip)
        known = {each.name for each in (*slim_passes(), *RULES)}
        for name in self.skip:
            if name not in known:
                raise InputError(f"slim has no pass or rule {name!r}", where="skip", mend=did_you_mean(name, known))
        rounds(steps, rules, model, context)
        if model.functions and InlineFunctions() in steps and inlined_is_smaller(steps, rules, model, context):
            inline_functions(model, context, growth=trial_growth(model))
            rounds(steps, rules, model, context)
        return context.result()

    def _limited(self, step: Pass) -> Pass:
        if isinstance(step, FoldConstants) and self.fold_up_to is not None:
            return FoldConstants(max_bytes=min(self.fold_up_to, step.max_bytes))
        return step


def rounds(steps: Sequence[Pass], rules: Sequence[Rule], model: ir.Model, context: Context) -> None:
    """Runs passes and rules until none acts. Of the reasons for what was left alone those of the last round stay."""
    steps, rules = plan
    before, beyond = len(context.declined), context.declined_beyond
    for _ in range(MAX_ROUNDS):
        del context.declined[before:]
        context.declined_beyond = beyond
        acted = len(context.actions)
        for step in steps:
            step.run(model, context)
        apply_rules(rules, model, context)
        if len(context.actions) == acted:
            break


def trial_growth(model: ir.Model) -> int:
    """Bytes that a function may take more in the place of its calls before it is slimmed there: bounds the work."""
    return max(1 << 16, TRIAL_GROWTH * sum(node_bytes(node) for node in model.graph))


def inlined_is_smaller(steps: Sequence[Pass], rules: Sequence[Rule], model: ir.Model, context: Context) -> bool:
    """Whether inlining all functions, growth or not, pays once the result is slimmed; found out on a copy."""
    trial, scratch = model.clone(), Context(target=context.target, refused=context.refused)
    names = [(tensor, tensor.name) for tensor in tensors(model)]  # tensors are shared, and named as in the copy
    inline_functions(trial, scratch, growth=trial_growth(model))
    acted = bool(scratch.actions)
    if acted:
        rounds(steps, rules, trial, scratch)
    smaller = acted and model_bytes(trial) <= model_bytes(model)
    for tensor, name in names:
        tensor.name = name
    return smaller
