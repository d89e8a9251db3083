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

from onnxslim.calibration import Request
from onnxslim.fitting import bias_of, shift_bias
from onnxslim.graph.edit import constant_tensor, read_once, set_constant

from .reads import Moments, Read, damped


def mix_channels(reads: Sequence[Read], moments: Mapping[Request, Moments], keep: npt.NDArray[np.bool_]) -> int:
    """Folds what goes into the weights of every read, in place, before anything is removed.

    Args:
        reads: Of the model that is edited.
        moments: Of the same values.
        keep: ``bool[ids]``: what stays.

    Returns:
        How many weights were changed. A weight that is seen elsewhere too, or whose input was not measured, is left.
    """
    changed = 0
    for read in reads:
        stay, found = keep[read.ids], moments.get(read.request)
        if stay.all() or not stay.any() or found is None or not read_once(read.weight):
            continue
        _fold(read, found, stay)
        changed += 1
    return changed


def _fold(read: Read, moments: Moments, stay: npt.NDArray[np.bool_]) -> None:
    tensor, node = constant_tensor(read.weight), read.contraction.node
    assert tensor is not None
    bias = bias_of(node, outputs_of(read))
    second = damped(moments.second if bias is None else moments.centred, moments.rows)
    kept, gone = np.flatnonzero(stay), np.flatnonzero(~stay)
    guess = np.linalg.solve(second[np.ix_(kept, kept)], second[np.ix_(kept, gone)]).T
    array = tensor.numpy()
    weight = np.moveaxis(array.astype(np.float64), read.weight_axis, -1)
    if bias is not None:
        shift = moments.mean[gone] - guess @ moments.mean[kept]
        told = weight[..., gone] @ shift  # [outputs, *kernel]
        shift_bias(bias, told.reshape(len(told), -1).sum(axis=1))
    weight[..., kept] += weight[..., gone] @ guess
    set_constant(read.weight, np.ascontiguousarray(np.moveaxis(weight, -1, read.weight_axis).astype(array.dtype)))


def outputs_of(read: Read) -> int:
    """Outputs of a Conv, a Gemm or a MatMul with the weights on the right; 0 of others, which have no bias."""
    node, shape = read.contraction.node, read.weight.shape
    if read.contraction.weight != 1:
        return 0  # weights on the left: their outputs are no last axis, to which a bias could be added
    if shape is None or (node.op_type != "Conv" and (node.op_type not in ("Gemm", "MatMul") or len(shape) != 2)):
        return 0
    count = shape[0 if node.op_type == "Conv" else 1 - read.weight_axis]
    return count if isinstance(count, int) else 0
