"""Which integers stand for the weights: the nearest, or those that keep the outputs on the calibration samples.

The sum over the samples of an output's squared error is ``(w - v) H (w - v)^T`` with the Gram matrix H of what the
contraction reads. `onnxslim.linalg.compensate` chooses the integers one column after another, each making up for the
errors of those before it (Frantar et al., GPTQ, ICLR 2023). With few samples, or features that hardly go together, that
fits the samples and nothing else: with half as many rows as features, drawn at random, outputs erred up to 2 dB more
than with the nearest integers. So one half of the samples judges what the other half suggests, and only the rows of the
weight for which it holds are rounded, by all samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Gram, Range, Request, collect_in_groups
from onnxslim.calibration.stream import WORKSPACE
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.linalg import Project, compensate, output_errors
from onnxslim.ops.contraction import Contraction, contraction_of, output_axis
from onnxslim.ops.unfold import Unfold
from onnxslim.pipeline import Context
from onnxslim.samples import Sample, Samples
from onnxslim.samples.sample import Indexed

from .grid import Grid, weight_grid
from .group import Int8Group

Key = tuple[str, int]
"""Name of a weight, and its axis of output channels."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight for which other integers than the nearest were found."""

    grid: Grid
    integers: np.ndarray
    gain: float
    """dB by which the error that rounding makes in the outputs is smaller, on samples that it was not chosen by."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """How weights become integers: to the nearest, but where better ones were found."""

    found: Mapping[Key, Rounded] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Key of a group -> why nothing was looked for."""

    def integers(self, node: ir.Node, array: np.ndarray, grid: Grid) -> np.ndarray:
        """The integers for ``array``, the weight that the contraction ``node`` reads: int8, the same shape.

        Channels whose scale is not what was reckoned with (a large bias raised it) are rounded to the nearest.
        """
        nearest = grid.quantize(array)
        rounded = self.found.get(key_of(node))
        if rounded is None:
            return nearest
        shape = [1] * array.ndim
        if grid.axis is not None:
            shape[grid.axis] = -1
        return np.where(np.reshape(grid.scale == rounded.grid.scale, shape), rounded.integers, nearest)

    def detail(self, group: Int8Group, *said: str) -> str:
        """``said`` in one line, and what the rounding brings for the group."""
        rounded = self.found.get(key_of(group.node)) if group.is_contraction else None
        gain = [] if rounded is None else [f"rounding errs {rounded.gain:.1f} dB less on unseen samples"]
        return ", ".join([*said, *gain])

    def explain(self, groups: Sequence[Int8Group], context: Context) -> None:
        """Puts on record whose weights are rounded to the nearest although more was asked for."""
        for group in groups:
            if group.key in self.reasons:
                context.decline("compensate", site(group.node), self.reasons[group.key])


NEAREST = Rounding()


def key_of(node: ir.Node) -> Key:
    """The key of the weight that a contraction reads."""
    weight = node.inputs[1]
    assert weight is not None
    return weight.name or "", output_axis(node)


def compensated(
    model: ir.Model, groups: Sequence[Int8Group], context: Context, *, bits: int, per_channel: bool
) -> Rounding:
    """Integers that make up for each other's errors on the calibration samples.

    Gram matrices are measured in as many readings of the samples as the memory budget wants, and are dropped once the
    weights are rounded by them. A weight that several contractions read is rounded for the sum of their
    errors, by one matrix.

    Args:
        model: With the groups' values; not changed.
        groups: Those without a weight are passed over.
        context: With samples; what was found is kept in its cache.
        bits: Of the weights, 7 or 8.
        per_channel: One weight scale per output channel, or one per tensor.
    """
    contractions = [group for group in groups if group.is_contraction]
    keys = tuple(group.key for group in contractions)
    find = partial(_compensated, model, contractions, context, bits, per_channel)
    return context.recall("rounding", model, find, keys, bits, per_channel)


def _compensated(
    model: ir.Model, contractions: Sequence[Int8Group], context: Context, bits: int, per_channel: bool
) -> Rounding:
    assert context.samples is not None
    readers: dict[Key, list[Int8Group]] = {}
    for group in contractions:
        readers.setdefault(key_of(group.node), []).append(group)
    weights = {key: _Weight(groups) for key, groups in readers.items()}
    requests = [request for weight in weights.values() for request in weight.requests]
    if requests and not any(True for _ in _Half(context.samples, 1)):
        return Rounding({}, dict.fromkeys((each.key for each in contractions), "one sample cannot tell what is better"))
    found: dict[Key, Rounded] = {}
    if requests:
        context.progress(f"measure what {len(weights)} weights multiply, and round them for it")
        for half, matrices in _measured(model, requests, context):
            for key, weight in weights.items():
                weight.take(half, matrices)
                rounded = weight.rounded(bits, per_channel)
                if rounded is not None:
                    found[key] = rounded
    return Rounding(
        found, {group.key: each.reason for each in weights.values() if each.reason for group in each.groups}
    )


@dataclass(frozen=True, slots=True)
class _Half:
    """Every second sample."""

    samples: Samples
    first: int

    def __iter__(self) -> Iterator[Sample]:
        if isinstance(self.samples, Indexed):  # the others are not even read
            return (self.samples[place] for place in range(self.first, len(self.samples), 2))
        return itertools.islice(self.samples, self.first, None, 2)


