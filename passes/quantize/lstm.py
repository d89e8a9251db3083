"""LSTM -> com.microsoft.DynamicQuantizeLSTM: weights in int8, one scale per row of a gate, states and bias in float.

What is multiplied, X as a whole and the hidden state of each step, is put on a grid of 8 bits while the model runs, so
that nothing is calibrated. The operator wants the weights transposed, [directions, input or hidden, 4 * hidden], and
scales and zero points of [directions, 4 * hidden]; signed weights must have zero points of 0 (read from
onnxruntime's dynamic_quantize_lstm.cc and quantization_defs.cc, tried on 1.32). On x86 with VNNI signed weights were
measured to run up to twice as fast as unsigned ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused, site
from onnxslim.graph.uses import replace_inputs
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.contrib import DOMAIN, DYNAMIC_LSTM, VERSION

from .grid import weight_grid

OLDEST = 7
"""Opset from which on onnxruntime has an LSTM."""
ATTRIBUTES = frozenset(
    ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget")
)
"""Of an LSTM that the int8 operator has too, with the same meaning."""
WEIGHTS = (1, 2)
"""Inputs W and R."""
OWN = 8
"""Inputs of an LSTM; scales and zero points follow."""


@dataclass(frozen=True, slots=True, eq=False)
class Lstm:
    """An LSTM of the main graph or of a body.

    Attributes:
        node: The operator.
        where: The bodies around it, outermost first; empty in the main graph.
    """

    node: ir.Node
    where: str

    @property
    def key(self) -> str:
        """The same on a clone of the model, and of no other LSTM."""
        return self.where + next((value.name for value in self.node.outputs if value.name), "")

    @property
    def site(self) -> str:
        """How actions and reasons name it."""
        return f"{self.where}{site(self.node)}"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """LSTMs that share weights: these shrink only if all of them change.

    Attributes:
        members: In graph order.
        weights: Each once.
    """

    members: tuple[Lstm, ...]
    weights: tuple[ir.Value, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the members."""
        return tuple(each.key for each in self.members)

    @property
    def size(self) -> int:
        """Numbers in the weights."""
        return sum(tensor.size for value in self.weights if (tensor := constant_tensor(value)) is not None)

    @property
    def hidden(self) -> int:
        """Units of the largest member."""
        return max(_dims(each.node.inputs[2])[2] for each in self.members)


def located(model: ir.Model) -> Iterator[Lstm]:
    """Every LSTM of the main graph and of the bodies below it; not those of functions."""
    queue: list[tuple[str, ir.Graph]] = [("", model.graph)]
    for where, graph in queue:  # grows while it is walked
        for node in graph:
            if node.domain in ("", "ai.onnx") and node.op_type == "LSTM":
                yield Lstm(node, where)
            for attribute in node.attributes.values():
                for body in subgraphs([attribute]):
                    owner = next((value.name for value in node.outputs if value.name), node.name)
                    queue.append((f"{where}{owner}.{attribute.name}/", body))


def families(model: ir.Model) -> tuple[list[Family], list[tuple[str, str]]]:
    """The LSTMs that can run in int8, by the weights that they share, and (site, reason) of the others."""
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1))
    every = list(located(model))
    reasons = {each.node: unfit(each.node) for each in every}
    keys = Counter(each.key for each in every)
    reasons |= {each.node: "another LSTM bears its name" for each in every if keys[each.key] > 1}
    if opset < OLDEST:
        reasons = dict.fromkeys(reasons, f"onnxruntime has an LSTM from opset {OLDEST} on")
    declined = [
        (site(node), "it is in a function, which imports operators of its own")
        for function in model.functions.values()
        for node in function.all_nodes()
        if node.domain in ("", "ai.onnx") and node.op_type == "LSTM"
    ]
    able = {each.node for each in every if not reasons[each.node]}
    groups: list[tuple[list[Lstm], dict[ir.Value, None]]] = []
    for each in every:
        if each.node not in able:
            declined.append((each.site, reasons[each.node]))
            continue
        own = dict.fromkeys(value for slot in WEIGHTS if (value := each.node.inputs[slot]) is not None)
        joined: tuple[list[Lstm], dict[ir.Value, None]] = ([], {})
        for group in [group for group in groups if own.keys() & group[1].keys()]:
            groups.remove(group)
            joined[0].extend(group[0])
            joined[1].update(group[1])
        joined[0].append(each)
        joined[1].update(own)
        groups.append(joined)
    found = []
    for members, weights in groups:
        reason = next((why for value in weights if (why := _read_elsewhere(value, able))), "")
        if reason:
            declined += [(each.site, reason) for each in members]
        else:
            found.append(Family(tuple(members), tuple(weights)))
    return found, declined


