"""The samples that weights are fitted on, as long as they fit into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from onnxslim.execution import Feed
from onnxslim.samples.sample import Sample

FITTED = 256
"""Samples that layers are fitted on, at most."""


def first_feeds(samples: Iterable[Sample], count: int, memory: int) -> list[Feed]:
    """Inputs of at most so many samples and bytes, but of one at least."""
    found: list[Feed] = []
    for sample in itertools.islice(samples, count):
        memory -= sum(np.asarray(array).nbytes for array in sample.feed.values())
        if found and memory < 0:
            break
        found.append(sample.feed)
    return found


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
