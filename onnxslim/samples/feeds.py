"""Inputs taken from samples: how many of them each purpose sees, and how much memory they may take.

Every cap on samples stands here. Which part of the samples is seen is said by the split (`onnxslim.samples.splits`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.execution import Feed, open_session
from onnxslim.samples.sample import Sample

COMPARED = 4
"""Samples that outputs are compared on where floats are only reordered or converted: a fault shows on the first, or
hardly ever."""
HELD_OUT = 64
"""Held-out samples that the outputs of a lossy result are compared on."""
TIMED = 8
"""Samples that latencies are measured with, of those that are as full as any."""
LENGTHS = 32
"""Samples that the lengths of outputs are compared on."""
FITTED = 256
"""Samples that weights are fitted on."""
FOLD = 4
"""One in so many of these is not fitted, and validates."""
LEAST_FITTED = 8
"""Samples below which nothing is fitted."""
PROBED = 8
"""Samples that the effect of one weight, one tensor or one group on the outputs is measured with."""
JUDGED = 16
"""Samples that whole candidates of a quick choice are compared on."""
PROFILED = 2
"""Samples that nodes are profiled with."""


def is_validation(place: int) -> bool:
    """Whether the sample at a place validates a fit, and is not fitted.

    >>> [place for place in range(9) if is_validation(place)]
    [3, 7]
    """
    return place % FOLD == FOLD - 1


def first_of(samples: Iterable[Sample], count: int) -> list[Sample]:
    """The first samples, at most so many."""
    return list(itertools.islice(samples, count))


def feeds_of(samples: Iterable[Sample], count: int, memory: int | None = None) -> list[Feed]:
    """Inputs of the first samples: at most so many, and so many bytes, but of one at least.

    Args:
        samples: Read from the start.
        count: How many, at most.
        memory: Bytes that the inputs may take; None means any.
    """
    found: list[Feed] = []
    for sample in itertools.islice(samples, count):
        if memory is not None:
            memory -= sum(np.asarray(array).nbytes for array in sample.feed.values())
            if found and memory < 0:
                break
        found.append(sample.feed)
    return found


def within_seconds(
    model: ir.Model, feeds: Sequence[Feed], seconds: float, *, threads: int, least: int = 1
) -> Sequence[Feed]:
    """As many of the first inputs as a model takes so many seconds for, by the time of its second run.

    Args:
        model: That is run twice, unless there are no more than ``least`` inputs.
        feeds: To choose from.
        seconds: For all of them.
        threads: Of the session.
        least: So many in any case.
    """
    if len(feeds) <= least:
        return feeds
    session = open_session(model, threads=threads)
    session.run(feeds[0])
    started = time.perf_counter()
    session.run(feeds[0])
    return feeds[: max(least, int(seconds / max(time.perf_counter() - started, 1e-6)))]


def typical(feeds: Sequence[Feed], count: int = 1) -> list[Feed]:
    """The first inputs that are as full as any: what a model costs, and whether it is right, shows on no empty sample.

    An input with an axis of size 0 counts as empty only where other samples have more: the cache of a decoder may be
    empty in all of them.

    Args:
        feeds: One at least.
        count: How many, at most.
    """
    full = [sum(not isinstance(each, np.ndarray) or each.size > 0 for each in feed.values()) for feed in feeds]
    return [feed for feed, inputs in zip(feeds, full, strict=True) if inputs == max(full)][:count]
