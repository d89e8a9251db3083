"""Structure of a model: definitions before uses, one for each name, declared operator sets, functions that end.

Names count, because a file knows values by name only: where a subgraph captures an outer value whose name it defines
itself, the file would mean another value than the IR does. Linear in nodes and values, without recursion.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.errors import CheckFailed, InputError, OnnxSlimError
from onnxslim.graph.walk import Body, subgraphs

MAX_PROBLEMS = 20
MAX_INLINED_NODES = 10_000_000
"""Nodes that a model may have when all its functions are expanded, as runtimes do."""


def problems(model: ir.Model, limit: int = MAX_PROBLEMS) -> list[str]:
    """What is wrong with the structure of ``model``, each with its place; empty where all is well.

    Args:
        model: The model; not changed.
        limit: Problems after which the search ends.
    """
    found: list[str] = []
    for problem in _problems(model):
        found.append(problem)
        if len(found) >= limit:
            break
    return found


def validate(model: ir.Model) -> None:
    """Checks the structure of a model that came from outside.

    Raises:
        InputError: The structure is broken.
    """
    _raise(
        InputError, "the model is not valid", problems(model), "export the model again, or report it to its exporter"
    )


def check_structure(model: ir.Model, after: str) -> None:
    """Checks the structure of a model that a pass has edited.

    Args:
        model: The model; not changed.
        after: The pass, for the message.

    Raises:
        CheckFailed: The pass broke the structure.
    """
    _raise(CheckFailed, f"the pass {after!r} broke the model", problems(model), f"leave {after!r} out and report it")


def _raise(error: type[OnnxSlimError], what: str, found: list[str], mend: str) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        place, _, why = found[0].partition(": ")
        raise error(what, where=place, why=why + more, mend=mend)


@dataclass
class _Scope:
    body: Body
    names: ChainMap[str, ir.Value]
    nodes: Iterator[ir.Node]
    pending: ir.Node | None = None
    """The node whose subgraphs are being visited; its outputs are defined afterwards."""


def _problems(model: ir.Model) -> Iterator[str]:
    roots: list[tuple[Body, dict[str, int]]] = [(model.graph, model.opset_imports)]
    roots.extend((function, function.opset_imports) for function in model.functions.values())
    need_imports = model.ir_version >= 3
    for root, imports in roots:
        names: ChainMap[str, ir.Value] = ChainMap()
        yield from _enter(root, names)
        stack = [_Scope(root, names, iter(root))]
        while stack:
            scope = stack[-1]
            if scope.pending is not None:
                yield from _define(scope.pending, scope)
                scope.pending = None
            node = next(scope.nodes, None)
            if node is None:
                yield from _leave(scope.body, scope.names)
                stack.pop()
                continue
            if need_imports and node.domain not in imports and not (node.domain == "" and "ai.onnx" in imports):
                yield f"{_place(node, scope.body)}: operator set {node.domain or 'ai.onnx'!r} is not imported"
            for value in node.inputs:
                if value is not None and scope.names.get(value.name or "") is not value:
                    yield f"{_place(node, scope.body)}: {_why_unresolved(value, scope.names)}"
            scope.pending = node
            if node.attributes:
                for graph in reversed(list(subgraphs(node.attributes.values()))):
                    child = scope.names.new_child()
                    yield from _enter(graph, child)
                    stack.append(_Scope(graph, child, iter(graph)))
    yield from _function_problems(model)


def _place(node: ir.Node, body: Body) -> str:
    outputs = ", ".join(repr(value.name) for value in node.outputs[:2])
    return f"node {node.name!r} ({node.op_type}) of {outputs} in {_label(body)}"


def _label(body: Body) -> str:
    return f"function {body.name!r}" if isinstance(body, ir.Function) else f"graph {body.name!r}"


def _enter(body: Body, names: ChainMap[str, ir.Value]) -> Iterator[str]:
    own = names.maps[0]
    for value in body.inputs:
        if not value.name or value.name in own:
            yield f"{_label(body)}: the input {value.name!r} is there twice or has no name"
        own[value.name or ""] = value
    initializers = body.graph.initializers if isinstance(body, ir.Function) else body.initializers
    for name, value in initializers.items():
        if own.setdefault(name, value) is not value or value.name != name:
            yield f"{_label(body)}: two values are named {name!r}, one of them an initializer"
        if value.const_value is None and not value.is_graph_input():
            yield f"{_label(body)}: the initializer {name!r} has no data"
    own.pop("", None)


def _define(node: ir.Node, scope: _Scope) -> Iterator[str]:
    own = scope.names.maps[0]
    for value in node.outputs:
        if value.name is None:
            yield f"{_place(node, scope.body)}: an output has no name"
        elif value.name and own.setdefault(value.name, value) is not value:
            yield f"{_place(node, scope.body)}: the value {value.name!r} is defined twice"
        elif not value.name and value.uses():
            yield f"{_place(node, scope.body)}: an output without a name is used"


def _leave(body: Body, names: ChainMap[str, ir.Value]) -> Iterator[str]:
    for value in body.outputs:
        if names.maps[0].get(value.name or "") is not value:
            yield f"{_label(body)}: the output {value.name!r} is computed by nothing in it"


def _why_unresolved(value: ir.Value, names: ChainMap[str, ir.Value]) -> str:
    if (value.name or "") in names:
        return f"the input {value.name!r} is another value than the one that its name leads to"
    if value.producer() is not None:
        return (
            f"the input {value.name!r} is used before it is computed, so there is a cycle or the nodes are out of order"
        )
    return f"the input {value.name!r} is defined by no node, input or initializer"


def _function_problems(model: ir.Model) -> Iterator[str]:
    """Functions that call themselves, or that expand to more nodes than any runtime holds."""
    total, circle = _expand(model)
    if circle:
        yield f"function {circle[0]!r}: it calls itself, through {' -> '.join(circle[1:])}"
    elif total > MAX_INLINED_NODES:
        yield f"the functions: they expand to {total:,} nodes, more than {MAX_INLINED_NODES:,}"


def expanded_nodes(model: ir.Model) -> int:
    """Nodes that the model has when all its functions are expanded; the model is valid."""
    return _expand(model)[0]


def _expand(model: ir.Model) -> tuple[int, list[str]]:
    """Nodes with all functions expanded; or a function that calls itself, and the way there."""
    if not model.functions:
        return 0, []
    calls: dict[ir.OperatorIdentifier, Counter[ir.OperatorIdentifier]] = {}
    size: dict[ir.OperatorIdentifier, int] = {}
    for key, function in model.functions.items():
        inside = list(function.all_nodes())
        calls[key] = Counter(node.op_identifier() for node in inside if node.op_identifier() in model.functions)
        size[key] = len(inside)
    done: dict[ir.OperatorIdentifier, int] = {}
    for root in calls:
        path: list[ir.OperatorIdentifier] = [root]
        waiting = {root: iter(calls[root])}
        while path:
            key = path[-1]
            callee = next((item for item in waiting[key] if item not in done), None)
            if callee is None:
                done[key] = size[key] + sum(done[item] * count for item, count in calls[key].items())
                del waiting[path.pop()]
            elif callee in waiting:
                return 0, [callee[1], *(item[1] for item in path)]
            else:
                path.append(callee)
                waiting[callee] = iter(calls[callee])
    return sum(done.get(node.op_identifier(), 1) for node in model.graph.all_nodes()), []


def find_cycle(graph: ir.Graph | ir.Function) -> list[ir.Node]:
    """Nodes of ``graph`` itself that wait for each other in a ring, first to last; empty where there is no ring."""
    owner: dict[ir.Node, ir.Node] = {}
    for node in graph:
        stack = [node]
        while stack:
            item = stack.pop()
            owner[item] = node
            for inner in subgraphs(item.attributes.values()):
                stack.extend(inner)
    before: dict[ir.Node, list[ir.Node]] = {node: [] for node in graph}
    after: dict[ir.Node, list[ir.Node]] = {node: [] for node in graph}
    for item, node in owner.items():
        for value in item.inputs:
            producer = value.producer() if value is not None else None
            source = owner.get(producer) if producer is not None else None
            if source is not None and (source is not node or item is node):
                before[node].append(source)
                after[source].append(node)
    waiting = {node: len(sources) for node, sources in before.items()}
    ready = [node for node, count in waiting.items() if not count]
    while ready:
        for node in after[ready.pop()]:
            waiting[node] -= 1
            if not waiting[node]:
                ready.append(node)
    left = [node for node, count in waiting.items() if count]
    seen: dict[ir.Node, int] = {}
    ring: list[ir.Node] = []
    current = left[0] if left else None
    while current is not None and current not in seen:
        seen[current] = len(ring)
        ring.append(current)
        current = next((source for source in before[current] if waiting[source]), None)
    return ring[seen[current] :][::-1] if current is not None else []