def unfit(node: ir.Node) -> str:
    """Why the operator cannot stand for an LSTM; empty where it can."""
    layout = node.attributes.get("layout")
    if not any(value.name for value in node.outputs):
        return "none of its outputs has a name"
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        return "an attribute is a function's"
    if layout is not None and layout.as_int() != 0:
        return "its batch comes first (layout 1), and the int8 operator has no such form"
    unknown = sorted(set(node.attributes) - ATTRIBUTES - {"layout"})
    if unknown:
        return f"the int8 operator has no attribute {unknown[0]!r}"
    if len(node.inputs) < 3 or len(node.inputs) > OWN:
        return f"it has {len(node.inputs)} inputs"
    for slot, name in zip(WEIGHTS, "WR", strict=True):
        tensor = constant_tensor(node.inputs[slot])
        if tensor is None:
            return f"{name} is computed, or may be replaced by a caller"
        if tensor.dtype != ir.DataType.FLOAT:
            return f"{name} is {tensor.dtype.name.lower()}, and the int8 operator takes float32"
        if len(tensor.shape) != 3:
            return f"{name} has {len(tensor.shape)} dims, not 3"
        if not np.isfinite(tensor.numpy()).all():
            return f"{name} holds NaN or infinity"
    directions, rows, hidden = _dims(node.inputs[2])
    wanted = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
    if _dims(node.inputs[1])[:2] != (directions, rows) or directions != wanted or rows != 4 * hidden or not hidden:
        return "its weights do not fit each other"
    if node.attributes.get_int("hidden_size", hidden) != hidden:
        return "hidden_size is not that of its weights"
    return ""


def quantized(array: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight on one symmetric grid per row.

    Args:
        array: [directions, rows, columns], float32.
        bits: 8, or 7 where products of 8 bits saturate.

    Returns:
        int8 [directions, columns, rows], and scales [directions, rows].
    """
    directions, rows, columns = array.shape
    flat = array.reshape(directions * rows, columns)
    grid = weight_grid(flat, 0, bits=bits)
    integers = grid.quantize(flat).reshape(array.shape).transpose(0, 2, 1)
    return np.ascontiguousarray(integers), grid.scale.reshape(directions, rows)


def insert(model: ir.Model, lstms: Iterable[Lstm], bits: int) -> None:
    """Makes int8 operators of LSTMs for which `unfit` has no reason, in place.

    Args:
        model: Its main graph takes in the zero points; integers and scales lie where the weights lay.
        lstms: Of ``model``.
        bits: Of the integers.
    """
    names = Names.of(model)
    stored: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    zeros: dict[tuple[int, ...], ir.Value] = {}
    for each in lstms:
        node = each.node
        w, r = (node.inputs[slot] for slot in WEIGHTS)
        assert w is not None
        assert r is not None
        directions, rows, hidden = _dims(r)
        for value in (w, r):
            if value not in stored:
                stored[value] = _store(value, names, bits)
        if (directions, rows) not in zeros:
            zero = np.zeros((directions, rows), np.int8)
            zeros[directions, rows] = add_initializer(model.graph, names.fresh(f"lstm_zero_{directions}x{rows}"), zero)
        inputs: list[ir.Value | None] = [*node.inputs, *[None] * (OWN - len(node.inputs))]
        inputs[1], inputs[2] = stored[w][0], stored[r][0]
        inputs += [stored[w][1], zeros[directions, rows], stored[r][1], zeros[directions, rows]]
        node.resize_inputs(len(inputs))
        replace_inputs(node, dict(enumerate(inputs)))
        node.attributes.pop("layout", None)
        node.attributes["hidden_size"] = ir.AttrInt64("hidden_size", hidden)
        node.domain, node.op_type, node.version = DOMAIN, DYNAMIC_LSTM, None
    for value in stored:
        drop_unused(_home(value), value)
    if stored:
        model.opset_imports.setdefault(DOMAIN, VERSION)


def _store(value: ir.Value, names: Names, bits: int) -> tuple[ir.Value, ir.Value]:
    tensor = constant_tensor(value)
    assert tensor is not None
    integers, scale = quantized(tensor.numpy(), bits)
    name = names.fresh(f"{value.name}_quantized")
    graph = _home(value)
    return (
        add_initializer(graph, name, integers),
        add_initializer(graph, names.fresh(f"{name}_scale"), scale),
    )


def _home(value: ir.Value) -> ir.Graph:
    """The graph in which a constant lies."""
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    return graph


def _read_elsewhere(value: ir.Value, able: set[ir.Node]) -> str:
    """Why the float weight would have to stay; empty where it would not."""
    if value.is_graph_output():
        return "its weights are an output too"
    for use in value.uses():
        if use.node not in able or use.idx not in WEIGHTS:
            return f"its weights are used by {site(use.node)} too"
    return ""


def _dims(value: ir.Value | None) -> Sequence[int]:
    tensor = constant_tensor(value)
    assert tensor is not None
    return tuple(tensor.shape.numpy())
