"""What is left of each axis once entries are gone, and the edits by which a node is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused
from onnxslim.ops.channels.links import Ids, Links
from onnxslim.ops.channels.operator import Op

Mask = npt.NDArray[np.bool_]


class Kept:
    """The entries that stay, by axis.

    Args:
        links: The ids of the model.
        keep: ``bool[links.count]``: by id.
        model: That is edited.
    """

    def __init__(self, links: Links, keep: Mask, model: ir.Model) -> None:
        self.links, self.keep, self.names = links, keep, Names.of(model)
        self._graph = model.graph

    def constant(self, name: str, array: npt.NDArray[Any]) -> ir.Value:
        """A new initializer of the main graph, which every subgraph can read."""
        return add_initializer(self._graph, self.names.fresh(name), array)

    def mask_of(self, ids: Ids) -> Mask:
        """Which of the ids stay."""
        found: Mask = self.keep[ids]
        return found

    def mask(self, value: ir.Value | None, axis: int) -> Mask | None:
        """Which entries of an axis stay; None where the axis has no ids, so that all of it does."""
        ids = None if value is None else self.links.axis(value, axis)
        return None if ids is None else self.mask_of(ids)

    def changed(self, value: ir.Value | None, axis: int) -> bool:
        """Whether entries of the axis are gone."""
        mask = self.mask(value, axis)
        return mask is not None and not bool(mask.all())

    def size(self, value: ir.Value | None, axis: int) -> int | None:
        """Entries of the axis that stay; None where it has no ids and its size is no number."""
        mask = self.mask(value, axis)
        if mask is not None:
            return int(mask.sum())
        shape = None if value is None else self.links.shape_of(value)
        return shape[axis] if shape is not None and isinstance(shape[axis], int) else None

    def new_sizes(self, value: ir.Value | None) -> dict[int, int]:
        """Axis -> entries that stay, for the axes that have lost some."""
        axes = None if value is None else self.links.ids(value)
        return {i: self.size(value, i) or 0 for i in range(len(axes or ())) if self.changed(value, i)}

    # -- edits -----------------------------------------------------------------------------------------------------

    def set_attribute(self, node: ir.Node, name: str, value: int | Sequence[int]) -> None:
        """Gives a node another integer or other integers."""
        made = ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrInt64s(name, list(value))
        node.attributes[name] = made

    def set_input(self, node: ir.Node, slot: int, array: npt.NDArray[np.int64]) -> None:
        """Gives a node constant integers of its own."""
        old = node.inputs[slot] if slot < len(node.inputs) else None
        name = old.name if old is not None and old.name else f"{node.outputs[0].name}_{slot}"
        if len(node.inputs) <= slot:
            node.resize_inputs(slot + 1)
        node.replace_input_with(slot, self.constant(f"{name}_pruned", array))
        if old is not None and constant_tensor(old) is not None and old.graph is self._graph:
            drop_unused(self._graph, old)

    def set_entries(self, op: Op, slot: int, entries: Mapping[int, int]) -> None:
        """Changes some elements of a vector of integers that a node reads; what is computed in it stays computed."""
        value = op.value(slot)
        if value is None or not entries:
            return
        elements = op.elements(slot)
        if elements is not None and all(isinstance(each, int) for each in elements):
            array = np.array(elements, np.int64)
            array[list(entries)] = list(entries.values())
            self.set_input(op.node, slot, array)
            return
        shape = self.links.shape_of(value)
        assert shape is not None
        pieces: list[ir.Value] = []
        for start, stop, changed in _runs(shape[0], entries):
            name = f"{value.name}_{start}"
            if changed:
                numbers = np.array([entries[i] for i in range(start, stop)], np.int64)
                pieces.append(self.constant(name, numbers))
                continue
            places = self.constant(f"{name}_places", np.arange(start, stop))
            pieces.append(self.before(op.node, ir.node("Gather", [value, places], {"axis": 0}), name))
        joined = self.before(op.node, ir.node("Concat", pieces, {"axis": 0}), f"{value.name}_pruned")
        op.node.replace_input_with(slot, joined)

    def before(self, node: ir.Node, made: ir.Node, name: str) -> ir.Value:
        """Puts a node in front of another; its output."""
        made.name = made.outputs[0].name = self.names.fresh(name)
        node.prepend(made)
        return made.outputs[0]


Update: TypeAlias = Callable[[Op, Kept], None]

UPDATES: Final[dict[str, Update]] = {}
"""Operator -> what it must be told when entries are gone. Weights are sliced without it."""


def update(*names: str) -> Callable[[Update], Update]:
    """Registers an update for operators."""

    def register(function: Update) -> Update:
        UPDATES.update(dict.fromkeys(names, function))
        return function

    return register


def _runs(size: int, entries: Mapping[int, int]) -> list[tuple[int, int, bool]]:
    """Start, stop and whether it is in ``entries``, for the longest runs."""
    flags = [i in entries for i in range(size)]
    cuts = [0, *(i for i in range(1, size) if flags[i] != flags[i - 1]), size]
    return [(a, b, flags[a]) for a, b in itertools.pairwise(cuts)]
