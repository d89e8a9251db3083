"""The bias that a contraction has, or that is added to what it computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor, read_only_by, set_constant
from onnxslim.ops.contraction import bias_of, contraction_of


def biases_of(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    """The biases of contractions that share a weight, each once; none where a node has none of its own.

    A bias is a constant with one number for each output channel, which takes a shift of them all and of nothing else.
    Nodes may share one: then a shift of it is a shift of all of them. See `onnxslim.ops.contraction.bias_of`.
    """
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        known, (reader, value) = contraction_of(node), bias_of(node)
        if isinstance(known, str) or not known.rowwise or isinstance(known.unfold, str) or known.scaled:
            return []
        tensor = constant_tensor(value)
        if value is None or tensor is None or known.outputs < 1:
            return []
        shape = tuple(tensor.shape.numpy())
        if not shape or shape[-1] != known.outputs or tensor.size != known.outputs:
            return []
        found.setdefault(value, []).append(reader)
    whole = all(read_only_by(value, readers) and len(value.uses()) == len(readers) for value, readers in found.items())
    return list(found) if whole else []


def shift_bias(bias: ir.Value, shift: npt.NDArray[np.float64]) -> None:
    """Adds a number to each entry."""
    tensor = constant_tensor(bias)
    assert tensor is not None
    array = tensor.numpy()
    set_constant(bias, (array.astype(np.float64) + shift.reshape(array.shape)).astype(array.dtype))
