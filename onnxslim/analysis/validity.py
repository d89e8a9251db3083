"""What makes a model broken, so that no runtime could run it: found before any work begins.

Only what is certain counts. A shape that the file merely declares, of a value or of an output, is a claim: runtimes
warn where it is false, and run the model. Shapes that do not fit an operator are refused where onnx's own inference
refuses them too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import onnx
import onnx_ir as ir

from onnxslim.analysis.dims import Symbols
from onnxslim.analysis.facts import UNKNOWN, Contradiction, Fact, ShapeFacts
from onnxslim.analysis.fallback import infer_by_onnx
from onnxslim.analysis.fit import CHECKS, unfit
from onnxslim.analysis.inference import SHAPE_RULES
from onnxslim.analysis.operator import Operator
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.listed import LISTED
from onnxslim.graph.sidecar import TYPE
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.conformity import (
    Fault,
    Use,
    faults_of_nodes,
    kind_of,
    place,
    signature,
    type_name,
    wrong_types,
)
from onnxslim.ops.elementwise import BROADCASTING, ELEMENTWISE

NOT_ASKED = frozenset({"Slice"})
"""onnx's inference ends the process on some of these."""
STRICT = frozenset({"Concat", "Range"})
"""onnx's inference refuses what runtimes take: empty parts of another shape, one-element tensors as scalars."""
SEQUENCES = frozenset({"SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SplitToSequence"})
"""Operators that make a sequence."""
UNASKED = STRICT.union(ELEMENTWISE, BROADCASTING)
"""Operators about which onnx is only asked where a rule of ours finds a fault: it has none to add to those."""


class Examination(NamedTuple):
    """What was found of a model before work on it begins."""

    fault: Fault | None
    """Why it is broken; None where no reason was found."""
    false_claims: tuple[Contradiction, ...] = ()
    """Shapes that the file declares and that cannot be true, of values and of outputs."""


def examine(model: ir.Model) -> Examination:
    """Whether ``model`` is broken, and which of its declarations are false.

    Args:
        model: A model whose structure is sound; not changed.
    """
    every = list(_nodes(model))
    fault = next(_of_interface(model), None) or next(faults_of_nodes(every, model), None)
    if fault is not None:
        return Examination(fault)
    facts = infer_shapes(model)
    fault = next(_of_types(every, model, facts), None) or next(_of_shapes(every, model, facts), None)
    return Examination(fault, facts.contradictions)


def _nodes(model: ir.Model) -> Iterator[Use]:
    """Every node with what its place says of it."""
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for root in roots:
        imports = dict(root.opset_imports)
        imports.setdefault("", imports.get("ai.onnx", 1))
        imports.setdefault("ai.onnx", imports[""])
        parameters = root.attributes if isinstance(root, ir.Function) else None
        waiting: list[ir.Graph | ir.Function] = [root]
        for body in waiting:  # grows while it is walked
            label = f"{'function' if isinstance(body, ir.Function) else 'graph'} {body.name!r}"
            for node in body:
                yield Use(node, imports.get(node.domain, 1), label, parameters)
                if node.attributes:
                    waiting.extend(subgraphs(node.attributes.values()))


def _of_interface(model: ir.Model) -> Iterator[Fault]:
    graph = model.graph
    if not graph.outputs:
        yield Fault("the model has no outputs", f"graph {graph.name!r}", "nothing that it computes can be read")
    for value in graph.outputs:
        if value.type is None and value.meta.get(TYPE) is not None and not _stated(value):
            what = f"the output {value.name!r} is declared to be of no type"
            yield Fault(what, f"graph {graph.name!r}", "its elements are undefined")
    for value in graph.inputs:
        if value.type is None and not _stated(value) and value.const_value is None:
            yield Fault(f"the input {value.name!r} has no type", f"graph {graph.name!r}", "nobody can feed it")
    listed = frozenset(graph.meta.get(LISTED, ()))
    for value in graph.initializers.values():
        tensor, declared = value.const_value, value.type
        if tensor is None or not isinstance(declared, ir.TensorType):
            continue
        interface = value.is_graph_input() or value.name in listed
        if not interface and not value.is_graph_output():  # what is said of others, runtimes do not read
            continue
        what, where = f"the initializer {value.name!r} is declared as", f"graph {graph.name!r}"
        if declared.dtype != tensor.dtype:
            yield Fault(f"{what} a {type_name(declared.dtype)}", where, f"it holds a {type_name(tensor.dtype)}")
        dims, shape = tuple(tensor.shape.numpy()), value.shape
        if interface and shape is not None and not _fits(shape, dims):
            yield Fault(f"{what} a tensor of the dims {shape}", where, f"it has the dims {list(dims)}")


