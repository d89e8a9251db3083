"""One forward pass over a model, its subgraphs and its functions: facts of each value from those before it.

Rules of operators are plain functions of facts (`SHAPE_RULES`, `VALUE_RULES`). Those of operators with subgraphs also
drive the pass; they are given to it, since they are written in terms of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import onnx_ir as ir

from onnxslim.analysis.compute import COMPUTE_RULES
from onnxslim.analysis.constants import constant_fact, weight_fact
from onnxslim.analysis.contrib import CONTRIB_RULES
from onnxslim.analysis.convolution import CONVOLUTION_RULES
from onnxslim.analysis.dims import Dim, Expr, Symbols, TooComplex, age, free_symbols
from onnxslim.analysis.elements import FOLLOWED, INTEGERS, WIDE
from onnxslim.analysis.facts import UNKNOWN, Contradiction, Fact, ShapeFacts, contradiction, declared_fact
from onnxslim.analysis.fallback import infer_by_onnx
from onnxslim.analysis.ml import ML_RULES
from onnxslim.analysis.movement import MOVEMENT_RULES
from onnxslim.analysis.operator import Operator, Rule, Undecided, tensor
from onnxslim.analysis.pieces import PIECE_RULES
from onnxslim.analysis.values import VALUE_RULES
from onnxslim.ops.contrib import DOMAIN
from onnxslim.ops.ml import DOMAIN as ML_DOMAIN

ControlRule: TypeAlias = Callable[["Inference", Operator], Sequence[Fact] | None]

MAX_SEEDS: Final = 8
MAX_DEPTH: Final = 32
MAX_CALLS: Final = 10_000
MAX_PLAIN: Final = 40
"""Characters of a dim that is kept when an operator's dims become too complex."""
SHAPE_RULES: Final[Mapping[str, Rule]] = {**COMPUTE_RULES, **CONVOLUTION_RULES, **MOVEMENT_RULES, **PIECE_RULES}
MALFORMED: Final = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
"""What a rule raises on a node that is no valid use of its operator."""


