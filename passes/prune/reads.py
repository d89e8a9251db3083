"""Where channels are read: contractions with constant weights, and the Gram matrix of what each sums over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim import linalg
from onnxslim.analysis.channels import Channels
from onnxslim.calibration import Request, Statistics, Unfold
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.channels import Contraction, Ids

Matrix = npt.NDArray[np.float64]
DAMPING = 1e-3
"""Share of the mean of the diagonal that is added to it: directions that the samples hardly show are not trusted."""


@dataclass(frozen=True, slots=True)
class Read:
    """A sum over channels, some of which can be removed.

    Attributes:
        contraction: Its node and axes.
        value: What is summed over, along ``axis``.
        weight: Its constant weight; ``ids`` are those of the axis of it that is summed over.
    """

    contraction: Contraction
    value: ir.Value
    axis: int
    weight: ir.Value
    weight_axis: int
    ids: Ids

    @property
    def request(self) -> Request:
        """The Gram matrix of the channels."""
        return Request(self.value.name or "", "gram", unfold=Unfold(len(self.ids), axis=self.axis))

    def matrix(self) -> npt.NDArray[np.float32]:
        """``float32[outputs, channels]``: the weights with all else flattened."""
        tensor = constant_tensor(self.weight)
        assert tensor is not None
        array = np.moveaxis(tensor.numpy(), self.weight_axis, -1)
        return array.reshape(-1, array.shape[-1]).astype(np.float32)


def reads_of(channels: Channels) -> list[Read]:
    """All reads of channels that can be removed, in the order of the nodes."""
    return list(_reads(channels))


def _reads(channels: Channels) -> Iterator[Read]:
    for contraction in map(_weights_last, channels.contractions):
        node = contraction.node
        weight = node.inputs[contraction.weight]
        slot = contraction.slot
        value = node.inputs[slot] if slot >= 0 else node.outputs[-1 - slot]
        ids = None if weight is None else channels.links.axis(weight, contraction.weight_axis)
        if weight is None or value is None or not value.name or ids is None or channels.pinned[ids].all():
            continue
        tensor = constant_tensor(weight)
        if tensor is not None and tensor.dtype.is_floating_point():
            yield Read(contraction, value, contraction.axis, weight, contraction.weight_axis, ids)


def _weights_last(contraction: Contraction) -> Contraction:
    """The same sum, what is constant being called the weight."""
    node, slot = contraction.node, contraction.slot
    if slot < 0 or constant_tensor(node.inputs[slot]) is None:
        return contraction
    return Contraction(node, contraction.weight, contraction.weight_axis, slot, contraction.axis)


@dataclass(frozen=True, slots=True)
class Moments:
    """Of channels over all samples and places.

    Attributes:
        second: ``float64[channels, channels]``: the mean of x x^T.
        mean: ``float64[channels]``.
        rows: How many x it was taken over.
    """

    second: Matrix
    mean: Matrix
    rows: int

    @property
    def centred(self) -> Matrix:
        """The covariance."""
        result = self.second - np.outer(self.mean, self.mean)
        np.fill_diagonal(result, np.maximum(np.diagonal(result), 0.0))  # rounding, where a channel never varies
        return result


def moments_of(reads: Sequence[Read], statistics: Statistics) -> Mapping[Request, Moments]:
    """What was measured for each; a request that is missing could not be measured."""
    found = {}
    for read in reads:
        request = read.request
        assert request.unfold is not None
        gram = statistics.gram(request.value, request.unfold)
        if request not in found and gram is not None and gram.rows:
            found[request] = Moments(gram.matrix[0] / gram.rows, gram.sums[0] / gram.rows, gram.rows)
    return found


def damped(matrix: Matrix, rows: int) -> Matrix:
    """A Gram matrix that can be inverted and trusted: shrunk toward its diagonal, the more the fewer rows there are.

    Of p features and n rows, p / (n + p) of what lies beside the diagonal is taken for chance (in the spirit of
    Ledoit & Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004); and `DAMPING` of the
    mean of the diagonal is added to it (see `onnxslim.linalg.damped`).
    """
    diagonal = np.diagonal(matrix)
    if not diagonal.any():
        return np.eye(len(matrix))  # nothing was ever there to be read
    shrunk = matrix * (rows / (rows + len(matrix)))
    np.fill_diagonal(shrunk, diagonal)
    result: Matrix = linalg.damped(shrunk, DAMPING)
    return result
