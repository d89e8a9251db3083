"""A model that may become the result: what was done to it, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from onnxslim.evaluation.measurement import Measurement, Rejection
from onnxslim.pipeline.outcome import Guilty, Outcome, Step

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.graph import Encoded
    from onnxslim.graph.halves import Half


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate for the output.

    Attributes:
        model: The model.
        steps: What the passes did.
        guilty: What was reverted.
        evidence: What parity stands on.
        decision: What came of it, in a word or two.
        reason: Why it is not all that was asked for.
        untouched: Whether the model is the one that came in.
        encoded: Its file, where it has been weighed.
        found: What was measured of it.
        rejection: Why it must not be the output; None where it may.
        notes: What a reader should know besides.
        unverified: Why outputs were not compared although they should have been.
        halves: How the file holds weights in half precision that are float32 constants here.
    """

    model: ir.Model
    steps: tuple[Step, ...] = ()
    guilty: tuple[Guilty, ...] = ()
    evidence: str = "none"
    decision: str = ""
    reason: str = ""
    untouched: bool = False
    encoded: Encoded | None = None
    found: Measurement = field(default_factory=Measurement)
    rejection: Rejection | None = None
    notes: tuple[str, ...] = ()
    unverified: str = ""
    halves: Mapping[str, Half] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: Outcome, encoded: Encoded | None, decision: str) -> Self:
        """What passes made."""
        return cls(
            model=outcome.model,
            steps=outcome.steps,
            guilty=outcome.guilty,
            evidence=outcome.evidence,
            decision=decision,
            encoded=encoded,
            found=Measurement(bytes=None if encoded is None else encoded.size, parity=outcome.parity),
            unverified=outcome.unverified,
        )

    def because(self, reason: str) -> Self:
        """The same, with the reason why it is not all that was asked for."""
        return replace(self, reason=reason)

    def noting(self, *notes: str) -> Self:
        """The same, with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def after(self, base: Candidate) -> Self:
        """The same, with what was done before in its record."""
        return replace(self, steps=base.steps + self.steps, guilty=base.guilty + self.guilty)
