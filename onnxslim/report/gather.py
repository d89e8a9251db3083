"""Looks into both models for a report page: nodes, constants, times by node, errors of inner values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation.inner import LayerError, layer_errors
from onnxslim.execution import Feed, attribute, node_times
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.sparse import MARK
from onnxslim.packing import behind, decoded_values
from onnxslim.report.layers import GraphFacts, Layers, NodeFacts, WeightFacts
from onnxslim.report.wording import QDQ

if TYPE_CHECKING:
    from onnxslim.analysis.facts import ShapeFacts

T = TypeVar("T")

RUNS = 5
"""Of each model while it is profiled."""
COMPARED = 4
"""Samples that inner values are compared on."""
CHANNELS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "FusedConv": 1,
    "Gemm": -1,
    "MatMul": -1,
    "QLinearConv": 1,
    "MatMulNBits": -1,
}
"""Operators that make channels -> the axis of their output that these stand on."""


def look_inside(
    original: ir.Model, result: ir.Model, feeds: Sequence[Feed], *, compare: bool, threads: int = 1
) -> Layers:
    """Gathers what a page shows of two models. What cannot be measured is left out, and a note says why.

    Args:
        original: The model compared with; not changed once this returns.
        result: What came of it; likewise.
        feeds: Inputs that both take, typical ones first; none leaves times and errors out.
        compare: Whether the feeds are samples, so that errors mean something, and values kept their names.
        threads: Of the sessions.
    """
    notes: list[str] = []

    def tried(what: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except OnnxSlimError as error:
            notes.append(f"{what}: {error}")
            return otherwise

    def graph_of(which: str, model: ir.Model) -> GraphFacts:
        facts = graph_facts(model)
        nothing: dict[str, float] = {}
        times = (
            tried(f"the {which} was not profiled", lambda: times_of(model, feeds[0], threads), nothing)
            if feeds
            else nothing
        )
        return replace(facts, nodes=[replace(each, microseconds=times.get(each.name)) for each in facts.nodes])

    before, after = graph_of("original", original), graph_of("result", result)
    nothing: tuple[list[LayerError], int] = [], 0
    errors, odd = nothing
    if compare and feeds:
        errors, odd = tried(
            "values inside the models were not compared",
            lambda: layer_errors(original, result, feeds[:COMPARED], threads=threads),
            nothing,
        )
    if odd:
        notes.append(
            f"{odd:,} values that both models name alike were not compared: they have another shape, are no floats, "
            "do not vary, or a neighbour was folded into them"
        )
    if rescaled := sum(each.rescaled for each in errors):
        notes.append(
            f"{rescaled:,} values have channels that were scaled for int8, and scaled back in what reads them: their "
            "error is measured without these factors"
        )
    return Layers(before, after, errors, len(feeds[:COMPARED]) if errors else 0, notes)


def graph_facts(model: ir.Model) -> GraphFacts:
    """Nodes of the main graph that do not only compute constants, and the constants of all graphs."""
    shapes = infer_shapes(model)
    alive = _alive(model.graph)
    readers = Counter(value for _, constants in alive.values() for value in constants)
    nodes = [
        NodeFacts(
            name=name,
            op_type=f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
            inputs=tuple(dict.fromkeys(value.name or "" for value in _read(node) if value.producer() in alive)),
            outputs=tuple(value.name or "" for value in node.outputs),
            channels=_channels(node, shapes),
            int8=_on_integers(node),
            weight_bytes=sum(_weight(value).bytes for value in constants if readers[value] == 1),
        )
        for node, (name, constants) in alive.items()
    ]
    return GraphFacts(model.graph.name or "", nodes, sorted(_weights(model), key=lambda each: -each.bytes))


def times_of(model: ir.Model, feed: Feed, threads: int) -> dict[str, float]:
    """Microseconds by the name that `graph_facts` gives the node; what is fused counts to the contraction in it.

    Raises:
        InputError, CannotRun, CheckFailed: onnxruntime does not run the model.
    """
    copy = model.clone()
    owners, first, alive = dict[str, str](), set[str](), _alive(copy.graph)
    for place, node in enumerate(copy.graph.all_nodes()):
        node.name = f"layer_{place}"  # onnxruntime refuses names that occur twice
    for node, (name, _) in alive.items():
        owners[node.name or ""] = name
        if node.op_type in CHANNELS:
            first.add(name)
    return attribute(node_times(copy, [feed], runs=RUNS, threads=threads), copy, owners, first)


def _alive(graph: ir.Graph) -> dict[ir.Node, tuple[str, frozenset[ir.Value]]]:
    """Nodes that depend on an input or on chance -> a unique name, and the constants that go into them."""
    fixed: dict[ir.Value, frozenset[ir.Value]] = {}
    found: dict[ir.Node, tuple[str, frozenset[ir.Value]]] = {}
    taken: set[str] = set()
    for node in graph:
        known = [frozenset((value,)) if _is_weight(value) else fixed.get(value) for value in _read(node)]
        constants = frozenset[ir.Value]().union(*(each for each in known if each is not None))
        if node.op_type == "Constant" or (known and None not in known):
            fixed |= dict.fromkeys(node.outputs, constants)
            continue
        name = node.name or next((value.name for value in node.outputs if value.name), node.op_type)
        while name in taken:
            name += "'"
        taken.add(name)
        found[node] = name, constants
    return found


def _read(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None]


def _is_weight(value: ir.Value) -> bool:
    return constant_tensor(value) is not None


def _channels(node: ir.Node, shapes: ShapeFacts) -> int | None:
    axis = CHANNELS.get(node.op_type)
    shape = None if axis is None or not node.outputs else shapes.shape(node.outputs[0])
    if axis is None or not shape or len(shape) < 2:
        return None
    return size if isinstance(size := shape[axis], int) else None


def _on_integers(node: ir.Node) -> bool:
    """Whether it is a kernel on integers, or what stands between marks of int8 that onnxruntime makes one of."""
    if node.op_type in QDQ or "Integer" in node.op_type or node.op_type.startswith(("QLinear", "DynamicQuantize")):
        return True
    data = node.inputs[0] if node.inputs else None
    producer = None if data is None else data.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _weights(model: ir.Model) -> Iterator[WeightFacts]:
    for graph in model.graphs():
        packed = behind(decoded_values(graph))
        inside = set() if packed is None else set(packed[1])
        made = (value for node in graph if node.op_type == "Constant" for value in node.outputs)
        for value in (*graph.initializers.values(), *made):
            if constant_tensor(value) is not None or value.const_value is not None:
                yield _weight(value, packed=value in inside)


def _weight(value: ir.Value, *, packed: bool = False) -> WeightFacts:
    tensor = constant_tensor(value) or value.const_value
    assert tensor is not None, "only constants are asked for"
    dtype = {"FLOAT": "float32", "DOUBLE": "float64"}.get(tensor.dtype.name, tensor.dtype.name.lower())
    encoding = "packed" if packed else "sparse" if MARK in tensor.meta else dtype
    return WeightFacts(value.name or "", tuple(tensor.shape.numpy()), encoding, tensor.nbytes)
