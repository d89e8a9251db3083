"""What a graph expects of its inputs: dtype, shape, order of the axes, range; read off the first nodes behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.execution import Feed
from onnxslim.graph.edit import constant_tensor

CHANNELS_SECOND = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"}
)
"""Operators whose axis 1 is the channels."""
ARITHMETIC = {"Sub": "-", "Add": "+", "Mul": "*", "Div": "/"}
SHOWN = 4
"""Numbers of a constant that are shown."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One input.

    Attributes:
        name: Of the input.
        dtype: Of its elements.
        shape: Sizes and names of sizes.
        layout: ``channels first``, ``channels last``, or empty where the graph does not tell.
        inside: What the graph does to it before anything else, such as ``x / 255``; empty where it does nothing.
        least: The smallest value in the inputs that were compared; None where there is none.
        most: The largest.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: str = ""
    inside: str = ""
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.shape))
        said = [f"{self.name}: {self.dtype} [{sizes}]"]
        if self.layout:
            said.append(self.layout)
        if self.inside:
            said.append(f"the graph itself computes {self.inside}")
        elif self.layout:
            said.append("the graph does not scale it: preprocess as in training")
        if self.least is not None and self.most is not None:
            said.append(f"compared on values from {self.least:.4g} to {self.most:.4g}")
        return "; ".join(said)


def expected_inputs(model: ir.Model, feeds: list[Feed]) -> list[Expected]:
    """What each input of a graph is expected to be.

    Args:
        model: The graph.
        feeds: Inputs that were compared.
    """
    return [
        Expected(
            value.name or "",
            _dtype(value),
            tuple(size if isinstance(size, int) else str(size.value or "any") for size in value.shape or ()),
            *_first_nodes(value),
            *_range(feeds, value.name or ""),
        )
        for value in model.graph.inputs
        if value.name not in model.graph.initializers
    ]


def _dtype(value: ir.Value) -> str:
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        return str(value.type or "unknown")
    return "string" if value.dtype == ir.DataType.STRING else value.dtype.numpy().name


def _first_nodes(value: ir.Value) -> tuple[str, str]:
    """The layout, and what is computed before the first node that has weights."""
    inside, moved = "x", False
    while len(value.uses()) == 1:
        node = next(iter(value.uses())).node
        if node.op_type in CHANNELS_SECOND and len(value.shape or (0, 0, 0)) >= 3:
            return "channels last" if moved else "channels first", "" if inside == "x" else inside
        if node.op_type == "Transpose":
            perm = node.attributes.get_ints("perm", ())
            moved = bool(perm) and perm[1] == len(perm) - 1
        elif node.op_type in ARITHMETIC and (other := _constant(node, value)) is not None:
            inside = f"({inside} {ARITHMETIC[node.op_type]} {other})"
        elif node.op_type not in ("Cast", "Identity", "Pad"):
            break
        value = node.outputs[0]
    return "", "" if inside == "x" else inside


def _constant(node: ir.Node, value: ir.Value) -> str | None:
    first, second = node.inputs[:2]
    if first is not value or second is None or (tensor := constant_tensor(second)) is None or tensor.size > 16:
        return None
    numbers = np.unique(np.asarray(tensor.numpy(), np.float64).reshape(-1)) if tensor.size > SHOWN else None
    shown = np.asarray(tensor.numpy(), np.float64).reshape(-1) if numbers is None else numbers
    text = ", ".join(f"{each:.4g}" for each in shown[:SHOWN])
    return text if len(shown) == 1 else f"[{text}]"


def _range(feeds: list[Feed], name: str) -> tuple[float | None, float | None]:
    arrays = [np.asarray(feed[name]) for feed in feeds if _numbers(feed, name)]
    if not arrays:
        return None, None
    return float(min(each.min() for each in arrays)), float(max(each.max() for each in arrays))


def _numbers(feed: Mapping[str, object], name: str) -> bool:
    array = np.asarray(feed.get(name, ()))
    return array.dtype.kind in "fiu" and array.size > 0
