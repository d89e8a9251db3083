"""A rule followed by the removal of what it leaves unused, so that tests say what remains and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.passes.slim import RemoveUnused
from onnxslim.pipeline.action import PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass


@dataclass(frozen=True)
class Tidy(Pass):
    """Runs a rule that keeps every bit and, where it acted, removes what is unused."""

    rule: Pass
    name: ClassVar[str] = "tidy"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Runs both in place."""
        assert type(self.rule).tier == type(self).tier
        if self.rule.run(model, context).modified:
            RemoveUnused().run(model, context)
        return context.result()


@dataclass(frozen=True)
class TidyNumeric(Tidy):
    """The same of a rule that may round differently."""

    tier: ClassVar[Tier] = Tier.NUMERIC
