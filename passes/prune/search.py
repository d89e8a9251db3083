"""Which channels go, in stages: each removes a little of where it costs least, refits, and measures anew.

What is removed at once is chosen by how the model is before; what the others can make up for is known only once they
have. So a large budget is met in stages, each of which ranks, measures and refits the model that the last one left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.channels import Group, find_channels
from onnxslim.evaluation import Lengths
from onnxslim.pipeline import Context
from onnxslim.samples import feeds_of, is_validation, typical
from onnxslim.samples.feeds import FITTED, FOLD

from .apply import Removal
from .budget import Costs, cheapest, uniform
from .building import Builder
from .importance import Criterion, Ranking
from .measuring import Measurements, Measurer, groups_of
from .oracle import Oracle
from .reads import reads_of
from .state import Found, State, thinned

RATIO = 0.3
"""Share of the channels that goes where nothing else is asked for."""
STAGE = 0.6
"""Share of the costs that a stage leaves, at least."""
FINEST = 0.85
"""The same of the last stages, which the score allows."""
STAGES = 16


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
        self.feeds = feeds_of(context.samples, FITTED, context.memory // 4)
        chosen = feeds_of(context.selection or (), FITTED // FOLD, context.memory // 8)
        self.judging = chosen or [feed for place, feed in enumerate(self.feeds) if is_validation(place)] or self.feeds
        self.channels = find_channels(model)
        self.builder = Builder(model, self.channels, self.feeds, self.judging, context, refitting)
        self.measurer = Measurer(self.builder, context, criterion, timed=bool(budget.speedup))

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
        state = self.builder.start(self.keys)
        budget, scored = self.budget, self.measurer.scored
        if budget.macs or budget.speedup or (scored and budget.ratio is None):
            states = self._staged(state)
        else:
            states = [self._uniform(state)]
        *before, last = map(self.builder.found, states)
        oracle = Oracle(self.model, typical(self.feeds, 2), self.context)
        removal = self.builder.removal(states[-1])
        sound = oracle.sound(removal)
        if sound != removal:
            return self.only(sound)
        return replace(last, earlier=tuple(each for each in before if oracle.agrees(each.removal)))

    def only(self, removal: Removal) -> Found:
        """The same for a removal that is given."""
        if not removal:
            return Found({}, {})
        start = self.builder.start(self.keys)
        moments = self.measurer.moments(start, reads_of(start.channels))
        fitted = self.builder.fitted(self.builder.without(start, removal, moments))
        return Found(dict(removal), self.builder.changed(fitted))

    def _uniform(self, state: State) -> State:
        ratio = RATIO if self.budget.ratio is None else self.budget.ratio
        groups = groups_of(state)
        counts = uniform(groups, ratio, self.budget.round_to, self.budget.least)
        rankings, moments = self.measurer.ranked(state, groups, counts)
        return self.builder.fitted(self.builder.without(state, _chosen(counts, rankings), moments))

    def _staged(self, state: State) -> list[State]:
        """Stage after stage until the budget is met or, without one, as long as the score holds.

        A stage that costs too much of the score is taken back, and smaller ones are tried from there. Those that were
        kept are returned, as far as there is memory for them; where there are none, the state itself.
        """
        kept = [state]
        whole, step = self.measurer.costs(state).total, STAGE
        least = None if self._unit else self.measurer.score(state) - self.context.max_drop
        measured: Measurements | None = None
        for stage in range(STAGES):
            left = self.measurer.costs(state).total / max(whole, 1e-9)
            wanted = self._next(state, left, step)
            if wanted is None:
                break
            self.context.progress(f"stage {stage + 1}: {left:.0%} of the {self._unit or 'MACs'} are left")
            measured = measured or self.measurer.measure(state)
            after = self._step(state, measured, wanted)
            if after is None:
                if self._unit:
                    reason = f"{left:.1%} of the {self._unit} are left, and no group has more channels to give"
                    self.context.decline("prune", "the budget is not reached", reason)
                break
            if least is None or self.measurer.score(after) >= least:
                state, measured = after, None
                kept.append(State(state.model, state.alive))  # without its channels, which are large
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

    def _next(self, state: State, left: float, step: float) -> float | None:
        """The share of the costs of now that the next stage leaves; None where there is nothing more to do."""
        if self.budget.macs:
            return None if left <= self.budget.macs * 1.01 else max(STAGE, self.budget.macs / left)
        if self.budget.speedup:
            time = 1.0 if state.model is self.model else self.measurer.time(state.model)
            return None if time * self.budget.speedup <= 1 else max(STAGE, 1 / (time * self.budget.speedup)) - 0.01
        return step

    @np.errstate(over="ignore", invalid="ignore")  # where squares of what is finite are not, nothing is fitted to them
    def stage(self, state: State, costs: Costs, share: float) -> State | None:
        """The state after a stage that leaves a share of some costs; None where no group can give more."""
        return self._step(state, replace(self.measurer.measure(state), costs=costs), share)

    def _step(self, state: State, found: Measurements, share: float) -> State | None:
        """The same for what was measured of a state."""
        counts = cheapest(
            groups_of(state),
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
        return self.builder.fitted(self.builder.without(state, _chosen(counts, found.rankings), found.moments))


def _decides(group: Group, lengths: Lengths) -> bool:
    nodes = (site.value.producer() for site in group.activations)
    return any(node is not None and lengths.decides(node) for node in nodes)


def _chosen(counts: Mapping[str, int], rankings: Mapping[str, Ranking]) -> dict[str, list[int]]:
    return {key: np.sort(rankings[key].order[:count]).tolist() for key, count in counts.items() if count}
