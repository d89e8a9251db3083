"""What quantizing one tensor does to the outputs: a float model in which every tensor has a grid and a switch.

The grids are inputs of the model, so that one session answers for every choice of ranges and of tensors. Weights are
rounded throughout: per channel they are not what limits int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor
from onnxslim.ops.int8 import CONTRACTIONS
from onnxslim.runtime import Feed, Outputs, Session, logits_view, open_session
from onnxslim.runtime.views import exposed, named

from .grid import activation_grid, weight_grid
from .group import Group
from .rounding import NEAREST, Rounding
from .tensors import Span, Tensor

Spans = Mapping[str, Span]
"""Tensor name -> its range; a tensor that is not named stays in float."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How far the outputs moved.

    ``power`` is noise over signal, added up over the outputs (0.01 = 20 dB for a model with one); ``peak`` the largest
    error of any output, as a multiple of the output's root mean square.
    """

    power: float
    peak: float


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
        groups: Sequence[Group],
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
        self._inputs: dict[str, tuple[str, str, str]] = {}
        simulated = self._build(model, groups, tensors, lambda node: rounded_weight(node, bits, per_channel, rounding))
        self._judged = _judged(simulated)
        self._session = _session(simulated, self._judged, threads)
        self._reference = [self._run(feed, {}) for feed in self._feeds]
        judged = _judged(model)
        plain = _session(model, judged, threads)
        unrounded = [_floats(plain.run(feed, list(set(judged.values()))), judged) for feed in self._feeds]
        self.weights = _noise(unrounded, self._reference)
        """What rounding all weights does."""

    def noise(self, spans: Spans) -> Noise:
        """The noise with just the tensors of ``spans`` on grids."""
        return _noise(self._reference, (self._run(feed, spans) for feed in self._feeds))

    def _run(self, feed: Feed, spans: Spans) -> dict[str, np.ndarray]:
        given = dict(feed)
        for name, (switch, scale, zero) in self._inputs.items():
            span = spans.get(name)
            grid = activation_grid(*(span or (0.0, 1.0)), self._activation)
            given |= {switch: np.array(span is not None), scale: grid.scale, zero: grid.zero_point}
        found = self._session.run(given, list(set(self._judged.values())))
        return _floats(found, self._judged)

    def _build(
        self,
        model: ir.Model,
        groups: Sequence[Group],
        tensors: Sequence[Tensor],
        round_weight: Callable[[ir.Node], np.ndarray],
    ) -> ir.Model:
        result = model.clone()
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
        for tensor in tensors:
            inputs = self._add_inputs(result.graph, names, tensor.name)
            for name in tensor.values:
                value = values[name]
                slots = [(use.node, use.idx) for use in value.uses()] if name in produced else readers.get(name, [])
                switched = _switch(names, value, inputs)
                producer = value.producer()
                if producer is not None:
                    producer.append(switched)
                else:
                    result.graph[0].prepend(switched)
                for node, index in slots:
                    node.replace_input_with(index, switched.outputs[0])
        return result

    def _add_inputs(self, graph: ir.Graph, names: Names, tensor: str) -> tuple[ir.Value, ...]:
        integer = ir.DataType.UINT8 if self._activation == "uint8" else ir.DataType.INT8
        kinds = {"switch": ir.DataType.BOOL, "scale": ir.DataType.FLOAT, "zero": integer}
        made = tuple(
            ir.Value(name=names.fresh(f"{tensor}_{kind}"), type=ir.TensorType(dtype), shape=ir.Shape([]))
            for kind, dtype in kinds.items()
        )
        graph.inputs.extend(made)
        switch, scale, zero = (value.name or "" for value in made)
        self._inputs[tensor] = (switch, scale, zero)
        return made


def _noise(reference: Iterable[Mapping[str, np.ndarray]], other: Iterable[Mapping[str, np.ndarray]]) -> Noise:
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    peak: dict[str, float] = {}
    count: dict[str, int] = {}
    for wanted, found in zip(reference, other, strict=True):
        for name, array in wanted.items():
            # Another length, which values decided: what it was is lost.
            error = (found[name] - array if found[name].shape == array.shape else -array).ravel()
            flat = array.ravel()
            signal[name] = signal.get(name, 0.0) + float(flat @ flat)
            noise[name] = noise.get(name, 0.0) + float(error @ error)
            count[name] = count.get(name, 0) + flat.size
            peak[name] = max(peak.get(name, 0.0), float(np.abs(error).max(initial=0.0)))
    judged = [name for name in signal if signal[name] > 0]
    power = sum(noise[name] / signal[name] for name in judged)
    high = max((peak[name] / np.sqrt(signal[name] / count[name]) for name in judged), default=0.0)
    return Noise(float(np.nan_to_num(power, nan=np.inf)), float(np.nan_to_num(high, nan=np.inf)))


def _judged(model: ir.Model) -> dict[str, str]:
    """Output -> the value that it is judged by: the output itself, or the logits behind it."""
    views = logits_view(model)
    return {value.name or "": views.get(value.name or "", value.name or "") for value in model.graph.outputs}


def _session(model: ir.Model, judged: Mapping[str, str], threads: int) -> Session:
    with exposed(model, named(model, list(set(judged.values()) - set(judged)))):
        return open_session(model, threads=threads)


def _floats(outputs: Outputs, judged: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Output -> what it is judged by, in double precision, where that is floats; what is not finite is taken for 0."""
    found = {}
    for name, view in judged.items():
        array = outputs[view]
        if isinstance(array, np.ndarray) and array.dtype.kind == "f":
            found[name] = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    return found


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
    axis = CONTRACTIONS[node.op_type].channel_axis(node) if per_channel else None
    grid = weight_grid(array, axis, bits=bits)
    return grid.dequantize(rounding.integers(node, array, grid))
