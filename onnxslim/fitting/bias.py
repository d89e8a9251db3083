"""The bias that a contraction has, or that is added to what it computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor, read_only_by, set_constant


def bias_of(node: ir.Node, outputs: int) -> ir.Value | None:
    """A constant with one number for each of ``outputs``, which takes a shift of them all and of nothing else.

    The third input of Conv and Gemm; of a MatMul the other input of the Add that alone reads it.
    """
    found = biases_of([node], outputs)
    return found[0] if found else None


def biases_of(nodes: Sequence[ir.Node], outputs: int) -> list[ir.Value]:
    """The biases of nodes that share a weight, each once, see `bias_of`; none where a node has no bias of its own.

    Nodes may share a bias, too: then one shift of it is a shift of all of them.
    """
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        value, reader = _added(node)
        tensor = constant_tensor(value)
        if value is None or tensor is None or outputs < 1:
            return []
        shape = tuple(tensor.shape.numpy())
        if not shape or shape[-1] != outputs or tensor.size != outputs:
            return []
        found.setdefault(value, []).append(reader)
    whole = all(read_only_by(value, readers) and len(value.uses()) == len(readers) for value, readers in found.items())
    return list(found) if whole else []


def _added(node: ir.Node) -> tuple[ir.Value | None, ir.Node]:
    """What is added to what a node multiplies, and the node that adds it."""
    value: ir.Value | None = None
    reader = node
    if node.op_type in ("Conv", "Gemm"):
        scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
        value = node.inputs[2] if len(node.inputs) > 2 and not scaled else None
    elif node.op_type == "MatMul" and len(uses := list(node.outputs[0].uses())) == 1:
        add, out = uses[0].node, node.outputs[0]
        if add.op_type == "Add" and not add.domain and not out.is_graph_output():
            value, reader = add.inputs[1 - uses[0].idx], add
    return value, reader


def shift_bias(bias: ir.Value, shift: npt.NDArray[np.float64]) -> None:
    """Adds a number to each entry."""
    tensor = constant_tensor(bias)
    assert tensor is not None
    array = tensor.numpy()
    set_constant(bias, (array.astype(np.float64) + shift.reshape(array.shape)).astype(array.dtype))
