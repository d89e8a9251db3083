"""Which entries of an output belong to which of its parts.

Found by running the graph on labels: what is concatenated is replaced by the number of its part, and what changes no
element's place between there and the output is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation.parts import Leaf, leaves_of
from onnxslim.execution.feeds import Feed
from onnxslim.execution.session import open_session
from onnxslim.graph.edit import Names, add_initializer


@dataclass(frozen=True, slots=True)
class Extents:
    """The entries of one axis of an output by part."""

    axis: int
    groups: tuple[npt.NDArray[np.int64], ...]


def extents_of(model: ir.Model, feed: Feed, threads: int) -> dict[str, Extents]:
    """Output -> the entries of its parts, of outputs that are concatenated of several along one axis.

    Args:
        model: Not changed.
        feed: An input that it runs on.
        threads: Of the session.
    """
    if len(_joined(leaves_of(model))) == 0:
        return {}
    labelled = model.clone()
    names = _label(labelled)
    try:
        outputs = open_session(labelled, threads=threads, optimize=False).run(feed, names)
    except OnnxSlimError:
        return {}  # an operator between that takes no labels: the output is then divided by magnitude
    found = {}
    for name in names:
        extents = _along_one_axis(np.asarray(outputs[name]))
        if extents is not None:
            found[name] = extents
    return found


def _joined(leaves: Sequence[Leaf]) -> dict[str, list[Leaf]]:
    """Output -> its parts that are concatenated, where there are two or more."""
    found: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.joined is not None and not leaf.part.is_selected:
            found.setdefault(leaf.part.output, []).append(leaf)
    return {output: each for output, each in found.items() if len(each) > 1}


def _label(model: ir.Model) -> list[str]:
    """Puts labels into ``model``; returns the outputs that hold them."""
    names, done = Names.of(model), set[int]()
    joined = _joined(leaves_of(model))
    for leaves in joined.values():
        for number, leaf in enumerate(leaves):
            assert leaf.joined is not None
            node, slot = leaf.joined
            value = node.inputs[slot]
            dtype = ir.DataType.FLOAT if value is None or value.dtype is None else value.dtype
            label = add_initializer(model.graph, names.fresh("part_label"), np.array(number, dtype.numpy()))
            shape = ir.node("Shape", [value], name=names.fresh("part_shape"))
            expand = ir.node("Expand", [label, shape.outputs[0]], name=names.fresh("part"))
            for made in (shape, expand):
                made.outputs[0].name = f"{made.name}_output"
            node.prepend([shape, expand])
            node.replace_input_with(slot, expand.outputs[0])
    for leaves in joined.values():
        for leaf in leaves:
            for node, slot in leaf.elementwise:
                if id(node) not in done:
                    done.add(id(node))
                    _bypass(model.graph, node, slot, names)
    return list(joined)


def _bypass(graph: ir.Graph, node: ir.Node, slot: int, names: Names) -> None:
    """Replaces an elementwise node by Identity."""
    same = ir.node("Identity", [node.inputs[slot]], name=names.fresh("part_same"))
    output = node.outputs[0]
    same.outputs[0].name, output.name = output.name, names.fresh("part_before")
    same.outputs[0].type, same.outputs[0].shape = output.type, output.shape
    node.prepend(same)
    ir.convenience.replace_all_uses_with(output, same.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _along_one_axis(labels: np.ndarray) -> Extents | None:
    """The axis along which labels change, if it is one."""
    for axis, size in enumerate(labels.shape):
        lines = np.moveaxis(labels, axis, -1).reshape(-1, size)
        if len(lines) and (lines == lines[0]).all():
            groups = tuple(np.flatnonzero(lines[0] == label) for label in np.unique(lines[0]))
            return Extents(axis, groups) if len(groups) > 1 else None
    return None
