"""The result of a parity check, and how it is gathered."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.fidelity import Fidelity
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.feeds import Outputs

Evidence = Literal["samples", "random inputs"]

MAX_DIFFERENCES = 100
"""Differences that are kept; a broken model has one for each output and feed."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What a comparison found."""

    passed: bool
    """Whether the candidate may stand for the original: there are no differences."""
    tier: Tier
    differences: tuple[Difference, ...]
    feeds: int
    """How many feeds both were run on."""
    evidence: Evidence
    """What the feeds are. Random inputs show that the structure is sound; they bear no claim about accuracy."""
    worst: float
    """Exact: largest absolute error. Numeric: largest error / bound. Lossy: largest absolute error."""
    sqnr: float | None = None
    """Lossy: SQNR of the worst part of any output, dB; None where none was measured."""
    fidelity: tuple[Fidelity, ...] = ()
    """Lossy: for each part of the outputs, what was measured."""
    dropped: tuple[str, ...] = ()
    """Feeds that the original itself does not run."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and flips that ties explain."""

    @property
    def worst_sqnr(self) -> float:
        """Lossy: dB of the worst part, infinity where nothing was measured; minus infinity where the check failed."""
        worst = min((each.sqnr_db for each in self.fidelity), default=math.inf)
        return worst if self.passed and not math.isnan(worst) else -math.inf

    def __str__(self) -> str:
        if self.differences:
            more = len(self.differences) - 1
            return f"{self.differences[0]}" + (f" (and {more} more)" if more else "")
        on = f"on {self.feeds} {'sample' if self.evidence == 'samples' else 'random input'}{'s' * (self.feeds != 1)}"
        if self.tier is Tier.EXACT:
            return f"same bits {on}"
        if self.tier is Tier.NUMERIC:
            return f"worst error {self.worst:.2g} of the bound {on}"
        worst = min(self.fidelity, key=lambda f: f.sqnr_db, default=None)
        if worst is None:
            return f"no outputs to measure, {on}"
        top1 = f", top-1 agreement {worst.top1:.3f}" if worst.top1 is not None else ""
        return f"SQNR {worst.sqnr_db:.1f} dB, cosine {worst.cosine:.5f}{top1} ({worst.label}) {on}"


@dataclass(slots=True)
class Findings:
    """What accumulates during one check."""

    notes: list[str]
    differences: list[Difference] = field(default_factory=list)
    worst: float = 0.0
    fidelity: list[Fidelity] = field(default_factory=list)
    """What was measured of each part."""
    sizes: dict[str, list[set[int]]] = field(default_factory=dict)
    """Sizes seen of each output's axes."""

    def add(self, difference: Difference | None, worst: float = 0.0) -> None:
        """Takes in one comparison."""
        self.worst = max(self.worst, worst)
        if difference is not None and len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(difference)

    def see(self, outputs: Outputs) -> None:
        """Takes note of the outputs' sizes."""
        for name, array in outputs.items():
            if isinstance(array, np.ndarray):
                axes = self.sizes.setdefault(name, [set() for _ in array.shape])
                for axis, size in zip(axes, array.shape, strict=False):  # a changing rank is a difference of its own
                    axis.add(size)

    def result(self, tier: Tier, feeds: int, evidence: Evidence, dropped: Iterable[str]) -> Parity:
        """The check's result."""
        fidelity = tuple(self.fidelity)
        return Parity(
            passed=not self.differences,
            tier=tier,
            differences=tuple(self.differences),
            feeds=feeds,
            evidence=evidence,
            worst=self.worst,
            sqnr=min((f.sqnr_db for f in fidelity), default=None),
            fidelity=fidelity,
            dropped=tuple(dropped),
            notes=tuple(dict.fromkeys(self.notes)),
        )
