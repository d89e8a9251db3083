"""What is known of each value of a model: dtype, shape and the numbers in it; which declarations contradict that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, Symbols, from_declared, to_declared

Shape: TypeAlias = tuple[Dim, ...]
Array: TypeAlias = npt.NDArray[np.object_]
"""Elements of a tensor: ``Dim`` in integer tensors, 0, 1 or an ``Expr`` in boolean ones; in float tensors also
``float`` and ``Ratio``, an ``Expr`` meaning a whole number."""


class Ratio(NamedTuple):
    """A float element, numerator / denominator; what follows may rely on its floor and ceiling only."""

    numerator: Expr
    denominator: int


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one tensor. ``None`` is *unknown*."""

    dtype: ir.DataType | None = None
    shape: Shape | None = None
    value: Array | None = None


UNKNOWN = Fact()


class Contradiction(NamedTuple):
    """A declaration in the model that cannot be true of any run with the inputs as declared."""

    value: str
    declared: str
    inferred: str


@dataclass
class ShapeFacts:
    """Facts of a model's values, made by ``infer_shapes``; a snapshot, stale once the model is edited.

    They hold in every run that succeeds on inputs of the declared dtypes and dims, where no shape arithmetic
    overflows and no dim that passes through floats exceeds 2**24. Values in a subgraph or function body hold in each
    evaluation of it; anonymous symbols in a body stand for other numbers in another evaluation.
    """

    facts: dict[ir.Value, Fact] = field(default_factory=dict)
    claims: dict[ir.Value, ir.Shape] = field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()
    problems: tuple[tuple[ir.Node, str], ...] = ()
    """Nodes that are no valid use of their operator, and why; their outputs are unknown."""

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """Element type of a tensor; None where it is unknown, or the value is no tensor."""
        return self.facts.get(value, UNKNOWN).dtype

    def shape(self, value: ir.Value) -> Shape | None:
        """Dimensions, each a number or an expression; None where not even the rank is known."""
        return self.facts.get(value, UNKNOWN).shape

    def rank(self, value: ir.Value) -> int | None:
        """Number of dimensions, or None."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def static_shape(self, value: ir.Value) -> tuple[int, ...] | None:
        """The shape where every dimension is a number, else None."""
        shape = self.shape(value)
        if shape is None or any(isinstance(dim, Expr) for dim in shape):
            return None
        return tuple(int(dim) for dim in shape if not isinstance(dim, Expr))

    def value(self, value: ir.Value) -> Array | None:
        """The numbers of a small tensor, as an object array of its shape; None where they are not followed.

        An element that depends on the data of a run is an anonymous symbol (``?v...``), of any sign.
        """
        return self.facts.get(value, UNKNOWN).value

    def constant(self, value: ir.Value) -> npt.NDArray[Any] | None:
        """The numbers of a small tensor in its own dtype where none is symbolic, else None."""
        fact = self.facts.get(value, UNKNOWN)
        if fact.value is None or fact.dtype is None:
            return None
        if not all(isinstance(element, int | float) for element in fact.value.flat):
            return None
        return fact.value.astype(fact.dtype.numpy())

    def claimed(self, value: ir.Value) -> ir.Shape | None:
        """The shape that the file declares where inference knows none: never checked, thus no ground to rewrite on."""
        return self.claims.get(value)

    def __iter__(self) -> Iterator[ir.Value]:
        return iter(self.facts)

    def apply(self, values: Iterable[ir.Value] | None = None) -> int:
        """Writes shapes and dtypes into the values where something is known, all of them unless ``values`` are given.

        Inputs, initializers and whatever is known no better than declared stay as they are. Dims that contain an
        anonymous symbol are written as unknown.

        Returns:
            How many values were changed.
        """
        changed = 0
        for value in self.facts if values is None else values:
            fact = self.facts.get(value, UNKNOWN)
            if value.producer() is None or fact.shape is None:
                continue
            shape = ir.Shape([to_declared(dim) for dim in fact.shape])
            if value.shape is None or (list(value.shape) != list(shape) and not _names_more(value.shape, shape)):
                value.shape = shape
                changed += 1
            if fact.dtype is not None and value.type is None:
                value.dtype = fact.dtype
        return changed


def _names_more(declared: ir.Shape, shape: ir.Shape) -> bool:
    """Whether the declaration agrees and only names dims that inference has no name for."""
    return len(declared) == len(shape) and all(
        ours == theirs or (isinstance(ours, ir.SymbolicDim) and ours.value is None)
        for ours, theirs in zip(shape, declared, strict=True)
    )


def declared_fact(value: ir.Value, symbols: Symbols) -> Fact:
    """What a graph input declares."""
    if not isinstance(value.type, ir.TensorType):
        return UNKNOWN
    dims = value.shape
    shape = None if dims is None else tuple(from_declared(dim, symbols) for dim in dims)
    return Fact(value.dtype, shape)


def contradiction(value: ir.Value, fact: Fact) -> Contradiction | None:
    """How the declared shape or dtype of ``value`` contradicts ``fact``, or None where both may be true."""
    declared = value.shape
    wrong = fact.dtype is not None and isinstance(value.type, ir.TensorType) and value.dtype != fact.dtype
    if declared is not None and fact.shape is not None:
        wrong |= len(declared) != len(fact.shape) or any(
            isinstance(theirs, int) and theirs >= 0 and isinstance(ours, int) and theirs != ours
            for theirs, ours in zip(declared, fact.shape, strict=True)
        )
    if not wrong:
        return None
    return Contradiction(value.name or "", _text(value.dtype, declared), _text(fact.dtype, fact.shape))


def _text(dtype: ir.DataType | None, shape: Iterable[object] | None) -> str:
    dims = "[...]" if shape is None else "[" + ", ".join(str(dim) for dim in shape) + "]"
    return f"{'?' if dtype is None else dtype.name}{dims}"
