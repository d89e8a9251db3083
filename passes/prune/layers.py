"""What is refitted once channels are gone: contractions, and the batch normalizations that slimming could not fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.channels import Ids

from .affine import parameters_of


@dataclass(frozen=True, slots=True)
class Layer:
    """A contraction or a normalization that is refitted.

    Attributes:
        key: Name of its output.
        rows: ``bool[outputs]``: which outputs of the original are left; None where all are.
        others: Names of the outputs of those that share its weight, all after it.
    """

    key: str
    rows: npt.NDArray[np.bool_] | None
    others: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of all outputs."""
        return (self.key, *self.others)


def layers_of(model: ir.Model, channels: Channels, keep: npt.NDArray[np.bool_]) -> Iterator[Layer]:
    """Those of the main graph whose inputs change, with the outputs that stay, in the order of the nodes.

    Nodes that share a weight are one layer where nothing else sees it, at the place of the first.
    """
    changed: set[ir.Value] = set()
    affected: set[ir.Node] = set()
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        lost = any(
            ids is not None and not keep[ids].all()
            for value in inputs
            if constant_tensor(value) is None
            for ids in channels.links.ids(value) or ()
        )
        if lost or any(value in changed for value in inputs):
            changed.update(node.outputs)
            affected.add(node)
    order = {node: place for place, node in enumerate(model.graph)}
    for node in model.graph:
        if node in affected and parameters_of(node) is not None:
            yield Layer(node.outputs[0].name or "", _left(channels.links.axis(node.outputs[0], 1), keep))
        readers = _readers(node, order)
        if not readers or readers[0] is not node or affected.isdisjoint(readers):
            continue
        kept = []
        for each in readers:
            out = each.outputs[0]
            rank = channels.facts.rank(out)
            if rank is not None:
                kept.append(_left(channels.links.axis(out, 1 if each.op_type == "Conv" else rank - 1), keep))
        if len(kept) == len(readers) and len({None if each is None else each.tobytes() for each in kept}) == 1:
            first, *others = [each.outputs[0].name or "" for each in readers]
            yield Layer(first, kept[0], tuple(others))


def _left(ids: Ids | None, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    return None if ids is None or keep[ids].all() else keep[ids]


def _readers(node: ir.Node, order: Mapping[ir.Node, int]) -> list[ir.Node]:
    """The contractions of the main graph that share a node's weight, in order; none where anything else sees it."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or constant_tensor(weight) is None or weight.is_graph_output():
        return []
    uses = list(weight.uses())
    if any(not _is_contraction(use.node) or use.idx != 1 or use.node not in order for use in uses):
        return []
    return sorted((use.node for use in uses), key=lambda each: order[each])


def _is_contraction(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in ("Conv", "Gemm", "MatMul")
