"""Whether removing channels is the same as not reading them, asked of onnxruntime before a removal is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis.channels import find_channels
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import Feed
from onnxslim.pipeline import Context

from .apply import Removal, remove_channels, silence_channels

SOUND = 40.0
"""dB between a model without channels and one that does not read them: what is more than rounding."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """Compares a model without channels with the same model whose readers do not see them.

    Structure only: no weight is mixed or refitted.

    Args:
        model: Not changed.
        feeds: To run both on.
        context: Where to say what was left alone.
    """

    model: ir.Model
    feeds: Sequence[Feed]
    context: Context

    def sound(self, removal: dict[str, list[int]]) -> dict[str, list[int]]:
        """What of a removal the two agree on."""
        if not removal or self.agrees(removal):
            return removal
        reason = "the model without these channels does not compute what it should"
        found = {}
        for key, atoms in removal.items():
            if self.agrees({key: atoms}):
                found[key] = atoms
            else:
                self.context.decline("prune", key, reason)
        if found and not self.agrees(found):
            self.context.decline("prune", "model", reason)
            return {}
        return found

    def agrees(self, removal: Removal) -> bool:
        """Whether the two agree on all of it."""
        pruned, silent = self.model.clone(), self.model.clone()
        try:
            remove_channels(pruned, find_channels(pruned), removal)
            silence_channels(silent, find_channels(silent), removal)
            reference = Reference(silent, list(self.feeds), tier=Tier.LOSSY, threads=self.context.threads)
            parity = reference.check(pruned)
        except (InputError, CheckFailed):
            return False
        return parity.passed and all(not each.sqnr_db < SOUND for each in parity.fidelity)
