"""Ever fewer channels, as choices of a search across passes: each level goes on from the one before.

What a level costs at the outputs is measured, not predicted: a model without channels is there anyhow. Its channels go
where they cost least for the work *and* the bytes that they save together; whoever searches wants either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation import Lengths, Reference, Tier
from onnxslim.execution import rank_latency
from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline import Context, Effects
from onnxslim.samples import typical

from .apply import constants_of
from .budget import Costs, macs_of, sizes_of
from .oracle import Oracle
from .search import Search
from .state import Found, State

SHARES = (0.88, 0.76, 0.66, 0.57, 0.49, 0.42, 0.36, 0.3, 0.25, 0.2, 0.16, 0.12)
"""Of the work and the bytes together that are left at each level."""
NEAR = 1.03
"""A level is left out where the one before came so near to it already."""
SECONDS = 1.0
"""That the time of a level is measured for."""


@dataclass(frozen=True, slots=True)
class Level:
    """A model with fewer channels.

    Attributes:
        found: What goes.
        macs: Share of the multiply-accumulates that is left.
        weights: Share of the bytes of weights that is left.
        effects: Of it.
    """

    found: Found
    macs: float
    weights: float
    effects: Effects


def levels(search: Search, context: Context, last: Found | None = None) -> Iterator[Level]:
    """Levels of one search, the mildest first.

    A level whose channels the oracle does not vouch for, or that changes a length of an output that values decide, is
    the end: what comes after it would remove them, too.

    Args:
        search: Without a budget of its own.
        context: Of the pass, with samples to choose by.
        last: The level behind which to go on; None for all of them.
    """
    original = search.model
    feed = typical(search.feeds)[0]
    lengths = Lengths(original, (context.samples, context.selection), context.threads)
    oracle = Oracle(original, typical(search.feeds, 2), context)
    reference = Reference(original, search.judging, tier=Tier.LOSSY, threads=context.threads)
    start = search.builder.start(search.keys)
    state = start if last is None else _state(start, last)
    score = context.score(original) if context.metric is not None else 0.0

    def costs(of: State) -> tuple[Costs, Costs]:
        return macs_of(of.model, of.channels, feed), sizes_of(of.model, of.channels)

    def left_of(of: State) -> list[float]:
        return [each.total / total for each, total in zip(costs(of), whole, strict=True)]

    whole = [max(each.total, 1e-9) for each in costs(start)]
    left = sum(left_of(state)) / 2
    for share in SHARES:
        if left <= NEAR * share:
            continue
        context.progress(f"prune to {share:.0%} of the work and the weights")
        macs, weights = costs(state)
        both = Costs.joined((macs, 1 / whole[0]), (weights, 1 / whole[1]))
        after = search.stage(state, both, share / left)
        if after is None:
            return
        state = State(after.model, after.alive)  # without its channels, which are large
        shares = left_of(state)
        left = sum(shares) / 2
        found = search.builder.found(state)
        if not oracle.agrees(found.removal) or lengths.change(state.model):
            context.decline("prune", "model", f"at {share:.0%} of the work the model would not compute what it should")
            return
        effects = _effects(original, state.model, reference, context, shares[0], score)
        yield Level(found, shares[0], shares[1], effects)


def _state(start: State, found: Found) -> State:
    """What a level is as a state of the search that it came from."""
    alive = {
        key: np.delete(places, np.asarray(found.removal.get(key, ()), np.int64)) for key, places in start.alive.items()
    }
    return State(found.applied(start.model), alive)


def _effects(
    original: ir.Model, model: ir.Model, reference: Reference, context: Context, macs: float, score: float
) -> Effects:
    drop = score - context.score(model) if context.metric is not None else 0.0
    time = macs
    if context.bench:
        time = rank_latency([original, model], reference.feeds[:4], seconds=SECONDS, threads=context.threads)[1]
    sizes = [sum(_sizes(each)) for each in (original, model)]
    return Effects(float(10 ** (-reference.check(model).worst_sqnr / 10)), drop, time, sizes[1] / max(sizes[0], 1))


def _sizes(model: ir.Model) -> Iterator[int]:
    return (tensor.nbytes for value in constants_of(model).values() if (tensor := constant_tensor(value)) is not None)
