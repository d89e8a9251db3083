"""What the channels that go told their readers, told by those that stay: folded into the readers' weights.

With x_P the channels removed from what a read sums over and x_K the others, the best linear guess is x_P = M x_K + b,
M = C_PK (C_KK + l)^-1, and W x = W_K x_K + W_P x_P becomes (W_K + W_P M) x_K + W_P b. The same for every place of a
kernel. (He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.1, is the special
case of one layer and its own least squares.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.calibration import Request
from onnxslim.graph.edit import constant_tensor

from .apply import set_constant
from .reads import DAMPING, Moments, Read, damped


def mix_channels(
    reads: Sequence[Read], moments: Mapping[Request, Moments], keep: npt.NDArray[np.bool_], damping: float = DAMPING
) -> int:
    """Folds what goes into the weights of every read, in place, before anything is removed.

    Args:
        reads: Of the model that is edited.
        moments: Of the same values.
        keep: ``bool[ids]``: what stays.
        damping: Share of the mean variance that is added to each.

    Returns:
        How many weights were changed. A weight that several nodes read, or whose input was not measured, is left.
    """
    changed = 0
    for read in reads:
        stay, found = keep[read.ids], moments.get(read.request)
        if stay.all() or not stay.any() or found is None or len(read.weight.uses()) > 1:
            continue
        _fold(read, found, stay, damping)
        changed += 1
    return changed


def _fold(read: Read, moments: Moments, stay: npt.NDArray[np.bool_], damping: float) -> None:
    tensor, bias = constant_tensor(read.weight), bias_of(read)
    assert tensor is not None
    second = moments.second if bias is None else moments.centred
    kept, gone = np.flatnonzero(stay), np.flatnonzero(~stay)
    guess = np.linalg.solve(damped(second[np.ix_(kept, kept)], damping), second[np.ix_(kept, gone)]).T
    array = tensor.numpy()
    weight = np.moveaxis(array.astype(np.float64), read.weight_axis, -1)
    if bias is not None:
        shift = moments.mean[gone] - guess @ moments.mean[kept]
        told = weight[..., gone] @ shift  # [outputs, *kernel]
        _shift_bias(bias, told.reshape(len(told), -1).sum(axis=1) if _is_rows(read) else told)
    weight[..., kept] += weight[..., gone] @ guess
    set_constant(read.weight, np.ascontiguousarray(np.moveaxis(weight, -1, read.weight_axis).astype(array.dtype)))


def _is_rows(read: Read) -> bool:
    """Whether the outputs are the first axis of the weights, with the kernel behind them."""
    return read.contraction.node.op_type == "Conv"


def bias_of(read: Read) -> ir.Value | None:
    """A bias that can take a shift: of its own, one number for each output."""
    node = read.contraction.node
    if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    if node.op_type == "Gemm" and (
        node.attributes.get_float("alpha", 1.0) != 1.0 or node.attributes.get_float("beta", 1.0) != 1.0
    ):
        return None
    bias, outputs = node.inputs[2], read.weight.shape
    tensor = constant_tensor(bias)
    if tensor is None or len(bias.uses()) > 1 or outputs is None:
        return None
    count = outputs[0 if node.op_type == "Conv" else 1 - read.weight_axis]
    return bias if tuple(tensor.shape) == (count,) else None


def _shift_bias(bias: ir.Value, shift: npt.NDArray[np.float64]) -> None:
    tensor = constant_tensor(bias)
    assert tensor is not None
    array = tensor.numpy()
    set_constant(bias, (array.astype(np.float64) + shift.reshape(array.shape)).astype(array.dtype))
