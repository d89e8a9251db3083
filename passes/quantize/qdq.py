"""Putting QuantizeLinear / DequantizeLinear pairs around contractions, in the form that becomes int8 kernels.

A group is one contraction with a constant weight. Its activation is read through Q -> DQ, its weight through a DQ, its
bias, if any, through a DQ of int32, and where the kernel wants it a Q -> DQ stands on its output.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, site
from onnxslim.ops.int8 import ABSORBED, CONTRACTIONS

from .grid import TINY, Grid, activation_grid, weight_grid

Ranges = Mapping[str, tuple[float, float]]
"""Value name -> the range that its grid covers."""
INT32_MAX = 2**31 - 1
WEIGHT = "_quantized"
"""Suffix of an int8 weight's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One contraction to run in int8.

    ``output`` is the value to quantize after it (behind an absorbed Relu or Clip), None where the output stays float.
    """

    node: ir.Node
    activation: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    output: ir.Value | None

    @property
    def key(self) -> str:
        """Name of the node's output: the same on a clone of the model."""
        return self.node.outputs[0].name or ""

    @property
    def measured(self) -> Iterable[ir.Value]:
        """The values whose ranges the group needs."""
        return (self.activation,) if self.output is None else (self.activation, self.output)


def group_of(node: ir.Node) -> Group | str:
    """The group around a node, or why there is none."""
    contraction = CONTRACTIONS[node.op_type]
    activation, weight = node.inputs[0], node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if activation is None or weight is None or constant_tensor(weight) is None:
        return "its weight is computed"
    if constant_tensor(activation) is not None:
        return "its activation is constant"
    if any(_is(value.producer(), "DequantizeLinear") for value in (activation, weight)):
        return "already quantized"
    tensor = constant_tensor(weight)
    assert tensor is not None
    if tensor.dtype != ir.DataType.FLOAT:
        return f"weights of {tensor.dtype.name}"
    if bias is not None and constant_tensor(bias) is None:
        return "its bias is computed"
    if not contraction.quantized_output:
        return Group(node, activation, weight, bias, None)
    output = node.outputs[0]
    while not output.is_graph_output() and len(output.uses()) == 1:
        consumer = next(iter(output.uses())).node
        if consumer.domain or consumer.op_type not in ABSORBED or consumer.inputs[0] is not output:
            break
        if any(constant_tensor(bound) is None for bound in consumer.inputs[1:] if bound is not None):
            break
        output = consumer.outputs[0]
    if output.is_graph_output():
        return "its output is the model's: nothing after it reads int8"
    if not output.uses():
        return "nothing reads its output"
    return Group(node, activation, weight, bias, output)


def holds_no_number(group: Group) -> bool:
    """Whether a weight or bias holds NaN or infinity, which no integer stands for."""
    arrays = (_array(group.weight), _array(group.bias))
    return not all(np.isfinite(array).all() for array in arrays if array is not None)


def insert(
    model: ir.Model, groups: list[Group], ranges: Ranges, *, activation: str, bits: int, per_channel: bool
) -> None:
    """Puts the groups' QDQ nodes into the model's main graph.

    Args:
        model: Edited in place; opset 13 or newer.
        groups: Of this very model.
        ranges: Of every value in ``group.measured``.
        activation: ``uint8`` or ``int8``.
        bits: Of the weights, 7 or 8.
        per_channel: One weight scale per output channel, or one per tensor.
    """
    editor = _Inserter(model, Names.of(model), ranges, activation, bits, per_channel)
    produced = {group.output for group in groups if group.output is not None}
    for value in dict.fromkeys(itertools.chain.from_iterable(group.measured for group in groups)):
        # What an int8 kernel made is int8 for every reader; what a float kernel made stays float for float readers.
        readers = None if value in produced else [(g.node, 0) for g in groups if g.activation is value]
        editor.quantize_activation(value, readers)
    for group in groups:
        editor.quantize_weight(group)


