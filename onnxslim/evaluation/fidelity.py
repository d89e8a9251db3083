"""How far one part of an output moved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far one part of an output moved, over all feeds."""

    output: str
    """Name of the graph output."""
    view: str
    """Tensor that was compared: the output, or what it is concatenated of, or what goes into its Softmax or Sigmoid."""
    sqnr_db: float
    """Signal to noise ratio in dB; the signal is what varies in the part."""
    cosine: float
    top1: float | None
    """None where the last axis is no longer than 1."""
    before: str = ""
    """The operator whose input was compared, such as ``Sigmoid``; empty where nothing saturates or decides."""
    entries: str = ""
    """Which entries of which axis it is, where quantities of other magnitudes stand beside it."""

    @property
    def label(self) -> str:
        """The part for a person.

        >>> Fidelity("y", "scores", 9.0, 0.9, None, "Sigmoid", "entries 4..23 of axis 1").label
        "'y' (entries 4..23 of axis 1, 'scores' before its Sigmoid)"
        """
        seen = [self.entries] if self.entries else []
        if self.view != self.output:
            seen.append(f"{self.view!r}" + (f" before its {self.before.partition(':')[0]}" if self.before else ""))
        return f"{self.output!r}" + (f" ({', '.join(seen)})" if seen else "")
