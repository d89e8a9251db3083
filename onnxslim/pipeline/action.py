"""What a rewrite says of itself: what it did, and what it skipped and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Action:
    """One rewrite at one place.

    ``key`` is stable over runs of the same pass on the same model, so that a guilty rewrite can be refused by it.
    """

    rule: str
    """Kebab-case name of the rule, e.g. ``fold-constant``."""
    outputs: tuple[str, ...]
    """Names of the values that the rewrite defines or replaces."""
    site: str = ""
    """Where: operator type and node name, or the graph."""
    detail: str = ""
    """What a reader wants to know of it, e.g. ``-1,024 bytes``. No part of the key."""

    @property
    def key(self) -> str:
        """The rule, its outputs and its site."""
        return f"{self.rule}|{','.join(self.outputs)}|{self.site}"


@dataclass(frozen=True, slots=True)
class Declined:
    """A rule that looked at a place and left it alone."""

    rule: str
    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass did to a model."""

    modified: bool
    actions: tuple[Action, ...] = ()
    declined: tuple[Declined, ...] = ()
    declined_beyond: int = 0
    """Reasons that were counted but not kept."""


class Planner(Protocol):
    """What decides before it rewrites: a pass, as a context and a store see it."""

    name: ClassVar[str]
    plan_types: ClassVar[tuple[type, ...]]
    followed: ClassVar[Any]

    def plan(self, model: ir.Model, context: Any) -> Any:
        """Decides; the context is a `onnxslim.pipeline.Context`."""

    def adapt(self, decision: Any, model: ir.Model, context: Any) -> Any:
        """Decides what was decided for a similar model."""
