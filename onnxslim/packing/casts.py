"""Codes that a codebook gives as floats at once, instead of a Cast for each tensor behind it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor

CAST = 26
"""Bytes of a Cast in the file, at least."""
FEW = 1 << 16
"""Numbers up to which floats are moved about as fast as bytes: they fit a cache."""


def lift_casts(graph: ir.Graph, names: Names) -> int:
    """Drops the Casts of what decoders of ``graph`` give, where their codebooks can hold what the Casts make of them.

    Exact: Split and Reshape move numbers, and a Cast gives the same for a number wherever it stands. A codebook becomes
    floats only where that takes fewer bytes than the Casts, and no more numbers are moved than `FEW`.

    Returns:
        How many Casts are gone.
    """
    gone = 0
    for node in [each for each in graph if each.op_type == "GatherElements" and not each.domain]:
        codebook = node.inputs[0]
        tensor = constant_tensor(codebook)
        if codebook is None or tensor is None or not codebook.is_initializer() or len(codebook.uses()) > 1:
            continue
        found = _casts(node)
        if not found:
            continue
        (_, to), *_ = found[0].attributes.items()
        dtype = ir.DataType(to.as_int())
        if dtype != ir.DataType.FLOAT or any(each.attributes.get_int("to") != dtype for each in found):
            continue
        wide = tensor.numpy().astype(np.float32)
        if wide.nbytes - tensor.nbytes >= CAST * len(found):
            continue
        node.replace_input_with(0, add_initializer(graph, names.fresh("c"), wide))
        graph.initializers.pop(codebook.name or "")
        for value in _moved(node):
            if value.dtype is not None:
                value.dtype = dtype
        for cast in found:
            source = cast.inputs[0]
            assert source is not None
            ir.convenience.replace_all_uses_with(cast.outputs[0], source)
            graph.remove(cast, safe=True)
        gone += len(found)
    return gone


def _casts(node: ir.Node) -> list[ir.Node]:
    """The Casts that are all that reads what a node gives, whole or in parts; none where anything else does."""
    casts: list[ir.Node] = []
    count = 0
    for value in _moved(node):
        if value.is_graph_output():
            return []
        for use in value.uses():
            if use.node.op_type == "Cast" and not use.node.domain and use.node.graph is node.graph:
                if use.node.outputs[0].is_graph_output() or value.shape is None or not value.shape.is_static():
                    return []
                casts.append(use.node)
                count += int(np.prod(value.shape.numpy()))
            elif not _moves(use.node, use.idx):
                return []
    return casts if count <= FEW else []


def _moved(node: ir.Node) -> list[ir.Value]:
    """What a node gives, and what Splits and Reshapes make of that."""
    values = list(node.outputs)
    for value in values:  # grows while it is walked
        for use in value.uses():
            if _moves(use.node, use.idx) and use.node.graph is node.graph:
                values += [each for each in use.node.outputs if each not in values]
    return values


def _moves(node: ir.Node, slot: int) -> bool:
    return node.op_type in ("Split", "Reshape") and not node.domain and slot == 0
