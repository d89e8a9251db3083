"""What is refitted once channels are gone: contractions, and the batch normalizations that slimming could not fold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels
from onnxslim.graph.edit import constant_tensor, read_once

from .affine import parameters_of


@dataclass(frozen=True, slots=True)
class Layer:
    """A contraction or a normalization that is refitted.

    Attributes:
        key: Name of its output.
        rows: ``bool[outputs]``: which outputs of the original are left; None where all are.
    """

    key: str
    rows: npt.NDArray[np.bool_] | None


def layers_of(model: ir.Model, channels: Channels, keep: npt.NDArray[np.bool_]) -> Iterator[Layer]:
    """Those of the main graph whose inputs change, with the outputs that stay, in the order of the nodes."""
    changed: set[ir.Value] = set()
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        lost = any(
            ids is not None and not keep[ids].all()
            for value in inputs
            if constant_tensor(value) is None
            for ids in channels.links.ids(value) or ()
        )
        if not lost and not any(value in changed for value in inputs):
            continue
        changed.update(node.outputs)
        if parameters_of(node) is not None:
            ids = channels.links.axis(node.outputs[0], 1)
            yield Layer(node.outputs[0].name or "", None if ids is None or keep[ids].all() else keep[ids])
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight, out = node.inputs[1], node.outputs[0]
        rank = channels.facts.rank(out)
        if weight is None or constant_tensor(weight) is None or not read_once(weight) or rank is None:
            continue
        ids = channels.links.axis(out, 1 if node.op_type == "Conv" else rank - 1)
        yield Layer(out.name or "", None if ids is None or keep[ids].all() else keep[ids])
