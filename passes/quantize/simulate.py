"""What quantizing one tensor does to the outputs: a float model in which every tensor has a grid and a switch.

The grids are inputs of the model, so that one session answers for every choice of ranges and of tensors. Weights are
rounded throughout: per channel they are not what limits int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation import Extents, Leaf, Measure, Noise, extents_of, leaves_of, shown
from onnxslim.execution import Feed, Session, open_session
from onnxslim.graph.edit import Names, add_initializer, constant_tensor
from onnxslim.ops.contraction import output_axis

from .grid import activation_grid, weight_grid
from .group import Int8Group
from .rounding import NEAREST, Rounding
from .tensors import Span, Tensor

Spans = Mapping[str, Span]
"""Tensor name -> its range; a tensor that is not named stays in float."""


class Simulator:
    """Runs a model on some feeds with any of its tensors on grids.

    Args:
        model: Not changed.
        groups: Of ``model``.
        tensors: Of ``groups``.
        feeds: Inputs to judge by; their number is the cost of one answer.
        activation: ``uint8`` or ``int8``.
        bits: Of the weights.
        per_channel: One weight scale per output channel, or one per tensor.
        threads: Of the session.
        rounding: Of the weights.
    """

    def __init__(
        self,
        model: ir.Model,
        groups: Sequence[Int8Group],
        tensors: Sequence[Tensor],
        feeds: Sequence[Feed],
        *,
        activation: str,
        bits: int,
        per_channel: bool,
        threads: int,
        rounding: Rounding = NEAREST,
    ) -> None:
        self._activation, self._feeds = activation, list(feeds)
        self._places = {tensor.name: place for place, tensor in enumerate(tensors)}
        self._inputs: tuple[str, ...] = ()
        simulated, leaves = self._build(
            model, groups, tensors, lambda node: rounded_weight(node, bits, per_channel, rounding)
        )
        self._session, self._names = _session(simulated, leaves, threads)
        off = self._grids({})
        self._reference = [self._run(feed, off) for feed in self._feeds]
        extents = extents_of(model, self._feeds[0], threads)
        self._measure = _measured(leaves, extents, self._reference)
        leaves = leaves_of(model)
        plain, names = _session(model, leaves, threads)
        unrounded = [_run(plain, feed, names) for feed in self._feeds]
        self.weights = _noise(_measured(leaves, extents, unrounded), unrounded, self._reference)
        """What rounding all weights does."""

    @property
    def count(self) -> int:
        """Runs that one answer takes."""
        return len(self._feeds)

    def noise(self, spans: Spans) -> Noise:
        """The noise with just the tensors of ``spans`` on grids."""
        grids = self._grids(spans)
        return _noise(self._measure, self._reference, (self._run(feed, grids) for feed in self._feeds))

    def _grids(self, spans: Spans) -> Feed:
        """The inputs that put the tensors of ``spans`` on grids."""
        if not self._inputs:
            return {}
        integer = np.dtype(self._activation)
        switches, scales = np.zeros(len(self._places), np.bool_), np.ones(len(self._places), np.float32)
        zeros = np.zeros(len(self._places), integer)
        for name, span in spans.items():
            place, grid = self._places[name], activation_grid(*span, self._activation)
            switches[place], scales[place], zeros[place] = True, grid.scale, grid.zero_point
        return dict(zip(self._inputs, (switches, scales, zeros), strict=True))

    def _run(self, feed: Feed, grids: Feed) -> list[Any]:
        return _run(self._session, {**feed, **grids}, self._names)

    def _build(
        self,
        model: ir.Model,
        groups: Sequence[Int8Group],
        tensors: Sequence[Tensor],
        round_weight: Callable[[ir.Node], np.ndarray],
    ) -> tuple[ir.Model, list[Leaf]]:
        """The model with switches, and where its outputs are judged: behind the switches."""
        result = model.clone()
        leaves = leaves_of(result)
        names = Names.of(result)
        values = {value.name: value for value in result.graph.inputs}
        values |= {value.name: value for node in result.graph for value in node.outputs}
        nodes = {node.outputs[0].name: node for node in result.graph if node.outputs}
        readers: dict[str, list[tuple[ir.Node, int]]] = {}
        produced = {group.output.name for group in groups if group.output is not None}
        for group in groups:
            for index, value in group.activations:
                readers.setdefault(value.name or "", []).append((nodes[group.key], index))
            if group.weight is not None:
                node = nodes[group.key]
                name = names.fresh(f"{group.key}_weight")
                node.replace_input_with(1, add_initializer(result.graph, name, round_weight(node)))
        for tensor, inputs in zip(tensors, self._add_inputs(result.graph, names, len(tensors)), strict=True):
            for name in tensor.values:
                value = values[name]
                slots = [(use.node, use.idx) for use in value.uses()] if name in produced else readers.get(name, [])
                switched = _switch(names, value, inputs)
                producer = value.producer()
                if producer is None:  # an input's: behind the last Split, of the switches
                    producer = inputs[0].producer()
                    assert producer is not None
                producer.append(switched)
                for node, index in slots:
                    node.replace_input_with(index, switched.outputs[0])
        return result, leaves

    def _add_inputs(self, graph: ir.Graph, names: Names, count: int) -> list[tuple[ir.Value, ...]]:
        """Switch, scale and zero point of each tensor: three inputs for all of them, since each input costs time."""
        if not count:
            return []
        integer = ir.DataType.UINT8 if self._activation == "uint8" else ir.DataType.INT8
        kinds = {"switch": ir.DataType.BOOL, "scale": ir.DataType.FLOAT, "zero": integer}
        ones = add_initializer(graph, names.fresh("grid_sizes"), np.ones(count, np.int64))
        split: list[list[ir.Value]] = []
        for kind, dtype in kinds.items():
            whole = ir.Value(name=names.fresh(kind), type=ir.TensorType(dtype), shape=ir.Shape([count]))
            graph.inputs.append(whole)
            self._inputs = (*self._inputs, whole.name or "")
            parts = [
                ir.Value(name=names.fresh(f"{kind}_{place}"), type=ir.TensorType(dtype), shape=ir.Shape([1]))
                for place in range(count)
            ]
            graph[0].prepend(ir.node("Split", [whole, ones], {"axis": 0}, outputs=parts, name=names.fresh("split")))
            split.append(parts)
        return list(zip(*split, strict=True))


def _session(model: ir.Model, leaves: Sequence[Leaf], threads: int) -> tuple[Session, list[str]]:
    with shown(model, leaves) as names:
        return open_session(model, threads=threads), names


def _run(session: Session, feed: Feed, names: Sequence[str]) -> list[Any]:
    outputs = session.run(feed, list(dict.fromkeys(names)))
    return [outputs[name] for name in names]


def _measured(leaves: Sequence[Leaf], extents: Mapping[str, Extents], arrays: Iterable[Sequence[Any]]) -> Measure:
    measure = Measure([leaf.part for leaf in leaves], [leaf.value.name or "" for leaf in leaves], extents)
    for each in arrays:
        measure.see(each)
    return measure


def _noise(measure: Measure, reference: Iterable[Sequence[Any]], other: Iterable[Sequence[Any]]) -> Noise:
    tally = measure.tally(brief=True)
    for wanted, found in zip(reference, other, strict=True):
        tally.add(wanted, found)
    return tally.noise()


def _switch(names: Names, value: ir.Value, inputs: tuple[ir.Value, ...]) -> ir.Node:
    """If(switch, DQ(Q(value)), value). A branch that is not taken costs nothing."""
    switch, scale, zero = inputs

    def called(node: ir.Node, role: str) -> ir.Node:
        node.name = node.outputs[0].name = names.fresh(f"{value.name}_{role}")
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return node

    quantize = called(ir.node("QuantizeLinear", [value, scale, zero]), "q")
    quantize.outputs[0].type = ir.TensorType(zero.dtype or ir.DataType.UINT8)
    dequantize = called(ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero]), "dq")
    same = called(ir.node("Identity", [value]), "same")
    branches = [
        ir.AttrGraph(name, ir.Graph([], [nodes[-1].outputs[0]], nodes=nodes, name=names.fresh(f"{value.name}_{name}")))
        for name, nodes in (("then_branch", [quantize, dequantize]), ("else_branch", [same]))
    ]
    return called(ir.node("If", [switch], {each.name: each for each in branches}), "on_grid")


def rounded_weight(node: ir.Node, bits: int, per_channel: bool, rounding: Rounding = NEAREST) -> np.ndarray:
    """The weight of a contraction as its int8 form stands for it: float32, the same shape."""
    tensor = constant_tensor(node.inputs[1])
    assert tensor is not None
    array = tensor.numpy()
    axis = output_axis(node) if per_channel else None
    grid = weight_grid(array, axis, bits=bits)
    return grid.dequantize(rounding.integers(node, array, grid))
