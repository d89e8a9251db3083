"""Recurrent layers in int8: LSTM -> com.microsoft.DynamicQuantizeLSTM, where that is faster and accurate enough."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.errors import CannotRun, InputError
from onnxslim.evaluation import Lengths, OutputNoise, Reference, Tier
from onnxslim.execution import rank_latency
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import JUDGED, typical

from .judge import AIM
from .lstm import Family, families, insert, located

BUDGET = 0.5
"""dB of the worst part that all LSTMs together may cost; a result of `AIM` dB or more is within the budget anyway."""
LEAST_HIDDEN = 128
"""Hidden units from which an LSTM is taken where nothing is timed: with 64, int8 was slower on one short sequence."""
UNSEEN = 0.005
"""Share of the whole time below which a difference is none: what is so much slower alone is still taken."""
TIMED = 4
"""Inputs that candidates are timed with."""
BESIDE = 8
"""Candidates that are timed beside the model at once, each in a session of its own."""


@dataclass(frozen=True, slots=True)
class LstmPlan:
    """LSTMs that become int8, by names.

    Attributes:
        families: Keys of those that share weights.
        bits: Of the weights.
        details: What each family brings, by its first key.
    """

    families: tuple[tuple[str, ...], ...] = ()
    bits: int = 8
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantizeLstm(Pass):
    """Run LSTMs with int8 weights, where onnxruntime's own operators are allowed and that is faster and right.

    1. Only with ``--ops onnxruntime``: the operator is onnxruntime's own. It scales its inputs while it runs.
    2. Everywhere but in functions; LSTMs that share weights change together, so that the float weights go.
    3. What moves no output on any sample, what makes the model slower or changes lengths of its outputs stays in
       float; of the rest the noisiest go until the worst part loses no more than half a dB, or keeps 30 dB.
    """

    name: ClassVar[str] = "quantize-lstm"
    tier: ClassVar[Tier] = Tier.LOSSY
    needs_samples: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (LstmPlan,)

    keep_slow: bool = field(default=False, metadata={"help": "take LSTMs also where int8 is slower than float"})

    def plan(self, model: ir.Model, context: Context) -> LstmPlan:
        """Measures, and decides which LSTMs become int8.

        Raises:
            InputError: There are no samples.
        """
        if context.samples is None:
            raise InputError("int8 LSTMs need samples to be judged by", mend="give --samples, or samples= in Python")
        found, declined = families(model)
        for where, reason in declined:
            context.decline(self.name, where, reason)
        bits = 7 if context.target.reduce_range else 8
        choice = LstmChoice(model, context, bits)
        if context.config.ops != "onnxruntime":
            if context.bench:
                found = choice.made(found, timed=True)
            choice.drop(found, choice.promise)
            return LstmPlan()
        refused = [each for each in found if _action(each).key in context.refused]
        choice.drop(refused, lambda _: "a check failed with this rewrite")
        kept = choice.made([each for each in found if each not in refused], timed=not self.keep_slow)
        return LstmPlan(tuple(each.keys for each in kept), bits, {each.keys[0]: choice.detail(each) for each in kept})

    def apply(self, model: ir.Model, plan: LstmPlan, context: Context) -> PassResult:
        """Does in place what was planned."""
        wanted = set(plan.families)
        found = [each for each in families(model)[0] if each.keys in wanted] if wanted else []
        allowed = [each for each in found if context.allow(_action(each, plan.details.get(each.keys[0], "")))]
        insert(model, [member for each in allowed for member in each.members], plan.bits)
        return context.result()


class LstmChoice:
    """Which LSTMs of a model become int8, by what is measured on samples to choose by.

    Args:
        model: Not changed.
        context: Of the pass; it takes in why a family is left out.
        bits: Of the weights.
    """

    def __init__(self, model: ir.Model, context: Context, bits: int) -> None:
        self._model, self._context, self._bits = model, context, bits
        self._speeds: dict[tuple[str, ...], float] = {}
        samples = context.selection if context.selection is not None else context.samples
        self._feeds = feeds_of(samples or (), JUDGED)

    def made(self, found: Sequence[Family], *, timed: bool) -> list[Family]:
        """Those that stay, in graph order; ``timed`` says that they must make the model faster."""
        if not found:
            return []
        kept, noise = self._heard(self._of_equal_lengths(found))
        if timed:
            kept = self._faster(kept)
        kept = self._within_budget(sorted(kept, key=lambda each: noise[each.keys]))
        if timed and self._context.bench and kept:
            speed = self._speeds[kept[0].keys] if len(kept) == 1 else self._timed([kept])[0]
            if speed >= 1:
                self.drop(kept, lambda _: f"int8 is no faster: {speed:.3f} of the model's time in float")
                return []
        return [each for each in found if each in kept]

    def drop(self, some: Sequence[Family], reason: Callable[[Family], str]) -> None:
        """Puts on record why families stay in float; ``reason`` makes the text from a family."""
        for family in some:
            self._decline(family, reason(family))

    def _decline(self, family: Family, reason: str) -> None:
        for each in family.members:
            self._context.decline("quantize-lstm", each.site, reason)

    def detail(self, family: Family) -> str:
        """What a family brings."""
        speed = self._speeds.get(family.keys)
        return f"{family.size:,} weights" + ("" if speed is None else f", the model in {speed:.2f} of the time")

    def promise(self, family: Family) -> str:
        """What a family would bring if onnxruntime's own operators were allowed."""
        speed = self._speeds.get(family.keys)
        time = "" if speed is None else f": the model would take {speed:.2f} of its time"
        return f"--ops onnxruntime would run {_size(family)} in int8{time}"

    def _build(self, some: Sequence[Family]) -> ir.Model:
        trial = self._model.clone()
        keys = {key for each in some for key in each.keys}
        insert(trial, [each for each in located(trial) if each.key in keys], self._bits)
        return trial

    def _of_equal_lengths(self, found: Sequence[Family]) -> list[Family]:
        """Without those whose values decide lengths of the outputs, if these change."""
        context = self._context
        lengths = Lengths(self._model, (context.samples, context.selection), context.threads)

        def node_of(family: Family) -> ir.Node:
            nodes = [each.node for each in family.members]
            return next((node for node in nodes if lengths.decides(node)), nodes[0])

        kept, reason = lengths.kept(found, node_of, self._build)
        self.drop([each for each in found if each not in kept], lambda _: f"its values decide a length: {reason}")
        return kept

    def _heard(self, found: Sequence[Family]) -> tuple[list[Family], dict[tuple[str, ...], float]]:
        """Those that a sample reaches, and the noise that each alone makes at the outputs, by its keys."""
        noise: dict[tuple[str, ...], float] = {}
        if not found:
            return [], noise
        self._context.progress(f"measure the errors of {len(found)} LSTMs in int8")
        measure = OutputNoise(self._model, self._feeds, os.cpu_count() or 1)
        heard = []
        for each in found:
            reason = "it moves no output on any sample, so that its error is not known"
            try:
                noise[each.keys] = measure(self._build([each]))
            except CannotRun as error:
                noise[each.keys], reason = 0.0, f"onnxruntime does not run it in int8: {error}"
            if noise[each.keys] > 0:
                heard.append(each)
            else:
                self._decline(each, reason)
        return heard, noise

    def _faster(self, found: Sequence[Family]) -> list[Family]:
        """Those that do not slow the model down; by rule where nothing may be timed."""
        if not self._context.bench:
            small = [each for each in found if each.hidden < LEAST_HIDDEN]
            self.drop(small, lambda each: f"{each.hidden} hidden units are too few for int8 to be faster by rule")
        else:
            self._context.progress(f"time {len(found)} LSTMs in int8")
            self._speeds = dict(
                zip((each.keys for each in found), self._timed([[each] for each in found]), strict=True)
            )
            small = [each for each in found if self._speeds[each.keys] >= 1 + UNSEEN]
            self.drop(
                small, lambda each: f"int8 is no faster: {self._speeds[each.keys]:.3f} of the model's time in float"
            )
        return [each for each in found if each not in small]

    def _timed(self, some: Sequence[Sequence[Family]]) -> list[float]:
        """Time of the model with each of these, as a multiple of its time without."""
        found: list[float] = []
        for start in range(0, len(some), BESIDE):
            models = [self._build(each) for each in some[start : start + BESIDE]]
            found += rank_latency(
                [self._model, *models],
                typical(self._feeds, TIMED),
                seconds=min(10.0, 1.2 * (1 + len(models))),
                threads=self._context.threads,
                config=self._context.target.session_config,
            )[1:]
        return found

    def _within_budget(self, found: Sequence[Family]) -> list[Family]:
        """The first of them, quietest first, that together keep the outputs and the score."""
        if not found:
            return []
        original = self._context.original or self._model
        reference = Reference(original, self._feeds, tier=Tier.LOSSY, threads=os.cpu_count() or 1)
        before = reference.check(self._model).worst_sqnr
        if before == -math.inf:
            self.drop(found, lambda _: "the outputs of the model as it is do not compare with the original's")
            return []
        least, lowest = min(before - BUDGET, AIM), self._lowest_score(original)
        wrong = ""

        def holds(count: int) -> bool:
            nonlocal wrong
            trial = self._build(found[:count])
            after = reference.check(trial).worst_sqnr
            if after < least:
                wrong = f"with it the worst part keeps {after:.1f} dB, and must keep {least:.1f}"
            elif lowest is not None and (score := self._score(trial)) < lowest:
                wrong = f"with it the score is {score:.4g}, and must be {lowest:.4g}"
            else:
                return True
            return False

        if holds(len(found)):
            return list(found)
        low, high = 0, len(found)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        self.drop(found[low:], lambda _: wrong)
        return list(found[:low])

    def _lowest_score(self, original: ir.Model) -> float | None:
        """What the metric must keep; None where there is none, or one of agreement with the original."""
        best = math.inf if self._context.metric is None else self._score(original)
        return min(best - self._context.max_drop, self._score(self._model)) if math.isfinite(best) else None

    def _score(self, model: ir.Model) -> float:
        return self._context.score(model, self._context.target.session_config)


def _action(family: Family, detail: str = "") -> Action:
    return Action("quantize-lstm", family.keys, family.members[0].site, detail)


def _size(family: Family) -> str:
    return f"{family.size:,} weights"
