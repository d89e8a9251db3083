"""Bias correction: what rounding the weights does to the mean of an output is taken back by the bias.

With W' for the rounded weights, the mean of an output channel moves by (W' - W) E[x]. That is known from the means of
the input channels, before anything is run in int8 (Nagel et al., Data-Free Quantization Through Weight Equalization and
Bias Correction, ICCV 2019, section 4.2). Where a Conv pads with zeros, the border has a smaller mean than is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxslim.calibration import Mean, Request, Statistics
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.contraction import contraction_of

from .group import Int8Group

Means = Mapping[str, np.ndarray]
"""Key of a group -> mean of each channel of its activation, float64[channels]."""


def mean_request(group: Int8Group) -> Request | None:
    """The means that the correction of a group needs; None where its kernel takes no bias."""
    if group.weight is None or group.node.op_type not in ("Conv", "Gemm"):
        return None
    return Request(group.activations[0][1].name or "", "mean", axis=1)


def spread(bias: np.ndarray, outputs: int) -> np.ndarray:
    """A bias as an int8 kernel adds it: with one number for each output channel, since each has a scale of its own.

    Args:
        bias: Of a Conv ``[outputs]``, or C of a Gemm, which is any shape that broadcasts to its output.
        outputs: Output channels.

    Returns:
        ``[outputs]``, or ``[rows, outputs]`` where the rows of C differ.

    >>> spread(np.array(2.0), 3).tolist(), spread(np.array([[1.0], [2.0]]), 3).tolist()
    ([2.0, 2.0, 2.0], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    """
    rows = bias.shape[0] if bias.ndim == 2 else 1
    return np.broadcast_to(bias, (rows, outputs)) if rows > 1 else np.broadcast_to(bias.reshape(-1), (outputs,))


def means_of(groups: Sequence[Int8Group], statistics: Statistics) -> dict[str, np.ndarray]:
    """The means that were measured, by the keys of their groups."""
    found = {}
    for group in groups:
        request = mean_request(group)
        mean: Mean | None = None if request is None else statistics.mean(request.value, axis=1)
        if mean is not None:
            found[group.key] = mean.value
    return found


def shift_of(group: Int8Group, rounded: np.ndarray, mean: np.ndarray) -> np.ndarray | None:
    """By how much the outputs' means are off with ``rounded`` weights; None where the shapes tell nothing.

    Args:
        group: A Conv or Gemm.
        rounded: Its weight as int8 stands for it.
        mean: Of each channel of its activation.

    Returns:
        float64[output channels].
    """
    tensor = constant_tensor(group.weight)
    assert tensor is not None
    error = rounded.astype(np.float64) - tensor.numpy().astype(np.float64)
    known = contraction_of(group.node, shape=error.shape)
    if isinstance(known, str) or known.inputs != len(mean):
        return None
    if known.op_type == "Gemm":
        return np.asarray(known.matrix(error)[0] @ mean)
    return np.asarray((known.by_channel(error) * mean.reshape(known.groups, 1, -1)).sum(axis=2).reshape(-1))
