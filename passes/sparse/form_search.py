"""Which form each constant is stored in: predicted from what one form does to the outputs, then built and compared."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Statistics
from onnxslim.evaluation import Lengths, OutputNoise, Reference
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import set_constant
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import HELD_OUT, PROBED, within_seconds

from .allocate import measured, some_samples
from .forms import PricedForm, cheapest
from .storable import Storable
from .stored_model import StoredModel

BENIGN = 20.0
"""dB of the worst part from which on int8 alone is good: per channel it has cost no score that was measured here."""
MARGIN = 1.0
"""dB by which outputs are better than they must be: other samples decide whether they are."""
SLIGHT = 0.2
"""dB that may be lost in any case."""
SECONDS = 60.0
"""That the effect of single constants is measured for, the largest first. Those beyond stay in int8."""
CHECK, FEWEST = 4.0, 8
"""Seconds that one comparison with the original may take, and the fewest samples for it."""
HALVED = 4
"""Samples from which on each half of them is compared by itself."""
STEPS = 64
"""Budgets that are looked at for a choice that was not tried."""
CORRECTIONS = 6
"""Whole models that are built, each with a budget that the one before has corrected."""

QUIET = np.errstate(over="ignore", invalid="ignore")
"""Where squares of what is finite are not, nothing is fitted to them."""


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """How much error few bits may add.

    Attributes:
        enough: dB of the worst part from which on outputs are good with fewer than 8 bits.
        drop: dB that the worst part may lose below that, on the samples that are chosen by: on others a bit more.
        added: dB of the outputs under which the noise of fewer than 8 bits stays in any case, by prediction: where int8
            has left little, 1 dB of it is much.
    """

    enough: float = 36.0
    drop: float = 0.8
    added: float = 30.0


class FormSearch:
    """The forms of some constants.

    Args:
        model: Not changed.
        items: Its constants.
        context: Of the pass.
        budget: How much error is allowed.
        only_int8: Whether no other form is wanted.
    """

    def __init__(
        self,
        model: ir.Model,
        items: Sequence[Storable],
        context: Context,
        budget: ErrorBudget,
        *,
        only_int8: bool = False,
    ) -> None:
        self.model, self.context, self.budget, self.only_int8 = model, context, budget, only_int8
        self.stored = StoredModel(model, items)
        self.items = self.stored.items
        samples = context.selection if context.selection is not None else context.samples
        feeds = feeds_of(samples or (), HELD_OUT, context.memory // 8)
        self.feeds = within_seconds(model, feeds, CHECK, least=FEWEST, threads=context.threads)
        self.least = -math.inf
        self.lengths = Lengths(model, (context.samples, context.selection), context.threads)
        origin, threads = context.original or model, os.cpu_count() or 1
        # What holds on one half of the samples by luck shall not be chosen for it: the worse of both counts. A half of
        # one sample says little: what varies from sample to sample is the signal.
        halves = [self.feeds[::2], self.feeds[1::2]] if len(self.feeds) >= HALVED else [self.feeds] * bool(self.feeds)
        self.references = [Reference(origin, half, tier=Tier.LOSSY, threads=threads) for half in halves]

    def run(self) -> dict[str, str]:
        """Name -> form, without those that stay float."""
        self.stored.keep_lengths(self.lengths, self.context)
        forms = dict.fromkeys(self.items, "int8")
        if not self.references or not forms:
            return forms
        before = self._decibels(self.model)
        if before == -math.inf:
            self.context.decline("store", "model", "its outputs cannot be compared with the original's")
            return {}
        # Kernels may have left less than the floor on one half, and more on the whole: nearly all of it stays.
        floor = min(self.context.min_sqnr + MARGIN, before - SLIGHT)
        self.least, benign = (max(min(before - self.budget.drop, most), floor) for most in (self.budget.enough, BENIGN))
        self.context.progress(f"store {len(forms)} weights in few bits: {before:.1f} dB, {self.least:.1f} dB at least")
        good = self._quality(forms) >= benign
        if good and self.only_int8:
            return forms
        tables = self.tables()
        if any(each.request is not None for each in self.items.values()):  # they make up for their rounding now
            good = self._quality(forms) >= benign
        found = self._within_budget(tables, before, forms if good else {})
        if not found:
            self.context.decline("store", "model", f"no form keeps {self.least:.1f} dB of the outputs")
        kept = {name: form for name, form in found.items() if form != "float"}
        for name in self.items.keys() - kept.keys():
            self.context.decline("store", name, "the outputs do not allow it in fewer bits")
        return kept

    def _within_budget(
        self, tables: Mapping[str, list[PricedForm]], before: float, found: dict[str, str]
    ) -> dict[str, str]:
        """The smallest forms that were built and hold; ``found`` where none is smaller.

        Args:
            tables: What each form costs.
            before: dB of the worst part as the model is.
            found: Forms that hold, or none.
        """
        allowed = min(power(self.least) - power(before), power(self.budget.added))
        budget, low = allowed, allowed / 1024
        high = power(self.budget.added) * max(len(self.model.graph.outputs), 1)  # predictions add outputs up
        tried: list[Mapping[str, str]] = [dict.fromkeys(self.items, "int8")]
        for _ in range(CORRECTIONS):
            trial = _untried(tables, budget, low, high, tried)
            if trial is None:
                break
            tried.append(trial)
            db, predicted = self._quality(trial), noise_of(tables, trial)
            if db >= self.least:
                low = max(low, predicted)
                if not found or bytes_of(tables, trial) < bytes_of(tables, found):
                    found = trial
            else:
                high = min(high, predicted)
            budget = 0.9 * max(predicted, low) * allowed / max(power(db) - power(before), allowed / 16)
        return found

    def _quality(self, forms: Mapping[str, str]) -> float:
        """DB of the worst part; minus infinity where the metric does not hold."""
        context, model = self.context, self.stored.built(forms)
        db = self._decibels(model)
        if db >= self.least and context.metric is not None:
            lost = self._score - context.score(model)
            if lost > context.max_drop:
                db = -math.inf
        context.progress(f"{_summary(forms)}: {db:.1f} dB")
        return db

    @QUIET
    def added(self, forms: Mapping[str, str]) -> float:
        """Noise over signal that forms add to the worst part of the outputs; infinity where they cannot be compared."""
        before, after = (power(self._decibels(each)) for each in (self.model, self.stored.built(forms)))
        return max(after - before, 0.0) if after < math.inf else math.inf

    def _decibels(self, model: ir.Model) -> float:
        return min(each.check(model).worst_sqnr for each in self.references)

    @cached_property
    def _score(self) -> float:
        """What the metric may fall from: the original's, or what the model has, where that is less."""
        origin = self.context.original or self.model
        return min(self.context.score(each) for each in (origin, self.model))

    @QUIET
    def tables(self) -> dict[str, list[PricedForm]]:
        """What each form of each constant costs: one is measured, the others are predicted from it."""
        context, until = self.context, time.perf_counter() + SECONDS
        found: dict[str, list[PricedForm]] = {}
        noise = OutputNoise(self.model, self.feeds[:PROBED], context.threads, context.memory // 4)
        model = self.model.clone()
        for some, statistics in measured(
            self.model,
            sorted(self.items.values(), key=lambda each: -each.tensor.nbytes),
            some_samples(self.model, self.feeds, context.samples or ()),
            memory=context.memory // 2,
            threads=context.threads,
            progress=context.progress,
        ):
            for item in some:
                context.progress(f"measure weight {len(found) + 1} of {len(self.items)}")
                late = time.perf_counter() > until
                cost = 0.0 if late else self._cost(item, statistics, self.stored.value(model, item), model, noise)
                if cost > 0:
                    unit = cost / max(item.error(item.forms()[0]), 1e-300)
                    found[item.name] = [
                        PricedForm(form, item.bytes(form), unit * item.error(form)) for form in item.forms()
                    ]
                    continue
                why = "fewer bits than int8 were not tried, for time" if late else "no sample shows its effect: int8"
                context.decline("store", item.name, why)
                found[item.name] = [PricedForm("int8", item.bytes("int8"), 0.0)]
        return found

    @staticmethod
    def _cost(
        item: Storable, statistics: Statistics | None, value: ir.Value, model: ir.Model, noise: OutputNoise
    ) -> float:
        """What the coarsest form of a constant does to the outputs of a clone."""
        item.fit(statistics)
        set_constant(value, item.array(item.forms()[0]))
        try:
            return noise(model)
        finally:
            set_constant(value, item.tensor.numpy())


def _untried(
    tables: Mapping[str, list[PricedForm]],
    budget: float,
    low: float,
    high: float,
    tried: Sequence[Mapping[str, str]],
) -> dict[str, str] | None:
    """The choice for the budget that is nearest to one, between two others, and gives another choice than was tried."""
    start = min(max(budget, low), high)
    budgets = np.geomspace(low, high, STEPS)
    for each in (start, *sorted(budgets, key=lambda one: abs(math.log(one / start)))):
        trial = cheapest(tables, float(each))
        if low < noise_of(tables, trial) < high and trial not in tried:
            return trial
    return None


def power(db: float) -> float:
    """Noise over signal.

    >>> power(20.0), power(float("inf")), power(-float("inf"))
    (0.01, 0.0, inf)
    """
    return float(10 ** (-db / 10)) if math.isfinite(db) else math.inf if db < 0 else 0.0


def bytes_of(tables: Mapping[str, list[PricedForm]], forms: Mapping[str, str]) -> float:
    """Of the constants in these forms."""
    sizes = {(name, each.form): each.bytes for name, table in tables.items() for each in table}
    return sum(sizes.get((name, form), math.inf) for name, form in forms.items())


def noise_of(tables: Mapping[str, list[PricedForm]], forms: Mapping[str, str]) -> float:
    """That is predicted of these forms."""
    noise = {(name, each.form): each.noise for name, table in tables.items() for each in table}
    return sum(noise[name, form] for name, form in forms.items())


def _summary(forms: Mapping[str, str]) -> str:
    return ", ".join(f"{count} in {form}" for form, count in sorted(Counter(forms.values()).items()))
