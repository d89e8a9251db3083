"""One whole model of a search: built from the slimmed one, and measured on the samples to choose by.

A trial runs in any process. What all trials of a search share (`TrialSetting`) goes to each once; a trial itself is the
passes, each with the decision that it follows. What comes back are the model and the plans of its passes, as bytes: who
applies these plans to the same slimmed model gets the same model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx_ir as ir

from onnxslim.api.lossy import Lossy
from onnxslim.api.output import weigh
from onnxslim.api.task import Task, open_task
from onnxslim.errors import CannotRun, CheckFailed
from onnxslim.evaluation import Reference
from onnxslim.evaluation.amplified import bounded_drop
from onnxslim.evaluation.confidence import Drop, PairedMetric
from onnxslim.evaluation.remembered import Remembered
from onnxslim.evaluation.scoring import score_of_run
from onnxslim.evaluation.tier import Tier
from onnxslim.execution import Run, open_session, operators_from
from onnxslim.graph.halves import Half
from onnxslim.pipeline import Context, Offer, Pass, RunConfig, Store
from onnxslim.pipeline.plan import plans_to_bytes
from onnxslim.report.words import verb_named
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import HELD_OUT
from onnxslim.search import Candidate
from onnxslim.search.lab import Bound

HALVED = 4
"""Samples from which on each half of them is compared by itself."""


@dataclass(frozen=True, slots=True)
class TrialSetting:
    """What all trials of a search share.

    Attributes:
        model: The slimmed model, as bytes.
        config: How the verb runs; samples and metric are named, not held.
        passes: Of the verb.
        halves: Of the slimmed model, see `Candidate`.
    """

    model: bytes
    config: RunConfig
    passes: tuple[Pass, ...]
    halves: Mapping[str, Half] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        model: The file, as bytes; empty where there is none.
        plans: Of its passes (`onnxslim.pipeline.plan`), as bytes.
        sqnr_db: Of the worst part of the outputs.
        drop: Of the metric; None where there is none.
        drop_bound: The same with confidence; None where there are too few samples.
        reason: Why there is no model.
        seconds: That it took.
    """

    model: bytes = b""
    plans: bytes = b""
    sqnr_db: float = float("-inf")
    drop: float | None = None
    drop_bound: float | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OfferTask:
    """A request for the next offers of a pass.

    Attributes:
        instance: The pass.
        known: Its first offers.
        count: How many more, at most.
        bound: Behind an offer beyond it no more are wanted.
    """

    instance: Pass
    known: tuple[Offer, ...]
    count: int
    bound: Bound


@dataclass(frozen=True, slots=True)
class Offers:
    """What a pass offers next.

    Attributes:
        offers: Of the pass.
        complete: Whether it has no more that are of use.
    """

    offers: tuple[Offer, ...]
    complete: bool


class TrialBench:
    """Builds and measures trials of one slimmed model.

    Args:
        lossy: The slimmed model, and how passes run on it.
    """

    def __init__(self, lossy: Lossy) -> None:
        self.lossy = lossy
        self.task: Task = lossy.task
        parts = self.task.evaluator.parts
        assert parts is not None, "a search has samples"
        self.parts = parts
        self.samples = parts.selection if len(parts.selection) else parts.calibration

    @cached_property
    def references(self) -> list[Reference]:
        """What outputs are compared with, on each half of the samples: what holds on one by luck is not chosen for it.

        A half of one sample says little: what varies from sample to sample is the signal.
        """
        feeds = feeds_of(self.samples, HELD_OUT, self.task.config.memory // 8)
        halves = [feeds[::2], feeds[1::2]] if len(feeds) >= HALVED else [feeds]
        base, threads = self.lossy.base.model, self.task.config.threads
        return [Reference(base, half, tier=Tier.LOSSY, threads=threads, evidence="samples") for half in halves]

    @cached_property
    def metric(self) -> PairedMetric | None:
        """The metric beside the slimmed model's; None where there is none."""
        config = self.task.config
        if config.score is None or math.isinf(score_of_run(config.score, self._original, self.samples)):
            return None  # nothing drops from infinity: such a metric is told, and the outputs count
        return PairedMetric(config.score, self._original, self.samples, memory=config.memory // 8)

    @cached_property
    def _original(self) -> Run:
        return Remembered(self._run(self.lossy.base.model), self.task.config.memory // 8)

    def _drop(self, metric: PairedMetric, model: ir.Model) -> Drop:
        return bounded_drop(metric, self._original, self._run(model), self.task.config.memory // 8)

    def _run(self, model: ir.Model) -> Run:
        return open_session(model, threads=self.task.config.threads).run

    def offers(self, task: OfferTask) -> Offers:
        """The next offers of a pass for the slimmed model."""
        found: list[Offer] = []
        for offer in task.instance.offers(self.lossy.base.model, self._context, task.known):
            found.append(offer)
            if task.bound.passed(offer.effects):
                break
            if len(found) >= task.count:
                return Offers(tuple(found), complete=False)
        return Offers(tuple(found), complete=True)

    @cached_property
    def _context(self) -> Context:
        lossy, parts = self.lossy, self.parts
        selection = parts.selection if len(parts.selection) else None
        base = lossy.base.model
        return Context(lossy.task.config, parts.calibration, selection, lossy.statistics, original=base)

    def answer(self, task: OfferTask | Sequence[Pass]) -> Offers | TrialResult:
        """Whatever is asked for."""
        return self.offers(task) if isinstance(task, OfferTask) else self.build(task)

    def build(self, passes: Sequence[Pass]) -> TrialResult:
        """Runs passes on the slimmed model, and measures what comes of it."""
        started = time.perf_counter()
        store = Store()
        try:
            outcome, _ = self.lossy.run(passes, store)
            encoded = weigh(outcome.model)
            data = b"" if encoded is None else encoded.join()
            if not data:
                return TrialResult(reason="it takes more than one file", seconds=time.perf_counter() - started)
            db = min(each.check(outcome.model).worst_sqnr for each in self.references)
            drop = None if self.metric is None else self._drop(self.metric, outcome.model)
        except (CannotRun, CheckFailed) as error:
            return TrialResult(reason=str(error), seconds=time.perf_counter() - started)
        return TrialResult(
            data,
            plans_to_bytes(store.plans()),
            db,
            None if drop is None else drop.value,
            None if drop is None else drop.bound,
            seconds=time.perf_counter() - started,
        )


_benches: dict[bytes, TrialBench] = {}
"""Of this process: the last one is kept, so that samples are read and the slimmed model is run once."""


def run_trial(setting: TrialSetting, task: OfferTask | Sequence[Pass]) -> Offers | TrialResult:
    """Makes offers, or builds and measures a trial, in whatever process this is."""
    with operators_from(setting.config.custom_op_library):
        if setting.model not in _benches:
            _benches.clear()
            _benches[setting.model] = _bench_of(setting)
        return _benches[setting.model].answer(task)


def _bench_of(setting: TrialSetting) -> TrialBench:
    task = open_task(verb_named("compress"), setting.model, None, setting.passes, setting.config)
    base = Candidate(model=task.source.model, halves=setting.halves)
    return TrialBench(Lossy(task, base, ()))


def shared_config(config: RunConfig, metric: str) -> RunConfig:
    """The configuration as other processes are given it: what only this one can say or see is left out."""
    quiet = RunConfig()
    return replace(
        config,
        metric=metric or None,
        progress=quiet.progress,
        watch=quiet.watch,
        plan=None,
        report=None,
        stats=(),
        prepare=None,
        recipe_path=None,
    )
