"""What nodes with constant inputs only compute: a packed tensor as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnxslim.execution import open_session
from onnxslim.graph.edit import constant_tensor, inline

from .decoder import PREFIX


def decoded_values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    """The tensors that nodes of a graph unpack."""
    return (node.outputs[0] for node in graph if (node.name or "").startswith(PREFIX))


def behind(values: Iterable[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]] | None:
    """The nodes that compute values from constants, in an order in which they can run, and these constants.

    None where anything else is read: a value is no constant.
    """
    nodes: dict[ir.Node, None] = {}
    constants: dict[ir.Value, None] = {}
    stack = [(value, False) for value in values]
    while stack:
        each, done = stack.pop()
        node = each.producer()
        if done:
            assert node is not None
            nodes[node] = None
        elif constant_tensor(each) is not None:
            constants[each] = None
        elif node is None:
            return None
        elif node not in nodes:
            stack.append((each, True))
            stack.extend((read, False) for read in node.inputs if read is not None)
    return list(nodes), list(constants)


def restored(values: Sequence[ir.Value], opset: int) -> list[npt.NDArray[np.generic]] | None:
    """The arrays that values always are, computed by onnxruntime without its optimizations, in one run.

    Args:
        values: That nodes of the default domain compute.
        opset: Of that domain.

    Returns:
        None where one depends on an input.

    Raises:
        InputError, CannotRun: onnxruntime does not take the nodes.
    """
    found = behind(values)
    if found is None:
        return None
    nodes, constants = found
    graph = onnx.GraphProto(name="decoder", node=[ir.serde.serialize_node(node) for node in nodes])
    for constant in constants:
        tensor = constant_tensor(constant)
        assert tensor is not None
        graph.initializer.append(inline(constant.name or "", tensor))
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in values)
    proto = onnx.ModelProto(ir_version=8, graph=graph, opset_import=[onnx.helper.make_opsetid("", min(opset, LATEST))])
    outputs = open_session(proto, optimize=False).run({})
    return [np.asarray(outputs[value.name or ""]) for value in values]


LATEST = 21
"""Decoders mean the same from opset 13 on; a newer opset than the runtime knows is not needed for them."""
