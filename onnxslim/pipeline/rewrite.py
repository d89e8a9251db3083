"""What a rewrite says of itself: what it did, what it skipped and why, and how exact it promises to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from onnxslim.evaluation.tier import Tier

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Request
    from onnxslim.pipeline.context import Context


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


@dataclass(frozen=True)
class Pass:
    """A rewrite of a whole model. Subclass it as a frozen dataclass; the fields are the options.

    The command line, the recipes and the Python API are all made from the fields: their ``metadata["help"]`` is the
    help text, and ``metadata["choices"]``, where present, lists the values allowed.

    ``run`` edits the model in place. Before every single rewrite it asks ``context.allow(action)``, and it tells
    ``context.decline(...)`` why a rule that could have fired did not.
    """

    name: ClassVar[str]
    """Kebab-case; unique in the registry."""
    tier: ClassVar[Tier] = Tier.NUMERIC
    """The loosest agreement that the pass promises."""
    needs_samples: ClassVar[bool] = False
    """Whether the pass cannot run without samples."""

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Rewrites ``model`` in place and says what was done."""
        raise NotImplementedError(f"{type(self).__name__}.run")

    @classmethod
    def requests(cls, model: ir.Model) -> Sequence[Request]:
        """What the pass, with its default options, wants measured on samples of ``model``."""
        return ()

    @classmethod
    def options(cls) -> Iterator[Field[Any]]:
        """The pass's fields, in order of declaration."""
        yield from fields(cls)

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0]
