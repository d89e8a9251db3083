"""Opset 7 to 12 -> 13, as a pass; `onnxslim.rewriter.opset` does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.action import PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.opset import TARGET, lift


@dataclass(frozen=True)
class LiftOpset(Pass):
    """Raise the opset to 13, so that per-channel quantization can be expressed."""

    name: ClassVar[str] = "lift-opset"
    tier: ClassVar[Tier] = Tier.NUMERIC
    opset: int = field(default=TARGET, metadata={"help": "the opset to reach", "choices": (TARGET,)})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Lifts the model where it can be, and says why where it cannot."""
        lift(model, context)
        return context.result()