@dataclass(eq=False)
class _Inserter:
    model: ir.Model
    names: Names
    ranges: Ranges
    dtype: str
    bits: int
    per_channel: bool

    def __post_init__(self) -> None:
        self.scales: dict[ir.Value, np.ndarray] = {}  # by dequantized activation
        self.weights: dict[tuple[ir.Value, int | None, bytes], tuple[ir.Value, np.ndarray]] = {}

    def quantize_activation(self, value: ir.Value, readers: list[tuple[ir.Node, int]] | None) -> None:
        """Value -> Q -> DQ -> readers; None means all of them."""
        name = value.name or ""
        grid = activation_grid(*self.ranges[name], self.dtype)
        uses = [(use.node, use.idx) for use in value.uses()] if readers is None else readers
        graph = self.model.graph
        scale = add_initializer(graph, self.names.fresh(f"{name}_scale"), grid.scale)
        zero = add_initializer(graph, self.names.fresh(f"{name}_zero_point"), grid.zero_point)
        quantize = ir.node("QuantizeLinear", [value, scale, zero])
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero])
        for node, role in ((quantize, "quantized"), (dequantize, "dequantized")):
            node.outputs[0].name = node.name = self.names.fresh(f"{name}_{role}")
        producer = value.producer()
        if producer is not None:
            producer.append([quantize, dequantize])
        else:
            graph[0].prepend([quantize, dequantize])
        for node, index in uses:
            node.replace_input_with(index, dequantize.outputs[0])
        self.scales[dequantize.outputs[0]] = grid.scale

    def quantize_weight(self, group: Group) -> None:
        node, weight = group.node, group.weight
        axis = CONTRACTIONS[node.op_type].channel_axis(node) if self.per_channel else None
        activation = node.inputs[0]
        assert activation is not None
        x_scale = float(self.scales[activation])
        bias = _array(group.bias)
        floor = None
        if bias is not None:
            # |bias| / (x_scale * w_scale) must fit int32, with room for the sum it is added to.
            floor = np.abs(bias.astype(np.float64)) / (x_scale * (INT32_MAX // 2))
            floor = floor.reshape(-1) if axis is not None else floor.max(initial=0.0)
            if floor.size == 1:
                floor = floor.reshape(())
        dequantized, w_scale = self._dequantized_weight(node, weight, axis, floor)
        node.replace_input_with(1, dequantized)
        _drop_unused(self.model.graph, weight)
        if group.bias is not None and bias is not None:
            node.replace_input_with(2, self._dequantized_bias(node, group.bias, bias, x_scale, w_scale))
            _drop_unused(self.model.graph, group.bias)

    def _dequantized_weight(
        self, node: ir.Node, weight: ir.Value, axis: int | None, floor: np.ndarray | None
    ) -> tuple[ir.Value, np.ndarray]:
        array = _array(weight)
        assert array is not None
        grid = weight_grid(array, axis, bits=self.bits, floor=floor)
        key = (weight, axis, grid.scale.tobytes())
        if key not in self.weights:
            integers = grid.quantize(array)
            self.weights[key] = (self._dequantize(node, f"{weight.name}{WEIGHT}", integers, grid), grid.scale)
        return self.weights[key]

    def _dequantized_bias(
        self, node: ir.Node, value: ir.Value, bias: np.ndarray, x_scale: float, w_scale: np.ndarray
    ) -> ir.Value:
        # A fresh one for each reader: its scale is the product of that reader's scales.
        scale = np.maximum(np.float32(x_scale) * w_scale, TINY).astype(np.float32)
        flat = bias.reshape(-1)
        if scale.size != flat.size:
            scale = np.broadcast_to(scale.reshape(-1)[:1], flat.shape)
        integers = np.clip(np.rint(flat / scale.astype(np.float64)), -INT32_MAX, INT32_MAX).astype(np.int32)
        grid = Grid(np.ascontiguousarray(scale), np.zeros(scale.shape, np.int32), 0, -INT32_MAX, INT32_MAX)
        return self._dequantize(node, f"{value.name}{WEIGHT}", integers, grid)

    def _dequantize(self, node: ir.Node, name: str, integers: np.ndarray, grid: Grid) -> ir.Value:
        """A DequantizeLinear of a new initializer, before ``node``."""
        graph = self.model.graph
        base = self.names.fresh(name)
        made = ir.node(
            "DequantizeLinear",
            [
                add_initializer(graph, base, integers),
                add_initializer(graph, self.names.fresh(f"{base}_scale"), grid.scale),
                add_initializer(graph, self.names.fresh(f"{base}_zero_point"), grid.zero_point),
            ],
            {} if grid.axis is None else {"axis": grid.axis},
        )
        made.outputs[0].name = made.name = self.names.fresh(f"{base}_dequantized")
        node.prepend(made)
        return made.outputs[0]


def unfused(optimized: onnx.ModelProto, groups: list[Group]) -> dict[str, str]:
    """The groups that did not become an int8 kernel, by key, with the reason.

    Args:
        optimized: What onnxruntime made of the model.
        groups: As they stand in the model after ``insert``.

    A kernel takes the int8 weight itself; a DequantizeLinear that still reads it says that none was formed.
    """
    left = {node.input[0] for node in optimized.graph.node if node.op_type == "DequantizeLinear" and node.domain == ""}
    reasons = {}
    for group in groups:
        dequantize = group.node.inputs[1].producer() if group.node.inputs[1] is not None else None
        assert dequantize is not None
        weight = dequantize.inputs[0]
        if weight is not None and weight.name in left:
            reasons[group.key] = (
                f"onnxruntime formed no {CONTRACTIONS[group.node.op_type].kernel} of {site(group.node)}"
            )
    return reasons


def _array(value: ir.Value | None) -> np.ndarray | None:
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and node.op_type == op_type and node.domain == ""


def _drop_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Removes a constant that nothing reads any more."""
    if value.uses() or value.is_graph_output():
        return
    producer = value.producer()
    if producer is not None:
        producer.graph.remove(producer, safe=True)  # type: ignore[union-attr]
    elif value.is_initializer() and not value.is_graph_input():
        graph.initializers.pop(value.name or "")
