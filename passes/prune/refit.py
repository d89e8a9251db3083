"""Least squares, layer after layer: each weight makes of the pruned network's values what the original one computed.

For a contraction with inputs X in the pruned network and outputs Y in the original, the new weights are
argmin |X W - Y|^2 + l |W - W_0|^2, W_0 being those that mixing gave; l is the one that is best on samples that were not
fitted, and W_0 stays where none is better. X comes of layers that are refitted already, so that errors are made up for
instead of adding up (He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim import linalg
from onnxslim.calibration import Unfold, unfold_of
from onnxslim.graph.edit import constant_tensor
from onnxslim.runtime import Feed

from .apply import set_constant
from .bias import bias_of, shift_bias
from .forward import Forward
from .layers import Layer

Matrix = npt.NDArray[np.float64]
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean diagonal of X^T X, see `onnxslim.linalg.damped`."""
ROWS = 16
"""Rows of X for each unknown of an output: more change nothing, and cost."""
LEAST_ROWS = 4096
HELD_OUT = 4
"""Every so manieth sample is not fitted, but judges."""
WIDEST = 6144
"""Unknowns of an output beyond which a layer is left: solving costs their cube."""
MATRICES = 5
"""Gram matrices that there are at once: two that are summed up, one damped, one factored, one to spare."""


