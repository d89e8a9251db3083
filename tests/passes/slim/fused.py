"""A numeric rule followed by the removal of the steps that it fuses, so that tests say what remains."""

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
class Fused(Pass):
    """Runs a rule and, where it acted, removes what is unused."""

    rule: Pass
    name: ClassVar[str] = "fused"
    tier: ClassVar[Tier] = Tier.NUMERIC

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Runs both in place."""
        if self.rule.run(model, context).modified:
            RemoveUnused().run(model, context)
        return context.result()