def _stated(value: ir.Value) -> bool:
    """Whether the file states a type that the IR cannot represent, such as a map's, and which says something."""
    raw = value.meta.get(TYPE)
    proto = onnx.TypeProto.FromString(raw) if raw is not None else onnx.TypeProto()
    while proto.WhichOneof("value") in ("sequence_type", "optional_type"):
        proto = getattr(proto, proto.WhichOneof("value")).elem_type
    kind = proto.WhichOneof("value")
    return kind is not None and (
        kind not in ("tensor_type", "sparse_tensor_type") or getattr(proto, kind).elem_type > 0
    )


def _fits(shape: ir.Shape, dims: tuple[int, ...]) -> bool:
    return len(shape) == len(dims) and all(
        not isinstance(ours, int) or ours == theirs for ours, theirs in zip(shape, dims, strict=True)
    )


def _of_types(every: list[Use], model: ir.Model, facts: ShapeFacts) -> Iterator[Fault]:
    """Types that an operator does not take, and declared ones that are false."""
    for node, version, graph, _ in every:
        if node.op_identifier() in model.functions:
            continue
        found = signature(node.op_type, version, node.domain)
        if found is None:
            continue
        wrong = wrong_types(node, found, [_type(value, facts) for value in node.inputs])
        if wrong is not None:
            yield Fault(wrong[0], f"{place(node)} in {graph}", wrong[1])
        if node.domain in ("", "ai.onnx"):
            yield from _of_bodies(node, graph, facts)
        for index, value in enumerate(node.outputs):
            dtype, declared = facts.dtype(value), _declared(value)
            made = kind_of(index, found) if dtype is None else type_name(dtype)
            if not made or not declared or declared == made or declared.partition("(")[0] == made:
                continue
            what = f"the value {value.name!r} is declared as a {declared}"
            yield Fault(what, f"{place(node)} in {graph}", f"{node.op_type} makes a {made} of its inputs")


def _type(value: ir.Value | None, facts: ShapeFacts) -> str | None:
    if value is None:
        return None
    dtype = facts.dtype(value)
    if dtype is not None:
        return type_name(dtype)
    return _declared(value) if value.is_graph_input() and not isinstance(value.type, ir.TensorType) else None


def _declared(value: ir.Value) -> str | None:
    """The type that the file states, as schemas write it; None where it states none."""
    around, inner = "", value.type
    while isinstance(inner, ir.SequenceType | ir.OptionalType):
        around += "seq(" if isinstance(inner, ir.SequenceType) else "optional("
        inner = inner.elem_type
    if not isinstance(inner, ir.TensorType) or inner.dtype == ir.DataType.UNDEFINED:
        return None
    return f"{around}{type_name(inner.dtype)}{')' * around.count('(')}"


def _of_bodies(node: ir.Node, graph: str, facts: ShapeFacts) -> Iterator[Fault]:
    """Types that differ between the branches of an If, or from one iteration of a Loop or Scan to the next."""
    pairs: Iterable[tuple[ir.Value | None, ir.Value]] = ()
    if node.op_type == "If":
        branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
        pairs, what = zip(branches[0].outputs, branches[1].outputs, strict=False), "the branches of an If give"
    elif node.op_type in ("Loop", "Scan"):
        body, what = node.attributes["body"].as_graph(), f"a state of a {node.op_type} is, before and after,"
        loop = node.op_type == "Loop"
        states = node.inputs[2:] if loop else node.inputs[: max(len(body.inputs) - _scanned(node), 0)]
        pairs = zip(states, body.outputs[loop:], strict=False)
    for a, b in pairs:
        kinds = _kind(a, facts), _kind(b, facts)
        if None not in kinds and kinds[0] != kinds[1]:
            yield Fault(f"{what} a {kinds[0]} and a {kinds[1]}", f"{place(node)} in {graph}", "they must be the same")


