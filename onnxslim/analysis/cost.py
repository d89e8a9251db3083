"""What a model costs to run and to keep: multiply-accumulates, parameters, and bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.dims import evaluate, free_symbols
from onnxslim.analysis.facts import ShapeFacts
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.ops.contraction import gemm_axes
from onnxslim.ops.contrib import DOMAIN, DYNAMIC_LSTM

MAX_DEPTH: Final = 32
UNCOUNTED: Final = frozenset({"Attention", "DeformConv", "DFT", "FlexAttention", "LinearAttention", "STFT"})
"""Standard operators that multiply and accumulate, for which there is no formula here."""
WEIGHT_AT: Final = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN", DYNAMIC_LSTM})
CONTRIB: Final = frozenset({DYNAMIC_LSTM})
"""Operators of onnxruntime's own that are counted."""
MATMUL_SECOND: Final = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a node or a model."""

    macs: int | None
    """Multiply-accumulates of one run; None where it is unknown."""
    parameters: int
    """Elements of constant tensors, each tensor once."""
    weight_bytes: int
    """Bytes of those tensors."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Cost of a model as a whole and node by node."""

    total: Cost
    nodes: Mapping[ir.Node, Cost]
    """Every node, those of bodies too, for one evaluation of the body. A weight counts at each node that reads it."""
    unknown: tuple[ir.Node, ...]
    """Nodes whose MACs are unknown; while there is one, so is the total."""


def model_cost(
    model: ir.Model, facts: ShapeFacts | None = None, bindings: Mapping[str, int] | None = None
) -> ModelCost:
    """Counts MACs, parameters and bytes.

    An If costs what its dearer branch does, a Scan its body for each step, a function its body for each call; a
    Loop whose body has MACs is unknown. Operators that do no multiply-accumulates count 0, custom ones are unknown.
    What reads constants only is computed once, when the model is loaded, and counts 0 too.

    Args:
        model: The model; not changed.
        facts: Its facts, inferred if not given.
        bindings: Sizes of symbolic dims by name; dims of the inputs that it does not name are taken to be 1.
    """
    counter = _Counter(model, facts or infer_shapes(model), dict(bindings or {}))
    macs = counter.total(model.graph, 0)
    tensors = {id(tensor): tensor for graph in _graphs(model) for tensor in _tensors(graph)}
    parameters = sum(tensor.size for tensor in tensors.values())
    weight_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return ModelCost(Cost(macs, parameters, weight_bytes), counter.nodes, tuple(counter.unknown))


