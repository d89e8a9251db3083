"""Putting QuantizeLinear / DequantizeLinear pairs around nodes, in the form that becomes int8 kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused, site
from onnxslim.ops.contraction import output_axis
from onnxslim.ops.int8 import CONTRACTIONS, ELEMENTWISE, WEIGHT, hard_sigmoid

from .bias import Means, shift_of, spread
from .grid import TINY, Grid, activation_grid, weight_grid
from .group import Int8Group
from .rounding import NEAREST, Key, Rounding, key_of

Ranges = Mapping[str, tuple[float, float]]
"""Value name -> the range that its grid covers."""
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Built:
    """A model with groups in QDQ form, and how to find them in it."""

    model: ir.Model
    groups: tuple[Int8Group, ...]
    """As they were found; their nodes are the model's own, but for those that were replaced."""
    marks: Mapping[str, str]
    """Key of a group -> the name of its int8 output, or of its int8 weight where it gives float."""
    owners: Mapping[str, str]
    """Name of a node -> key of its group."""
    quantized: Mapping[str, str]
    """Name of an int8 value -> name of the value that it stands for."""


def insert(
    model: ir.Model,
    groups: Sequence[Int8Group],
    ranges: Ranges,
    *,
    activation: str,
    bits: int,
    per_channel: bool,
    means: Means | None = None,
    rounding: Rounding = NEAREST,
) -> Built:
    """Puts the groups' QDQ nodes into the model's main graph.

    Args:
        model: Edited in place; opset 13 or newer.
        groups: Of this very model.
        ranges: Of every value in ``group.measured``; equal on both sides of a mover.
        activation: ``uint8`` or ``int8``.
        bits: Of the weights, 7 or 8.
        per_channel: One weight scale per output channel, or one per tensor.
        means: Of activations, by which biases are corrected.
        rounding: Of the weights.

    Returns:
        The same model, with what `unfused` and a profile need to find the groups in it.
    """
    editor = _Inserter(model, Names.of(model), ranges, activation, bits, per_channel, means or {}, rounding)
    produced = {group.output: group for group in groups if group.output is not None}
    readers: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
    for group in groups:
        for value in group.measured:
            readers.setdefault(value, [])
        for index, value in group.activations:
            readers[value].append((group.node, index))
    for value, slots in readers.items():
        # What an int8 kernel made is int8 for every reader; what a float kernel made stays float for float readers.
        editor.quantize_activation(value, None if value in produced else slots, produced.get(value))
    for group in groups:
        if group.is_contraction:
            editor.quantize_weight(group)
        else:
            editor.quantize_constants(group)
    for group in groups:
        if group.node.op_type in ("HardSigmoid", "HardSwish"):
            editor.saturate(group)
    for group in groups:
        for node in (group.node, *group.absorbed):
            if node.name:
                editor.owners[node.name] = group.key
    return Built(model, tuple(groups), editor.marks, editor.owners, editor.quantized)


