"""Ids for the entries of axes, and the equations between them that operators add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Ids: TypeAlias = npt.NDArray[np.int64]
"""One id for each entry of an axis."""
Size: TypeAlias = Any
"""Of an axis: an int, or a symbolic expression that can be compared and multiplied."""

LONGEST = 1 << 20
"""Entries of an axis that are followed; one that is longer stands for samples or pixels, not for channels."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Entries that must stay, why, and the node that says so."""

    ids: Ids
    reason: str
    node: ir.Node | None


@dataclass(frozen=True, slots=True)
class Option:
    """One way to link an operator whose axes can be linked in several ways, of which only one can be taken.

    Attributes:
        pairs: Arrays of ids that become equal, entry by entry.
        pins: Ids that then must stay.
        needs: Ids that must be free for the option to make sense.
        atoms: How many channels can be told apart then.
    """

    pairs: tuple[tuple[Ids, Ids], ...]
    pins: tuple[Ids, ...]
    needs: Ids
    atoms: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The options of one node; all of ``ids`` are pinned where none can be taken."""

    node: ir.Node
    options: tuple[Option, ...]
    ids: tuple[Ids, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelSum:
    """A sum over an axis of an input: where a channel ends, whose removal is then the same as multiplying it by zero.

    Attributes:
        node: Conv, Gemm, MatMul and their like.
        slot: Index of the input.
        axis: Of that input, counted from the front.
        weight: Index of the other input.
        weight_axis: Of the other input: what the entries of ``axis`` are multiplied with.
    """

    node: ir.Node
    slot: int
    axis: int
    weight: int
    weight_axis: int


class Links:
    """The ids of all axes of a model, and what is known of them: pairs that are equal, pins, choices.

    Args:
        shape_of: The dims of a value: ints or expressions; None where the rank is unknown.
        integers_of: The elements of a small integer tensor, flat, each an int or an expression; None where unknown.
    """

    def __init__(
        self,
        shape_of: Callable[[ir.Value], Sequence[Size] | None],
        integers_of: Callable[[ir.Value], Sequence[Size] | None],
    ) -> None:
        self.shape_of, self.integers_of = shape_of, integers_of
        self.count = 0
        self.axes: list[tuple[ir.Value, int]] = []
        """All axes that have ids, in the order of their ids."""
        self.pairs: list[tuple[Ids, Ids]] = []
        self.pins: list[Pin] = []
        self.choices: list[Choice] = []
        self.contractions: list[ChannelSum] = []
        self.given: list[Ids] = []
        """Ids of the axes of the model's inputs, of which it can read less than it is given."""
        self.grouped: list[ChannelSum] = []
        """Sums of grouped convolutions; an axis of the weights may have the places of one group only."""
        self.batched: list[Ids] = []
        """Ids of axes over which two tensors of a run are multiplied side by side: the heads of attention."""
        self._ids: dict[ir.Value, list[Ids | None] | None] = {}

    def ids(self, value: ir.Value) -> list[Ids | None] | None:
        """The ids of each axis, made when first asked for.

        None for an axis whose size is unknown, 1 or beyond `LONGEST`; None for a value of unknown rank.
        """
        if value not in self._ids:
            shape = self.shape_of(value)
            self._ids[value] = None if shape is None else [self._made(value, i, size) for i, size in enumerate(shape)]
        return self._ids[value]

    def values(self) -> list[ir.Value]:
        """All values that have been asked for."""
        return list(self._ids)

    def axis(self, value: ir.Value, axis: int) -> Ids | None:
        """The ids of one axis."""
        found = self.ids(value)
        return None if found is None or not 0 <= axis < len(found) else found[axis]

    def unite(self, one: Ids, other: Ids) -> None:
        """Entry i of the one goes with entry i of the other."""
        if one is not other:
            self.pairs.append((one, other))

    def pin(self, ids: Ids | None, reason: str, node: ir.Node | None) -> None:
        """The entries must stay."""
        if ids is not None and len(ids):
            self.pins.append(Pin(ids, reason, node))

    def _made(self, value: ir.Value, axis: int, size: Size) -> Ids | None:
        if not isinstance(size, int) or not 1 < size <= LONGEST:
            return None
        self.axes.append((value, axis))
        self.count += size
        return np.arange(self.count - size, self.count)
