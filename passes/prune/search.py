"""Which channels go, in stages: each removes a little of where it costs least, refits, and measures anew.

What is removed at once is chosen by how the model is before; what the others can make up for is known only once they
have. So a large budget is met in stages, each of which ranks, measures and refits the model that the last one left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, Group, find_channels
from onnxslim.calibration import Request
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import Lengths, OutputNoise
from onnxslim.execution import rank_latency
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of, is_validation, typical
from onnxslim.samples.feeds import FITTED, FOLD, LEAST_FITTED, PROBED

from .apply import Removal, constants_of, kept_ids, remove_channels
from .budget import Costs, cheapest, macs_of, times_of, uniform
from .importance import Criterion, Ranking, rank_channels, share_of_work
from .layers import layers_of
from .measured import Measured
from .mix import mix_channels
from .oracle import Oracle
from .reads import Moments, Read, reads_of
from .refit import refit

RATIO = 0.3
"""Share of the channels that goes where nothing else is asked for."""
STAGE = 0.6
"""Share of the costs that a stage leaves, at least."""
FINEST = 0.85
"""The same of the last stages, which the score allows."""
STAGES = 16
SCORING = 120.0
"""Seconds that scores of single groups may take in a stage; the groups after that are chosen by noise alone."""
STEERED = 4.0
"""The score makes a group this much dearer or cheaper, at most."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much goes: one of the first three; with none of them, what the metric allows, or `RATIO`.

    Attributes:
        ratio: Share of each group that goes.
        macs: Share of the multiply-accumulates that is left.
        speedup: Of the measured time.
        round_to: Channels stay a multiple of it.
        least: Channels that each group keeps.
    """

    ratio: float | None
    macs: float | None
    speedup: float | None
    round_to: int
    least: int


@dataclass
class _State:
    """A model on its way: the original's nodes, some channels less."""

    model: ir.Model
    alive: dict[str, npt.NDArray[np.int64]]
    """Key of a group -> the atoms of the original that are left."""

    @cached_property
    def channels(self) -> Channels:
        return find_channels(self.model)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is known of a state."""

    rankings: Mapping[str, Ranking]
    moments: Mapping[Request, Moments]
    weights: Mapping[str, float]
    """Key of a group -> what the error that its ranking tells is worth at the outputs."""
    costs: Costs


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        removal: Key of a group -> atoms that go.
        weights: Name -> numbers, of the constants that are not those of the original without these atoms.
        earlier: What the stages before came to, from the least; what they remove, this one removes too.
    """

    removal: Mapping[str, Sequence[int]]
    weights: Mapping[str, npt.NDArray[np.generic]]
    earlier: tuple[Found, ...] = ()

    def applied(self, model: ir.Model) -> ir.Model:
        """A model without the atoms."""
        result = model.clone()
        remove_channels(result, find_channels(result), self.removal)
        for name, value in constants_of(result).items():
            if name in self.weights:
                set_constant(value, self.weights[name])
        return result


