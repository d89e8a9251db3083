"""What each group costs in float and in int8, and what it costs to go from one to the other: measured node by node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.runtime import NodeTime

RENAMED = re.compile(r"(_nchwc|_token_\d+)$")
"""What onnxruntime puts behind a name where it changes the layout: of the output in NCHWc, of the node in NHWC."""
NANOSECONDS = 0.4
"""For one element through a QuantizeLinear or DequantizeLinear, where none was there to measure."""
CALL = 1.5
"""Microseconds that a node costs whatever its size."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of one run, by group key and by value name."""

    in_float: Mapping[str, float]
    in_int8: Mapping[str, float]
    quantize: Mapping[str, float]
    dequantize: Mapping[str, float]


def attribute(
    times: Sequence[NodeTime], model: ir.Model, owners: Mapping[str, str], first: set[str]
) -> dict[str, float]:
    """Sums the nodes of the optimized graph by the groups whose work they do.

    A node that kept its name is known by it. A fused one does the work of all nodes between its inputs and its output;
    its time goes to the contraction among them, else to the node whose output it makes. Changes of layout go to who
    asked for them.

    Args:
        times: Of ``model``.
        model: As it was given to onnxruntime, with unique names of nodes.
        owners: Node name -> key of its group.
        first: Keys of contractions.

    Returns:
        Microseconds by key.
    """
    producers = {value.name or "": node for node in model.graph for value in node.outputs}
    label = {id(each): _made(each, producers) for each in times}
    made = set(label.values())
    readers: dict[str, NodeTime] = {}
    writers: dict[str, NodeTime] = {}
    for each in times:
        for name in each.inputs:
            readers.setdefault(name, each)
        for name in each.outputs:
            writers[name] = each
    result: dict[str, float] = {}
    for each in times:
        known = owners.get(RENAMED.sub("", each.name))
        if known is not None:
            result[known] = result.get(known, 0.0) + each.microseconds
            continue
        source: NodeTime | None = each
        for _ in range(4):  # a change of layout, or two, before the node that wanted it
            if source is None or label[id(source)]:
                break
            source = readers.get(source.outputs[0]) or writers.get(source.inputs[0])
        name = label[id(source)] if source is not None else ""
        keys = _covered(name, producers, owners, made) if name else []
        if keys:
            owner = next((key for key in keys if key in first), keys[0])
            result[owner] = result.get(owner, 0.0) + each.microseconds
    return result


def _made(each: NodeTime, producers: Mapping[str, ir.Node]) -> str:
    """The value of the source model that an optimized node computes; empty where it is none of them."""
    for name in (*each.outputs, RENAMED.sub("", each.name)):
        if name in producers:
            return name
    return ""


def _covered(name: str, producers: Mapping[str, ir.Node], owners: Mapping[str, str], made: set[str]) -> list[str]:
    """Keys of the groups that the node which makes ``name`` works for, nearest first."""
    waiting, keys = [name], []
    seen = {name}
    for each in waiting:  # grows while it is walked
        node = producers[each]
        if (node.name or "") in owners:
            keys.append(owners[node.name or ""])
        for value in node.inputs:
            above = value.name or "" if value is not None else ""
            if above in producers and above not in made and above not in seen:
                seen.add(above)
                waiting.append(above)
    return keys


def conversions(
    times: Sequence[NodeTime], sizes: Mapping[str, float], quantized: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float]]:
    """What a QuantizeLinear and a DequantizeLinear of each value would cost, from those that are left in a graph.

    Args:
        times: Of the model in which all groups are int8.
        sizes: Elements of each value.
        quantized: Name of an int8 value -> name of the value that it stands for.
    """
    seen: dict[str, list[tuple[float, float]]] = {"QuantizeLinear": [], "DequantizeLinear": []}
    for each in times:
        if each.op_type in seen:
            name = each.outputs[0] if each.op_type == "QuantizeLinear" else each.inputs[0]
            size = sizes.get(quantized.get(name, ""), 0.0)
            if size:
                seen[each.op_type].append((size, each.microseconds))
    rates = {}
    for op_type, points in seen.items():
        total = sum(size for size, _ in points)
        rates[op_type] = sum(cost for _, cost in points) / total if total else NANOSECONDS / 1000
    return tuple({name: CALL + rates[op] * size for name, size in sizes.items()} for op in seen)  # type: ignore[return-value]
