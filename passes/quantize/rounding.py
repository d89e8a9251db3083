"""Which integers stand for the weights: the nearest, or those that keep the outputs on the calibration samples.

The sum over the samples of an output's squared error is ``(w - v) H (w - v)^T`` with the Gram matrix H of what the
contraction reads. `onnxslim.linalg.compensate` chooses the integers one column after another, each making up for the
errors of those before it (Frantar et al., GPTQ, ICLR 2023). Rows that this makes no better stay rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Gram, Request, Statistics, Unfold, collect_in_groups, fingerprints, unfold_of
from onnxslim.graph.edit import constant_tensor, site
from onnxslim.linalg import Project, compensate, output_errors
from onnxslim.ops.int8 import CONTRACTIONS
from onnxslim.pipeline import Context

from .grid import Grid, weight_grid
from .group import Group

Key = tuple[str, int]
"""Name of a weight, and its axis of output channels."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight for which other integers than the nearest were found."""

    grid: Grid
    integers: np.ndarray
    gain: float
    """dB by which the error of the outputs that rounding makes is smaller, on the samples."""


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

    def detail(self, group: Group, *said: str) -> str:
        """``said`` in one line, and what the rounding brings for the group."""
        rounded = self.found.get(key_of(group.node)) if group.is_contraction else None
        gain = [] if rounded is None else [f"rounding errs {rounded.gain:.1f} dB less on the samples"]
        return ", ".join([*said, *gain])

    def explain(self, groups: Sequence[Group], context: Context) -> None:
        """Puts on record whose weights are rounded to the nearest although more was asked for."""
        for group in groups:
            if group.key in self.reasons:
                context.decline("compensate", site(group.node), self.reasons[group.key])


NEAREST = Rounding()


def key_of(node: ir.Node) -> Key:
    """The key of the weight that a contraction reads."""
    weight = node.inputs[1]
    assert weight is not None
    return weight.name or "", CONTRACTIONS[node.op_type].channel_axis(node)


def compensated(
    model: ir.Model, groups: Sequence[Group], context: Context, *, bits: int, per_channel: bool
) -> Rounding:
    """Integers that make up for each other's errors on the calibration samples.

    Gram matrices are measured in as many readings of the samples as the memory budget wants, and dropped as soon as the
    weights are rounded by them. A weight that several contractions read is rounded for the sum of their errors.

    Args:
        model: With the groups' values; not changed.
        groups: Those without a weight are passed over.
        context: With samples; what was found is kept in its cache.
        bits: Of the weights, 7 or 8.
        per_channel: One weight scale per output channel, or one per tensor.
    """
    contractions = [group for group in groups if group.is_contraction]
    keys = tuple(group.key for group in contractions)
    key = ("rounding", fingerprints(model)[model.graph.outputs[0]], keys, bits, per_channel)
    if key not in context.cache:
        context.cache[key] = _compensated(model, contractions, context, bits, per_channel)
    result: Rounding = context.cache[key]
    return result


def _compensated(
    model: ir.Model, contractions: Sequence[Group], context: Context, bits: int, per_channel: bool
) -> Rounding:
    assert context.samples is not None
    readers: dict[Key, list[Group]] = {}
    for group in contractions:
        readers.setdefault(key_of(group.node), []).append(group)
    weights = {key: _Weight(groups) for key, groups in readers.items()}
    requests = [request for weight in weights.values() for request in weight.missing]
    found: dict[Key, Rounded] = {}
    if requests:
        context.progress(f"measure what {len(weights)} weights multiply, and round them for it")
        for statistics in collect_in_groups(
            model, context.samples, requests, memory=context.memory, threads=context.threads
        ):
            for key, weight in weights.items():
                if weight.missing and weight.take(statistics):
                    rounded = weight.rounded(key[1], bits, per_channel)
                    if rounded is not None:
                        found[key] = rounded
    return Rounding(
        found, {group.key: each.reason for each in weights.values() if each.reason for group in each.groups}
    )


class _Weight:
    """A weight, the contractions that read it, and what they multiply it by."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.reason = ""
        self.missing: list[Request] = []
        self._gram: np.ndarray | None = None
        self._rows = 0
        unfolds = [unfold_of(group.node) for group in groups]
        known = [each for each in unfolds if not isinstance(each, str)]
        if len(known) < len(unfolds):
            self.reason = next(each for each in unfolds if isinstance(each, str))
        elif len({(each.groups, each.features) for each in known}) > 1:
            self.reason = "contractions of different groups read its weight"
        else:
            self._unfold = known[0]
            self.missing = [
                Request(group.activations[0][1].name or "", "gram", unfold=unfold)
                for group, unfold in zip(groups, known, strict=True)
            ]

    def take(self, statistics: Statistics) -> bool:
        """Adds up what of the missing was measured; whether all of it is there now."""
        for request in list(self.missing):
            gram = statistics.get(request)
            if request in statistics.declined:
                self.reason, self.missing, self._gram = statistics.declined[request], [], None
                return False
            if isinstance(gram, Gram):
                self.missing.remove(request)
                self._gram = gram.matrix if self._gram is None else self._gram + gram.matrix
                self._rows += gram.rows
        return not self.missing

    def rounded(self, axis: int, bits: int, per_channel: bool) -> Rounded | None:
        """Better integers than the nearest; None where there are none, or nothing was measured to tell."""
        gram, self._gram = self._gram, None
        tensor = constant_tensor(self.groups[0].weight)
        assert gram is not None
        assert tensor is not None
        if self._rows < self._unfold.features:
            self.reason = (
                f"the samples hold {self._rows} rows of what its weight multiplies, fewer than the "
                f"{self._unfold.features} numbers in one"
            )
            return None
        if not gram.any():
            self.reason = "what its weight multiplies is zero on every sample"
            return None
        array = tensor.numpy()
        grid = weight_grid(array, axis if per_channel else None, bits=bits)
        return round_for(array, axis, grid, gram, self._unfold)


def round_for(array: np.ndarray, axis: int, grid: Grid, gram: np.ndarray, unfold: Unfold) -> Rounded | None:
    """The integers that move the outputs least, row by row those of the sweep or the nearest ones.

    Args:
        array: The weight, float32.
        axis: Of its output channels.
        grid: Symmetric, along ``axis`` or per tensor.
        gram: float64[groups, features, features] of what it multiplies.
        unfold: How that was made.

    Returns:
        None where the nearest are best in every row.
    """
    weights = unfold.weight_rows(array.astype(np.float64), axis)
    integers = unfold.weight_rows(grid.quantize(array), axis).copy()
    scales = np.broadcast_to(grid.scale.astype(np.float64), integers.shape[0] * integers.shape[1])
    before = after = 0.0
    for rows, numbers, scale, matrix in zip(weights, integers, scales.reshape(len(weights), -1, 1), gram, strict=True):
        if not matrix.any():
            continue
        nearest = output_errors(rows - numbers * scale, matrix)
        swept = compensate(rows, matrix, _to_grid(scale[:, 0], grid))
        errors = output_errors(rows - swept, matrix)
        better = errors < nearest
        numbers[better] = np.rint(swept / scale)[better]
        before += nearest.sum()
        after += np.minimum(errors, nearest).sum()
    if after == before:
        return None
    result = unfold.weight_of_rows(integers, array.shape, axis)
    return Rounded(grid, result, float(10 * np.log10(before / max(after, np.finfo(np.float64).tiny))))


def _to_grid(scale: np.ndarray, grid: Grid) -> Project:
    return lambda values, _: np.clip(np.rint(values / scale), grid.low, grid.high) * scale
