"""Batch normalization that stands alone: its scale and shift told anew, from what comes in now and what went out.

What the pruned network brings has other means and variances than those that the node was trained with. Estimating them
again (Li et al., EagleEye, ECCV 2020, section 3.2) would hold only where the samples are those of the training; fitting
y = a x + b for each channel to what the original made of the same samples holds for any, and is never behind it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor, read_once, set_constant
from onnxslim.samples import is_validation
from onnxslim.samples.feeds import FOLD

Vector = npt.NDArray[np.float64]
PENALTY = 1e-3
"""Share of the variance of x that is added to it: a channel that hardly varies keeps its slope."""
ROUNDING = 1e-10
"""Share of the sum of y^2 within which two errors are the same."""


@dataclass
class _Sums:
    """Of each channel: how many, and the sums of x, y, x^2, x y, y^2."""

    count: int
    x: Vector
    y: Vector
    xx: Vector
    xy: Vector
    yy: Vector

    @classmethod
    def of(cls, pairs: Iterable[tuple[np.ndarray, np.ndarray]], channels: int) -> _Sums:
        """Of what a node read and what it is to make of it: ``[N, channels, *sizes]``, by sample."""
        made = cls(0, *(np.zeros(channels) for _ in range(5)))
        for pair in pairs:
            x, y = (np.moveaxis(each, 1, 0).reshape(channels, -1).astype(np.float64) for each in pair)
            made.count += x.shape[1]
            made.x += x.sum(1)
            made.y += y.sum(1)
            made.xx += (x * x).sum(1)
            made.xy += (x * y).sum(1)
            made.yy += (y * y).sum(1)
        return made

    def error(self, a: Vector, b: Vector) -> Vector:
        """The sum of (a x + b - y)^2."""
        cross = a * self.xy + b * self.y
        return a * a * self.xx + 2 * a * b * self.x + self.count * b * b - 2 * cross + self.yy


def parameters_of(node: ir.Node) -> list[ir.Value] | None:
    """Scale, shift, mean and variance of a BatchNormalization of which they are its own; None of anything else."""
    if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx") or len(node.inputs) != 5:
        return None
    values = [value for value in node.inputs[1:] if value is not None and constant_tensor(value) is not None]
    training = node.attributes.get_int("training_mode", 0) or node.attributes.get_int("spatial", 1) != 1
    if training or len(values) != 4 or not all(read_once(value) for value in values[:2]):
        return None
    return values


def refit_affine(
    node: ir.Node, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], left: npt.NDArray[np.bool_] | None
) -> bool:
    """Gives each channel the slope and the shift that are best, where they are on samples that were not fitted.

    Args:
        node: Of the pruned model.
        inputs: Of ``node``, by sample: ``[N, channels, *sizes]``.
        outputs: Of the same node of the original.
        left: ``bool[channels]``: those that ``node`` still has; None where it has all.

    Returns:
        Whether anything changed.
    """
    values = parameters_of(node)
    if values is None or len(inputs) < FOLD:
        return False
    tensors = [constant_tensor(value) for value in values]
    scale, shift, mean, variance = (np.asarray(t.numpy(), np.float64) for t in tensors if t is not None)
    deviation = np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    pairs = [
        (x, y if left is None else y[:, left])
        for x, y in zip(inputs, outputs, strict=True)
        if (x.shape[0], *x.shape[2:]) == (y.shape[0], *y.shape[2:])  # values may decide other lengths
    ]
    judging = _Sums.of((pair for i, pair in enumerate(pairs) if is_validation(i)), len(scale))
    fitted = _Sums.of((pair for i, pair in enumerate(pairs) if not is_validation(i)), len(scale))
    if not fitted.count or not judging.count:
        return False
    slope = scale / deviation
    offset = shift - slope * mean
    x, y = fitted.x / fitted.count, fitted.y / fitted.count
    spread = np.maximum(fitted.xx / fitted.count - x * x, 0.0)
    together = fitted.xy / fitted.count - x * y
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.where(spread > 0, (together + PENALTY * spread * slope) / ((1 + PENALTY) * spread), slope)
    b = y - a * x
    # False where anything is not finite.
    better = judging.error(a, b) < judging.error(slope, offset) - ROUNDING * judging.yy
    if not better.any():
        return False
    a, b = np.where(better, a, slope), np.where(better, b, offset)
    for value, array in ((values[0], a * deviation), (values[1], b + a * mean)):
        tensor = constant_tensor(value)
        assert tensor is not None
        set_constant(value, array.astype(tensor.dtype.numpy()))
    return True