class Inference:
    """One forward pass; ``facts`` always holds the latest evaluation of each value.

    Args:
        model: The model; not changed.
        control: Rules of operators with subgraphs, by operator type.
    """

    def __init__(self, model: ir.Model, control: Mapping[str, ControlRule]) -> None:
        self.model, self.control = model, control
        self.symbols = Symbols()
        self.facts: MutableMapping[ir.Value, Fact] = {}
        self.problems: list[tuple[ir.Node, str]] = []
        self.opsets: Mapping[str, int] = model.graph.opset_imports
        self.bindings: Mapping[str, ir.Attr] = {}
        self.depth = 0
        self.calls: dict[Any, tuple[int, list[Fact]]] = {}
        self.bodies: dict[ir.Value, Fact] = {}
        self.evaluated = 0
        self.entered: set[ir.Graph] = set()
        """Bodies of which something may be known: to forget them all at every level of a tree of branches is slow."""
        self.trying = False
        """Whether a branch is being tried out: what is found then is no fact."""

    # -- graphs ----------------------------------------------------------------------------------------------------

    def enter(self, graph: ir.Graph, inputs: Sequence[Fact] | None = None) -> None:
        """Sets what is known of a graph's inputs (as declared, if not given) and initializers."""
        for i, value in enumerate(graph.inputs):
            given = declared_fact(value, self.symbols) if inputs is None else UNKNOWN
            if inputs is not None and i < len(inputs):
                given = inputs[i]
            self.record(value, given)
        fed = set(graph.inputs)
        for value in graph.initializers.values():
            known = weight_fact(value.const_value)
            # A caller may feed another array for an initializer that is an input too: only its type is certain.
            self.record(value, Fact(known.dtype, known.shape) if value in fed else known)

    def run(self, nodes: Iterable[ir.Node]) -> None:
        """Evaluates nodes in order."""
        for node in nodes:
            self.visit(node)

    def body(self, graph: ir.Graph, inputs: Sequence[Fact]) -> list[Fact]:
        """Evaluates a subgraph on these inputs; facts of its outputs.

        What another evaluation found is forgotten first: a branch may be tried on nodes that are still to come.
        """
        if graph in self.entered:
            self.forget(graph)
        self.entered.add(graph)
        if self.depth >= MAX_DEPTH:
            return [UNKNOWN] * len(graph.outputs)
        self.depth += 1
        try:
            self.enter(graph, inputs)
            self.run(graph)
        finally:
            self.depth -= 1
        return [self.facts.get(value, UNKNOWN) for value in graph.outputs]

    def forget(self, graph: ir.Graph | ir.Function) -> None:
        """Makes all that a body defines unknown."""
        for node in graph.all_nodes():
            for value in node.outputs:
                self.facts[value] = UNKNOWN

    # -- nodes -----------------------------------------------------------------------------------------------------

    def visit(self, node: ir.Node) -> None:
        """Evaluates one node."""
        facts = self.facts
        inputs = [None if value is None else facts.get(value, UNKNOWN) for value in node.inputs]
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = self.opsets.get(domain) or self.opsets.get(node.domain) or (self.opsets.get("ai.onnx", 1))
        op = Operator(node, version, inputs, self.symbols, self.bindings)
        try:
            try:
                found = self.outputs(op, domain)
            except TooComplex:
                op.inputs = [None if fact is None else self.plainer(fact) for fact in inputs]
                found = self.outputs(op, domain)
        except (Undecided, TooComplex):
            found = None
        except MALFORMED as problem:
            self.problems.append((node, f"{type(problem).__name__}: {problem}"))
            found = None
        for i, value in enumerate(node.outputs):
            self.record(value, found[i] if found is not None and i < len(found) else UNKNOWN)

    def plainer(self, fact: Fact) -> Fact:
        """The fact with its long expressions replaced by new symbols: less is known, of the other dims all is."""
        if fact.shape is None:
            return fact
        return Fact(fact.dtype, tuple(self.symbols.dim() if len(str(d)) > MAX_PLAIN else d for d in fact.shape))

    def outputs(self, op: Operator, domain: str) -> Sequence[Fact] | None:
        """Facts of the outputs of a node, by the first of: a model function, a rule, onnx."""
        node = op.node
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            return self.call(function, op)
        if domain == "":
            name = node.op_type
            if name == "Constant":
                return [constant_fact(op)]
            if name in self.control:
                return self.control[name](self, op)
            value_rule = VALUE_RULES.get(name)
            if value_rule is not None and op.inputs and op.fact(0).dtype in FOLLOWED:
                try:
                    found = value_rule(op)
                except (Undecided, TooComplex):
                    found = None
                if found is not None:
                    return found
            shape_rule = SHAPE_RULES.get(name)
            if shape_rule is not None:
                found = shape_rule(op)
                if found is not None:
                    return found
        if domain == DOMAIN and node.op_type in CONTRIB_RULES:
            return CONTRIB_RULES[node.op_type](op)
        if domain == ML_DOMAIN and node.op_type in ML_RULES:
            return ML_RULES[node.op_type](op)
        return infer_by_onnx(op, self.opsets)

    def record(self, value: ir.Value, fact: Fact) -> None:
        """Stores a fact; elements of small unknown integer tensors become symbols, so that they can be followed."""
        if fact.value is None and fact.shape is not None and fact.dtype in WIDE:
            sizes = [dim for dim in fact.shape if isinstance(dim, int)]
            if len(sizes) == len(fact.shape) <= 2:
                count = sizes[0] * (sizes[1] if len(sizes) > 1 else 1) if sizes else 1
                if count <= MAX_SEEDS:
                    seeds = tensor((self.symbols.data() for _ in range(count)), sizes)
                    fact = Fact(fact.dtype, fact.shape, seeds)
        self.facts[value] = fact

    # -- functions -------------------------------------------------------------------------------------------------

    def call(self, function: ir.Function, op: Operator) -> Sequence[Fact]:
        """Evaluates a call of a model function; equal calls are evaluated once."""
        inputs = [op.fact(i) for i in range(len(function.inputs))]
        attributes: dict[str, ir.Attr] = dict(function.attributes)
        for name in op.node.attributes:
            found = op.attribute(name)
            if found is not None:
                attributes[name] = found
        defined = {name: attr for name, attr in attributes.items() if attr.value is not None}
        key = (
            function.identifier(),
            tuple(op.has(i) for i in range(len(inputs))),
            tuple(_key(fact) for fact in inputs),
            tuple(sorted((name, _attribute_key(attr)) for name, attr in defined.items())),
        )
        if key in self.calls:
            since, outputs = self.calls[key]
            return self.renew(outputs, since)
        self.evaluated += 1
        if self.depth >= MAX_DEPTH or self.evaluated > MAX_CALLS:
            for node in function.all_nodes():
                self.bodies.update(dict.fromkeys(node.outputs, UNKNOWN))
            return [UNKNOWN] * len(function.outputs)
        saved, since = (self.opsets, self.bindings), self.symbols.count
        self.opsets, self.bindings, self.depth = function.opset_imports, defined, self.depth + 1
        try:
            for value, fact in zip(function.inputs, inputs, strict=True):
                self.facts[value] = fact
            self.forget(function)
            self.run(function)
        finally:
            (self.opsets, self.bindings), self.depth = saved, self.depth - 1
        outputs = [self.facts.get(value, UNKNOWN) for value in function.outputs]
        self.keep_body(function)
        self.calls[key] = since, outputs
        return outputs

    def keep_body(self, function: ir.Function) -> None:
        """Keeps of a function body's facts what holds in all its calls."""
        values = list(function.inputs)
        for node in function.all_nodes():
            values.extend(node.outputs)
        for value in values:
            fact = self.facts.get(value, UNKNOWN)
            self.bodies[value] = self.join(self.bodies[value], fact) if value in self.bodies else fact

    def join(self, a: Fact, b: Fact) -> Fact:
        """What holds if either of two facts does; new symbols where they differ."""
        dtype = a.dtype if a.dtype == b.dtype else None
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return Fact(dtype)
        shape = tuple(x if x == y else self.symbols.dim() for x, y in zip(a.shape, b.shape, strict=True))
        if a.value is None or b.value is None or a.value.shape != b.value.shape or dtype not in INTEGERS:
            return Fact(dtype, shape)
        pairs = zip(a.value.flat, b.value.flat, strict=True)
        return Fact(dtype, shape, tensor((x if x == y else self.unknown(dtype) for x, y in pairs), a.value.shape))

    def unknown(self, dtype: ir.DataType | None) -> Expr:
        """An element that is not known: a boolean one is at least not negative."""
        return self.symbols.dim() if dtype == ir.DataType.BOOL else self.symbols.data()

    def renew(self, facts: Iterable[Fact], since: int) -> list[Fact]:
        """The facts with each element and dim that contains an anonymous symbol younger than ``since`` made new.

        What a body's symbols stand for differs from one evaluation to the next; outside, they mean nothing.
        """
        seen: dict[Dim, Dim] = {}

        def dim(old: Dim) -> Dim:
            if not isinstance(old, Expr) or all(age(name) < since for name in free_symbols(old)):
                return old
            if old not in seen:
                seen[old] = self.symbols.dim()
            return seen[old]

        renewed = []
        for fact in facts:
            shape = None if fact.shape is None else tuple(dim(d) for d in fact.shape)
            value = fact.value
            if value is not None and any(
                not isinstance(e, int | float) and (not isinstance(e, Expr) or dim(e) != e) for e in value.flat
            ):
                value = None
            renewed.append(Fact(fact.dtype, shape, value))
        return renewed

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> ShapeFacts:
        """Facts of all values, compared with the declarations."""
        self.facts.update(self.bodies)
        found: list[Contradiction] = []
        claims: dict[ir.Value, ir.Shape] = {}
        axioms = set(self.model.graph.inputs)
        for value, fact in self.facts.items():
            if value in axioms and not value.is_initializer():
                continue
            wrong = contradiction(value, fact)
            if wrong is not None:
                found.append(wrong)
            elif fact.shape is None and value.shape is not None:
                claims[value] = value.shape
        return ShapeFacts(dict(self.facts), claims, tuple(found), tuple(self.problems))


def _key(fact: Fact) -> Any:
    value = None if fact.value is None else (fact.value.shape, tuple(fact.value.flat))
    return fact.dtype, fact.shape, value


def _attribute_key(attr: ir.Attr) -> str:
    # Tensors and graphs are told apart by identity: to compare their contents would cost more than a second evaluation.
    plain = isinstance(attr.value, int | float | str | bytes | tuple | list)
    return repr(attr.value) if plain else f"{type(attr.value).__name__} {id(attr.value)}"