def _measured(
    model: ir.Model, requests: Sequence[Request], context: Context
) -> Iterator[tuple[int, dict[Request, np.ndarray | str]]]:
    """Gram matrices and ranges, or why there are none, of the one half of the samples and of the other, in turns."""
    assert context.samples is not None
    memory = (context.memory + WORKSPACE) // 2  # a reading of the other half is held beside it
    halves = [_Half(context.samples, half) for half in range(2)]
    readings = {
        half: collect_in_groups(
            model, samples, requests, memory=memory, threads=context.threads, progress=context.progress
        )
        for half, samples in enumerate(halves)
    }
    while readings:
        for half, reading in list(readings.items()):
            statistics = next(reading, None)
            if statistics is None:
                del readings[half]
                continue
            found: dict[Request, np.ndarray | str] = dict(statistics.declined)
            for request in dict.fromkeys(requests):
                gram = statistics.get(request)
                matrix = np.zeros(0)
                if isinstance(gram, Gram):
                    matrix = gram.matrix if gram.rows else matrix
                elif isinstance(gram, Range):
                    matrix = np.array([gram.low, gram.high], np.float64)
                if gram is not None:
                    found[request] = matrix if matrix.any() else _NOTHING
            del statistics
            yield half, found


_NOTHING = "what its weight multiplies is zero on half of the samples"


class _Weight:
    """A weight, the contractions that read it, and what they multiply it by in each half of the samples."""

    def __init__(self, groups: Sequence[Int8Group]) -> None:
        self.groups = groups
        self.reason = ""
        self.requests: list[Request] = []
        geometries = [contraction_of(group.node) for group in groups]
        unfolds = [each if isinstance(each, str) else each.unfold for each in geometries]
        known = [each for each in unfolds if not isinstance(each, str)]
        if len(known) < len(unfolds):
            self.reason = next(each for each in unfolds if isinstance(each, str))
        elif len({(each.groups, each.features) for each in known}) > 1:
            self.reason = "contractions of different groups read its weight"
        else:
            self._geometry = geometries[0]
            names: dict[Unfold, list[str]] = {}
            for group, unfold in zip(groups, known, strict=True):
                names.setdefault(unfold, []).append(group.activations[0][1].name or "")
            # One matrix for all that read the weight in the same way: it is their sum that is asked for. Whether one of
            # them reads nothing but zeros, a range tells.
            self.requests = [Request.pooled(some, unfold) for unfold, some in names.items()]
            self.requests += [
                Request(name, "range") for pool in self.requests if pool.others for name in dict.fromkeys(pool.values)
            ]
        self._missing = [list(self.requests) for _ in range(2)]
        self._grams: list[np.ndarray | None] = [None, None]

    def take(self, half: int, matrices: Mapping[Request, np.ndarray | str]) -> None:
        """Adds up what was measured of a half."""
        for request in list(self._missing[half]):
            matrix = matrices.get(request)
            if isinstance(matrix, str):
                self.reason = matrix
                self._missing, self._grams = [[], []], [None, None]
                return
            if matrix is not None:
                self._missing[half].remove(request)
            if matrix is not None and request.kind == "gram":
                before = self._grams[half]
                self._grams[half] = matrix if before is None else before + matrix

    def rounded(self, bits: int, per_channel: bool) -> Rounded | None:
        """Better integers than the nearest, once all is measured; None where there are none."""
        first, second = self._grams
        if any(self._missing) or first is None or second is None or isinstance(self._geometry, str):
            return None
        self._grams = [None, None]
        tensor = constant_tensor(self.groups[0].weight)
        assert tensor is not None
        array = tensor.numpy()
        grid = weight_grid(array, self._geometry.output_axis if per_channel else None, bits=bits)
        rounded = round_for(array, self._geometry, grid, (first, second))
        if rounded is None:
            self.reason = "what half of the samples suggests is no better on the other half"
        return rounded


def round_for(
    array: np.ndarray, geometry: Contraction, grid: Grid, grams: tuple[np.ndarray, np.ndarray]
) -> Rounded | None:
    """The integers of the sweep over all samples for rows where the sweep over one half is better on the other half.

    Args:
        array: The weight, float32.
        geometry: Of what reads it.
        grid: Symmetric, along the output channels or per tensor.
        grams: float64[groups, features, features] of what it multiplies, in the one and the other half.

    Returns:
        None where the nearest integers are kept in every row.
    """
    weights = geometry.matrix(array.astype(np.float64))
    integers = geometry.matrix(grid.quantize(array)).copy()
    scales = np.broadcast_to(grid.scale.astype(np.float64), integers.shape[0] * integers.shape[1])
    before = after = 0.0
    for rows, numbers, scale, first, second in zip(
        weights, integers, scales.reshape(len(weights), -1, 1), *grams, strict=True
    ):
        if not (first.any() and second.any()):  # a channel that is never active
            continue
        whole, project, rounded = first + second, _to_grid(scale[:, 0], grid), numbers * scale
        trial, final = compensate(rows, first, project), compensate(rows, whole, project)
        nearest, unseen = output_errors(rows - rounded, second), output_errors(rows - trial, second)
        better = (unseen < nearest) & (output_errors(rows - final, whole) < output_errors(rows - rounded, whole))
        numbers[better] = np.rint(final / scale)[better]
        before += nearest.sum()
        after += np.where(better, unseen, nearest).sum()
    if after == before:
        return None
    gain = float(10 * np.log10(before / max(after, np.finfo(np.float64).tiny)))
    return Rounded(grid, geometry.with_matrix(integers), gain)


def _to_grid(scale: np.ndarray, grid: Grid) -> Project:
    return lambda values, _: np.clip(np.rint(values / scale), grid.low, grid.high) * scale
