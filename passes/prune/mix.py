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
from onnxslim.fitting import biases_of, shift_bias
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.linalg import Lowrank

from .reads import Matrix, Moments, Read


def mix_channels(reads: Sequence[Read], moments: Mapping[Request, Moments], keep: npt.NDArray[np.bool_]) -> int:
    """Folds what goes into the weights of every read, in place, before anything is removed.

    Args:
        reads: Of the model that is edited.
        moments: Of the same values.
        keep: ``bool[ids]``: what stays.

    Returns:
        How many weights were changed. One that several nodes read is mixed once, for all that it is multiplied by; one
        that is seen elsewhere too, or whose inputs were not measured, is left.
    """
    changed = 0
    for read in reads:
        stay, found = keep[read.ids], moments.get(read.request)
        if stay.all() or not stay.any() or found is None or not read.whole:
            continue
        _fold(read, found, stay)
        changed += 1
    return changed


def _fold(read: Read, moments: Moments, stay: npt.NDArray[np.bool_]) -> None:
    tensor = constant_tensor(read.weight)
    assert tensor is not None
    biases = biases_of(read.nodes) if all(each.weight == 1 for each in read.contractions) else []
    kept, gone = np.flatnonzero(stay), np.flatnonzero(~stay)
    array = tensor.numpy()
    weight = np.moveaxis(array.astype(np.float64), read.weight_axis, -1)
    told = weight[..., gone].reshape(-1, len(gone))  # [outputs x kernel, channels that go]
    made = _made_up(told, moments.damped(centred=bool(biases)), kept, gone)
    shift = (told @ moments.mean[gone] - made @ moments.mean[kept]).reshape(len(weight), -1).sum(axis=1)
    for bias in biases:
        shift_bias(bias, shift)
    weight[..., kept] += made.reshape(*weight.shape[:-1], -1)
    set_constant(read.weight, np.ascontiguousarray(np.moveaxis(weight, -1, read.weight_axis).astype(array.dtype)))


def _made_up(told: Matrix, second: Matrix | Lowrank, kept: np.ndarray, gone: np.ndarray) -> Matrix:
    """W_P M: what is added to the weights of those that stay, ``float64[outputs, kept]``."""
    if isinstance(second, Lowrank):
        # None stays and goes: the diagonal has no part in what is between them.
        between = second.factor[:, kept].T @ (second.factor[:, gone] @ told.T)
        return second.only(kept).inverse().times(between).T
    between, own = second[np.ix_(kept, gone)], second[np.ix_(kept, kept)]
    del second
    if len(gone) <= len(told):
        guess: Matrix = np.linalg.solve(own, between).T
        return told @ guess
    return np.linalg.solve(own, between @ told.T).T