@dataclass(eq=False)
class _Inserter:
    model: ir.Model
    names: Names
    ranges: Ranges
    dtype: str
    bits: int
    per_channel: bool
    means: Means
    rounding: Rounding

    def __post_init__(self) -> None:
        self.scales: dict[ir.Value, np.ndarray] = {}  # by dequantized activation
        self.weights: dict[tuple[Key, bytes], ir.Value] = {}
        self.constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.marks: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.quantized: dict[str, str] = {}

    def quantize_activation(
        self, value: ir.Value, readers: list[tuple[ir.Node, int]] | None, producer: Int8Group | None
    ) -> None:
        """Value -> Q -> DQ -> readers; None means all of them."""
        name = value.name or ""
        grid = activation_grid(*self.ranges[name], self.dtype)
        uses = [(use.node, use.idx) for use in value.uses()] if readers is None else readers
        into = grid
        if producer is not None and producer.node.op_type == "HardSigmoid":
            into = replace(grid, scale=_times(grid.scale, 1 / hard_sigmoid(producer.node)[0]))
        quantize, dequantize = self._pair(value, name, into, grid)
        if producer is not None:
            self.marks[producer.key] = quantize.outputs[0].name or ""
        for node, index in uses:
            node.replace_input_with(index, dequantize.outputs[0])

    def _pair(self, value: ir.Value, name: str, into: Grid, back: Grid) -> tuple[ir.Node, ir.Node]:
        """Q by one grid and DQ by another, which multiplies by the ratio of their scales."""
        scale = self._constant(f"{name}_scale", back.scale)
        zero = self._constant(f"{name}_zero_point", back.zero_point)
        first = scale if into is back else self._constant(f"{name}_scale_in", into.scale)
        quantize = ir.node("QuantizeLinear", [value, first, zero])
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero])
        for node, role in ((quantize, "quantized"), (dequantize, "dequantized")):
            node.outputs[0].name = node.name = self.names.fresh(f"{name}_{role}")
        producer = value.producer()
        if producer is not None:
            producer.append([quantize, dequantize])
        else:
            self.model.graph[0].prepend([quantize, dequantize])
        self.scales[dequantize.outputs[0]] = back.scale
        self.quantized[quantize.outputs[0].name or ""] = name
        return quantize, dequantize

    def saturate(self, group: Int8Group) -> None:
        """A HardSigmoid, or the one in a HardSwish, becomes a sum that saturates at both ends."""
        node = group.node
        slope, offset = hard_sigmoid(node)
        x, result = node.inputs[0], node.outputs[0]
        constant = np.array(offset / slope, np.float32)
        grid = activation_grid(float(constant), float(constant), self.dtype)
        summand = self._dequantize(node, f"{result.name}_offset", grid.quantize(constant), grid)
        total = ir.node("Add", [x, summand])
        total.outputs[0].name = total.name = self.names.fresh(f"{result.name}_shifted")
        node.prepend(total)
        uses = [(use.node, use.idx) for use in result.uses()]
        if node.op_type == "HardSigmoid":
            last = total
        else:
            gate = activation_grid(0.0, 1.0, self.dtype)
            into = replace(gate, scale=_times(gate.scale, 1 / slope))
            _, dequantize = self._pair(total.outputs[0], f"{result.name}_gate", into, gate)
            last = ir.node("Mul", [x, dequantize.outputs[0]])
            last.outputs[0].name = last.name = self.names.fresh(f"{result.name}_product")
            node.prepend(last)
        for reader, index in uses:
            reader.replace_input_with(index, last.outputs[0])
        self.owners |= {each.name or "": group.key for each in (total, last)}
        self.model.graph.remove(node, safe=True)

    def quantize_constants(self, group: Int8Group) -> None:
        """The constant operands of an elementwise node, one scale each."""
        for index, value in group.constants:
            array = _array(value)
            assert array is not None
            grid = activation_grid(float(array.min()), float(array.max()), self.dtype)
            group.node.replace_input_with(
                index, self._dequantize(group.node, f"{value.name}{WEIGHT}", grid.quantize(array), grid)
            )
            drop_unused(self.model.graph, value)

    def quantize_weight(self, group: Int8Group) -> None:
        """The weight of a contraction and its bias."""
        node, weight = group.node, group.weight
        assert weight is not None
        axis = output_axis(node) if self.per_channel else None
        activation = node.inputs[0]
        assert activation is not None
        x_scale = float(self.scales[activation])
        array, bias = _array(weight), _array(group.bias)
        assert array is not None
        floor = None
        if bias is not None:
            bias = spread(bias.astype(np.float64), array.shape[output_axis(node)])
            # |bias| / (x_scale * w_scale) must fit int32, with room for the sum it is added to.
            floor = np.abs(bias).reshape(-1, bias.shape[-1]).max(axis=0) / (x_scale * (INT32_MAX // 2))
            floor = floor if axis is not None else floor.max(initial=0.0)
        grid = weight_grid(array, axis, bits=self.bits, floor=floor)
        integers = self.rounding.integers(node, array, grid)
        dequantized = self._dequantized_weight(node, weight, integers, grid)
        node.replace_input_with(1, dequantized)
        producer = dequantized.producer()
        if group.output is None and producer is not None and producer.inputs[0] is not None:
            self.marks[group.key] = producer.inputs[0].name or ""
        mean = self.means.get(group.key)
        shift = shift_of(group, grid.dequantize(integers), mean) if mean is not None else None
        if shift is not None and np.isfinite(shift).all():
            bias = (0.0 if bias is None else bias) - shift
        drop_unused(self.model.graph, weight)
        if bias is not None:
            name = node.outputs[0].name if group.bias is None else group.bias.name
            reader, slot = group.bias_slot
            if len(reader.inputs) <= slot:
                reader.resize_inputs(slot + 1)
            made = self._dequantized_bias(node, f"{name}{WEIGHT}", bias, x_scale, grid.scale)
            reader.replace_input_with(slot, made)
        if group.bias is not None:
            drop_unused(self.model.graph, group.bias)

    def _dequantized_weight(self, node: ir.Node, weight: ir.Value, integers: np.ndarray, grid: Grid) -> ir.Value:
        """The weight on a grid; readers that want the same grid along the same axis share it."""
        key = (key_of(node), grid.scale.tobytes())
        if key not in self.weights:
            self.weights[key] = self._dequantize(node, f"{weight.name}{WEIGHT}", integers, grid)
        return self.weights[key]

    def _dequantized_bias(
        self, node: ir.Node, name: str, bias: np.ndarray, x_scale: float, w_scale: np.ndarray
    ) -> ir.Value:
        """``bias`` is [outputs] or [rows, outputs]."""
        # A fresh one for each reader: its scale is the product of that reader's scales.
        product = np.maximum(np.float32(x_scale) * w_scale, TINY).astype(np.float32)
        scale = np.ascontiguousarray(np.broadcast_to(product, bias.shape[-1:]))
        integers = np.clip(np.rint(bias / scale.astype(np.float64)), -INT32_MAX, INT32_MAX).astype(np.int32)
        grid = Grid(scale, np.zeros(scale.shape, np.int32), bias.ndim - 1, -INT32_MAX, INT32_MAX)
        return self._dequantize(node, name, integers, grid)

    def _dequantize(self, node: ir.Node, name: str, integers: np.ndarray, grid: Grid) -> ir.Value:
        """A DequantizeLinear of a new initializer, before ``node``."""
        base = self.names.fresh(name)
        made = ir.node(
            "DequantizeLinear",
            [
                add_initializer(self.model.graph, base, integers),
                self._constant(f"{base}_scale", grid.scale),
                self._constant(f"{base}_zero_point", grid.zero_point),
            ],
            {} if grid.axis is None else {"axis": grid.axis},
        )
        made.outputs[0].name = made.name = self.names.fresh(f"{base}_dequantized")
        node.prepend(made)
        return made.outputs[0]

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A scale or a zero point; equal ones are there once, under the name of the first."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = add_initializer(self.model.graph, self.names.fresh(name), array)
        return self.constants[key]


def unfused(optimized: onnx.ModelProto, built: Built) -> dict[str, str]:
    """The groups that did not become an int8 kernel, by key, with the reason.

    Args:
        optimized: What onnxruntime made of the model.
        built: What `insert` returned.

    A kernel gives the int8 output itself, and takes the int8 weight itself; a QuantizeLinear that makes the one, or a
    DequantizeLinear that still reads the other, says that none was formed.
    """
    nodes = [node for node in optimized.graph.node if node.domain in ("", "ai.onnx")]
    left = {node.output[0] for node in nodes if node.op_type == "QuantizeLinear"}
    left |= {node.input[0] for node in nodes if node.op_type == "DequantizeLinear"} & {
        each.name for each in optimized.graph.initializer
    }
    return {
        group.key: f"onnxruntime formed no {_kernel(group.node)} of {site(group.node)}"
        for group in built.groups
        if built.marks[group.key] in left
    }


def _kernel(node: ir.Node) -> str:
    if node.op_type in CONTRACTIONS:
        return CONTRACTIONS[node.op_type].kernel
    return ELEMENTWISE[node.op_type].kernel if node.op_type in ELEMENTWISE else f"int8 {node.op_type}"


def _times(scale: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(scale * np.float32(factor), np.float32)


def _array(value: ir.Value | None) -> np.ndarray | None:
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()
