"""What a pass is: a rewrite of a whole model, its options, and how exact it promises to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.action import PassResult

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.calibration import Request
    from onnxslim.pipeline.context import Context
    from onnxslim.pipeline.offer import Offer


@dataclass(frozen=True)
class Pass:
    """A rewrite of a whole model. Subclass it as a frozen dataclass; the fields are the options.

    The command line, the recipes and the Python API are all made from the fields: their ``metadata["help"]`` is the
    help text, and ``metadata["choices"]``, where present, lists the values allowed.

    ``run`` edits the model in place. Before every single rewrite it asks ``context.allow(action)``, and it tells
    ``context.decline(...)`` why a rule that could have fired did not.

    A pass that measures before it rewrites has ``plan`` and ``apply`` instead: ``plan`` takes its time and changes
    nothing, ``apply`` does what was planned. Replays apply the same plan, whatever the clock says.
    """

    name: ClassVar[str]
    """Kebab-case; unique in the registry."""
    tier: ClassVar[Tier] = Tier.NUMERIC
    """The loosest agreement that the pass promises."""
    needs_samples: ClassVar[bool] = False
    """Whether the pass cannot run without samples."""

    removes_work: ClassVar[bool] = False
    """Whether the pass takes multiply-accumulates out of the model: the report counts them then."""
    for_size: ClassVar[bool] = False
    """Whether a lossy result is worth nothing unless its file is smaller."""
    only_stores: ClassVar[bool] = False
    """Whether a lossy pass changes only how the file holds weights: no node runs in another way."""
    secondary: ClassVar[bool] = False
    """Whether a lossy pass only adds to what the others of a verb did: alone it is not what the verb is for."""
    polishes: ClassVar[bool] = False
    """Whether the pass takes its time to make a result a little faster: a search runs it once, on what it found."""
    encodes: ClassVar[bool] = False
    """Whether the pass is about how the file holds tensors."""
    plan_types: ClassVar[tuple[type, ...]] = ()
    """Dataclasses that a plan of the pass is made of; a file of plans is read with them."""
    followed: ClassVar[Any] = None
    """A decision that the pass adapts to its model instead of planning anew; set by `following` on one instance."""

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Rewrites ``model`` in place and says what was done."""
        return self.apply(model, context.planned(self, model), context)

    def plan(self, model: ir.Model, context: Context) -> Any:
        """Decides what to do with ``model``, which stays as it is; reasons against go to ``context.decline``.

        Returns:
            The decision: dataclasses of `plan_types`, names, numbers and arrays. No node and no value of the model.
        """
        raise NotImplementedError(f"{type(self).__name__}.plan")

    def apply(self, model: ir.Model, plan: Any, context: Context) -> PassResult:
        """Does in place what was decided, as far as the context allows it, and says what was done."""
        raise NotImplementedError(f"{type(self).__name__}.apply")

    def offers(self, model: ir.Model, context: Context, known: Sequence[Offer] = ()) -> Iterator[Offer]:
        """Choices for a search across passes, the mildest first, each measured as far as it can be.

        They may take time; a caller that has no more of it stops asking. A pass that offers nothing takes no part in
        the search: it runs as it is configured.

        Args:
            model: What the choices are for; not changed.
            context: Of the run.
            known: The first offers, where an earlier run has made them: the pass goes on behind them.
        """
        yield from ()

    def adapt(self, decision: Any, model: ir.Model, context: Context) -> Any:
        """The plan for a model of what was offered for a similar one.

        Args:
            decision: Of an `Offer`.
            model: The same nodes by name; other passes may have changed it, such as removed channels.
            context: Of the run.

        Returns:
            What `apply` takes.
        """
        return decision

    def following(self, offer: Offer) -> Self:
        """The same pass, which does what was offered."""
        made = replace(self, **offer.options)
        object.__setattr__(made, "followed", offer.decision)
        return made

    @property
    def packs(self) -> bool:
        """Whether passes behind it do not see the weights, since it stores them packed."""
        return False

    @property
    def unpacks(self) -> bool:
        """Whether it makes plain weights of packed ones, for the passes behind it."""
        return False

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