def _scanned(node: ir.Node) -> int:
    """How many inputs a Scan scans."""
    attribute = node.attributes["num_scan_inputs"]
    return len(node.inputs) if attribute.is_ref() else attribute.as_int()


def _kind(value: ir.Value | None, facts: ShapeFacts) -> str | None:
    """The element type of a tensor, or that a value is a sequence; None where it is not known."""
    if value is None:
        return None
    dtype, node = facts.dtype(value), value.producer()
    if dtype is not None:
        return type_name(dtype)
    makes_sequence = node is not None and node.domain in ("", "ai.onnx") and node.op_type in SEQUENCES
    return "sequence" if makes_sequence else None


def _of_shapes(every: list[Use], model: ir.Model, facts: ShapeFacts) -> Iterator[Fault]:
    """Shapes and parameters that an operator of the main graph cannot work on, or of a function that it calls once.

    A branch or body may hold what fits no shape that it gets, and never run.
    """
    problems, ask, certain = dict(facts.problems), _OnnxOpinions(), _always_run(every, model)
    for node, version, graph, _ in every:
        if node.graph not in certain or node.op_identifier() in model.functions:
            continue
        if any(attribute.is_ref() for attribute in node.attributes.values()):
            continue
        if node.domain in ("", "ai.onnx") and node.op_type in CHECKS:
            reason = unfit(_operator(node, version, facts))
            if reason:
                yield _unfit(node, graph, reason)
        said = problems.get(node, "")
        outside = node.op_type == "Scan" and said.startswith("ValueError: axis")  # onnx is not asked about bodies
        if not outside and "onnx cannot infer" not in said and (said or _to_ask(node)):
            said = ask(node, version, facts)
        if said:
            yield _unfit(node, graph, said)


def _always_run(every: list[Use], model: ir.Model) -> set[ir.Graph | ir.Function | None]:
    """The main graph, and the functions of which all that is known stems from one call in it."""
    found: set[ir.Graph | ir.Function | None] = {model.graph}
    if model.functions:
        calls = Counter(use.node.op_identifier() for use in every)
        inside = {use.node.op_identifier() for use in every if use.node.graph is model.graph}
        found.update(f.graph for name, f in model.functions.items() if calls[name] == 1 and name in inside)
    return found


def _unfit(node: ir.Node, graph: str, reason: str) -> Fault:
    why = re.sub(r"^(ValueError: )?(onnx cannot infer \S+: )?(\[\w+\] )?", "", reason).rstrip(".")
    return Fault(f"{node.op_type} cannot work on its inputs", f"{place(node)} in {graph}", why)


def _operator(node: ir.Node, version: int, facts: ShapeFacts) -> Operator:
    inputs = [None if value is None else facts.facts.get(value, UNKNOWN) for value in node.inputs]
    return Operator(node, version, inputs, Symbols(), {})


def _to_ask(node: ir.Node) -> bool:
    """Whether onnx may find what no rule of ours looks for."""
    return node.domain in ("", "ai.onnx") and node.op_type in SHAPE_RULES and node.op_type not in UNASKED


class _OnnxOpinions:
    """What onnx's own inference says of nodes; it is asked once about equal ones."""

    def __init__(self) -> None:
        self.known: dict[object, str] = {}

    def __call__(self, node: ir.Node, version: int, facts: ShapeFacts) -> str:
        """Why onnx refuses the node; empty where it does not, or cannot be asked."""
        if node.op_type in NOT_ASKED:
            return ""
        op = _operator(node, version, facts)
        key = (
            *(node.op_type, node.domain, version, len(node.outputs)),
            tuple((name, repr(attribute.value)) for name, attribute in node.attributes.items()),
            tuple(None if fact is None else _key(fact) for fact in op.inputs),
        )
        if key not in self.known:
            self.known[key] = _refused_by_onnx(op, {node.domain: version})
        return self.known[key]


def _key(fact: Fact) -> object:
    value = None if fact.value is None else tuple(map(str, fact.value.flat))
    return fact.dtype, None if fact.shape is None else tuple(map(str, fact.shape)), value


def _refused_by_onnx(op: Operator, opsets: dict[str, int]) -> str:
    try:
        infer_by_onnx(op, opsets)
    except ValueError as refused:
        return str(refused)
    return ""