class Search:
    """One run of the search.

    Args:
        model: The original; not changed.
        keys: Of the groups that may lose channels.
        context: Samples, and what may be measured.
        budget: How much goes.
        criterion: See `rank_channels`.
        refitting: Whether weights are refitted.
    """

    def __init__(
        self,
        model: ir.Model,
        keys: set[str],
        context: Context,
        budget: Budget,
        criterion: Criterion,
        refitting: bool,
    ) -> None:
        assert context.samples is not None
        self.model, self.keys, self.context, self.budget = model, keys, context, budget
        self.criterion, self.refitting = criterion, refitting
        self.feeds = feeds_of(context.samples, FITTED, context.memory // 4)
        chosen = feeds_of(context.selection or (), FITTED // FOLD, context.memory // 8)
        self.judging = chosen or [feed for place, feed in enumerate(self.feeds) if is_validation(place)] or self.feeds
        self.channels = find_channels(model)

    def run(self) -> Found:
        """What goes, and the weights of what stays; lengths of the outputs that values decide stay what they are."""
        context, before = self.context, len(self.context.declined)
        found = self._search()
        lengths = Lengths(self.model, (context.samples, context.selection), context.threads)
        deciding = [group.key for group in self.channels.groups if _decides(group, lengths)]
        if not any(key in found.removal for key in deciding):
            return found
        reason = lengths.change(found.applied(self.model))
        if not reason:
            return found
        del context.declined[before:]  # what was said of a search that does not count
        for key in deciding:
            context.decline("prune", key, f"its values decide a length: {reason}")
        self.keys = self.keys.difference(deciding)
        return self._search()

    def _search(self) -> Found:
        state = self._start()
        budget, scored = self.budget, self.context.metric is not None and self.context.selection is not None
        if budget.macs or budget.speedup or (scored and budget.ratio is None):
            states = self._staged(state)
        else:
            states = [self._uniform(state)]
        *before, last = map(self._found, states)
        oracle = Oracle(self.model, typical(self.feeds, 2), self.context)
        removal = self._removal(states[-1])
        sound = oracle.sound(removal)
        if sound != removal:
            return self.only(sound)
        return replace(last, earlier=tuple(each for each in before if oracle.agrees(each.removal)))

    def _found(self, state: _State) -> Found:
        return Found(self._removal(state), self._changed(state))

    def only(self, removal: Removal) -> Found:
        """The same for a removal that is given."""
        if not removal:
            return Found({}, {})
        start = self._start()
        moments = self._moments(start, reads_of(start.channels))
        return Found(dict(removal), self._changed(self._fitted(self._without(start, removal, moments))))

    def _changed(self, state: _State) -> dict[str, npt.NDArray[np.generic]]:
        """Name -> numbers of the constants that mixing and refitting changed."""
        plain = self.model.clone()
        remove_channels(plain, find_channels(plain), self._removal(state))
        before = constants_of(plain)
        changed = {}
        for name, value in constants_of(state.model).items():
            tensor, old = constant_tensor(value), constant_tensor(before.get(name))
            if tensor is not None and tensor is not old:
                changed[name] = tensor.numpy()
        return changed

    # -- stages ----------------------------------------------------------------------------------------------------

    def _start(self) -> _State:
        groups = (group for group in self.channels.groups if group.key in self.keys)
        return _State(self.model, {group.key: np.arange(len(group)) for group in groups})

    def _uniform(self, state: _State) -> _State:
        ratio = RATIO if self.budget.ratio is None else self.budget.ratio
        groups = self._groups(state)
        counts = uniform(groups, ratio, self.budget.round_to, self.budget.least)
        rankings, moments = self._ranked(state, groups, counts)
        return self._fitted(self._without(state, _chosen(counts, rankings), moments))

    def _staged(self, state: _State) -> list[_State]:
        """Stage after stage until the budget is met or, without one, as long as the score holds.

        A stage that costs too much of the score is taken back, and smaller ones are tried from there. Those that were
        kept are returned, as far as there is memory for them; where there are none, the state itself.
        """
        kept = [state]
        whole, step = self._costs(state).total, STAGE
        least = None if self._unit else self._score(state) - self.context.max_drop
        measured: _Measured | None = None
        for stage in range(STAGES):
            left = self._costs(state).total / max(whole, 1e-9)
            wanted = self._next(state, left, step)
            if wanted is None:
                break
            self.context.progress(f"stage {stage + 1}: {left:.0%} of the {self._unit or 'MACs'} are left")
            measured = measured or self._measure(state)
            after = self._step(state, measured, wanted)
            if after is None:
                if self._unit:
                    reason = f"{left:.1%} of the {self._unit} are left, and no group has more channels to give"
                    self.context.decline("prune", "the budget is not reached", reason)
                break
            if least is None or self._score(after) >= least:
                state, measured = after, None
                kept.append(_State(state.model, state.alive))  # without its channels, which are large
                kept = thinned(kept, self.context.memory // 4)
            elif step > FINEST:
                break
            else:
                step = (1 + step) / 2
        return kept[1:] or kept

    @property
    def _unit(self) -> str:
        """What the budget is in; empty where the score decides."""
        return "MACs" if self.budget.macs else "time" if self.budget.speedup else ""

    def _costs(self, state: _State) -> Costs:
        if self.budget.speedup and self.context.bench:
            return times_of(state.model, state.channels, typical(self.feeds, 2), self.context.threads)
        return macs_of(state.model, state.channels, typical(self.feeds)[0])

    def _next(self, state: _State, left: float, step: float) -> float | None:
        """The share of the costs of now that the next stage leaves; None where there is nothing more to do."""
        if self.budget.macs:
            return None if left <= self.budget.macs * 1.01 else max(STAGE, self.budget.macs / left)
        if self.budget.speedup:
            time = 1.0 if state.model is self.model else self._time(state.model)
            return None if time * self.budget.speedup <= 1 else max(STAGE, 1 / (time * self.budget.speedup)) - 0.01
        return step

    def _time(self, model: ir.Model) -> float:
        return rank_latency([self.model, model], typical(self.feeds, 4), seconds=2.0, threads=self.context.threads)[1]

    def _measure(self, state: _State) -> _Measured:
        """What the next stage is chosen by."""
        groups = self._groups(state)
        rankings, moments = self._ranked(state, groups)
        return _Measured(rankings, moments, self._sensitivities(state, groups, rankings, moments), self._costs(state))

    def _step(self, state: _State, found: _Measured, share: float) -> _State | None:
        """The state after a stage that leaves a share of the costs; None where no group can give more."""
        counts = cheapest(
            self._groups(state),
            found.rankings,
            found.weights,
            found.costs,
            state.channels,
            share,
            self.budget.round_to,
            self.budget.least,
        )
        if not any(counts.values()):
            return None
        return self._fitted(self._without(state, _chosen(counts, found.rankings), found.moments))

    # -- measuring -------------------------------------------------------------------------------------------------

    def _groups(self, state: _State) -> list[Group]:
        # Two groups may have become one: what is no longer what it was stays.
        return [
            group
            for group in state.channels.groups
            if group.key in state.alive and len(group) == len(state.alive[group.key])
        ]

    def _ranked(
        self, state: _State, groups: Sequence[Group], counts: Mapping[str, int] | None = None
    ) -> tuple[dict[str, Ranking], Mapping[Request, Moments]]:
        """The order in which channels go, at least of so many of each group, and what it was told by."""
        reads, context = reads_of(state.channels), self.context
        moments = self._moments(state, reads)
        work, rankings = share_of_work(groups, state.channels, reads), {}
        for number, group in enumerate(groups, 1):
            context.progress(f"rank the channels of group {number} of {len(groups)}")
            count = None if counts is None else counts[group.key]
            memory = context.memory - moments.nbytes
            ranking = rank_channels(
                group, state.channels, reads, moments, self.criterion, count=count, work=work, memory=memory
            )
            if ranking.short and state.model is self.model:
                context.decline("rank", group.key, f"{len(group)} channels: too many to rank all of them greedily")
            rankings[group.key] = ranking
        return rankings, moments

    def _moments(self, state: _State, reads: Sequence[Read]) -> Measured:
        context = self.context
        assert context.samples is not None
        found = Measured(
            state.model,
            context.samples,
            list(dict.fromkeys(read.request for read in reads)),
            memory=context.memory,
            threads=context.threads,
            progress=context.progress,
        )
        if state.model is self.model:
            for request, reason in found.declined.items():
                context.decline("measure", request.value, reason)
        return found

    def _sensitivities(
        self,
        state: _State,
        groups: Sequence[Group],
        rankings: Mapping[str, Ranking],
        moments: Mapping[Request, Moments],
    ) -> dict[str, float]:
        """Key -> error at the outputs for each unit of the error that a ranking predicts.

        Measured with half of each group gone. With a metric, what the score loses counts too.
        """
        noise = OutputNoise(state.model, self.judging[:PROBED], self.context.threads, self.context.memory // 4)
        noises, predicted, drops = {}, {}, {}
        before: float | None = None
        ends = time.perf_counter() + SCORING
        for count, group in enumerate(groups):
            self.context.progress(f"measure group {count + 1} of {len(groups)}")
            ranking, half = rankings[group.key], max(1, len(group) // 2)
            probe = self._without(state, {group.key: np.sort(ranking.order[:half]).tolist()}, moments)
            predicted[group.key] = max(float(ranking.errors[half]), 1e-12)
            noises[group.key] = noise(probe.model)
            if self._scored and time.perf_counter() < ends:
                before = self._score(state) if before is None else before
                drops[group.key] = before - self._score(probe)
        steered = steer(noises, drops, self._resolution) if drops else noises
        return {key: steered[key] / predicted[key] for key in noises}

    @property
    def _scored(self) -> bool:
        return self.context.metric is not None and self.context.selection is not None

    @property
    def _resolution(self) -> float:
        """A drop of the score that may be chance."""
        return max(self.context.max_drop, 1 / max(sum(1 for _ in self.context.selection or ()), 1))

    @cached_property
    def _distance(self) -> OutputNoise:
        return OutputNoise(self.model, self.judging, self.context.threads, self.context.memory // 4)

    def _score(self, state: _State) -> float:
        return self.context.score(state.model)

    # -- building --------------------------------------------------------------------------------------------------

    def _without(self, state: _State, removal: Removal, moments: Mapping[Request, Moments]) -> _State:
        """The state without some more atoms, counted in those that are left; what went is mixed into what stays."""
        model = state.model.clone()
        channels = find_channels(model)
        reads = reads_of(channels)
        mix_channels(reads, moments, kept_ids(channels, removal))
        remove_channels(model, channels, removal)
        alive = {
            key: np.delete(places, np.asarray(removal.get(key, ()), np.int64)) for key, places in state.alive.items()
        }
        return _State(model, alive)

    def _fitted(self, state: _State) -> _State:
        """The state with its weights refitted to the original, where that is better on samples not fitted."""
        layers = list(layers_of(self.model, self.channels, kept_ids(self.channels, self._removal(state))))
        if not self.refitting or not layers or len(self.feeds) < LEAST_FITTED:
            return state
        fitted = _State(state.model.clone(), state.alive)
        context = self.context
        try:
            refit(
                self.model,
                fitted.model,
                layers,
                self.feeds,
                memory=context.memory // 2,
                threads=context.threads,
                progress=context.progress,
            )
        except (InputError, CheckFailed) as error:
            context.decline("refit", "the model in pieces", str(error))
            return state
        return min((state, fitted), key=lambda each: self._distance(each.model))

    def _removal(self, state: _State) -> dict[str, list[int]]:
        """What is gone of the original."""
        removal = {}
        for group in self.channels.groups:
            if group.key in state.alive and len(state.alive[group.key]) < len(group):
                removal[group.key] = np.setdiff1d(np.arange(len(group)), state.alive[group.key]).tolist()
        return removal


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


def thinned(states: list[_State], memory: int) -> list[_State]:
    """The states, or fewer of them where their weights do not fit into the memory: never without the first and last."""
    sizes = [sum(tensor.nbytes for tensor in _tensors(state.model)) for state in states]
    while len(states) > 2 and sum(sizes[1:]) > memory:
        places = sorted({0, *range(len(states) - 1, 0, -2)})
        states, sizes = [states[i] for i in places], [sizes[i] for i in places]
    return states


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    return (tensor for value in constants_of(model).values() if (tensor := constant_tensor(value)) is not None)


def _decides(group: Group, lengths: Lengths) -> bool:
    nodes = (site.value.producer() for site in group.activations)
    return any(node is not None and lengths.decides(node) for node in nodes)


def _chosen(counts: Mapping[str, int], rankings: Mapping[str, Ranking]) -> dict[str, list[int]]:
    return {key: np.sort(rankings[key].order[:count]).tolist() for key, count in counts.items() if count}
