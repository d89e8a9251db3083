"""Several models timed against each other in this process: enough to rank candidates, not to claim a difference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from onnxslim.execution.feeds import Feed
from onnxslim.execution.opening import AnyModel
from onnxslim.execution.session import open_session

MIN_ROUNDS = 5


def rank_latency(
    models: Sequence[AnyModel],
    feeds: Sequence[Feed],
    *,
    seconds: float = 2.0,
    threads: int = 1,
    config: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[float]:
    """The time of each model as a multiple of the first one's.

    Rounds run every model once on one feed, in random order; what counts is the median over the rounds of the ratio
    within a round, so that a machine that is busy for a while slows both sides.

    Args:
        models: The one compared with, then the others.
        feeds: Inputs that all accept; rounds take them in turn.
        seconds: Time spent in rounds; at least five rounds are made.
        threads: Threads within an operator.
        config: Session config entries.
        seed: Of the orders.

    Raises:
        InputError: A model does not load, or a feed does not fit.
    """
    sessions = [open_session(model, threads=threads, config=config) for model in models]
    clock = time.thread_time if threads == 1 else time.perf_counter
    generator = np.random.default_rng(seed)
    for session in sessions:
        session.run(feeds[0])
    rounds: list[list[float]] = []
    ends = time.perf_counter() + seconds
    while len(rounds) < MIN_ROUNDS or time.perf_counter() < ends:
        feed = feeds[len(rounds) % len(feeds)]
        times = [0.0] * len(sessions)
        for place in generator.permutation(len(sessions)).tolist():
            started = clock()
            sessions[place].run(feed)
            times[place] = clock() - started
        rounds.append(times)
    logs = np.log(np.maximum(rounds, 1e-9))
    ratios: list[float] = np.exp(np.median(logs - logs[:, :1], axis=0)).tolist()
    return ratios
