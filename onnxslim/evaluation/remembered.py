"""A run that is asked for the same outputs again and again, and computes them once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.execution.feeds import Feed, Outputs, Run
from onnxslim.samples.identity import content_hash
from onnxslim.samples.sample import Sample

ENTRY = 64
"""Bytes that an element counts which is no number: a text, an entry of a map."""


class Remembered:
    """A run whose outputs are kept by the content of the feed, up to so many bytes; the rest is run again.

    What comes first is kept, and never dropped: samples are read in the same order each time, and the oldest entry
    would always be the next one that is needed.

    Args:
        run: Runs a model. It must give the same outputs for the same feed.
        memory: Bytes of outputs that may be kept.
        held: Samples that live as long as this: their feeds are told apart without a look at their content.
    """

    def __init__(self, run: Run, memory: int, held: Sequence[Sample] = ()) -> None:
        self._run, self._left, self._held = run, memory, held
        self._places = {id(sample.feed): place for place, sample in enumerate(held)}
        self._known: dict[int | bytes, Outputs] = {}

    def __call__(self, feed: Feed) -> Outputs:
        """Outputs of the feed, which the caller may change."""
        key = self._key(feed)
        if key is None:
            return self._run(feed)
        if key in self._known:
            return copied(self._known[key])
        outputs = self._run(feed)
        size = sum(map(_bytes_of, outputs.values()))
        if size <= self._left:
            self._left -= size
            self._known[key] = copied(outputs)
        return outputs

    def _key(self, feed: Feed) -> int | bytes | None:
        place = self._places.get(id(feed))
        if place is not None:
            return place
        if not all(isinstance(each, np.ndarray | np.generic) for each in feed.values()):
            return None  # a sequence or an absent optional
        return content_hash(Sample("", feed))


def copied(outputs: Mapping[str, Any]) -> Outputs:
    """Outputs of their own: whoever asks may change what it is given."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else copy.deepcopy(value) for name, value in outputs.items()
    }


def feed_bytes(feed: Feed) -> int:
    """Bytes that the arrays of a feed take."""
    return sum(map(_bytes_of, feed.values()))


def _bytes_of(value: Any) -> int:
    if isinstance(value, np.ndarray | np.generic):
        return value.size * ENTRY if value.dtype.hasobject else value.nbytes
    if isinstance(value, Mapping):
        return ENTRY * len(value)
    if isinstance(value, list | tuple):
        return sum(map(_bytes_of, value))
    return ENTRY
