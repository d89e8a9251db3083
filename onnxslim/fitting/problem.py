"""The least squares problem of one contraction: what it reads now, and what the original makes there.

Its inputs X are those of the model that is changed, after all that was changed before it, so that errors are made up
for instead of adding up; its targets Y are the outputs of the original.

Long because the equations and the rows that they are summed over (unfolded, sampled, aligned) are one definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim import linalg
from onnxslim.fitting.bias import biases_of, shift_bias
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.ops.unfold import WIDE, Unfold
from onnxslim.samples import is_validation

Matrix: TypeAlias = npt.NDArray[np.float64]
ROWS = 16
"""Rows of X for each unknown of an output: more change nothing, and cost."""
LEAST_ROWS = 4096
WIDEST = 6144
"""Unknowns of an output beyond which a layer is left: solving costs their cube."""
MATRICES = 4
"""Gram matrices that there are at once: two that are summed up, one damped, one factored."""


class Normal:
    """X^T X, X^T Y and the squares of Y of some samples, by group of the convolution.

    X^T X is not made as long as X has at most half as many rows as features, and nobody asks for it.

    Args:
        groups: Of a convolution.
        features: Of each.
        outputs: Of each.
        few: Whether X is kept at first.
    """

    def __init__(self, groups: int, features: int, outputs: int, *, few: bool = False) -> None:
        self.cross, self.target = np.zeros((groups, features, outputs)), np.zeros((groups, outputs))
        self.rows = 0
        self._gram: Matrix | None = None
        self._tables: list[npt.NDArray[np.float32]] | None = [] if few and groups == 1 and features >= WIDE else None

    @property
    def gram(self) -> Matrix:
        """``float64[groups, features, features]``."""
        if self._gram is None:
            self._gram = np.zeros((len(self.cross), self.cross.shape[1], self.cross.shape[1]))
            for x in self._tables or ():
                self._gram += x.transpose(0, 2, 1) @ x
            self._tables = None
        return self._gram

    def keeps(self, rows: int) -> bool:
        """Whether X is still kept when it has so many rows more."""
        return self._tables is not None and 2 * (self.rows + rows) <= self.cross.shape[1]

    def add(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
        """``x`` is [groups, rows, features], ``y`` [groups, rows, outputs]."""
        turned = x.transpose(0, 2, 1)
        if self.keeps(x.shape[1]):
            assert self._tables is not None
            self._tables.append(x)
        else:
            gram = self.gram
            gram += turned @ x
        self.cross += turned @ y
        self.target += np.einsum("gro,gro->go", y, y, dtype=np.float64)
        self.rows += x.shape[1]

    @property
    def finite(self) -> bool:
        """Whether all sums are; squares of values that are finite need not be."""
        known = [self.cross, self.target, *(self._tables or ()), *([] if self._gram is None else [self._gram])]
        return all(bool(np.isfinite(each).all()) for each in known)

    def solved(self, penalty: float, toward: Matrix) -> Matrix:
        """See `onnxslim.linalg.ridge`; of groups that are never read, ``toward``."""
        if self._tables:
            x = np.concatenate(self._tables, axis=1)[0].astype(np.float64)
            if not x.any():
                return toward.copy()
            return linalg.ridge_of_rows(x, self.cross[0], damping=penalty, toward=toward[0].T).T[np.newaxis]
        found = toward.copy()
        for place, (gram, cross) in enumerate(zip(self.gram, self.cross, strict=True)):
            if np.diagonal(gram).any():
                found[place] = linalg.ridge(gram, cross, damping=penalty, toward=toward[place].T).T
        return found

    def errors(self, weights: Matrix) -> Matrix:
        """|X W - Y|^2 of each output: ``float64[groups, outputs]``."""
        if self._tables:
            quadratic: Matrix = sum(np.square(x @ weights).sum(axis=1) for x in self._tables) + np.zeros(1)
        else:
            quadratic = np.einsum("gfo,gfo->go", weights, self.gram @ weights)
        result: Matrix = quadratic - 2 * np.einsum("gfo,gfo->go", weights, self.cross) + self.target
        return result

    def error(self, weights: Matrix) -> float:
        """The sum of `errors`."""
        return float(self.errors(weights).sum())


@dataclass(frozen=True, eq=False)
class Problem:
    """What the weights of a contraction are fitted by.

    Attributes:
        node: The contraction.
        geometry: Of the node.
        weights: ``float64[groups, features, outputs]``: those of now; with a bias one row more, zeros, for its change.
        bias: What it adds to its outputs, where it has one of its own.
        fitted: Of three quarters of the samples.
        judging: Of the others.
    """

    node: ir.Node
    geometry: Contraction
    weights: Matrix
    bias: ir.Value | None
    fitted: Normal
    judging: Normal

    def put(self, weights: Matrix) -> None:
        """Gives the node other weights, and adds their last row to the bias, where there is one."""
        weight = self.node.inputs[1]
        tensor = constant_tensor(weight)
        assert weight is not None
        assert tensor is not None
        if self.bias is not None:
            shift_bias(self.bias, weights[:, -1].reshape(-1))
            weights = weights[:, :-1]
        array = self.geometry.with_matrix(weights.transpose(0, 2, 1))
        set_constant(weight, array.astype(tensor.dtype.numpy()))


@dataclass(frozen=True, eq=False)
class Reading:
    """What one node reads and is to make, by sample.

    Attributes:
        node: Of the model that is changed.
        original: The same of the original.
        inputs: Of ``node``.
        outputs: Of ``original``.
    """

    node: ir.Node
    original: ir.Node
    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]


def posed(
    node: ir.Node,
    original: ir.Node,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    left: npt.NDArray[np.bool_] | None,
    memory: int,
) -> Problem | str:
    """The problem of a node that alone reads its weight, or the reason why there is none.

    Args:
        node: Of the model that is changed.
        original: The same of the original.
        inputs: Of ``node``, by sample.
        outputs: Of ``original``.
        left: ``bool[outputs]``: those that ``node`` still has; None where it has all.
        memory: Bytes that matrices may take.
    """
    return posed_together([node], [original], [Reading(node, original, inputs, outputs)], left, memory)


def posed_together(
    nodes: Sequence[ir.Node],
    originals: Sequence[ir.Node],
    readings: Iterable[Reading],
    left: npt.NDArray[np.bool_] | None,
    memory: int,
    *,
    few: bool = False,
) -> Problem | str:
    """The problem of all nodes that read one weight: their rows and targets are put one below the other.

    Args:
        nodes: Of the model that is changed.
        originals: The same of the original.
        readings: Of ``nodes``, in their order; taken one after another, so that not all need to be held at once.
        left: As of `posed`.
        memory: As of `posed`.
        few: Whether the caller asks for no Gram matrix, see `Normal`.
    """
    node = nodes[0]
    geometry, tensor = contraction_of(node), constant_tensor(node.inputs[1])
    unfold = geometry if isinstance(geometry, str) else geometry.unfold
    if isinstance(geometry, str) or isinstance(unfold, str):
        return str(unfold)
    if tensor is None or not geometry.rowwise:
        return "its weights are not constant, or its outputs overlap"
    if unfold.features > WIDEST:
        return f"{unfold.features} unknowns of an output are too many"
    large = MATRICES * unfold.nbytes > memory
    if large and not few:
        return "its Gram matrices do not fit into the memory"
    known = [each for each in map(contraction_of, nodes) if not isinstance(each, str)]
    if len(known) < len(nodes) or len({(each.op_type, each.output_axis) for each in known}) > 1:
        return "nodes read its weights in several ways"
    old = geometry.matrix(tensor.numpy()).transpose(0, 2, 1).astype(np.float64)
    own, before = own_bias(*nodes), own_bias(*originals)
    if own is not None:
        old = np.concatenate([old, np.zeros((unfold.groups, 1, old.shape[2]))], axis=1)
    fitted, judging = (Normal(unfold.groups, old.shape[1], old.shape[2], few=few) for _ in range(2))
    unpaired = 0
    for place, (each, one) in enumerate(zip(readings, known, strict=True)):
        shift = None if one.scaled else _shift(each, own, before, left)
        if shift is None:
            return "its bias is of a form that is not known"
        # A sample may leave a layer nothing to do: an axis of size 0 tells nothing, and takes no turn at judging.
        pairs = [(x, y) for x, y in zip(each.inputs, each.outputs, strict=True) if x.size and y.size]
        own_rows, count = one.unfold, len(pairs)
        if isinstance(own_rows, str) or (own_rows.features, own_rows.groups) != (unfold.features, unfold.groups):
            return "nodes read its weights in several ways"
        wanted = max(LEAST_ROWS, ROWS * old.shape[1]) // max(1, count * len(nodes)) + 1
        for number, (x, y) in enumerate(pairs):
            if not same_places(own_rows, x, y):
                unpaired += 1
                continue
            by_row = shift.ndim > 1  # the C of a Gemm, which must be added before some of the rows are picked
            if by_row:
                y = (y if left is None else y[:, left]) + shift
            rows, targets = paired_rows(own_rows, x, y, wanted, seed=number + place * count)
            if not np.isfinite(rows).all() or not np.isfinite(targets).all():
                return "what it reads or makes is not finite"
            if not by_row:
                targets = (targets if left is None else targets[:, left]) + shift
            if own is not None:
                rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], axis=2)
            side = judging if is_validation(number) else fitted
            if large and not side.keeps(rows.shape[1]):
                return "its Gram matrices do not fit into the memory"
            side.add(rows, targets.reshape(len(targets), unfold.groups, -1).transpose(1, 0, 2))
    if not judging.rows or not fitted.rows:
        count = sum(len(each.inputs) for each in readings)
        lengths = f": on {unpaired} of {count} its input has another length than in the original"
        return f"there are too few samples to judge by{lengths if unpaired else ''}"
    if not fitted.finite or not judging.finite:
        return "the squares of what it reads or makes are not finite"
    return Problem(node, geometry, old, own, fitted, judging)


def own_bias(*nodes: ir.Node) -> ir.Value | None:
    """The one bias of contractions that nothing else reads, see `onnxslim.fitting.biases_of`."""
    found = biases_of(nodes)
    return found[0] if len(found) == 1 else None


def _shift(
    reading: Reading, own: ir.Value | None, before: ir.Value | None, left: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float32] | None:
    """What to add to the original's outputs so that they are what the weights alone, and a shift, have to make.

    That is less the bias of now, of which they hold the one of before; that of a MatMul is added after it. A matrix
    ``[rows, outputs or 1]`` where C of a Gemm differs by row, else a vector; None where a bias is of another form.
    """
    node = reading.node
    third = node.inputs[2] if len(node.inputs) > 2 else None
    if (own is None) != (before is None):
        return None
    tensor = constant_tensor(third if own is None else own)
    if tensor is None:
        return np.zeros(1, np.float32) if third is None else None  # a bias that is computed
    if own is None and len(tensor.shape) == 2 and tensor.shape[0] != 1:
        return -tensor.numpy().astype(np.float32)
    shift: npt.NDArray[np.float32] = -tensor.numpy().astype(np.float32).reshape(-1)
    old = constant_tensor(before) if node.op_type == "MatMul" else None
    if old is not None:
        array = old.numpy().astype(np.float32).reshape(-1)
        shift += array if left is None else array[left]
    return shift


def same_places(unfold: Unfold, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether an input and an output of two models go together: where values decide lengths, they need not.

    Args:
        unfold: How ``x`` becomes rows.
        x: The input of the contraction in one model.
        y: Its output in the other.
    """
    if unfold.kernel:
        rank = len(unfold.kernel)
        places: tuple[int, ...] = unfold.windows(x).shape[: rank + 1]
        return places == (y.shape[0], *y.shape[2:])
    rows: int = y.size // max(y.shape[-1], 1)
    return x.size // unfold.features == rows


