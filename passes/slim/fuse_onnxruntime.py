"""Operators that onnxruntime alone has in the place of several of the standard: the last step of slimming for it.

It comes after whatever looks for operators of the standard: int8 kernels are formed around those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.action import PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.rule import apply_rules
from onnxslim.rewriter.shape_facts import forget_shape_facts

from .remove_unused import RemoveUnused
from .table import ONNXRUNTIME_RULES


@dataclass(frozen=True)
class FuseOnnxruntime(Pass):
    """Fuse operators into those that onnxruntime alone has (domain com.microsoft), where ``ops`` allows them."""

    name: ClassVar[str] = "fuse-onnxruntime"
    tier: ClassVar[Tier] = Tier.NUMERIC

    skip: tuple[str, ...] = field(default=(), metadata={"help": "rules to leave out, by name"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Fuses in place."""
        rules = tuple(rule for rule in ONNXRUNTIME_RULES if rule.name not in self.skip)
        if context.config.ops != "onnxruntime" or not rules:
            return context.result()
        apply_rules(rules, model, context)
        if context.actions and "remove-unused" not in self.skip:
            RemoveUnused().run(model, context)
        forget_shape_facts(context)
        return context.result()
