"""What makes a model broken, so that no runtime could run it: found before any work begins.

Only what is certain counts. A shape that the file merely declares, of a value or of an output, is a claim: runtimes
warn where it is false, and run the model. Shapes that do not fit an operator are refused where onnx's own inference
refuses them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onnxslim.analysis.dims import Symbols
from onnxslim.analysis.facts import UNKNOWN, ShapeFacts
from onnxslim.analysis.fallback import infer_by_onnx
from onnxslim.analysis.fit import CHECKS, unfit
from onnxslim.analysis.operator import Operator
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.listed import LISTED
from onnxslim.graph.sidecar import TYPE
from onnxslim.graph.walk import subgraphs
from onnxslim.ops.conformity import Fault, faults_of_nodes, place, signature, type_name, wrong_types

NOT_ASKED = frozenset({"Slice"})
"""onnx's inference ends the process on some of these."""


def first_fault(model: ir.Model) -> Fault | None:
    """The first reason why ``model`` is broken; None where none was found.

    Args:
        model: A model whose structure is sound; not changed.
    """
    every = list(_nodes(model))
    fault = next(_of_interface(model), None) or next(faults_of_nodes(iter(every), model), None)
    if fault is not None:
        return fault
    facts = infer_shapes(model)
    return next(_of_types(every, model, facts), None) or next(_of_shapes(every, model, facts), None)


def _nodes(model: ir.Model) -> Iterator[tuple[ir.Node, int, str]]:
    """Every node with the version of its domain and the graph that it stands in."""
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for root in roots:
        imports = dict(root.opset_imports)
        imports.setdefault("", imports.get("ai.onnx", 1))
        imports.setdefault("ai.onnx", imports[""])
        waiting: list[ir.Graph | ir.Function] = [root]
        for body in waiting:  # grows while it is walked
            label = f"{'function' if isinstance(body, ir.Function) else 'graph'} {body.name!r}"
            for node in body:
                yield node, imports.get(node.domain, 1), label
                if node.attributes:
                    waiting.extend(subgraphs(node.attributes.values()))


def _of_interface(model: ir.Model) -> Iterator[Fault]:
    graph = model.graph
    if not graph.outputs:
        yield Fault("the model has no outputs", f"graph {graph.name!r}", "nothing that it computes can be read")
    for value in graph.inputs:
        if value.type is None and not _stated(value) and value.const_value is None:
            yield Fault(f"the input {value.name!r} has no type", f"graph {graph.name!r}", "nobody can feed it")
    listed = frozenset(graph.meta.get(LISTED, ()))
    for value in graph.initializers.values():
        tensor, declared = value.const_value, value.type
        if tensor is None or not isinstance(declared, ir.TensorType):
            continue
        if not value.is_graph_input() and value.name not in listed:  # what is said of others, runtimes do not read
            continue
        what, where = f"the initializer {value.name!r} is declared as", f"graph {graph.name!r}"
        if declared.dtype != tensor.dtype:
            yield Fault(f"{what} a {type_name(declared.dtype)}", where, f"it holds a {type_name(tensor.dtype)}")
        dims, shape = tuple(tensor.shape.numpy()), value.shape
        if shape is not None and not _fits(shape, dims):
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


def _of_types(every: list[tuple[ir.Node, int, str]], model: ir.Model, facts: ShapeFacts) -> Iterator[Fault]:
    """Types that an operator does not take, and declared ones that are false."""
    for node, version, graph in every:
        if node.op_identifier() in model.functions:
            continue
        found = signature(node.op_type, version, node.domain)
        if found is None:
            continue
        dtypes = [None if value is None else facts.dtype(value) for value in node.inputs]
        wrong = wrong_types(node, found, dtypes)
        if wrong is not None:
            yield Fault(wrong[0], f"{place(node)} in {graph}", wrong[1])
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            yield from _of_branches(node, graph, facts)
        for value in node.outputs:
            dtype, declared = facts.dtype(value), value.type
            if dtype is not None and isinstance(declared, ir.TensorType) and declared.dtype != dtype:
                what = f"the value {value.name!r} is declared as a {type_name(declared.dtype)}"
                yield Fault(
                    what, f"{place(node)} in {graph}", f"{node.op_type} makes a {type_name(dtype)} of its inputs"
                )


def _of_branches(node: ir.Node, graph: str, facts: ShapeFacts) -> Iterator[Fault]:
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    for a, b in zip(branches[0].outputs, branches[1].outputs, strict=False):
        dtypes = facts.dtype(a), facts.dtype(b)
        if None not in dtypes and dtypes[0] != dtypes[1]:
            kinds = " and a ".join(type_name(dtype) for dtype in dtypes if dtype is not None)
            yield Fault(f"the branches of an If give a {kinds}", f"{place(node)} in {graph}", "they must be the same")


def _of_shapes(every: list[tuple[ir.Node, int, str]], model: ir.Model, facts: ShapeFacts) -> Iterator[Fault]:
    """Shapes and parameters that an operator of the main graph cannot work on.

    A branch or body may hold what fits no shape that it gets, and never run.
    """
    problems = dict(facts.problems)
    for node, version, graph in every:
        if node.graph is not model.graph or node.op_identifier() in model.functions:
            continue
        if node.domain in ("", "ai.onnx") and node.op_type in CHECKS:
            reason = unfit(_operator(node, version, facts))
            if reason:
                yield _unfit(node, graph, reason)
        if node in problems:
            said = problems[node] if "onnx cannot infer" in problems[node] else _refused_by_onnx(node, version, facts)
            if said:
                yield _unfit(node, graph, said)


def _unfit(node: ir.Node, graph: str, reason: str) -> Fault:
    why = re.sub(r"^(ValueError: )?(onnx cannot infer \S+: )?(\[\w+\] )?", "", reason).rstrip(".")
    return Fault(f"{node.op_type} cannot work on its inputs", f"{place(node)} in {graph}", why)


def _operator(node: ir.Node, version: int, facts: ShapeFacts) -> Operator:
    inputs = [None if value is None else facts.facts.get(value, UNKNOWN) for value in node.inputs]
    return Operator(node, version, inputs, Symbols(), {})


def _refused_by_onnx(node: ir.Node, version: int, facts: ShapeFacts) -> str:
    """Why onnx's own inference refuses the node; empty where it does not, or cannot be asked."""
    if node.op_type in NOT_ASKED:
        return ""
    try:
        infer_by_onnx(_operator(node, version, facts), {node.domain: version})
    except ValueError as refused:
        return str(refused)
    return ""
