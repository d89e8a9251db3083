"""Structured channel pruning: whole channels leave, what reads them is refitted, and samples say what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, Group, find_channels
from onnxslim.errors import InputError
from onnxslim.evaluation import Tier
from onnxslim.graph.edit import set_constant
from onnxslim.graph.matcher import Matcher
from onnxslim.pipeline import Action, Context, Offer, Pass, PassResult, values_of

from .apply import constants_of, remove_channels
from .budget import kept_of
from .levels import levels
from .search import RATIO, Budget, Search
from .state import Found


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove channels from a model, and let what reads them make up for them.

    Channels that go are those that the others can best stand for (greedy OBS on the Gram matrix of what is read); what
    they told is folded into their readers, whose weights are then refitted, layer by layer, to what the original
    computed.
    """

    name: ClassVar[str] = "prune"
    tier: ClassVar[Tier] = Tier.LOSSY
    needs_samples: ClassVar[bool] = True
    removes_work: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (Found,)

    ratio: float | None = field(
        default=None,
        metadata={
            "help": f"share of the channels to remove from each group; {RATIO} where no budget and no metric is given"
        },
    )
    macs: float | None = field(
        default=None,
        metadata={"help": "share of the multiply-accumulates to keep; groups give up what costs least at the outputs"},
    )
    speedup: float | None = field(
        default=None, metadata={"help": "how many times as fast as the slimmed model it shall be here, measured"}
    )
    round_to: int = field(
        default=4, metadata={"help": "channels stay a multiple of this: other numbers have slower kernels"}
    )
    min_channels: int = field(
        default=4, metadata={"help": "channels that each group keeps, counted within the heads of attention"}
    )
    protect: tuple[str, ...] = field(
        default=(), metadata={"help": 'nodes whose outputs keep all channels: names, or "re:PATTERN"'}
    )
    importance: Literal["obs", "activation", "magnitude"] = field(
        default="obs", metadata={"help": "which channels go first"}
    )
    refit: bool = field(
        default=True, metadata={"help": "refit the weights that read pruned channels; without, they are only mixed"}
    )

    @np.errstate(over="ignore", invalid="ignore")  # where squares of what is finite are not, nothing is fitted to them
    def plan(self, model: ir.Model, context: Context) -> Found:
        """Decides which channels go, and what the weights of the others become.

        Raises:
            InputError: There are no samples, or an option is wrong.
        """
        self.check(context)
        groups = self.eligible(model, find_channels(model), context)
        if not groups:
            context.decline("prune", "model", "no channels can be removed")
            return Found({}, {})
        found = self.search(model, groups, context).run()
        if not found.removal:
            context.decline("prune", "model", self.why_none(groups))
        return found

    def offers(self, model: ir.Model, context: Context, known: Sequence[Offer] = ()) -> Iterator[Offer]:
        """Ever fewer channels; the metric does not steer which go, since each level is scored as a whole."""
        if any(each is not None for each in (self.ratio, self.macs, self.speedup)):
            return
        self.check(context)
        groups = self.eligible(model, find_channels(model), context)
        if not groups:
            return
        unscored = replace(context, config=replace(context.config, metric=None, max_drop=None))
        for level in levels(self.search(model, groups, unscored), context, known[-1].decision if known else None):
            label = f"{level.macs:.0%} of the MACs, {level.weights:.0%} of the weights"
            yield Offer(label, level.found, level.effects, {"macs": round(level.macs, 3)})

    @np.errstate(over="ignore", invalid="ignore")
    def apply(self, model: ir.Model, plan: Found, context: Context) -> PassResult:
        """Removes the channels. Where only some groups may lose theirs, the others are fitted to that anew."""
        channels = find_channels(model)
        by_key = {group.key: group for group in channels.groups}
        allowed = {
            name: atoms
            for name, atoms in plan.removal.items()
            if context.allow(Action("prune", (name,), name, f"{len(atoms)} of {len(by_key[name])} channels"))
        }
        if not allowed:
            return context.result()
        found = plan
        if len(allowed) < len(plan.removal):
            only = partial(self.search(model, [by_key[name] for name in allowed], context).only, allowed)
            found = context.recall("prune only", model, only, self, tuple(allowed))
        remove_channels(model, channels, allowed)
        for name, value in constants_of(model).items():
            if name in found.weights:
                set_constant(value, found.weights[name])
        context.offer(*(PruneStage(self, replace(each, earlier=())) for each in (*found.earlier, found)))
        return context.result()

    def search(self, model: ir.Model, groups: list[Group], context: Context) -> Search:
        """The search for what goes."""
        return Search(
            model,
            {group.key for group in groups},
            context,
            Budget(self.ratio, self.macs, self.speedup, self.round_to, self.min_channels),
            self.importance,
            self.refit,
        )

    def why_none(self, groups: list[Group]) -> str:
        """Why nothing goes."""
        if all(kept_of(group, 0, self.round_to, self.min_channels) == len(group) for group in groups):
            least = f"min_channels is {self.min_channels}, round_to is {self.round_to}"
            return f"no group has more channels than it must keep: {least}"
        return "no group can give up channels within the budget"

    def check(self, context: Context) -> None:
        """Refuses options that cannot be met.

        Raises:
            InputError: Which, and what to give instead.
        """
        if context.samples is None:
            raise InputError("pruning needs samples", mend="give --samples, or samples= in Python")
        budgets = {"ratio": self.ratio, "macs": self.macs, "speedup": self.speedup}
        given = [name for name, value in budgets.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"{', '.join(given[:-1])} and {given[-1]} exclude each other", mend="give one of them")
        for name in ("ratio", "macs"):
            value = budgets[name]
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name} is {value:g}", mend="give a share between 0 and 1")
        if self.speedup is not None and self.speedup <= 1:
            raise InputError(f"speedup is {self.speedup:g}", mend="give more than 1, such as 1.5")
        if self.speedup is not None and not context.bench:
            raise InputError("speedup needs measurements, which are switched off", mend="give macs or ratio instead")
        for name, number in (("round_to", self.round_to), ("min_channels", self.min_channels)):
            if number < 1:
                raise InputError(f"{name} is {number}", mend="give 1 or more")

    def eligible(self, model: ir.Model, channels: Channels, context: Context) -> list[Group]:
        """The groups that may lose channels; for the others the reason is put on record."""
        protected = Matcher(self.protect, "--protect")
        for pattern in protected.check(model):
            context.decline("prune", protected.option, f"{pattern!r} matches no node of the slimmed model")
        found = []
        for group in channels.groups:
            nodes = {node for site in group.activations if (node := site.value.producer()) is not None}
            if any(protected(node) for node in nodes):
                context.decline("prune", group.key, "protected")
            elif Action("prune", (group.key,), group.key).key in context.refused:
                context.decline("prune", group.key, "a check failed with this rewrite")
            else:
                found.append(group)
        for (operator, reason), rows in channels.histogram().most_common():
            context.decline("prune", operator, f"{reason}: {rows} rows of weights stay")
        return found


class PruneStage(PruneChannels):
    """What a stage of the search came to: the same pass, without the search.

    Args:
        whole: The pass that searched.
        found: What goes.
    """

    found: Found
    __eq__ = object.__eq__  # what was found is no field: no recipe holds it, and two stages are never the same
    __hash__ = object.__hash__

    def __init__(self, whole: PruneChannels, found: Found) -> None:
        super().__init__(**values_of(whole))
        object.__setattr__(self, "found", found)

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Removes what was found before."""
        return self.apply(model, self.plan(model, context), context)

    def plan(self, model: ir.Model, context: Context) -> Found:
        """What was found; without groups that were refused since, it is fitted anew."""
        groups = self.eligible(model, find_channels(model), context)
        allowed = {group.key for group in groups}
        if all(key in allowed for key in self.found.removal):
            return self.found
        removal = {key: atoms for key, atoms in self.found.removal.items() if key in allowed}
        return self.search(model, groups, context).only(removal)
