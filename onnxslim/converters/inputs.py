"""Inputs to compare a framework with its ONNX file on: samples, else an example and what resembles it, at any size."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from onnxslim.errors import InputError
from onnxslim.execution import Feed, Port

SIZES = (1, 2, 5)
"""That each axis of changing size is tried at."""
MADE_UP = re.compile(r"unk__\d+|DynamicDimension\.\d+")
"""Names that tf2onnx and Paddle2ONNX give to sizes that have none."""
ROWS = 8
"""From which on a matrix is a table of samples."""
COUNT = 3
"""Feeds that are made of an example, itself included."""

Axes = dict[str, dict[int, str]]
"""Name of an input -> axis -> name of its size."""


def parse_axes(texts: Iterable[str]) -> Axes:
    """``x:0=batch`` for each axis whose size may change.

    >>> parse_axes(["x:0=batch", "x:2=width", "mask:0=batch"])
    {'x': {0: 'batch', 2: 'width'}, 'mask': {0: 'batch'}}

    Raises:
        InputError: One of them has another form.
    """
    found: Axes = {}
    for text in texts:
        name, colon, rest = text.rpartition(":")
        axis, equals, size = rest.partition("=")
        if not (name and colon and equals and axis.strip().isdigit() and size.strip().isidentifier()):
            raise InputError(
                f"{text!r} names no axis", where="--dynamic", mend="write it as INPUT:AXIS=NAME, x:0=batch"
            )
        found.setdefault(name, {})[int(axis)] = size.strip()
    return found


def resembling(example: Feed, count: int = COUNT, seed: int = 0) -> list[Feed]:
    """An example and others like it: floats of its mean and deviation, whole numbers of its own in another order.

    Args:
        example: An array for each input.
        count: How many feeds.
        seed: Of the random numbers.
    """
    generator = np.random.default_rng(seed)
    return [dict(example), *({k: _like(v, generator) for k, v in example.items()} for _ in range(count - 1))]


def _like(value: object, generator: np.random.Generator) -> np.ndarray:
    array = np.asarray(value)
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if array.dtype.kind == "f" and known.size:
        if array.ndim == 2 and len(array) >= ROWS:  # columns of a table have scales of their own
            return np.asarray(generator.permuted(_shaken(array, generator), axis=0))
        centre, spread = float(np.mean(known, dtype=np.float64)), float(np.std(known, dtype=np.float64))
        return np.asarray(generator.normal(centre, spread or 1.0, array.shape)).astype(array.dtype)
    if array.dtype.kind in "OUS" and array.ndim > 1:  # words of one column are unknown in another
        return np.asarray(generator.permuted(array, axis=0))
    return np.asarray(generator.permutation(array.reshape(-1))).reshape(array.shape)


def _shaken(table: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A table whose numbers differ a little in every column; what is missing stays so."""
    finite = np.where(np.isfinite(table), table, np.nan).astype(np.float64)
    counts = np.maximum((~np.isnan(finite)).sum(0), 1)
    spread = np.sqrt(np.nansum(np.square(finite - np.nansum(finite, 0) / counts), 0) / counts)
    return np.asarray(table + generator.normal(0, 0.2, table.shape) * spread).astype(table.dtype)


def changing_axes(inputs: Sequence[Port]) -> Axes:
    """The axes of a model's inputs that have no fixed size; such without a name share one for each axis.

    A name that an exporter has made up is none: two inputs of one batch size would have two.
    """
    return {
        port.name: axes
        for port in inputs
        if (
            axes := {
                axis: size if isinstance(size, str) and size and not MADE_UP.fullmatch(size) else f"axis {axis}"
                for axis, size in enumerate(port.shape)
                if not isinstance(size, int)
            }
        )
    }


def resized(feed: Feed, axes: Mapping[str, Mapping[int, str]], name: str, size: int) -> Feed:
    """A feed in which every axis of a name has a size: entries are left out, or repeated from the first on."""
    found = dict(feed)
    for key, own in axes.items():
        for axis, label in own.items():
            if label == name:
                array = np.asarray(found[key])
                found[key] = np.take(array, np.arange(size) % max(array.shape[axis], 1), axis=axis)
    return found


def sizes_to_try(feed: Feed, axes: Mapping[str, Mapping[int, str]]) -> Iterator[tuple[str, Feed]]:
    """For each named size three feeds, with what was changed in words."""
    names = dict.fromkeys(itertools.chain.from_iterable(own.values() for own in axes.values()))
    for name in names:
        for size in SIZES:
            yield f"{name}={size}", resized(feed, axes, name, size)
