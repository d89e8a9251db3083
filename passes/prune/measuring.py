"""What is measured of a state before more channels leave it: rankings, costs, scores, and what errors are worth."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.channels import Group
from onnxslim.calibration import Request
from onnxslim.evaluation import OutputNoise
from onnxslim.execution import rank_latency
from onnxslim.pipeline import Context
from onnxslim.samples import typical
from onnxslim.samples.feeds import PROBED

from .budget import Costs, macs_of, times_of
from .building import Builder
from .importance import Criterion, Ranking, rank_channels, share_of_work
from .measured import Measured
from .reads import Moments, Read, reads_of
from .state import State

SCORING = 120.0
"""Seconds that scores of single groups may take in a stage; the groups after that are chosen by noise alone."""
STEERED = 4.0
"""The score makes a group this much dearer or cheaper, at most."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What is known of a state."""

    rankings: Mapping[str, Ranking]
    moments: Mapping[Request, Moments]
    weights: Mapping[str, float]
    """Key of a group -> what the error that its ranking tells is worth at the outputs."""
    costs: Costs


class Measurer:
    """Measures states.

    Args:
        builder: Has the original and the samples, and builds the probes.
        context: Samples, and what may be measured.
        criterion: See `rank_channels`.
        timed: Whether costs are time, where times may be measured.
    """

    def __init__(self, builder: Builder, context: Context, criterion: Criterion, *, timed: bool) -> None:
        self._builder, self._context, self._criterion, self._timed = builder, context, criterion, timed

    def measure(self, state: State) -> Measurements:
        """What the next stage is chosen by."""
        groups = groups_of(state)
        rankings, moments = self.ranked(state, groups)
        return Measurements(rankings, moments, self._sensitivities(state, groups, rankings, moments), self.costs(state))

    def costs(self, state: State) -> Costs:
        """Of each channel, in time or in multiply-accumulates."""
        if self._timed and self._context.bench:
            return times_of(state.model, state.channels, typical(self._builder.feeds, 2), self._context.threads)
        return macs_of(state.model, state.channels, typical(self._builder.feeds)[0])

    def time(self, model: ir.Model) -> float:
        """Of a model, as a share of the time of the original."""
        return rank_latency(
            [self._builder.model, model], typical(self._builder.feeds, 4), seconds=2.0, threads=self._context.threads
        )[1]

    def score(self, state: State) -> float:
        """What the metric says."""
        return self._context.score(state.model)

    @property
    def scored(self) -> bool:
        """Whether there is a metric, and samples for it."""
        return self._context.metric is not None and self._context.selection is not None

    def ranked(
        self, state: State, groups: Sequence[Group], counts: Mapping[str, int] | None = None
    ) -> tuple[dict[str, Ranking], Mapping[Request, Moments]]:
        """The order in which channels go, at least of so many of each group, and what it was told by."""
        reads, context = reads_of(state.channels), self._context
        moments = self.moments(state, reads)
        work, rankings = share_of_work(groups, state.channels, reads), {}
        for number, group in enumerate(groups, 1):
            context.progress(f"rank the channels of group {number} of {len(groups)}")
            count = None if counts is None else counts[group.key]
            memory = context.memory - moments.nbytes
            ranking = rank_channels(
                group, state.channels, reads, moments, self._criterion, count=count, work=work, memory=memory
            )
            if ranking.short and state.model is self._builder.model:
                context.decline("rank", group.key, f"{len(group)} channels: too many to rank all of them greedily")
            rankings[group.key] = ranking
        return rankings, moments

    def moments(self, state: State, reads: Sequence[Read]) -> Measured:
        """Of what is read, measured on the samples."""
        context = self._context
        assert context.samples is not None
        found = Measured(
            state.model,
            context.samples,
            list(dict.fromkeys(read.request for read in reads)),
            memory=context.memory,
            threads=context.threads,
            progress=context.progress,
        )
        if state.model is self._builder.model:
            for request, reason in found.declined.items():
                context.decline("measure", request.value, reason)
        return found

    def _sensitivities(
        self,
        state: State,
        groups: Sequence[Group],
        rankings: Mapping[str, Ranking],
        moments: Mapping[Request, Moments],
    ) -> dict[str, float]:
        """Key -> error at the outputs for each unit of the error that a ranking predicts.

        Measured with half of each group gone. With a metric, what the score loses counts too.
        """
        noise = OutputNoise(
            state.model, self._builder.judging[:PROBED], self._context.threads, self._context.memory // 4
        )
        noises, predicted, drops = {}, {}, {}
        before: float | None = None
        ends = time.perf_counter() + SCORING
        for count, group in enumerate(groups):
            self._context.progress(f"measure group {count + 1} of {len(groups)}")
            ranking, half = rankings[group.key], max(1, len(group) // 2)
            probe = self._builder.without(state, {group.key: np.sort(ranking.order[:half]).tolist()}, moments)
            predicted[group.key] = max(float(ranking.errors[half]), 1e-12)
            noises[group.key] = noise(probe.model)
            if self.scored and time.perf_counter() < ends:
                before = self.score(state) if before is None else before
                drops[group.key] = before - self.score(probe)
        steered = steer(noises, drops, self._resolution) if drops else noises
        return {key: steered[key] / predicted[key] for key in noises}

    @property
    def _resolution(self) -> float:
        """A drop of the score that may be chance."""
        return max(self._context.max_drop, 1 / max(sum(1 for _ in self._context.selection or ()), 1))


def groups_of(state: State) -> list[Group]:
    """The groups that may lose more: two may have become one, and what is no longer what it was stays."""
    return [
        group
        for group in state.channels.groups
        if group.key in state.alive and len(group) == len(state.alive[group.key])
    ]


def steer(noises: Mapping[str, float], drops: Mapping[str, float], chance: float) -> dict[str, float]:
    """Noise of each group's probe, corrected by what the score lost.

    Scores of few samples move in steps, so a drop counts only as far as it exceeds chance: both sides of the ratio of
    the drop to the one that the noise predicts take ``chance`` on top, and the ratio stays within `STEERED`.

    Args:
        noises: Key -> noise at the outputs.
        drops: Key -> what the score lost, of those that were scored.
        chance: A drop that means nothing.

    >>> steer({"a": 0.1, "b": 0.1}, {"a": 0.2, "b": 0.0}, 0.01)
    {'a': 0.19, 'b': 0.025}
    """
    lost = {key: max(drop, 0.0) for key, drop in drops.items() if math.isfinite(drop)}
    whole = sum(noises[key] for key in lost)
    rate = sum(lost.values()) / whole if whole > 0 else 0.0
    found = dict(noises)
    for key, drop in lost.items():
        factor = (drop + chance) / (rate * noises[key] + chance)
        found[key] = noises[key] * min(max(factor, 1 / STEERED), STEERED)
    return found
