"""Zeros and few values in the weights, chosen so that the outputs change least, for files that are smaller.

Long because the search tries what the pass then applies, with the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import Lengths, OutputNoise
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, set_constant
from onnxslim.graph.halves import stored_as
from onnxslim.graph.matcher import Matcher
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import FITTED, LEAST_FITTED, PROBED

from .allocate import by_curves, curves_of, measured, probes, some_samples, uniform
from .fit import Fitted, fit_alone, fit_in_turn
from .grids import TOP, Levels, Values
from .masks import Pattern
from .store import store
from .sweep import HALF, Wanted
from .weights import LEAST, SMALL, Weight, weights_of

HALVES = "its weights are float16 already: values float16 changes nothing"
STEPS = 5
"""Shares of zeros that are tried where the metric decides."""
RANGE = (0.2, 0.95)
"""The least and the largest of them."""
COSTS, UNSEEN = 10**0.1, 1e-3
"""By how much small weights may raise the noise at the outputs (1 dB), and the noise below which they may anyhow."""
BELOW = (0.2, 0.4)
"""Shares that the metric allows where it allows more: the verdict may fall back on them."""


@dataclass(frozen=True, slots=True)
class SparsePlan:
    """What weights become.

    Attributes:
        weights: Name -> the weight.
        shares: Shares of zeros that the metric allowed, the least first; empty where the share was given.
    """

    weights: Mapping[str, Fitted]
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sparsify(Pass):
    """Make weights zero, or let them have few values, where that costs least at the outputs.

    Numbers are taken in one sweep over the columns of each weight, and those that are still free make up for the ones
    before (SparseGPT and GPTQ, on the Gram matrix of the samples); weights follow each other, so that each is fitted to
    what the model now computes before it, and to what the original made there. How many zeros a weight gets is found
    from what losing half of it does to the outputs. The file is not smaller by that alone: `encode` comes after it.
    """

    name: ClassVar[str] = "sparsify"
    tier: ClassVar[Tier] = Tier.LOSSY
    for_size: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (SparsePlan, Fitted, Levels)

    sparsity: float | None = field(
        default=None,
        metadata={"help": "share of the numbers that become zero; without, as many as the metric allows, or none"},
    )
    pattern: str = field(
        default="unstructured",
        metadata={"help": "where zeros may be: unstructured, N:M such as 2:4, or blocks of outputs x channels as 4x1"},
    )
    values: Values = field(
        default="float",
        metadata={
            "help": "numbers that are left: float, float16, int8 to int4 by a scale for each output, or codebook"
        },
    )
    entries: int = field(default=16, metadata={"help": "numbers in the codebook, 2 to 256"})
    by: Literal["compensated", "activation", "magnitude"] = field(
        default="compensated",
        metadata={"help": "which numbers go, and whether the others make up for them; without samples by magnitude"},
    )
    allocation: Literal["global", "uniform"] = field(
        default="global",
        metadata={"help": "whether each weight gets as many zeros as the outputs allow, or all the same share"},
    )
    protect: tuple[str, ...] = field(default=(), metadata={"help": 'nodes whose weights stay: names, or "re:PATTERN"'})

    @np.errstate(over="ignore", invalid="ignore")  # where squares of what is finite are not, nothing is fitted to them
    def plan(self, model: ir.Model, context: Context) -> SparsePlan:
        """Decides what the weights become.

        Raises:
            InputError: An option is wrong.
        """
        pattern = self.check(context)
        share = self.sparsity if self.sparsity is not None else pattern.share
        searching = share is None and self.values == "float" and context.metric is not None
        if not share and self.values == "float" and not searching:
            context.decline("sparsify", "model", "no zeros and no few values were asked for")
            return SparsePlan({})
        search = SparseSearch(self, model, pattern, context)
        return search.best() if searching else SparsePlan(search.at(share or 0.0)[1])

    def apply(self, model: ir.Model, plan: SparsePlan, context: Context) -> PassResult:
        """Changes the weights of ``model`` in place."""
        context.offer(*(replace(self, sparsity=each) for each in plan.shares))
        names = Names.of(model)
        for weight in list(weights_of(model, self.matcher(), Context(), least=self.least)):
            made = plan.weights.get(weight.name)
            values = values_of(weight, self.values)
            if made is not None and context.allow(action(weight, made, values)):
                change(model, names, weight, made, values)
        return context.result()

    @property
    def least(self) -> int:
        """Numbers of a weight from which on it is changed: small ones too where all numbers stay and become few."""
        zeros = self.sparsity or Pattern.parse(self.pattern).share or self.pattern != type(self).pattern
        return SMALL if self.values in ("int8", "int4") and not zeros else LEAST

    def matcher(self) -> Matcher:
        """Of the nodes that are protected."""
        return Matcher(self.protect, "--protect")

    def check(self, context: Context) -> Pattern:
        """Refuses options that cannot be met.

        Raises:
            InputError: Which, and what to give instead.
        """
        pattern = Pattern.parse(self.pattern)
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity is {self.sparsity:g}", mend="give a share from 0 to below 1, such as 0.8")
        if pattern.share is not None and self.sparsity is not None and abs(self.sparsity - pattern.share) >= 0.005:
            raise InputError(
                f"pattern {self.pattern} makes {pattern.share:.0%} of the numbers zero, not {self.sparsity:.0%}",
                mend="leave --sparsity out",
            )
        searched = self.values == "float" and context.metric is not None
        if pattern.block != (1, 1) and self.sparsity is None and not searched:
            raise InputError(
                f"how many blocks of {self.pattern} become zero is not said", mend="give --sparsity too, such as 0.5"
            )
        if not 2 <= self.entries <= 256:
            raise InputError(f"entries is {self.entries}", mend="give 2 to 256")
        if self.entries != type(self).entries and self.values != "codebook":
            raise InputError("entries requires values=codebook", mend="give values=codebook too, or leave entries out")
        return pattern


def values_of(weight: Weight, asked: Values) -> Values:
    """The values that a weight gets: those of float16 are in one that the file has in float16 anyway."""
    return "float" if asked == "float16" and stored_as(weight.value) == ir.DataType.FLOAT16 else asked


def action(weight: Weight, made: Fitted, values: Values) -> Action:
    """What the report says of a weight."""
    zero = float((made.array == 0).mean())
    what = [f"{zero:.0%} zeros"] if zero else []
    if values != "float":
        narrow = values == "int4" and made.levels is not None and made.levels[0].codes[-1] > TOP["int4"]
        what.append("int8" if narrow else values)
    return Action("sparsify", (weight.name,), weight.name, ", ".join(what))


def change(model: ir.Model, names: Names, weight: Weight, made: Fitted, values: Values) -> None:
    """Gives the model a weight that was fitted, and the bias that goes with it."""
    if made.bias is not None:
        name, array = made.bias
        bias = next(value for node in model.graph for value in node.inputs if value is not None and value.name == name)
        set_constant(bias, array)
    if values == "float16" or made.levels is not None:
        store(names, weight, made.array, made.levels, values)
    else:
        set_constant(weight.value, made.array)


class SparseSearch:
    """Fits weights for one share of zeros or for several.

    Args:
        options: Of the pass.
        model: Not changed.
        pattern: Where zeros may be.
        context: Samples, and what is on record.
    """

    def __init__(self, options: Sparsify, model: ir.Model, pattern: Pattern, context: Context) -> None:
        self.options, self.model, self.pattern, self.context = options, model, pattern, context
        self.matcher = options.matcher()
        for unmatched in self.matcher.check(model):
            context.decline("sparsify", "--protect", f"{unmatched!r} matches no node of the slimmed model")
        self.feeds = feeds_of(context.samples or (), FITTED, context.memory // 4)
        chosen = feeds_of(context.selection or (), PROBED, context.memory // 8)
        self.judging = chosen or self.feeds[:PROBED]
        self.least = options.least if self.judging else LEAST
        self.narrow = options.values
        """The values of small weights."""
        self.weights = [
            weight
            for weight in weights_of(model, self.matcher, context, least=self.least)
            if Action("sparsify", (weight.name,), weight.name).key not in context.refused and self._fits(weight)
        ]
        if not self.weights and any(each.reason == HALVES for each in context.declined):
            context.decline("sparsify", "model", HALVES)
        self.lengths = Lengths(model, (context.samples, context.selection), context.threads)

    def _fits(self, weight: Weight) -> bool:
        if values_of(weight, self.options.values) == "float" != self.options.values:
            if not self.options.sparsity and not self.pattern.of:
                self.context.decline("sparsify", weight.name, HALVES)
                return False
            return True
        fits = self.options.values != "float16" or float(np.abs(weight.array).max()) <= HALF
        if not fits:
            self.context.decline("sparsify", weight.name, f"float16 ends at {HALF:,.0f}")
        return fits

    def best(self) -> SparsePlan:
        """With as many zeros as the metric allows on the selection part; nothing where that is none."""
        context = self.context
        assert context.metric is not None
        if context.selection is None:
            context.decline("sparsify", "model", "there are too few samples to choose by the metric")
            return SparsePlan({})
        least = self.context.score(self.model) - context.max_drop
        low, high = RANGE
        found: Mapping[str, Fitted] = {}
        shares: list[float] = []
        share = 0.6
        for _ in range(STEPS):
            model, made = self.at(share)
            if self.context.score(model) >= least:
                found, low = made, share
                shares.append(share)
            else:
                high = share
            context.progress(f"{low:.0%} zeros keep the metric" if found else f"{share:.0%} zeros are too many")
            share = (low + high) / 2
        if not found:
            context.decline("sparsify", "model", "no share of zeros keeps the metric")
        return SparsePlan(found, (*(each for each in BELOW if shares and each < shares[0]), *shares))

    def at(self, share: float) -> tuple[ir.Model, Mapping[str, Fitted]]:
        """A model with that share of zeros, and what its weights became; weights that change lengths stay."""
        context, before = self.context, len(self.context.declined)
        model, found = self._with_small(share)
        deciding = [each for each in self.weights if any(self.lengths.decides(node) for node in each.nodes)]
        reason = self.lengths.change(model) if deciding and context.samples is not None else ""
        if not reason:
            return model, found
        del context.declined[before:]  # what was said of a result that does not count
        for each in deciding:
            context.decline("sparsify", each.name, f"its values decide a length: {reason}")
        self.weights = [each for each in self.weights if each not in deciding]
        return self._with_small(share)

    def _with_small(self, share: float) -> tuple[ir.Model, Mapping[str, Fitted]]:
        """As `_at`; small weights get the values that are asked for, else int8, else none, by what they cost.

        They are a small part of the file, and often a large one of the error: a depthwise Conv has nine for a channel.
        """
        context, before = self.context, len(self.context.declined)
        small = [each for each in self.weights if each.array.size < LEAST]
        noise = OutputNoise(self.model, self.judging, context.threads, context.memory // 4) if small else None
        for narrow in dict.fromkeys((self.options.values, "int8") if noise is not None else ()):
            self.narrow = narrow
            model, found = self._at(share)
            without = model.clone()
            for weight in weights_of(without, self.matcher, Context(), least=self.least):
                kept = next((each for each in small if each.name == weight.name), None)
                if kept is not None:
                    set_constant(weight.value, kept.array)
            assert noise is not None
            cost = noise(model)
            if cost <= max(UNSEEN, COSTS * noise(without)):
                return model, found
            del context.declined[before:]  # what was said of a result that does not count
        for each in small:
            context.decline("sparsify", each.name, f"it is small, and few values cost more than 1 dB: {self.narrow}")
        self.weights = [each for each in self.weights if each not in small]
        return self._at(share)

    def _at(self, share: float) -> tuple[ir.Model, Mapping[str, Fitted]]:
        shares = self._shares(share)
        model = self.model.clone()
        wanted = {name: self._wanted(each) for name, each in shares.items()}
        small = [each.name for each in self.weights if each.array.size < LEAST]
        wanted |= {name: replace(wanted[name], values=self.narrow) for name in small}
        weights = [each for each in weights_of(model, self.matcher, Context(), least=self.least) if each.name in wanted]
        in_turn = [each for each in weights if self._in_turn(each)]
        alone = [each for each in weights if not self._in_turn(each)]
        found: dict[str, Fitted] = {}
        context = self.context
        samples = context.samples if self.options.by != "magnitude" else None
        # Of the model as it was: what is measured later must not see what was fitted first.
        for some, statistics in measured(
            self.model, alone, samples, memory=context.memory, threads=context.threads, progress=context.progress
        ):
            for weight in some:
                made = fit_alone(weight, wanted[weight.name], statistics, compensate=self.options.by == "compensated")
                set_constant(weight.value, made.array)
                found[weight.name] = made
        if in_turn:
            try:
                more, reasons = fit_in_turn(
                    self.model,
                    model,
                    [(each, wanted[each.name]) for each in in_turn],
                    self.feeds,
                    memory=self.context.memory // 2,
                    threads=self.context.threads,
                    progress=self.context.progress,
                )
            except (InputError, CheckFailed) as error:
                self.context.decline("fit", "the model in pieces", str(error))
                for weight in in_turn:
                    made = fit_alone(weight, wanted[weight.name], None)
                    set_constant(weight.value, made.array)
                    found[weight.name] = made
            else:
                found |= more
                for name, reason in reasons.items():
                    self.context.decline("fit", name, reason)
        return model, found

    def _in_turn(self, weight: Weight) -> bool:
        return weight.posed and self.options.by == "compensated" and len(self.feeds) >= LEAST_FITTED

    def _shares(self, share: float) -> dict[str, float]:
        options, context = self.options, self.context
        if not share or self.pattern.of or options.allocation == "uniform" or len(self.weights) < 2 or not self.judging:
            return uniform(self.weights, share)
        model = self.model.clone()
        weights = {each.name: each for each in weights_of(model, self.matcher, Context(), least=self.least)}
        curves = curves_of(
            model,
            [weights[each.name] for each in self.weights],
            {each: self._wanted(each) for each in probes(share)},
            OutputNoise(model, self.judging, context.threads, context.memory // 4),
            None if options.by == "magnitude" else some_samples(self.model, self.feeds, context.samples or ()),
            compensate=options.by == "compensated",
            memory=context.memory // 2,
            threads=context.threads,
            progress=context.progress,
        )
        return by_curves({each.name: each.array.size for each in self.weights}, curves, share)

    def _wanted(self, share: float) -> Wanted:
        return Wanted(share, self.pattern, self.options.values, self.options.entries)
