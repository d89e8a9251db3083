"""Structured channel pruning: whole channels leave, what reads them is refitted, and samples say what that costs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, Group, find_channels
from onnxslim.calibration import Request, collect, fingerprints
from onnxslim.errors import CannotRun, CheckFailed, InputError
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.matcher import Matcher
from onnxslim.ops.channels.movers import Uneven
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.runtime import Feed, Reference, Tier, rank_latency

from .apply import Removal, kept_ids, remove_channels, set_constant, silence_channels
from .budget import cheapest, macs_of, times_of, uniform
from .importance import Ranking, rank_channels
from .mix import mix_channels
from .reads import Moments, moments_of, reads_of
from .refit import HELD_OUT, Layer, refit

RATIO = 0.3
"""Share of the channels that goes where nothing else is asked for."""
PROBED = 8
"""Samples that a group's effect on the outputs is measured with."""
FITTED = 128
"""Samples that layers are refitted on, at most."""
HALVINGS = 6
"""Steps of the search for a budget that meets a speed or a score."""


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

    ratio: float | None = field(
        default=None, metadata={"help": "share of the channels to remove from each group; 0.3 if no budget is given"}
    )
    macs: float | None = field(
        default=None,
        metadata={"help": "share of the multiply-accumulates to keep; groups give up what costs least at the outputs"},
    )
    speedup: float | None = field(
        default=None, metadata={"help": "how many times as fast the model shall be on this machine, measured"}
    )
    round_to: int = field(
        default=4, metadata={"help": "channels stay a multiple of this: other numbers have slower kernels"}
    )
    min_channels: int = field(default=4, metadata={"help": "channels that each group keeps"})
    protect: tuple[str, ...] = field(
        default=(), metadata={"help": 'nodes whose outputs keep all channels: names, or "re:PATTERN"'}
    )
    importance: Literal["obs", "activation", "magnitude"] = field(
        default="obs", metadata={"help": "which channels go first"}
    )
    refit: bool = field(
        default=True, metadata={"help": "refit the weights that read pruned channels; without, they are only mixed"}
    )

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Prunes ``model`` in place.

        Raises:
            InputError: There are no samples, or an option is wrong.
        """
        self.check(context)
        channels = find_channels(model)
        groups = self.eligible(model, channels, context)
        if not groups:
            context.decline("prune", "model", "no channels can be removed")
            return context.result()
        # A replay of the pass must come to the same choice, whatever the clock says.
        key = ("prune", self, fingerprints(model)[model.graph.outputs[0]], context.refused)
        if key not in context.cache:
            context.cache[key] = _Choice(self, model, channels, groups, context).run()
        removal: dict[str, list[int]] = context.cache[key]
        if not removal:
            context.decline("prune", "model", "no group can give up channels within the budget")
            return context.result()
        by_key = {group.key: group for group in groups}
        allowed = {
            name: atoms
            for name, atoms in removal.items()
            if context.allow(Action("prune", (name,), name, f"{len(atoms)} of {len(by_key[name])} channels"))
        }
        if allowed:
            built = ("pruned", key, tuple(allowed))
            if built not in context.cache:
                context.cache[built] = _Choice(self, model, channels, groups, context).weights(allowed)
            remove_channels(model, channels, allowed)
            _take_over(model, context.cache[built])
        return context.result()

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
            raise InputError(f"{' and '.join(given)} are both given", mend="give one of them")
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
        protected.check(model)
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


class _Choice:
    """One run of the search: what is measured once, and what is built of it."""

    def __init__(
        self, options: PruneChannels, model: ir.Model, channels: Channels, groups: Sequence[Group], context: Context
    ) -> None:
        assert context.samples is not None
        self.options, self.model, self.channels, self.groups, self.context = options, model, channels, groups, context
        self.feeds = [sample.feed for sample in itertools.islice(context.samples, FITTED)]
        self.reads = reads_of(channels)
        self.moments = self._measured()
        self._reference: Reference | None = None

    def run(self) -> dict[str, list[int]]:
        """Key -> atoms that go."""
        self.context.progress(f"rank the channels of {len(self.groups)} groups")
        rankings = {
            group.key: rank_channels(group, self.channels, self.reads, self.moments, self.options.importance)
            for group in self.groups
        }
        removal = self._chosen(rankings)
        return self._checked(removal)

    def weights(self, removal: Removal) -> dict[str, npt.NDArray[np.generic]]:
        """The constants of `build` that are none of the model without these channels as it is."""
        plain = self.model.clone()
        remove_channels(plain, find_channels(plain), removal)
        before = _constants(plain)
        found = {}
        for name, value in _constants(self.build(removal)).items():
            tensor, old = constant_tensor(value), constant_tensor(before.get(name))
            if tensor is not None and tensor is not old:
                found[name] = tensor.numpy()
        return found

    def build(self, removal: Removal) -> ir.Model:
        """The pruned model, mixed, and refitted where that is better on samples that were not fitted."""
        mixed, layers = self._mixed(removal)
        if not self.options.refit or not layers or len(self.feeds) < 8:
            return mixed
        refitted = mixed.clone()
        try:
            refit(
                self.model,
                refitted,
                layers,
                self.feeds,
                memory=self.context.memory,
                threads=self.context.threads,
                progress=self.context.progress,
            )
        except CannotRun as error:
            self.context.decline("refit", "model", str(error))
            return mixed
        judging = self._held_out()
        before, after = (self._noise(each, judging) for each in (mixed, refitted))
        return refitted if after < before else mixed

    # -- choosing --------------------------------------------------------------------------------------------------

    def _chosen(self, rankings: Mapping[str, Ranking]) -> dict[str, list[int]]:
        options, context = self.options, self.context
        if options.macs is None and options.speedup is None:
            ratio = RATIO if options.ratio is None else options.ratio
            counts = uniform(self.groups, ratio, options.round_to, options.min_channels)
            return self._removal(counts, rankings)
        if options.macs is not None:
            costs = macs_of(self.model, self.channels, self.feeds[0] if self.feeds else None)
        else:
            costs = times_of(self.model, self.channels, self.feeds[:2], context.threads)
        weights = self._sensitivities(rankings)

        def within(budget: float) -> dict[str, list[int]]:
            counts = cheapest(
                self.groups, rankings, weights, costs, self.channels, budget, options.round_to, options.min_channels
            )
            return self._removal(counts, rankings)

        if options.macs is not None:
            return within(options.macs)
        assert options.speedup is not None
        low, high, best = 0.02, 1.0, within(0.02)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            removal = within(middle)
            context.progress(f"measure the latency at {middle:.0%} of the time")
            pruned = self.model.clone()
            remove_channels(pruned, find_channels(pruned), removal)
            time = rank_latency([self.model, pruned], self.feeds[:4], seconds=1.5, threads=context.threads)[1]
            if time <= 1 / options.speedup:
                low, best = middle, removal
            else:
                high = middle
        return best

    def _removal(self, counts: Mapping[str, int], rankings: Mapping[str, Ranking]) -> dict[str, list[int]]:
        return {key: np.sort(rankings[key].order[:count]).tolist() for key, count in counts.items() if count}

    def _sensitivities(self, rankings: Mapping[str, Ranking]) -> dict[str, float]:
        """Key -> what the error that a ranking tells is worth at the outputs: measured with half of each group gone."""
        weights = {}
        feeds = self._held_out()[:PROBED]
        for count, group in enumerate(self.groups):
            self.context.progress(f"measure group {count + 1} of {len(self.groups)}")
            ranking, half = rankings[group.key], max(1, len(group) // 2)
            pruned, _ = self._mixed({group.key: np.sort(ranking.order[:half]).tolist()})
            told = max(float(ranking.errors[half]), 1e-12)
            weights[group.key] = self._noise(pruned, feeds) / told
        return weights

    def _checked(self, removal: dict[str, list[int]]) -> dict[str, list[int]]:
        """What of it agrees with the original whose readers do not see the channels."""
        if not removal or self._agrees(removal):
            return removal
        sound = {}
        for key, atoms in removal.items():
            if self._agrees({key: atoms}):
                sound[key] = atoms
            else:
                self.context.decline("prune", key, "the model without these channels does not compute what it should")
        if sound and not self._agrees(sound):
            self.context.decline("prune", "model", "the model without these channels does not compute what it should")
            return {}
        return sound

    def _agrees(self, removal: Removal) -> bool:
        """Whether removing is the same as not reading: structure only, no weight is mixed or refitted."""
        pruned, silent = self.model.clone(), self.model.clone()
        feeds = self.feeds[:2]
        try:
            remove_channels(pruned, find_channels(pruned), removal)
            silence_channels(silent, find_channels(silent), removal)
            reference = Reference(silent, feeds, tier=Tier.LOSSY, threads=self.context.threads, evidence="samples")
            parity = reference.check(pruned)
        except (InputError, CheckFailed, CannotRun, Uneven):
            return False
        return parity.passed and all(not each.sqnr_db < 40 for each in parity.fidelity)

    # -- building --------------------------------------------------------------------------------------------------

    def _mixed(self, removal: Removal) -> tuple[ir.Model, list[Layer]]:
        """The pruned model with what went folded in, and what of it can be refitted."""
        model = self.model.clone()
        channels = find_channels(model)
        keep = kept_ids(channels, removal)
        mix_channels(reads_of(channels), self.moments, keep)
        layers = list(_layers(model, channels, keep))
        remove_channels(model, channels, removal)
        return model, layers

    def _measured(self) -> Mapping[Request, Moments]:
        requests = list(dict.fromkeys(read.request for read in self.reads))
        if self.options.importance == "magnitude" and not self.options.refit:
            return {}
        key = ("moments", tuple(requests), fingerprints(self.model)[self.model.graph.outputs[0]])
        if key not in self.context.cache:
            assert self.context.samples is not None
            self.context.progress(f"measure {len(requests)} Gram matrices")
            statistics = collect(
                self.model, self.context.samples, requests, memory=self.context.memory, threads=self.context.threads
            )
            for request, reason in statistics.declined.items():
                self.context.decline("measure", request.value, reason)
            self.context.cache[key] = moments_of(self.reads, statistics)
        found: Mapping[Request, Moments] = self.context.cache[key]
        return found

    def _held_out(self) -> list[Feed]:
        """Samples that nothing was fitted on: of the selection part, else those that judged the layers."""
        chosen = [sample.feed for sample in itertools.islice(self.context.selection or (), FITTED // 4)]
        return chosen or self.feeds[HELD_OUT - 1 :: HELD_OUT]

    def _noise(self, model: ir.Model, feeds: Sequence[Feed]) -> float:
        """Noise over signal on logits, added up over the outputs; an output that is lost counts 1, however far off."""
        if self._reference is None or self._reference_feeds is not feeds:
            self._reference = Reference(self.model, list(feeds), tier=Tier.LOSSY, threads=self.context.threads)
            self._reference_feeds = feeds
        parity = self._reference.check(model)
        found = np.nan_to_num([each.sqnr_db for each in parity.fidelity], nan=0.0, posinf=300.0, neginf=0.0)
        return float(np.minimum(10 ** (-found / 10), 1.0).sum())

    _reference_feeds: Sequence[Feed] | None = None


def _layers(model: ir.Model, channels: Channels, keep: np.ndarray) -> list[Layer]:
    """Contractions of the main graph whose inputs change, with the outputs that stay."""
    changed: set[ir.Value] = set()
    found = []
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        lost = any(
            ids is not None and not keep[ids].all()
            for value in inputs
            if constant_tensor(value) is None
            for ids in channels.links.ids(value) or ()
        )
        if not lost and not any(value in changed for value in inputs):
            continue
        changed.update(node.outputs)
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight, out = node.inputs[1], node.outputs[0]
        rank = channels.facts.rank(out)
        if weight is None or constant_tensor(weight) is None or len(weight.uses()) > 1 or rank is None:
            continue
        ids = channels.links.axis(out, 1 if node.op_type == "Conv" else rank - 1)
        found.append(Layer(out.name or "", None if ids is None or keep[ids].all() else keep[ids]))
    return found


def _constants(model: ir.Model) -> dict[str, ir.Value]:
    """Name -> constant, of the main graph and the bodies below it."""
    found = {}
    for graph in model.graphs():
        for value in (*graph.initializers.values(), *(value for node in graph for value in node.outputs)):
            if constant_tensor(value) is not None:
                found[value.name or ""] = value
    return found


def _take_over(model: ir.Model, weights: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Gives the constants of a model, by name, the numbers of ``weights``."""
    for name, value in _constants(model).items():
        if name in weights:
            set_constant(value, weights[name])
