"""What a rule for data in another order of axes is given (`PermutedNode`) and gives (`Turn`), and the rules' table.

Helpers that many rules share stand here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.ops.identity import Known
from onnxslim.ops.permutations import Perm

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class KnownValues(Known, Protocol):
    """Facts of values with their numbers; None is unknown."""

    def constant(self, value: ir.Value) -> Array | None:
        """The numbers of a small tensor."""


@dataclass
class Turn:
    """An operator on data in another order."""

    inputs: dict[int, Perm] = field(default_factory=dict)
    """Inputs that come in another order. All others stay."""
    outputs: dict[int, Perm] = field(default_factory=dict)
    """Outputs that come in another order. All others are what they were."""
    attributes: dict[str, ir.Attr] = field(default_factory=dict)
    """Attributes that change."""
    constants: dict[int, Callable[[], Array]] = field(default_factory=dict)
    """Inputs that are other constants."""
    passes: tuple[int, int] = (0, 0)
    """How often runtimes go over the data beyond once, as it is and turned: their kernels want one order."""


class Fixed(Exception):
    """Why an operator stays as it is."""


class PermutedNode:
    """A node and the permutation of its data: of the input or the output that has more dims."""

    def __init__(
        self,
        node: ir.Node,
        version: int,
        perm: Perm,
        known: KnownValues,
        constant: Callable[[ir.Value | None], Array | None],
    ) -> None:
        self.node, self.version, self.perm, self.known, self._constant = node, version, perm, known, constant

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def value(self, index: int) -> ir.Value:
        """An input that must be given."""
        value = self.node.inputs[index] if self.has(index) else None
        if value is None:
            raise Fixed("an input is missing")
        return value

    def rank(self, value: ir.Value) -> int:
        """Number of dims."""
        rank = self.known.rank(value)
        if rank is None:
            raise Fixed("the number of dims is not known")
        return rank

    def constant(self, index: int) -> Array | None:
        """The array of a constant input of any size."""
        return self._constant(self.value(index))

    def integers(self, index: int) -> list[int]:
        """The numbers in an input."""
        value = self.value(index)
        array = self._constant(value)
        array = self.known.constant(value) if array is None else array
        if array is None or array.dtype.kind not in "iuf":
            raise Fixed("its parameters are computed at run time")
        return [int(each) for each in array.reshape(-1)]

    def number(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes[name].as_int() if name in self.node.attributes else default

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes[name].as_string() if name in self.node.attributes else default

    def list(self, name: str) -> list[int] | None:
        """A list of integers."""
        return list(self.node.attributes[name].as_ints()) if name in self.node.attributes else None

    def moved(self, axis: int) -> int:
        """Where an axis has gone."""
        rank = len(self.perm)
        if not -rank <= axis < rank:
            raise Fixed("an axis is out of range")
        return self.perm.index(axis % rank)

    def same(self) -> Turn:
        """All data in the same other order."""
        outputs = {i: self.perm for i, y in enumerate(self.node.outputs) if y.name}
        return Turn({0: self.perm}, outputs)


Rule: TypeAlias = Callable[[PermutedNode], Turn]
RULES: Final[dict[str, Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators of the default domain."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def changed(perm: Perm) -> dict[int, Perm]:
    """The first output, where anything changes."""
    return {} if perm == tuple(range(len(perm))) else {0: perm}


def small(numbers: Sequence[int], dtype: ir.DataType | None = ir.DataType.INT64) -> Callable[[], Array]:
    """A constant list of integers.

    Raises:
        Fixed: Its type is not known.
    """
    if dtype is None:
        raise Fixed("the type of its indices is not known")
    return lambda: np.array(numbers, dtype.numpy())