@dataclass
class _Normal:
    """X^T X, X^T Y and Y^T Y of some samples, by group of the convolution."""

    gram: Matrix
    cross: Matrix
    target: float = 0.0
    rows: int = 0

    @classmethod
    def zeros(cls, groups: int, features: int, outputs: int) -> _Normal:
        return cls(np.zeros((groups, features, features)), np.zeros((groups, features, outputs)))

    def add(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
        """``x`` is [groups, rows, features], ``y`` [groups, rows, outputs]."""
        turned = x.transpose(0, 2, 1)
        self.gram += turned @ x
        self.cross += turned @ y
        self.target += float(np.einsum("gro,gro->", y, y, dtype=np.float64))
        self.rows += x.shape[1]

    @property
    def finite(self) -> bool:
        """Whether all sums are; squares of values that are finite need not be."""
        return bool(np.isfinite(self.gram).all() and np.isfinite(self.cross).all() and np.isfinite(self.target))

    def solved(self, penalty: float, toward: Matrix) -> Matrix:
        """See `onnxslim.linalg.ridge`; of groups that are never read, ``toward``."""
        found = toward.copy()
        for place, (gram, cross) in enumerate(zip(self.gram, self.cross, strict=True)):
            if np.diagonal(gram).any():
                found[place] = linalg.ridge(gram, cross, damping=penalty, toward=toward[place].T).T
        return found

    def error(self, weights: Matrix) -> float:
        """|X W - Y|^2."""
        return float(np.sum(weights * (self.gram @ weights)) - 2 * np.sum(weights * self.cross) + self.target)


def refit(
    original: ir.Model,
    pruned: ir.Model,
    layers: Sequence[Layer],
    feeds: Sequence[Feed],
    *,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Refits ``layers`` of ``pruned`` in place, in the order of the nodes.

    Args:
        original: The model with all channels; its nodes have the same outputs.
        pruned: Changed in place.
        layers: In the order of the nodes.
        feeds: Every fourth judges, the others are fitted; of fewer than four nothing is.
        memory: Bytes that may be held between the layers; where more would be, the last samples are left out.
        threads: Of the sessions.
        progress: Called with a short text now and then.

    Returns:
        How many layers were changed.

    Raises:
        CannotRun: The model cannot be run in pieces.
    """
    sides = Forward(original, feeds, threads, memory // 2), Forward(pruned, feeds, threads, memory // 2)
    nodes = {node.outputs[0].name: node for node in pruned.graph}
    targets = {node.outputs[0].name: node for node in original.graph}
    changed = 0
    for count, layer in enumerate(layers):
        sides[1].advance(sides[1].before(layer.key))
        sides[0].advance(sides[0].before(layer.key) + 1)
        left = min(len(side.held) for side in sides)
        for side in sides:
            side.drop(left)
        progress(f"refit layer {count + 1} of {len(layers)} on {left} samples")
        node = nodes[layer.key]
        source = node.inputs[0]
        assert source is not None
        inputs = [values[source.name or ""] for values in sides[1].held]
        outputs = [values[layer.key] for values in sides[0].held]
        if _solve(node, targets[layer.key], inputs, outputs, layer.rows, memory):
            changed += 1
            for value in (*node.inputs[1:], _bias(node)):
                tensor = constant_tensor(value)
                if value is not None and tensor is not None:
                    sides[1].refresh(value, tensor)
    return changed


def _solve(
    node: ir.Node,
    original: ir.Node,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    left: npt.NDArray[np.bool_] | None,
    memory: int,
) -> bool:
    """Gives a node the weights that are best on the samples not fitted; False where those are its own.

    Args:
        node: Of the pruned model.
        original: The same of the original.
        inputs: Of ``node``, by sample.
        outputs: Of ``original``.
        left: ``bool[outputs]``: those that ``node`` still has; None where it has all.
        memory: Bytes that matrices may take.
    """
    unfold, tensor = unfold_of(node), constant_tensor(node.inputs[1])
    if isinstance(unfold, str) or tensor is None or unfold.features > WIDEST or MATRICES * unfold.nbytes > memory:
        return False
    array = tensor.numpy()
    old, own, shift = _as_columns(node, array, unfold), _bias(node), _shift(node, original, left)
    if shift is None:
        return False
    if own is not None:
        old = np.concatenate([old, np.zeros((unfold.groups, 1, old.shape[2]))], axis=1)
    fitted, judging = (_Normal.zeros(unfold.groups, old.shape[1], old.shape[2]) for _ in range(2))
    wanted = max(LEAST_ROWS, ROWS * old.shape[1]) // max(1, len(inputs)) + 1
    for number, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        rows, targets = paired_rows(unfold, x, y, wanted, seed=number)
        if not np.isfinite(rows).all() or not np.isfinite(targets).all():
            return False
        targets = (targets if left is None else targets[:, left]) + shift
        if own is not None:
            rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], axis=2)
        side = judging if number % HELD_OUT == HELD_OUT - 1 else fitted
        side.add(rows, targets.reshape(len(targets), unfold.groups, -1).transpose(1, 0, 2))
    if not judging.rows or not fitted.rows or not fitted.finite or not judging.finite:
        return False
    best, weights = judging.error(old), None
    for penalty in PENALTIES:
        found = fitted.solved(penalty, old)
        error = judging.error(found)
        if error < best:
            best, weights = error, found
    if weights is None:
        return False
    if own is not None:
        shift_bias(own, weights[:, -1].reshape(-1))
        weights = weights[:, :-1]
    weight = node.inputs[1]
    assert weight is not None
    set_constant(weight, _from_columns(node, weights, array.shape).astype(array.dtype))
    return True


def _bias(node: ir.Node) -> ir.Value | None:
    """See `bias_of`."""
    weight = constant_tensor(node.inputs[1])
    if weight is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    return bias_of(node, tuple(weight.shape.numpy())[0 if node.op_type == "Conv" or _turned(node) else -1])


def _shift(node: ir.Node, original: ir.Node, left: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32] | None:
    """What to add to the original's outputs so that they are what the weights alone, and a shift, have to make.

    That is less the bias of now, of which they hold the one of before; that of a MatMul is added after it. None where
    a bias is of another form.
    """
    own, before = _bias(node), _bias(original)
    third = node.inputs[2] if len(node.inputs) > 2 else None
    scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    if scaled or (own is None) != (before is None):
        return None
    tensor = constant_tensor(third if own is None else own)
    if tensor is None:
        return np.zeros(1, np.float32) if third is None else None  # a bias that is computed
    if own is None and (len(tensor.shape) > 1 and tensor.size > 1):
        return None
    shift: npt.NDArray[np.float32] = -tensor.numpy().astype(np.float32).reshape(-1)
    old = constant_tensor(before) if node.op_type == "MatMul" else None
    if old is not None:
        array = old.numpy().astype(np.float32).reshape(-1)
        shift += array if left is None else array[left]
    return shift


def _turned(node: ir.Node) -> bool:
    return node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1


def _as_columns(node: ir.Node, array: np.ndarray, unfold: Unfold) -> Matrix:
    """``float64[groups, features, outputs]``."""
    if node.op_type == "Conv":
        grouped = array.reshape(unfold.groups, array.shape[0] // unfold.groups, unfold.features)
        return grouped.transpose(0, 2, 1).astype(np.float64)
    return (array.T if _turned(node) else array)[np.newaxis].astype(np.float64)


def _from_columns(node: ir.Node, weights: Matrix, shape: tuple[int, ...]) -> np.ndarray:
    if node.op_type == "Conv":
        return np.ascontiguousarray(weights.transpose(0, 2, 1)).reshape(shape)
    return np.ascontiguousarray(weights[0].T if _turned(node) else weights[0])


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
