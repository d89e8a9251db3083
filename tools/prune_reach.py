"""How many channels `onnxslim.analysis.channels` can reach, and whether taking half of them out at random is right."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

import models_zoo
import onnxslim
from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.errors import OnnxSlimError
from onnxslim.execution import open_session
from onnxslim.execution.feeds import Feed
from onnxslim.graph import problems
from onnxslim.passes.prune.apply import remove_channels, silence_channels

SHOWS = frozenset({"Add", "Identity", "LogSoftmax", "Sigmoid", "Softmax", "Transpose"})
"""Operators before an output that leave its axes as they are: what goes into them has the size that the output has."""
FEEDS = 2
"""Samples that the removal is run on."""


def reach(name: str) -> dict[str, Any]:
    """What of a model of the zoo can be removed once it is slimmed, and what removing half of it does.

    Args:
        name: Of the model.

    Returns:
        ``seconds`` of the analysis, ``nodes``, ``groups``; ``rows`` and ``free``, see `inner_rows`; ``pinned``, what
        keeps the others, as operator, reason, rows. Once a random half of each group is gone: ``problems`` of the
        graph, ``error``, how far the outputs are from the oracle's (`silence_channels`), and ``change``, how far the
        oracle's are from the original's: where that is 0, the other says nothing. Both are `apart`.
    """
    proto = onnxslim.slim(models_zoo.get(name).path(), verify=False)
    assert proto is not None
    model = ir.serde.deserialize_model(proto)
    started = time.perf_counter()
    channels = find_channels(model)
    seconds = time.perf_counter() - started
    total = free = 0
    pinned: Counter[tuple[str, str]] = Counter()
    for ids in inner_rows(model, channels):
        kept = ids[channels.pinned[ids]]
        total, free = total + len(ids), free + len(ids) - len(kept)
        pinned.update(channels.reasons[label] for label in channels.labels[kept].tolist())
    made: dict[str, Any] = {
        "seconds": seconds,
        "nodes": len(list(model.graph)),
        "groups": len(channels.groups),
        "rows": total,
        "free": free,
        "pinned": [[operator, reason, count] for (operator, reason), count in pinned.most_common()],
    }
    feeds = [sample.feed for sample in models_zoo.get(name).samples("report").first(FEEDS)]
    return made | halve(model, channels, feeds)


def inner_rows(model: ir.Model, channels: Channels) -> Iterator[np.ndarray]:
    """Ids of the rows of each constant weight, but for those that end in an output of the model.

    Those of the last layer do: the caller asked for that many. Where a Softmax or the like (`SHOWS`) stands before an
    output, what goes into it counts as shown too. Rows whose number an input of the model fixes (states of recurrent
    layers) are no exception, nor are those of constants that the exporter made (the basis of a spectrogram).
    """
    shown = np.zeros(channels.links.count, bool)
    for value in _shown(model):
        for ids in channels.links.ids(value) or ():
            if ids is not None:
                shown[channels.labels[ids]] = True
    for _, _, ids in channels.rows():
        yield ids[~shown[channels.labels[ids]]]


def _shown(model: ir.Model) -> list[ir.Value]:
    """The outputs, and what operators that keep their axes make them of."""
    found = list(model.graph.outputs)
    for value in found:  # grows while it is walked
        node = value.producer()
        if node is not None and node.op_type in SHOWS:
            found += [each for each in node.inputs if each is not None and each not in found]
    return found


def halve(model: ir.Model, channels: Channels, feeds: list[Feed]) -> dict[str, Any]:
    """A random half of each group is taken out of a copy, see `reach`; ``not run`` is why it was not compared."""
    generator = np.random.default_rng(0)
    removal = {
        group.key: generator.choice(len(group), len(group) // 2, replace=False).tolist() for group in channels.groups
    }
    pruned, silent = model.clone(), model.clone()
    remove_channels(pruned, find_channels(pruned), removal)
    silence_channels(silent, find_channels(silent), removal)
    made: dict[str, Any] = {"problems": problems(pruned)[:1]}
    try:
        made["error"] = apart(pruned, silent, feeds)
        made["change"] = apart(silent, model, feeds)
    except OnnxSlimError as error:
        made["not run"] = str(error)[:120]
    return made


def apart(one: ir.Model, other: ir.Model, feeds: list[Feed]) -> float:
    """The largest difference of an output, as a multiple of the root mean square that it has in ``other``."""
    runs = [open_session(model).run for model in (one, other)]
    worst = 0.0
    for feed in feeds:
        found, wanted = (run(feed) for run in runs)
        for name, value in wanted.items():
            array, got = np.asarray(value, np.float64), np.asarray(found[name], np.float64)
            if array.shape != got.shape:
                return float("inf")
            scale = float(np.sqrt(np.square(array).mean())) or 1.0
            worst = max(worst, float(np.abs(array - got).max(initial=0.0)) / scale)
    return worst


# -- a transformer -----------------------------------------------------------------------------------------------------


def analysis_of_transformer(blocks: int = 49, width: int = 384, heads: int = 6, repeats: int = 3) -> dict[str, Any]:
    """How long a transformer takes to be analysed; the fastest of some runs.

    Args:
        blocks: Of 29 nodes each.
        width: Channels of the residual stream; the inner layers have four times as many.
        heads: Of attention.
        repeats: Runs.
    """
    model = transformer(blocks, width, heads)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        channels = find_channels(model)
        times.append(time.perf_counter() - started)
    rows = [channels.pinned[ids] for ids in inner_rows(model, channels)]
    return {
        "seconds": min(times),
        "nodes": len(list(model.graph)),
        "groups": len(channels.groups),
        "rows": sum(map(len, rows)),
        "free": sum(int((~pinned).sum()) for pinned in rows),
    }


def transformer(blocks: int, width: int, heads: int) -> ir.Model:
    """Pre-norm blocks of attention and a perceptron over ``float[N, T, width]``, weights of zeros."""
    x = ir.val("x", ir.DataType.FLOAT, ("N", "T", width))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="transformer")

    def weight(*shape: int) -> ir.Value:
        return constant(np.zeros(shape, np.float32))

    def constant(array: np.ndarray) -> ir.Value:
        tensor = ir.tensor(array, name=f"w{len(graph.initializers)}")
        value = ir.Value(name=tensor.name, const_value=tensor, shape=ir.Shape(array.shape), type=None)
        value.dtype = tensor.dtype
        graph.initializers.add(value)
        return value

    def add(op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        node = ir.node(op, inputs, attributes)
        graph.append(node)
        node.name = node.outputs[0].name = f"n{len(graph)}"
        return node.outputs[0]

    def dense(value: ir.Value, before: int, after: int) -> ir.Value:
        return add("Add", add("MatMul", value, weight(before, after)), weight(after))

    def norm(value: ir.Value) -> ir.Value:
        return add("LayerNormalization", value, weight(width), weight(width), axis=-1)

    split = constant(np.array([0, 0, heads, width // heads], np.int64))
    merge = constant(np.array([0, 0, width], np.int64))
    scale = constant(np.array((width // heads) ** -0.5, np.float32))
    value = x
    for _ in range(blocks):
        seen = norm(value)
        query, key, told = (add("Reshape", dense(seen, width, width), split) for _ in range(3))
        query, told = (add("Transpose", each, perm=[0, 2, 1, 3]) for each in (query, told))
        key = add("Transpose", key, perm=[0, 2, 3, 1])
        weights = add("Softmax", add("Mul", add("MatMul", query, key), scale), axis=-1)
        mixed = add("Transpose", add("MatMul", weights, told), perm=[0, 2, 1, 3])
        value = add("Add", value, dense(add("Reshape", mixed, merge), width, width))
        inner = add("Gelu", dense(norm(value), width, 4 * width))
        value = add("Add", value, dense(inner, 4 * width, width))
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(("N", "T", width))
    graph.outputs.append(value)
    return ir.Model(graph, ir_version=9)
