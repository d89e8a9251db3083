"""The samples that weights are fitted on, as long as they fit into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from onnxslim.calibration import Sample
from onnxslim.runtime import Feed

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
