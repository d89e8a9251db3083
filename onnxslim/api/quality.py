"""How much a lossy result may differ and still stand for the original (docs/decisions/002)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim import evaluation
from onnxslim.evaluation.tier import Tier

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity

MIN_SQNR = 5.0
"""dB on held-out samples, under which a lossy result is no longer the same function (magika in plain int8: 1 dB, 30 %
accuracy of 94 %; results that keep their task's score were measured at 9 dB and more)."""


def hold_to(parity: Parity, min_sqnr: float) -> Parity:
    """The same findings, failed where a lossy result keeps less than ``min_sqnr`` dB."""
    if parity.tier is not Tier.LOSSY:
        return parity
    poor = [
        evaluation.Difference(
            "value",
            each.output,
            f"{each.label} keeps an SQNR of {each.sqnr_db:.1f} dB, below the {min_sqnr:g} dB of min_sqnr",
        )
        for each in parity.fidelity
        if each.sqnr_db < min_sqnr
    ]
    return replace(parity, passed=parity.passed and not poor, differences=(*parity.differences, *poor))