def bound(model: ir.Model, facts: ShapeFacts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sizes of symbolic dims, from inputs of these shapes: ``bindings`` of `model_cost`.

    Args:
        model: The model.
        facts: Its facts.
        shapes: By name of the input.
    """
    bindings: dict[str, int] = {}
    for value in model.graph.inputs:
        for dim, size in zip(facts.shape(value) or (), shapes.get(value.name or "", ()), strict=False):
            names = list(free_symbols(dim))
            if len(names) == 1 and evaluate(dim, {names[0]: size}) == size:
                bindings[names[0]] = size
    return bindings


class _Counter:
    def __init__(self, model: ir.Model, facts: ShapeFacts, bindings: dict[str, int]) -> None:
        self.model, self.facts, self.bindings = model, facts, bindings
        for value in model.graph.inputs:
            for dim in facts.shape(value) or ():
                for name in free_symbols(dim):
                    self.bindings.setdefault(name, 1)
        self.nodes: dict[ir.Node, Cost] = {}
        self.unknown: list[ir.Node] = []
        self.functions: dict[object, int | None] = {}
        self.once: set[ir.Value] = set()

    def total(self, nodes: Iterable[ir.Node], depth: int) -> int | None:
        """MACs of one evaluation of a body. Goes as deep as bodies nest, at most ``MAX_DEPTH``."""
        known: int | None = 0
        for node in nodes:
            macs = 0 if self.folds(node) else self.macs(node, depth)
            weights = {id(t): t for t in (constant_of(value) for value in node.inputs) if t is not None}
            self.nodes[node] = Cost(
                macs, sum(t.size for t in weights.values()), sum(t.nbytes for t in weights.values())
            )
            if macs is None:
                self.unknown.append(node)
            known = None if macs is None or known is None else known + macs
        return known

    def folds(self, node: ir.Node) -> bool:
        """Whether it reads constants only; its outputs are then constants too."""
        inputs = [value for value in node.inputs if value is not None]
        bodies = any(attr.type == ir.AttributeType.GRAPH for attr in node.attributes.values())
        if not inputs or bodies or not all(value in self.once or constant_of(value) is not None for value in inputs):
            return False
        self.once.update(node.outputs)
        return True

    def macs(self, node: ir.Node, depth: int) -> int | None:
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            key = function.identifier()
            if key not in self.functions:
                self.functions[key] = None  # for a function that calls itself
                self.functions[key] = self.total(function, depth + 1) if depth < MAX_DEPTH else None
            return self.functions[key]
        if node.domain not in ("", "ai.onnx", "ai.onnx.ml") and (node.domain != DOMAIN or node.op_type not in CONTRIB):
            return None
        bodies = [attr.as_graph() for attr in node.attributes.values() if attr.type == ir.AttributeType.GRAPH]
        if bodies:
            return self.body_macs(node, bodies, depth)
        if node.op_type in UNCOUNTED:
            return None
        return self.formula(node)

    def body_macs(self, node: ir.Node, bodies: list[ir.Graph], depth: int) -> int | None:
        found = [self.total(body, depth + 1) if depth < MAX_DEPTH else None for body in bodies]
        costs = [macs for macs in found if macs is not None]
        if len(costs) < len(found):
            return None
        if node.op_type == "If" or not any(costs):
            return max(costs)
        if node.op_type == "Scan":
            scans = node.attributes["num_scan_inputs"].as_int()
            axes = node.attributes.get_ints("scan_input_axes", [0] * scans) or [0] * scans
            shape = self.sizes(node.inputs[len(node.inputs) - scans])
            return None if shape is None else shape[axes[0]] * costs[0]
        return None

    def sizes(self, value: ir.Value | None) -> tuple[int, ...] | None:
        shape = None if value is None else self.facts.shape(value)
        if shape is None:
            return None
        sizes = [evaluate(dim, self.bindings) for dim in shape]
        return None if any(size is None for size in sizes) else tuple(size or 0 for size in sizes)

    def formula(self, node: ir.Node) -> int | None:
        kind, inputs = node.op_type, node.inputs
        if kind in WEIGHT_AT:
            # Each output element sums over its window; each input element of a transposed convolution spreads over one.
            weight = self.sizes(inputs[WEIGHT_AT[kind]])
            spread = self.sizes(inputs[0] if kind == "ConvTranspose" else node.outputs[0])
            return None if weight is None or spread is None else math.prod(spread) * math.prod(weight[1:])
        if kind in MATMUL_SECOND or kind == "Gemm":
            a, out = self.sizes(inputs[0]), self.sizes(node.outputs[0])
            if not a or out is None:
                return None
            return math.prod(out) * a[gemm_axes(node.attributes.get_int)[0][1] if kind == "Gemm" else -1]
        if kind in RECURRENT:
            x, w, r = (self.sizes(inputs[i]) for i in range(3))
            return None if not x or w is None or r is None else x[0] * x[1] * (math.prod(w) + math.prod(r))
        if kind == "Einsum":
            return self.einsum(node)
        return 0

    def einsum(self, node: ir.Node) -> int | None:
        if len(node.inputs) == 1:
            return 0
        terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
        if len(terms) != 2 or len(node.inputs) != 2 or any("." in term for term in terms):
            return None
        labels: dict[str, int] = {}
        for term, value in zip(terms, node.inputs, strict=True):
            sizes = self.sizes(value)
            if sizes is None or len(sizes) != len(term):
                return None
            for label, size in zip(term, sizes, strict=True):
                labels[label] = max(size, labels.get(label, 0))
        return math.prod(labels.values())


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node's output."""
    if value is None:
        return None
    if value.is_initializer():
        return value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    attr = node.attributes.get("value")
    return None if attr is None or attr.is_ref() else attr.as_tensor()


def _graphs(model: ir.Model) -> Iterable[ir.Graph | ir.Function]:
    yield model.graph
    yield from model.graph.subgraphs()
    for function in model.functions.values():
        yield function
        yield from function.subgraphs()


def _tensors(graph: ir.Graph | ir.Function) -> Iterable[ir.TensorProtocol]:
    if isinstance(graph, ir.Graph):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for node in graph:
        tensor = constant_of(node.outputs[0]) if node.op_type == "Constant" else None
        if tensor is not None:
            yield tensor
