"""One operator as the rules see it: inputs as facts, attributes resolved, and small helpers that many rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, Symbols, broadcast, lower
from onnxslim.analysis.facts import UNKNOWN, Array, Fact, Shape

MAX_ELEMENTS: Final = 1024
"""Tensors with more elements are not followed by value."""


@dataclass(slots=True)
class Operator:
    """A node with what is known of its inputs."""

    node: ir.Node
    version: int
    """Opset version of the node's domain."""
    inputs: list[Fact | None]
    """None for an input that is left out."""
    symbols: Symbols
    bindings: Mapping[str, ir.Attr]
    """Attributes of the function call that the node is evaluated in."""

    def attribute(self, name: str) -> ir.Attr | None:
        """The attribute, with a reference to one of the function's resolved."""
        found = self.node.attributes.get(name)
        if found is not None and found.is_ref():
            return self.bindings.get(found.ref_attr_name or "")
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or the default."""
        found = self.attribute(name)
        return default if found is None else found.value

    def text(self, name: str, default: str = "") -> str:
        """A string attribute."""
        found = self.attribute(name)
        return default if found is None else found.as_string()

    def fact(self, index: int) -> Fact:
        """What is known of an input, also where it is left out."""
        return (self.inputs[index] or UNKNOWN) if index < len(self.inputs) else UNKNOWN

    def has(self, index: int) -> bool:
        """Whether the input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def shape(self, index: int) -> Shape | None:
        """Shape of an input."""
        return self.fact(index).shape

    def elements(self, index: int) -> list[Any] | None:
        """An input's elements, flat, or None."""
        value = self.fact(index).value
        return None if value is None else list(value.flat)

    def integers(self, index: int) -> list[int] | None:
        """An input's elements where all are plain integers, or None."""
        elements = self.elements(index)
        return elements if elements is not None and all(isinstance(e, int) for e in elements) else None

    def parameter(self, name: str, index: int, since: int) -> list[int] | None:
        """Integers that were an attribute before opset ``since`` and an input from it on.

        Raises:
            Undecided: The input is there but not known.
        """
        if self.version < since:
            found = self.get(name)
            return None if found is None else list(found)
        if not self.has(index):
            return None
        known = self.integers(index)
        if known is None:
            raise Undecided(name)
        return known

    def fresh(self, rank: int) -> Shape:
        """A shape of that rank with unknown dims."""
        return tuple(self.symbols.dim() for _ in range(rank))


class Undecided(Exception):
    """A rule cannot tell the outputs because something that they depend on is known only when the model runs."""


Rule: TypeAlias = Callable[[Operator], Sequence[Fact] | None]
"""Facts of the outputs; None where the rule does not cover this form of the operator."""


def registering(table: dict[str, Rule]) -> Callable[..., Callable[[Rule], Rule]]:
    """A decorator, called with names of operators, that enters a rule for them in the table."""

    def rule(*names: str) -> Callable[[Rule], Rule]:
        def register(function: Rule) -> Rule:
            table.update(dict.fromkeys(names, function))
            return function

        return register

    return rule


def tensor(elements: Iterable[Any], shape: Sequence[int]) -> Array:
    """An object array of these elements."""
    flat = list(elements)
    array = np.empty(len(flat), dtype=object)
    for i, element in enumerate(flat):
        array[i] = element
    return array.reshape(tuple(shape))


def differ(a: object, b: object) -> bool:
    """Whether two dims are numbers, and not the same; what is not known may agree."""
    return isinstance(a, int) and isinstance(b, int) and a != b


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front.

    Raises:
        ValueError: It is outside the rank.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of rank {rank}")
    return axis % rank


def broadcast_shapes(shapes: Iterable[Shape]) -> Shape:
    """Multidirectional broadcasting.

    Raises:
        ValueError: Two dims are numbers that do not broadcast.
    """
    result: Shape = ()
    for shape in shapes:
        if shape == result:
            continue
        if len(shape) > len(result):
            shape, result = result, shape
        offset = len(result) - len(shape)
        tail: list[Dim] = []
        for a, b in zip(result[offset:], shape, strict=True):
            if a != b and a != 1 and b != 1 and not isinstance(a, Expr) and not isinstance(b, Expr):
                raise ValueError(f"dims {a} and {b} do not broadcast")
            tail.append(broadcast(a, b))
        result = (*result[:offset], *tail)
    return result


def moved(op: Operator, shape: Shape | None, value: Array | None = None) -> list[Fact]:
    """One output of the first input's dtype."""
    if value is not None and value.size > MAX_ELEMENTS:
        value = None
    return [Fact(op.fact(0).dtype, shape, value)]


def dims_of(op: Operator, index: int) -> list[Dim] | None:
    """An integer input's elements as dims; new symbols where only their number is known; None where not even that."""
    elements = op.elements(index)
    if elements is not None:
        return [e for e in elements if isinstance(e, int | Expr)] if len(elements) else []
    shape = op.shape(index)
    if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > 64:
        return None
    return [op.symbols.data() for _ in range(shape[0])]


def as_dim(op: Operator, element: Dim) -> Dim:
    """An element used as a dim: itself, or unknown where it may be negative."""
    return element if lower(element) >= 0 else op.symbols.dim()
