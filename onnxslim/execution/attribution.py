"""Whose work the nodes of an optimized graph do: times by node of the model that was given to onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim.execution.profile import NodeTime

RENAMED = re.compile(r"(_nchwc|_token_\d+)$")
"""What onnxruntime puts behind a name where it changes the layout: of the output in NCHWc, of the node in NHWC."""


def attribute(
    times: Sequence[NodeTime], model: ir.Model, owners: Mapping[str, str], first: set[str]
) -> dict[str, float]:
    """Sums the nodes of the optimized graph by the nodes, or groups of nodes, whose work they do.

    A node that kept its name is known by it. A fused one does the work of all nodes between its inputs and its output;
    its time goes to the contraction among them, else to the node whose output it makes. Changes of layout go to who
    asked for them.

    Args:
        times: Of ``model``.
        model: As it was given to onnxruntime, with unique names of nodes.
        owners: Node name -> key of the node or of its group.
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