def paired_rows(
    unfold: Unfold, x: np.ndarray, y: np.ndarray, count: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Some places of one sample, as rows of inputs and of outputs.

    Args:
        unfold: How ``x`` becomes rows.
        x: The input of the contraction.
        y: Its output: ``[N, outputs, *sizes]`` of a convolution, else ``[..., outputs]``.
        count: Places, at most.
        seed: Of their choice.

    Returns:
        ``float32[groups, places, features]`` and ``float32[places, outputs]``.
    """
    generator = np.random.default_rng(seed)
    if not unfold.kernel:
        table = np.moveaxis(x, unfold.axis, -1).reshape(-1, unfold.features)
        wanted = y.reshape(-1, y.shape[-1])
        chosen = _some(generator, len(table), count)
        return table[chosen][np.newaxis].astype(np.float32), wanted[chosen].astype(np.float32)
    windows = unfold.windows(x)  # [N, *out, C, *kernel]
    rank = len(unfold.kernel)
    places = windows.shape[: rank + 1]
    chosen = _some(generator, int(np.prod(places)), count)
    index = np.unravel_index(chosen, places)
    rows = windows[index].reshape(len(chosen), unfold.groups, unfold.features).transpose(1, 0, 2)
    return rows.astype(np.float32), np.moveaxis(y, 1, -1)[index].astype(np.float32)


def _some(generator: np.random.Generator, size: int, count: int) -> npt.NDArray[np.int64]:
    return np.arange(size) if size <= count else np.sort(generator.choice(size, count, replace=False))
