"""Measures candidates of one model on samples that nothing was chosen by."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from onnxslim import evaluation, execution
from onnxslim.analysis import infer_shapes, model_cost
from onnxslim.analysis.cost import bound
from onnxslim.errors import InputError
from onnxslim.evaluation.baseline import evidence
from onnxslim.evaluation.measurement import Constraints, Measurement, Rejection, hold_to
from onnxslim.evaluation.scoring import score_of
from onnxslim.evaluation.tier import Tier
from onnxslim.samples import Split, feeds_of, split, typical
from onnxslim.samples.feeds import HELD_OUT, TIMED, within_seconds

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.execution import Feed, Latency
    from onnxslim.samples import Metric, Samples

MAIN_PROCESSES, MAIN_SECONDS = 10, 4.0
"""Of the latency on the threads asked for."""
WARM_UP = 0.25
"""Seconds that one run of every feed may take."""
OTHER_PROCESSES, OTHER_SECONDS = 5, 1.0
"""Of the latency on all CPUs, which is only there to find what is slower."""


@dataclass(eq=False)
class Evaluator:
    """Owns the samples of a run and their split, and measures what comes of the original.

    Attributes:
        original: The model that candidates stand for.
        samples: All of them; None where there are none.
        metric: The user's score, as a function.
        threads: Threads of the sessions.
        memory: Bytes of samples and outputs that may be held.
        verify: Whether outputs are compared.
        bench: Whether the latency is measured.
        progress: Called with a short text before a long step.
    """

    original: ir.Model
    samples: Samples | None = None
    metric: Metric | None = None
    threads: int = 1
    memory: int = 1 << 30
    verify: bool = True
    bench: bool = True
    progress: Callable[[str], None] = lambda _: None
    _score: float | None = field(default=None, init=False)
    """Of the original, on the report part."""

    @cached_property
    def parts(self) -> Split | None:
        """The split of the samples.

        Raises:
            InputError: There are none, or two have the same id.
        """
        return None if self.samples is None else split(self.samples)

    @cached_property
    def feeds(self) -> list[Feed]:
        """The held-out inputs that outputs are compared on, and the latency is measured with."""
        return [] if self.parts is None else feeds_of(self.parts.report, HELD_OUT)

    @cached_property
    def _reference(self) -> evaluation.Reference:
        return evaluation.Reference(
            self.original, self.feeds, tier=Tier.LOSSY, threads=self.threads, evidence="samples"
        )

    def baseline(self, *, labelled: bool, max_drop: float | None) -> list[str]:
        """What is wrong with the original on the samples, as texts; its score is known from then on.

        Args:
            labelled: Whether the metric counts hits among labels.
            max_drop: What may be lost of the score; None where that is not bounded.

        Raises:
            InputError: A drop of its score is bounded, and would mean nothing.
        """
        if self.parts is None:
            return []
        self.progress("run the original")
        score, found = evidence(
            self.original,
            self.parts,
            self.metric,
            labelled=labelled,
            threads=self.threads,
            memory=self.memory // 4,
        )
        fatal = [each for each in found if each.fatal]
        if fatal and max_drop is not None:
            raise InputError(fatal[0].what, mend=f"{fatal[0].mend}; without max_drop this is a warning")
        if score is not None and math.isinf(score) and max_drop is not None:
            raise InputError(
                f"the original scores {score}, so a drop from it means nothing",
                mend="give min_sqnr instead of max_drop, or another metric",
            )
        self._score = score
        return list(map(str, found))

    def scores(self, model: ir.Model) -> dict[str, float]:
        """The metric of the original and of a candidate on the report part; empty where there is none."""
        if self._score is None or self.metric is None or self.parts is None:
            return {}
        return {"input": self._score, "output": score_of(self.metric, model, self.parts.report, threads=self.threads)}

    def measure(self, model: ir.Model, size: int | None, limits: Constraints) -> tuple[Measurement, Rejection | None]:
        """Measures size, outputs and score in this order, until one of them rejects the candidate.

        Args:
            model: The candidate.
            size: Bytes of its file, where it has been weighed.
            limits: What it must keep.
        """
        found = Measurement(bytes=size)
        rejection = limits.reject(found)
        if rejection is None and self.verify and self.feeds:
            self.progress(f"compare outputs on {len(self.feeds)} held-out samples")
            found = replace(found, parity=hold_to(self._reference.check(model), limits.min_sqnr))
            rejection = limits.reject(found)
        if rejection is None:
            found = replace(found, scores=self.scores(model))
            rejection = limits.reject(found)
        return found, rejection

    def time(self, model: ir.Model, found: Measurement, limits: Constraints) -> tuple[Measurement, Rejection | None]:
        """Adds the latency on the threads asked for and on all CPUs, until one of them rejects the candidate."""
        feeds: Sequence[Feed] = typical(self.feeds, TIMED) if self.feeds else []
        rejection = limits.reject(found)
        if rejection is not None or not self.bench or not feeds:
            return found, rejection
        self.progress("measure the latency")
        feeds = within_seconds(model, feeds, WARM_UP, threads=self.threads)
        for threads in sorted({self.threads, os.cpu_count() or 1}):
            latency = self._latency(model, feeds, threads)
            found = replace(found, latency=latency) if threads == self.threads else replace(found, parallel=latency)
            rejection = limits.reject(found)
            if rejection is not None:
                break
        return found, rejection

    def _latency(self, model: ir.Model, feeds: Sequence[Feed], threads: int) -> Latency:
        main = threads == self.threads
        return execution.compare_latency(
            self.original,
            model,
            feeds,
            threads=threads,
            processes=MAIN_PROCESSES if main else OTHER_PROCESSES,
            seconds=MAIN_SECONDS if main else OTHER_SECONDS,
            progress=self.progress,
        )

    def macs(self, model: ir.Model) -> int | None:
        """Multiply-accumulates of a run on the first sample that is as full as any; None where they are unknown."""
        if self.samples is None:
            return None
        (feed,) = typical(feeds_of(self.samples, TIMED))
        facts = infer_shapes(model)
        return model_cost(
            model, facts, bound(model, facts, {name: np.shape(each) for name, each in feed.items()})
        ).total.macs
