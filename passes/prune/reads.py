"""Where channels are read: contractions with constant weights, and the Gram matrix of what each sums over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels
from onnxslim.calibration import Gram, Request, Statistics
from onnxslim.graph.edit import constant_tensor, read_only_by
from onnxslim.linalg import Lowrank
from onnxslim.ops.channels import Ids, SummedAxis
from onnxslim.ops.unfold import Unfold

Matrix = npt.NDArray[np.float64]
DAMPING = 1e-3
"""Share of the mean of the diagonal that is added to it: directions that the samples hardly show are not trusted."""


@dataclass(frozen=True, slots=True)
class Read:
    """A sum over channels, some of which can be removed; where nodes share its weight it is theirs together.

    Attributes:
        contractions: The nodes that read the weight along one axis, in order.
        values: What is summed over, along ``axis``, by contraction.
        axis: The last one is -1, so that values of any rank go together.
        weight: The constant weight; ``ids`` are those of the axis of it that is summed over.
    """

    contractions: tuple[SummedAxis, ...]
    values: tuple[ir.Value, ...]
    axis: int
    weight: ir.Value
    weight_axis: int
    ids: Ids

    @property
    def request(self) -> Request:
        """The Gram matrix of the channels, over all that the weight is multiplied by."""
        names = [value.name or "" for value in self.values]
        return Request.pooled(names, Unfold(len(self.ids), axis=self.axis))

    @property
    def nodes(self) -> list[ir.Node]:
        """Of the contractions."""
        return [each.node for each in self.contractions]

    @property
    def whole(self) -> bool:
        """Whether nothing else sees the weight: only then may it be changed for the sake of these nodes."""
        return read_only_by(self.weight, self.nodes)

    @property
    def outputs(self) -> int:
        """Rows of `matrix`."""
        tensor = constant_tensor(self.weight)
        assert tensor is not None
        return int(tensor.size) // max(len(self.ids), 1)

    def matrix(self) -> npt.NDArray[np.float32]:
        """``float32[outputs, channels]``: the weights with all else flattened."""
        tensor = constant_tensor(self.weight)
        assert tensor is not None
        array = np.moveaxis(tensor.numpy(), self.weight_axis, -1)
        return array.reshape(-1, array.shape[-1]).astype(np.float32)


def reads_of(channels: Channels) -> list[Read]:
    """All reads of channels that can be removed, in the order of the nodes; those of one weight are one."""
    pools: dict[tuple[ir.Value, int, int], list[tuple[SummedAxis, ir.Value, Ids]]] = {}
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
            axis = contraction.axis
            axis = -1 if channels.facts.rank(value) == axis + 1 else axis
            pools.setdefault((weight, contraction.weight_axis, axis), []).append((contraction, value, ids))
    return [
        Read(tuple(each for each, _, _ in pool), tuple(value for _, value, _ in pool), axis, weight, at, pool[0][2])
        for (weight, at, axis), pool in pools.items()
    ]


def _weights_last(contraction: SummedAxis) -> SummedAxis:
    """The same sum, what is constant being called the weight.

    Where both are, as at the first step of a recurrence, it is the one where the operator has its weights.
    """
    node, slot = contraction.node, contraction.slot
    if slot < 0 or constant_tensor(node.inputs[slot]) is None:
        return contraction
    if contraction.weight == 1 and constant_tensor(node.inputs[1]) is not None:
        return contraction
    return SummedAxis(node, contraction.weight, contraction.weight_axis, slot, contraction.axis)


@dataclass(frozen=True, slots=True)
class Moments:
    """Of channels over all samples and places.

    Attributes:
        matrix: ``float64[channels, channels]``: the mean of x x^T; None where the x themselves are there.
        table: ``float[rows, channels]``: all x, where they are few.
        mean: ``float64[channels]``.
        rows: How many x it was taken over.
    """

    matrix: Matrix | None
    table: np.ndarray | None
    mean: Matrix
    rows: int

    @classmethod
    def of(cls, gram: Gram) -> Moments:
        """What a Gram matrix of one group tells; it must have rows."""
        table, mean = gram.table, gram.sums[0] / gram.rows
        if table is not None:
            return cls(None, table, mean, gram.rows)
        matrix = gram.matrix[0]
        matrix /= gram.rows
        return cls(matrix, None, mean, gram.rows)

    @property
    def nbytes(self) -> int:
        """That it holds."""
        return sum(each.nbytes for each in (self.matrix, self.table, self.mean) if each is not None)

    @property
    def second(self) -> Matrix:
        """``float64[channels, channels]``: the mean of x x^T, written out."""
        if self.matrix is not None:
            return self.matrix
        assert self.table is not None
        wide = self.table.astype(np.float64)
        result: Matrix = wide.T @ wide
        result /= self.rows
        return result

    @property
    def centred(self) -> Matrix:
        """The covariance."""
        result = self.second - np.outer(self.mean, self.mean)
        np.fill_diagonal(result, np.maximum(np.diagonal(result), 0.0))  # rounding, where a channel never varies
        return result

    def damped(self, *, centred: bool = False) -> Matrix | Lowrank:
        """See `damped`; not written out where there are at most half as many rows as channels."""
        if self.table is None or 2 * self.rows > self.table.shape[1]:
            return damped(self.centred if centred else self.second, self.rows)
        wide = self.table.astype(np.float64)
        if centred:
            wide -= self.mean
        diagonal = np.square(wide).mean(axis=0)
        live = diagonal[diagonal > 0]
        if not live.size:
            return Lowrank(np.ones(len(diagonal)), np.zeros((0, len(diagonal))))
        wide *= np.sqrt(1 / (self.rows + len(diagonal)))  # a mean over the rows, shrunk by rows / (rows + channels)
        shrunk = diagonal * (len(diagonal) / (self.rows + len(diagonal)))
        return Lowrank(shrunk + DAMPING * live.mean(), wide)


def moments_of(reads: Sequence[Read], statistics: Statistics) -> Mapping[Request, Moments]:
    """What was measured for each; a request that is missing could not be measured."""
    found: dict[Request, Moments] = {}
    for request in dict.fromkeys(read.request for read in reads):
        gram = statistics.get(request)
        if isinstance(gram, Gram) and gram.rows:
            found[request] = Moments.of(gram)
    return found


def damped(matrix: Matrix, rows: int) -> Matrix:
    """A Gram matrix that can be inverted and trusted: shrunk toward its diagonal, the more the fewer rows there are.

    Of p features and n rows, p / (n + p) of what lies beside the diagonal is taken for chance (in the spirit of
    Ledoit & Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004); and `DAMPING` of the
    mean of the diagonal is added to it (as `onnxslim.linalg.damped` does).
    """
    diagonal = np.diagonal(matrix)
    if not diagonal.any():
        return np.eye(len(matrix))  # nothing was ever there to be read
    result: Matrix = matrix * (rows / (rows + len(matrix)))
    np.fill_diagonal(result, diagonal + DAMPING * diagonal[diagonal > 0].mean())
    return result
