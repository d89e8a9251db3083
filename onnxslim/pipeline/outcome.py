"""What running passes came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.rewrite import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.evaluation import Parity


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass of the pipeline did.

    ``stages`` are passes that do a part of it each, from the least, and in the end all of it (`Context.offer`).
    """

    name: str
    options: dict[str, Any]
    result: PassResult
    seconds: float
    stages: tuple[Pass, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """What a report shows."""
        return {"name": self.name, "options": self.options, "result": self.result, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Guilty:
    """A rewrite that was reverted because a check failed with it and passed without."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rewritten model and the evidence.

    ``parity`` compares the result with the original model at the loosest tier that was used; None without verification.
    ``evidence`` is ``samples`` or ``random inputs`` or ``none``; ``unverified`` says why there is none although it was
    asked for: onnxruntime cannot run the original.
    """

    model: ir.Model
    steps: tuple[Step, ...]
    parity: Parity | None
    guilty: tuple[Guilty, ...]
    evidence: str
    unverified: str = ""

    @property
    def modified(self) -> bool:
        """Whether any pass changed the model."""
        return any(step.result.modified for step in self.steps)

    def acted(self, name: str) -> bool:
        """Whether the pass of a name changed anything."""
        return any(step.name == name and step.result.actions for step in self.steps)


def all_actions(steps: Iterable[Step]) -> list[Action]:
    """The rewrites of some steps, in order."""
    return [action for step in steps for action in step.result.actions]
