"""The weights that no integer kernel reads, stored in few bits: onnxruntime computes the floats when it loads the file.

A weight costs nothing at run time in any of the forms of `onnxslim.passes.sparse.forms`, only bytes and some error. How
much error all together may add is said by a budget: `DROP` dB of the worst part of the outputs, or whatever leaves it
above `ENOUGH` dB. The forms are chosen by what each weight does to the outputs, the whole is built and compared with the
original, and where the prediction was wrong the budget is corrected.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Statistics
from onnxslim.evaluation import Lengths, OutputNoise, Reference
from onnxslim.evaluation.tier import Tier
from onnxslim.execution import Feed, open_session
from onnxslim.graph.edit import set_constant
from onnxslim.graph.halves import stored_as
from onnxslim.graph.matcher import Matcher
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import HELD_OUT, PROBED

from .allocate import measured, some_samples
from .fit import Fitted
from .forms import COARSEST, FORMS, Choice, Form, cheapest, fitted, size_of, squared_error, sweep_cost
from .grids import Levels
from .store import store
from .sweep import HALF
from .weights import Weight, weights_of

LEAST = 192
"""Numbers of a weight from which on the nodes that give it back are worth their bytes."""
ENOUGH = 30.0
"""dB of the worst part from which on outputs count as good. The int8 search aims at as much."""
BENIGN = 20.0
"""The same of int8 alone: per channel it has cost no model a score that was measured here."""
DROP = 0.8
"""dB that the worst part may lose below that, on the samples that are chosen by: on others it may be 1."""
ADDED = 26.0
"""dB of the outputs under which the noise of fewer bits stays in any case, by prediction: where int8 has left little,
1 dB of it is much."""
MARGIN = 1.0
"""dB by which outputs are better than they must be: other samples decide whether they are."""
SECONDS = 60.0
"""That the effect of single weights is measured for, the largest first. Those beyond stay in int8."""
CHECK, FEWEST = 4.0, 8
"""Seconds that one comparison with the original may take, and the fewest samples for it."""
SWEEP = 1e10
"""Multiplications up to which every form of a weight is fitted to its inputs; beyond only the coarsest."""
CORRECTIONS = 6
"""Whole models that are built, each with a budget that the one before has corrected."""


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What weights become.

    Attributes:
        forms: Name of a weight -> its form.
        weights: Name of a weight -> its numbers.
    """

    forms: Mapping[str, Form] = field(default_factory=dict)
    weights: Mapping[str, Fitted] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreWeights(Pass):
    """Store weights that stay float in few bits, as far as the outputs allow.

    Memory and latency stay what they are: onnxruntime makes floats of them when it loads the file.
    """

    name: ClassVar[str] = "store"
    tier: ClassVar[Tier] = Tier.LOSSY
    for_size: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (StorePlan, Fitted, Levels)

    rest: Literal["auto", "int8", "float"] = field(
        default="auto",
        metadata={
            "help": "how weights are stored that no int8 kernel reads: in 4 to 8 bits as the error allows, in int8, or "
            "as floats"
        },
    )

    @np.errstate(over="ignore", invalid="ignore")  # where squares of what is finite are not, nothing is fitted to them
    def plan(self, model: ir.Model, context: Context) -> StorePlan:
        """Decides the form of each weight."""
        if self.rest == "float":
            return StorePlan()
        weights = list(_storable(model, context))
        return FormSearch(self, model, weights, context).run() if weights else StorePlan()

    def apply(self, model: ir.Model, plan: StorePlan, context: Context) -> PassResult:
        """Changes the weights of ``model`` in place."""
        for weight in list(_weights(model, Context())):
            made, form = plan.weights.get(weight.name), plan.forms.get(weight.name, "float")
            if made is not None and form != "float" and context.allow(_action(weight, form)):
                store(model, weight, made.array, made.levels, form)
        return context.result()


def _weights(model: ir.Model, context: Context) -> Iterator[Weight]:
    return weights_of(model, Matcher((), "--protect"), context, rule="store", least=LEAST)


def _storable(model: ir.Model, context: Context) -> Iterator[Weight]:
    for weight in _weights(model, context):
        if Action("store", (weight.name,)).key in context.refused:
            context.decline("store", weight.name, "a check failed with this rewrite")
        else:
            yield weight


def _action(weight: Weight, form: Form) -> Action:
    detail = f"{form}: {weight.tensor.nbytes:,} -> {size_of(weight, form):,.0f} bytes"
    return Action("store", (weight.name,), weight.name, detail)


