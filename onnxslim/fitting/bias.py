"""The bias that a contraction has, or that is added to what it computes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor, read_once, set_constant


def bias_of(node: ir.Node, outputs: int) -> ir.Value | None:
    """A constant with one number for each of ``outputs``, which takes a shift of them all and of nothing else.

    The third input of Conv and Gemm; of a MatMul the other input of the Add that alone reads it.
    """
    value: ir.Value | None = None
    if node.op_type in ("Conv", "Gemm"):
        scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
        value = node.inputs[2] if len(node.inputs) > 2 and not scaled else None
    elif node.op_type == "MatMul" and len(uses := list(node.outputs[0].uses())) == 1:
        add, out = uses[0].node, node.outputs[0]
        if add.op_type == "Add" and not add.domain and not out.is_graph_output():
            value = add.inputs[1 - uses[0].idx]
    tensor = constant_tensor(value)
    if value is None or tensor is None or not read_once(value) or outputs < 1:
        return None
    shape = tuple(tensor.shape.numpy())
    return value if shape and shape[-1] == outputs == tensor.size else None


def shift_bias(bias: ir.Value, shift: npt.NDArray[np.float64]) -> None:
    """Adds a number to each entry."""
    tensor = constant_tensor(bias)
    assert tensor is not None
    array = tensor.numpy()
    set_constant(bias, (array.astype(np.float64) + shift.reshape(array.shape)).astype(array.dtype))
