"""One node as the channel rules see it: axes by slot, claims, and the tables of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.ops.channels.links import ChannelSum, Choice, Ids, Links, Option, Size

if TYPE_CHECKING:
    from onnxslim.ops.channels.kept import Kept

OUT: Final = -1
"""The slot of the first output; the second one's is -2."""


class Op:
    """A node whose inputs have slots 0, 1, ... and whose outputs -1, -2, ...

    Every axis that a rule asks for is claimed by it; `close` pins the others.
    """

    def __init__(self, node: ir.Node, version: int, links: Links) -> None:
        self.node, self.version, self.links = node, version, links
        self._claimed: set[tuple[int, int]] = set()

    # -- looking ---------------------------------------------------------------------------------------------------

    def value(self, slot: int) -> ir.Value | None:
        """The value in a slot; None where it is left out."""
        values: Sequence[ir.Value | None] = self.node.inputs if slot >= 0 else self.node.outputs
        index = slot if slot >= 0 else -1 - slot
        if index >= len(values):
            return None
        value = values[index]
        return None if value is None or (slot < 0 and not value.name) else value

    def shape(self, slot: int) -> Sequence[Size] | None:
        """The dims of what is in a slot."""
        value = self.value(slot)
        return None if value is None else self.links.shape_of(value)

    def rank(self, slot: int) -> int | None:
        """The number of dims."""
        shape = self.shape(slot)
        return None if shape is None else len(shape)

    def integers(self, slot: int) -> list[int] | None:
        """The elements of an integer input, flat, where all are known numbers."""
        elements = self.elements(slot)
        return elements if elements is not None and all(isinstance(each, int) for each in elements) else None

    def elements(self, slot: int) -> list[Size] | None:
        """The elements of an integer input, flat, ints or expressions."""
        value = self.value(slot)
        found = None if value is None else self.links.integers_of(value)
        return None if found is None else list(found)

    def parameter(self, name: str, slot: int, since: int) -> list[int] | None:
        """Integers that were an attribute before opset ``since`` and are an input from it on."""
        if self.version >= since:
            return self.integers(slot)
        found = self.node.attributes.get(name)
        return None if found is None else list(found.as_ints())

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes.get_string(name, default)

    def slots(self) -> Iterable[int]:
        """All that are filled."""
        yield from (i for i in range(len(self.node.inputs)) if self.value(i) is not None)
        yield from (-1 - i for i in range(len(self.node.outputs)) if self.value(-1 - i) is not None)

    # -- claiming --------------------------------------------------------------------------------------------------

    def ids(self, slot: int, axis: int) -> Ids | None:
        """The ids of an axis, which is claimed by that."""
        value = self.value(slot)
        self._claimed.add((slot, axis))
        return None if value is None else self.links.axis(value, axis)

    def link(self, slot: int, axis: int, other: int, other_axis: int) -> None:
        """Entry i of the one axis goes with entry i of the other; sizes that are not known to be equal are pinned."""
        a, b = self.ids(slot, axis), self.ids(other, other_axis)
        if a is not None and b is not None and len(a) == len(b):
            self.links.unite(a, b)
        else:
            self.pin_ids(a, "its size is not that of what it goes with, or not known")
            self.pin_ids(b, "its size is not that of what it goes with, or not known")

    def pin(self, slot: int, axis: int, reason: str) -> None:
        """The axis stays."""
        self.pin_ids(self.ids(slot, axis), reason)

    def pin_ids(self, ids: Ids | None, reason: str) -> None:
        """The entries stay."""
        self.links.pin(ids, reason, self.node)

    def pin_all(self, reason: str) -> None:
        """All that is not claimed stays."""
        for slot in self.slots():
            for axis in range(self.rank(slot) or 0):
                if (slot, axis) not in self._claimed:
                    self.pin(slot, axis, reason)

    def contract(self, slot: int, axis: int, weight: int, weight_axis: int) -> None:
        """A sum over the axis of products with the entries of the other's."""
        self.link(slot, axis, weight, weight_axis)
        self.links.contractions.append(ChannelSum(self.node, slot, axis, weight, weight_axis))

    def choose(self, options: Sequence[Option], ids: Sequence[Ids | None], reason: str) -> None:
        """One of the options, found when all that is certain is known."""
        self.links.choices.append(
            Choice(self.node, tuple(options), tuple(each for each in ids if each is not None), reason)
        )

    def close(self) -> None:
        """Pins what was not claimed."""
        self.pin_all(f"{self.node.op_type} needs it")


Rule: TypeAlias = Callable[[Op], None]
Update: TypeAlias = Callable[["Op", "Kept"], None]

LINKS: Final[dict[str, Rule]] = {}
"""Operator of the default domain -> what it links."""
UPDATES: Final[dict[str, Update]] = {}
"""Operator -> what it must be told when entries are gone. Weights are sliced without it."""


def links(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators."""

    def register(rule: Rule) -> Rule:
        LINKS.update(dict.fromkeys(names, rule))
        return rule

    return register


def update(*names: str) -> Callable[[Update], Update]:
    """Registers an update for operators."""

    def register(function: Update) -> Update:
        UPDATES.update(dict.fromkeys(names, function))
        return function

    return register


def merge(op: Op, slots: Sequence[int], out: int = OUT, keep: Iterable[int] | None = None) -> None:
    """Links inputs to an output by multidirectional broadcasting.

    Args:
        op: The node.
        slots: The inputs.
        out: The output.
        keep: Axes of the output that are linked; None means all.
    """
    rank = op.rank(out)
    if rank is None or any(op.rank(slot) is None for slot in slots):
        op.pin_all("the shapes are not known")
        return
    for axis in range(rank) if keep is None else keep:
        for slot in slots:
            own = axis - rank + (op.rank(slot) or 0)
            shape = op.shape(slot)
            if own < 0 or shape is None:
                continue
            if shape[own] == 1:
                op.ids(slot, own)
                op.ids(out, axis)
            else:
                op.link(slot, own, out, axis)


def repeated(ids: Ids, shape: Sequence[int], axis: int) -> Ids:
    """The ids of one factor of a flattened axis, for each entry of it: ``shape`` are the factors."""
    view = [1] * len(shape)
    view[axis] = shape[axis]
    return np.broadcast_to(ids.reshape(view), tuple(shape)).reshape(-1)


def parameters(op: Op, slot: int) -> None:
    """An input of numbers that is no data: its entries stay, and say nothing of channels."""
    if op.value(slot) is not None:
        for axis in range(op.rank(slot) or 0):
            op.pin(slot, axis, "it holds numbers for an operator")