class FormSearch:
    """The forms of some weights.

    Args:
        options: Of the pass.
        model: Not changed.
        weights: Of the model.
        context: Of the pass.
    """

    def __init__(self, options: StoreWeights, model: ir.Model, weights: list[Weight], context: Context) -> None:
        self.options, self.model, self.context = options, model, context
        self.weights = {each.name: each for each in weights}
        self.made: dict[tuple[str, Form], Fitted] = {}
        samples = context.selection if context.selection is not None else context.samples
        self.feeds = _affordable(model, feeds_of(samples or (), HELD_OUT, context.memory // 8), context.threads)
        self.least = -math.inf
        self.lengths = Lengths(model, (context.samples, context.selection), context.threads)
        origin, threads = context.original or model, os.cpu_count() or 1
        # What holds on one half of the samples by luck shall not be chosen for it: the worse of both counts.
        halves = [half for half in (self.feeds[::2], self.feeds[1::2]) if half]
        self.references = [Reference(origin, half, tier=Tier.LOSSY, threads=threads) for half in halves]

    def run(self) -> StorePlan:
        """The plan; an empty one where nothing holds."""
        self._keep_lengths()
        forms: dict[str, Form] = dict.fromkeys(self.weights, "int8")
        if not self.references or not forms:
            return self._planned(forms)
        before = self._decibels(self.model)
        floor = self.context.min_sqnr + MARGIN
        self.least = max(min(before - DROP, ENOUGH), floor)
        self.context.progress(f"store {len(forms)} weights in few bits: {before:.1f} dB, {self.least:.1f} dB at least")
        db, benign = self._quality(forms), max(min(before - DROP, BENIGN), floor)
        if db >= benign and self.options.rest == "int8":
            return self._planned(forms)
        tables = self._tables()
        if self.made:  # they make up for their rounding now
            db = self._quality(forms)
        found = forms if db >= benign else {}
        allowed = min(power(self.least) - power(before), power(ADDED))
        budget, tried = allowed, [forms]
        for _ in range(CORRECTIONS):
            trial = cheapest(tables, budget)
            if trial in tried:
                break
            tried.append(trial)
            db = self._quality(trial)
            if db >= self.least and (not found or _bytes(tables, trial) < _bytes(tables, found)):
                found = trial
            change = min(allowed / max(power(db) - power(before), allowed / 16), power(ADDED) / budget)
            budget *= max(0.9 * change, 0.05)
        if not found:
            self.context.decline("store", "model", f"no form keeps {self.least:.1f} dB of the outputs")
        return self._planned(found)

    def _planned(self, forms: Mapping[str, Form]) -> StorePlan:
        kept = {name: form for name, form in forms.items() if form != "float"}
        for name in self.weights.keys() - kept.keys():
            self.context.decline("store", name, "the outputs do not allow it in fewer bits")
        return StorePlan(kept, {name: self._fitted(name, form) for name, form in kept.items()})

    def _keep_lengths(self) -> None:
        """Leaves out weights whose values decide the length of an output, where rounding changes one."""
        deciding = [each for each in self.weights.values() if any(map(self.lengths.decides, each.nodes))]
        if not deciding or self.context.samples is None:
            return
        reason = self.lengths.change(self._built(dict.fromkeys(self.weights, "int8")))
        for each in deciding if reason else ():
            self.context.decline("store", each.name, f"its values decide a length: {reason}")
            del self.weights[each.name]

    def _quality(self, forms: Mapping[str, Form]) -> float:
        """dB of the worst part; minus infinity where the metric or a length does not hold."""
        context, model = self.context, self._built(forms)
        db = self._decibels(model)
        if db >= self.least and context.metric is not None:
            lost = self._score - context.score(model)
            if lost > context.max_drop:
                db = -math.inf
        context.progress(f"{_summary(forms)}: {db:.1f} dB")
        return db

    def _decibels(self, model: ir.Model) -> float:
        return min(each.check(model).worst_sqnr for each in self.references)

    @cached_property
    def _score(self) -> float:
        """What the metric may fall from: the original's, or what the model has, where that is less."""
        origin = self.context.original or self.model
        return min(self.context.score(each) for each in (origin, self.model))

    def _tables(self) -> dict[str, list[Choice]]:
        """What each form of each weight costs: one is measured, the others are predicted from it."""
        context, until = self.context, time.perf_counter() + SECONDS
        found: dict[str, list[Choice]] = {}
        noise = OutputNoise(self.model, self.feeds[:PROBED], context.threads, context.memory // 4)
        model = self.model.clone()
        own = {each.name: each for each in _weights(model, Context())}
        largest = sorted(self.weights.values(), key=lambda each: -each.tensor.nbytes)
        for some, statistics in measured(
            self.model,
            largest,
            some_samples(self.model, self.feeds, context.samples or ()),
            memory=context.memory // 2,
            threads=context.threads,
            progress=context.progress,
        ):
            for weight in some:
                sizes = {form: size_of(weight, form) for form in FORMS}
                if time.perf_counter() > until:
                    context.decline("store", weight.name, "fewer bits than int8 were not tried, for time")
                    found[weight.name] = [Choice("int8", sizes["int8"], 0.0)]
                    continue
                errors = {form: squared_error(weight, self._fitted(weight.name, form).array, None) for form in COARSEST}
                probe = min(COARSEST, key=lambda form: errors[form])
                ladder: list[Form] = [probe, "int5", "int6", "int8", *self._halved(weight), "float"]
                for form in (ladder[:4] if sweep_cost(weight) < SWEEP else ladder[:1]) if statistics else ():
                    self.made[weight.name, form] = fitted(weight, form, statistics)
                context.progress(f"measure weight {len(found) + 1} of {len(largest)}")
                cost = self._noise(noise, model, own[weight.name], self._fitted(weight.name, probe))
                if not cost > 0:
                    context.decline("store", weight.name, "no sample shows what it does to the outputs: int8")
                    found[weight.name] = [Choice("int8", sizes["int8"], 0.0)]
                    continue
                unit = cost / max(self._error(weight, probe, statistics), 1e-300)
                found[weight.name] = [
                    Choice(form, sizes[form], unit * self._error(weight, form, statistics)) for form in ladder
                ]
        return found

    def _error(self, weight: Weight, form: Form, statistics: Statistics | None) -> float:
        if form == "float":
            return 0.0
        return squared_error(weight, self._fitted(weight.name, form).array, statistics)

    def _noise(self, noise: OutputNoise, model: ir.Model, weight: Weight, made: Fitted) -> float:
        """What one weight of a clone does to the outputs."""
        array = weight.array
        set_constant(weight.value, made.array)
        try:
            return noise(model)
        finally:
            set_constant(weight.value, array)

    def _halved(self, weight: Weight) -> list[Form]:
        """Float16 where it is smaller and holds all numbers."""
        half = weight.tensor.dtype == ir.DataType.FLOAT16 or stored_as(weight.value) == ir.DataType.FLOAT16
        return [] if half or float(np.abs(weight.array).max()) > HALF else ["float16"]

    def _fitted(self, name: str, form: Form) -> Fitted:
        """A weight in a form. What samples made of it is kept, the rest is made again when it is needed."""
        return self.made.get((name, form)) or fitted(self.weights[name], form, None)

    def _built(self, forms: Mapping[str, Form]) -> ir.Model:
        """A clone that computes what the stored weights make."""
        model = self.model.clone()
        for weight in list(_weights(model, Context())):
            form = forms.get(weight.name, "float")
            if form != "float":
                set_constant(weight.value, self._fitted(weight.name, form).array)
        return model


def _affordable(model: ir.Model, feeds: list[Feed], threads: int) -> list[Feed]:
    """As many of the feeds as a slow model can be compared on in `CHECK` seconds, and a few at least."""
    if len(feeds) <= FEWEST:
        return feeds
    session = open_session(model, threads=threads)
    started = time.perf_counter()
    session.run(feeds[0])
    return feeds[: max(FEWEST, int(CHECK / max(time.perf_counter() - started, 1e-6)))]


def power(db: float) -> float:
    """Noise over signal.

    >>> power(20.0), power(float("inf"))
    (0.01, 0.0)
    """
    return 0.0 if db == math.inf else float(10 ** (-db / 10))


def _bytes(tables: Mapping[str, list[Choice]], forms: Mapping[str, Form]) -> float:
    sizes = {(name, each.form): each.bytes for name, table in tables.items() for each in table}
    return sum(sizes.get((name, form), math.inf) for name, form in forms.items())


def _summary(forms: Mapping[str, Form]) -> str:
    counts = Counter(forms.values())
    return ", ".join(f"{counts[form]} in {form}" for form in FORMS if counts[form])
