"""Which of several equal forms of a model is the fastest, as measured on this machine.

The forms compute the same numbers, up to the order of sums and the rounding of int32 biases. Which one onnxruntime runs
fastest depends on sizes and on the processor, so no rule knows it: whole models are timed in turns, on samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import Feed, rank_latency
from onnxslim.pipeline import Context, Pass, PassResult
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import JUDGED

from .form_bias import join_biases
from .form_products import merge_products
from .form_rows import use_rows
from .form_tables import slice_tables

LEAST_TURNS, TURNS = 3, 5
"""Times that all forms are compared, each time in sessions of their own: memory lies elsewhere in each of them."""
PATIENCE = 20.0
"""Seconds after which a slow model is compared no more than the least number of times."""
SECONDS = 0.4
"""For each form in each turn."""
LEAST = 0.005
"""Share of the time that a form must save, and it must save some in every turn."""
BUDGET_DB = 0.5
"""What the worst part may lose to another form ..."""
INAUDIBLE_DB = 30.0
"""... unless it keeps as much as this."""

Form = Callable[[ir.Model, Context], None]
STANDARD: Mapping[str, Form] = {"slice-tables": slice_tables, "merge-products": merge_products, "rows": use_rows}
FORMS: Mapping[str, Form] = {**STANDARD, "integer-bias": join_biases}
"""In the order in which they are applied; those that are not of the standard make operators of onnxruntime alone."""


@dataclass(frozen=True, slots=True)
class FormsPlan:
    """Which forms the model takes.

    Attributes:
        forms: Names, in their order.
        speed: Time with them as a share of the time without.
    """

    forms: tuple[str, ...] = ()
    speed: float = 1.0


@dataclass(frozen=True)
class ChooseForms(Pass):
    """Write operators in the form that is measured to be the fastest on this machine."""

    name: ClassVar[str] = "choose-forms"
    tier: ClassVar[Tier] = Tier.LOSSY
    needs_samples: ClassVar[bool] = True
    secondary: ClassVar[bool] = True
    polishes: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (FormsPlan,)

    forms: tuple[str, ...] = field(
        default=tuple(FORMS), metadata={"help": "forms to choose from", "choices": tuple(FORMS)}
    )

    def plan(self, model: ir.Model, context: Context) -> FormsPlan:
        """Times every combination of the forms that apply."""
        usable = STANDARD if context.config.ops == "standard" else FORMS
        made = variants(model, [name for name in usable if name in self.forms], context)
        if not made:
            return FormsPlan()
        if not context.bench:
            return self._nothing(made, "forms are chosen by time, and nothing is timed here", context)
        feeds = feeds_of(context.selection or context.samples or (), JUDGED)
        if not feeds:
            return self._nothing(made, "there are no samples to time with", context)
        context.progress(f"time {len(made)} other forms of the model")
        good = faithful(model, made, feeds, context)
        if not good:
            return self._nothing(made, f"every form costs the outputs more than {BUDGET_DB:g} dB", context)
        turns = times(model, list(good.values()), feeds, context)
        best, reason = fastest(list(good), turns)
        if best is None:
            return self._nothing(made, reason, context)
        return FormsPlan(best, float(np.median(turns[:, list(good).index(best)])))

    def apply(self, model: ir.Model, plan: FormsPlan, context: Context) -> PassResult:
        """Writes the model in the forms that were chosen."""
        for name in plan.forms:
            FORMS[name](model, context)
        return context.result()

    def _nothing(self, made: Mapping[tuple[str, ...], ir.Model], reason: str, context: Context) -> FormsPlan:
        for name in dict.fromkeys(name for names in made for name in names):
            context.decline(name, "model", reason)
        return FormsPlan()


def variants(model: ir.Model, names: Sequence[str], context: Context) -> dict[tuple[str, ...], ir.Model]:
    """Every combination of the forms that changes the model, by names; smaller ones first.

    Why a form does not apply somewhere goes to the context once.
    """
    made: dict[tuple[str, ...], ir.Model] = {}
    for count in range(1, len(names) + 1):
        for chosen in combinations(names, count):
            if any((name,) not in made for name in chosen if count > 1):
                continue
            trial = model.clone()
            for name in chosen:
                own = replace(context, limit=None)
                FORMS[name](trial, own)
                for each in own.declined if count == 1 else ():
                    context.decline(each.rule, each.site, each.reason)
                if not own.actions:
                    break
            else:
                made[chosen] = trial
    return made


def faithful(
    model: ir.Model, made: Mapping[tuple[str, ...], ir.Model], feeds: Sequence[Feed], context: Context
) -> dict[tuple[str, ...], ir.Model]:
    """The variants whose worst part is within the error budget."""
    original = model if context.original is None else context.original
    reference = Reference(original, list(feeds), tier=Tier.LOSSY, threads=context.threads)
    least = min(reference.check(model).worst_sqnr - BUDGET_DB, INAUDIBLE_DB)
    return {names: each for names, each in made.items() if reference.check(each).worst_sqnr >= least}


def times(model: ir.Model, others: Sequence[ir.Model], feeds: Sequence[Feed], context: Context) -> np.ndarray:
    """Time of each of the others as a multiple of the model's, ``float64[turns, others]``."""
    turns, ends = list[list[float]](), time.perf_counter() + PATIENCE
    while len(turns) < LEAST_TURNS or (len(turns) < TURNS and time.perf_counter() < ends):
        found = rank_latency(
            [model, *others],
            feeds[:4],
            seconds=SECONDS * (1 + len(others)),
            threads=context.threads,
            config=context.target.session_config,
            seed=len(turns),
        )
        turns.append(found[1:])
    return np.array(turns)


def fastest(names: Sequence[tuple[str, ...]], turns: np.ndarray) -> tuple[tuple[str, ...] | None, str]:
    """The variant that is faster than the model beyond noise and the fastest of these; why not where there is none.

    Args:
        names: Of each variant, smaller ones first.
        turns: Time as a share of the model's, ``float64[turns, variants]``.
    """
    medians, worst = np.median(turns, axis=0), turns.max(axis=0)
    sure = [place for place in range(len(names)) if medians[place] <= 1 - LEAST and worst[place] < 1]
    if not sure:
        place = int(medians.argmin())
        best = " and ".join(names[place])
        found = f"{1 / medians[place]:.3f}x, and {1 / worst[place]:.3f}x in the worst of {len(turns)} comparisons"
        return None, f"not faster beyond noise: {best} measured {found}"
    return names[min(sure, key=lambda place: medians[place])], ""
