"""Makes a counterexample small: fewer outputs, values in the middle given as inputs, nodes passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxslim.errors import OnnxSlimError
from onnxslim.execution.session import open_session
from tests.fuzz.generate import Case

Fails = Callable[[Case], bool]


def shrink(case: Case, fails: Fails, budget: int = 400) -> Case:
    """A small case that still ``fails``; tries at most ``budget`` candidates."""
    progress = True
    while progress and budget > 0:
        progress = False
        for candidate in _candidates(case):
            budget -= 1
            if fails(candidate):
                case, progress = candidate, True
                break
            if budget <= 0:
                break
    return case


def _candidates(case: Case) -> Iterator[Case]:
    graph = case.model.graph
    if len(graph.output) > 1:
        for index in range(len(graph.output)):
            yield _with_outputs(case, [graph.output[index]])
        for index in range(len(graph.output)):
            yield _with_outputs(case, [v for i, v in enumerate(graph.output) if i != index])
    types = _types(case)
    seen = _seen(case, types)
    outputs = {v.name for v in graph.output}
    for node in reversed(graph.node):  # an earlier value as the output
        if len(graph.output) == 1 and node.output[0] not in outputs and node.output[0] in types:
            yield _with_outputs(case, [types[node.output[0]]])
    for node in reversed(graph.node):  # a value in the middle as an input
        if all(name in seen[0] for name in node.output if name) and node.op_type != "Constant":
            yield _cut(case, node, types, seen)
    for node in graph.node:  # a node passed over
        for name in node.input:
            y = node.output[0]
            if len(node.output) == 1 and name in types and y in types and types[name].type == types[y].type:
                yield _passed_over(case, node, name)


def _with_outputs(case: Case, outputs: Sequence[onnx.ValueInfoProto]) -> Case:
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    outputs = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in outputs]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return _pruned(Case(model, case.feeds))


def _pruned(case: Case) -> Case:
    """Without what no output needs."""
    graph = case.model.graph
    needed = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(_names(node))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(kept)
    for field in (graph.initializer, graph.input):
        left = [type(v).FromString(v.SerializeToString()) for v in field if v.name in needed]
        del field[:]
        field.extend(left)
    called = {node.op_type for node in graph.node if node.domain}
    functions = [f for f in case.model.functions if f.name in called]
    functions = [onnx.FunctionProto.FromString(f.SerializeToString()) for f in functions]
    del case.model.functions[:]
    case.model.functions.extend(functions)
    names = {v.name for v in graph.input}
    return Case(case.model, [{k: v for k, v in feed.items() if k in names} for feed in case.feeds])


def _names(node: onnx.NodeProto) -> Iterator[str]:
    """What a node and its subgraphs read."""
    stack = [node]
    while stack:
        each = stack.pop()
        yield from each.input
        for attribute in each.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                stack.extend(attribute.g.node)
                yield from (v.name for v in attribute.g.output)


def _types(case: Case) -> dict[str, onnx.ValueInfoProto]:
    """Types of values, with the symbols that onnx's inference finds."""
    try:
        inferred = onnx.shape_inference.infer_shapes(case.model, data_prop=True)
    except onnx.shape_inference.InferenceError:
        inferred = case.model
    graph = inferred.graph
    return {v.name: v for v in (*graph.value_info, *graph.input, *graph.output) if v.type.tensor_type.HasField("shape")}


def _seen(case: Case, types: dict[str, onnx.ValueInfoProto]) -> list[dict[str, np.ndarray]]:
    """Every value at each feed; nothing where they cannot be looked at."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    there = {v.name for v in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name in types]
    model.graph.output.extend(types[name] for name in dict.fromkeys(made) if name not in there)
    try:
        session = open_session(model, optimize=False)
        return [session.run(feed) for feed in case.feeds]
    except OnnxSlimError:
        return [{} for _ in case.feeds]


def _cut(
    case: Case, node: onnx.NodeProto, types: dict[str, onnx.ValueInfoProto], seen: list[dict[str, np.ndarray]]
) -> Case:
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = model.graph
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node if n != node]
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for n in graph.node for name in _names(n)}
    feeds = [dict(feed) for feed in case.feeds]
    for name in node.output:
        if name not in read:
            continue
        arrays = [values[name] for values in seen]
        same = [len({array.shape[i] for array in arrays}) == 1 for i in range(arrays[0].ndim)]
        declared = types[name].type.tensor_type.shape.dim
        dims = [
            int(arrays[0].shape[i]) if same[i] else (declared[i].dim_param or f"{name}_{i}") for i in range(len(same))
        ]
        kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, dims))
        for feed, array in zip(feeds, arrays, strict=True):
            feed[name] = array
    outputs = {v.name for v in graph.output}
    left = [v for v in graph.output if v.name not in node.output]
    if left and outputs & set(node.output):
        return _with_outputs(Case(model, feeds), left)
    return _pruned(Case(model, feeds))


def _passed_over(case: Case, node: onnx.NodeProto, name: str) -> Case:
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = model.graph
    outputs = {v.name for v in graph.output}
    y = node.output[0]
    kept = []
    for each in graph.node:
        copy = onnx.NodeProto.FromString(each.SerializeToString())
        if each == node:
            if y not in outputs:
                continue
            copy = helper.make_node("Identity", [name], [y])
        elif y not in outputs:
            for index, x in enumerate(copy.input):
                if x == y:
                    copy.input[index] = name
        kept.append(copy)
    del graph.node[:]
    graph.node.extend(kept)
    return _pruned(Case(model, case.feeds))


def describe(case: Case) -> str:
    """The model as text, with what it was run on where that is small."""
    lines = [onnx.printer.to_text(case.model)]
    for tensor in case.model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size <= 16:
            lines.append(f"// {tensor.name} = {array.tolist()} {array.dtype}")
    for feed in case.feeds:
        brief = {name: array.tolist() if array.size <= 4 else array.shape for name, array in feed.items()}
        lines += [f"// feed {brief}"]
    return "\n".join(lines)
