"""f(x) -> the body of f on x, where the file does not grow.

A call costs the runtime nothing (it inlines at load), but no rewrite sees through it: what an exporter writes as a
function for each operator folds and fuses only in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import onnx
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.walk import callees_first, nested
from onnxslim.ops.determinism import STANDARD_DOMAINS, schema
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import Scope, scopes
from onnxslim.rewriter.size import framed, node_bytes

from .remove_unused import detach
from .splice import Splicer

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

Call = tuple[Scope, ir.Node]


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Put the bodies of model-local functions in the place of their calls.

    1. All calls of a function are inlined or none, callees before callers; the function goes with the last call.
    2. Only where the bodies, with the names of their arguments and the parameters' values, take no more bytes than
       the function and its calls: always so for what is called once, unless arguments' names are long.
    3. Only where every operator means the same in the opset of the caller.
    """

    name: ClassVar[str] = "inline-functions"
    tier: ClassVar[Tier] = Tier.EXACT

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Inlines in place."""
        inline_functions(model, context)
        return context.result()


def inline_functions(model: ir.Model, context: Context, *, growth: int = 0) -> None:
    """Inlines every function that may be, in one walk over all calls; ``growth`` bytes are allowed for each."""
    if not model.functions:
        return
    splicer, sites = Splicer(model), call_sites(model)
    for identifier in callees_first(model):
        calls, function = sites.get(identifier, []), model.functions[identifier]
        label = "::".join(part for part in identifier if part)
        if not calls:
            continue
        reason = next(filter(None, (refusal(scope, node, function) for scope, node in calls)), None)
        if reason is None:
            reason = _inline(model, function, calls, splicer, context, label, growth)
        if reason:
            context.decline("inline-function", label, reason)


def _inline(
    model: ir.Model,
    function: ir.Function,
    calls: list[Call],
    splicer: Splicer,
    context: Context,
    label: str,
    growth: int,
) -> str | None:
    """Inlines all calls of one function; or the reason why not, empty where the context refused."""
    left = framed(int(ir.serde.serialize_function(function).ByteSize())) + growth
    made: list[tuple[Call, ir.Graph]] = []
    reason: str | None = None
    for scope, node in calls:
        body = instance(function, node)
        made.append(((scope, node), body))
        splicer.adopt(scope, body)
        reason = splicer.refusal(node, body)
        left -= instance_bytes(node, body) - node_bytes(node)
        if left < 0:
            reason = reason or "the file would grow"
        if reason is not None:
            break
    if reason is None:
        detail = f"{len(calls)} call{'s' if len(calls) > 1 else ''}"
        if context.allow(Action("inline-function", (label,), label, detail)):
            for (scope, node), body in made:
                _import_domains(scope, function, body)
                splicer.splice(scope, node, body)
            del model.functions[function.identifier()]
            return None
        reason = ""
    for (scope, _), body in made:
        splicer.disown(scope, body)
        for each in body:
            detach(each)
    return reason


def call_sites(model: ir.Model) -> dict[ir.OperatorIdentifier, list[Call]]:
    """Every call of every local function."""
    found: dict[ir.OperatorIdentifier, list[Call]] = {}
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_identifier() in model.functions:
                found.setdefault(node.op_identifier(), []).append((scope, node))
    return found


def refusal(scope: Scope, call: ir.Node, function: ir.Function) -> str | None:
    """Why the function means something else in the place of the call; None if it does not."""
    if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
        return "a call does not fit it"
    if any(a.type in _GRAPHS for a in (*call.attributes.values(), *function.attributes.values())):
        return "a parameter is a graph"
    if any(y in function.inputs for y in function.outputs):
        return "it gives back an input"
    given = parameters(function, call)
    for node in function.all_nodes():
        if not _means_the_same(node, function, scope):
            return f"{node.domain or 'ai.onnx'}::{node.op_type} may differ between its opset and that of a call"
        for attribute in node.attributes.values():
            if attribute.is_ref() and attribute.ref_attr_name not in given and node.op_type == "Constant":
                return "a call gives no value to a parameter that it needs"
    return None


def _means_the_same(node: ir.Node, function: ir.Function, scope: Scope) -> bool:
    own = function.opset_imports.get(node.domain)
    if own is None and node.domain == "":
        own = function.opset_imports.get("ai.onnx")
    there = scope.opset(node.domain)
    if own is None or own == there or there == 0:
        return own is not None
    if node.domain not in STANDARD_DOMAINS:
        return False
    here, other = schema(node.op_type, own, node.domain), schema(node.op_type, there, node.domain)
    return here is not None and other is not None and here.since_version == other.since_version


def parameters(function: ir.Function, call: ir.Node) -> dict[str, ir.Attr]:
    """The function's attributes as the call gives them, or their defaults; what neither gives is left out."""
    given = {name: a for name, a in function.attributes.items() if a.value is not None}
    return {**given, **call.attributes}


def instance(function: ir.Function, call: ir.Node) -> ir.Graph:
    """A copy of the body on the arguments of the call; weights are shared. It has no inputs left."""
    body = function.clone().graph
    given = parameters(function, call)
    for graph in nested(body):
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if attribute.is_ref():
                    del node.attributes[name]
                    value = given.get(attribute.ref_attr_name or "")
                    if value is not None:
                        node.attributes[name] = renamed(value, name)
                elif attribute.type == ir.AttributeType.TENSOR:
                    node.attributes[name] = ir.AttrTensor(name, own_tensor(attribute.as_tensor()))
    inputs = list(body.inputs)
    outputs = list(body.outputs)[: len(call.outputs)]
    body.outputs.clear()
    body.inputs.clear()
    for i, formal in enumerate(inputs):
        actual = call.inputs[i] if i < len(call.inputs) else None
        if actual is not None:
            formal.replace_all_uses_with(actual)
        else:
            for user, index in list(formal.uses()):
                user.replace_input_with(index, None)
                while user.inputs and user.inputs[-1] is None:
                    user.resize_inputs(len(user.inputs) - 1)
    body.outputs.extend(outputs)
    return body


def own_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor under a name of its own: a name set on a shared one would be that of all."""
    raw = getattr(tensor, "raw", None)
    if isinstance(raw, onnx.TensorProto):
        proto = onnx.TensorProto()
        proto.CopyFrom(raw)
        return ir.serde.deserialize_tensor(proto)
    return copy.copy(tensor)


def renamed(attribute: ir.Attr, name: str) -> ir.Attr:
    """The attribute under another name."""
    if attribute.is_ref():
        return ir.RefAttr(name, attribute.ref_attr_name or "", attribute.type)
    if attribute.type == ir.AttributeType.TENSOR:
        return ir.AttrTensor(name, own_tensor(attribute.as_tensor()))
    return ir.Attr(name, attribute.type, attribute.value)


def instance_bytes(call: ir.Node, body: ir.Graph) -> int:
    """Bytes of the body's nodes once they stand in the place of the call."""
    total = sum(node_bytes(node) for node in body)
    for old, new in zip(call.outputs, body.outputs, strict=True):
        total += (len(old.name or "") - len(new.name or "")) * (1 + len(new.uses()))
    return total


def _import_domains(scope: Scope, function: ir.Function, body: ir.Graph) -> None:
    """The caller imports what the body uses and it did not."""
    imports = scope.opsets
    assert isinstance(imports, dict)
    for domain in _domains(nested(body)):
        if scope.opset(domain) == 0:
            imports[domain] = function.opset_imports[domain]


def _domains(graphs: Iterable[ir.Graph]) -> list[str]:
    return list(dict.fromkeys(node.domain for graph in graphs for node in graph))
