"""All slimming passes, again and again until nothing changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.errors import InputError, did_you_mean
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass, PassResult
from onnxslim.runtime.tier import Tier

from .common_subexpressions import CommonSubexpressions
from .fold_constants import FoldConstants
from .fuse_conv_batchnorm import FuseConvBatchNorm
from .inline_if import InlineIf
from .lift_constants import LiftConstants
from .remove_identity import RemoveIdentity
from .remove_unused import RemoveUnused
from .rewriting import apply_rules
from .table import RULES

MAX_ROUNDS = 100
"""Each round that acts removes something, so that rounds end; this bounds the time where they bring little."""


def slim_passes() -> tuple[Pass, ...]:
    """The passes of one round, in order."""
    return (
        RemoveUnused(),
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
        steps = [self._limited(step) for step in slim_passes() if step.name not in self.skip]
        rules = tuple(rule for rule in RULES if rule.name not in self.skip)
        known = {each.name for each in (*slim_passes(), *RULES)}
        for name in self.skip:
            if name not in known:
                raise InputError(f"slim has no pass or rule {name!r}", where="skip", mend=did_you_mean(name, known))
        before, beyond = len(context.declined), context.declined_beyond
        for _ in range(MAX_ROUNDS):
            del context.declined[before:]  # what the last round leaves alone is what counts
            context.declined_beyond = beyond
            acted = len(context.actions)
            for step in steps:
                step.run(model, context)
            apply_rules(rules, model, context)
            if len(context.actions) == acted:
                break
        return context.result()

    def _limited(self, step: Pass) -> Pass:
        if isinstance(step, FoldConstants) and self.fold_up_to is not None:
            return FoldConstants(max_bytes=min(self.fold_up_to, step.max_bytes))
        return step
