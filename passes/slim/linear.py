"""What the rules of linear algebra share: constants, where factors and summands may move, and rounding once.

A rule starts at a node and looks up its inputs, through nodes that commute with what is moved, for one that holds
constants to take it in. ``paths`` finds the candidates; ``copies`` builds the nodes between anew. Everything between
must have one use, so that it dies with the match.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.facts import UNKNOWN
from onnxslim.graph.edit import constant_tensor
from onnxslim.rewriter.place import Array, Place, remade
from onnxslim.rewriter.scopes import ANNOTATION

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

MAX_STEPS = 24
"""Nodes looked at from one place; formulas are shorter."""

Path: TypeAlias = tuple[tuple[ir.Node, int], ...]
"""From where the search began to where it ended: each node with the input that leads on."""

MOVES = frozenset(
    ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Expand", "Tile")
) | {"DepthToSpace", "SpaceToDepth"}
"""Operators that only move the elements of their first input: f(s * x + c) = s * f(x) + c for numbers s and c."""


def is_floats(value: ir.Value | None) -> bool:
    """Whether ``value`` is a plain float constant; answered without a look at its numbers."""
    tensor = constant_tensor(value)
    if tensor is None or value is None or tensor.meta or ANNOTATION in value.meta:
        return False
    return tensor.dtype in FLOATS and tensor.size > 0


def floats(place: Place, value: ir.Value | None) -> Array | None:
    """A float constant in double precision; None where ``value`` is none, or is no plain finite one."""
    array = place.constant(value) if is_floats(value) else None
    if array is None or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


def rounded(wide: Array, dtype: ir.DataType) -> Array | None:
    """``wide`` in a float type, rounded once; None where that overflows or loses digits below the smallest normals.

    A number may be off by no more than the type's epsilon, against the largest of the tensor.
    """
    with np.errstate(all="ignore"):
        array = np.asarray(wide).astype(dtype.numpy())
        back = array.astype(np.float64)
        if not np.isfinite(wide).all() or not np.isfinite(back).all():
            return None
        epsilon = {2: 2.0**-8, 4: 2.0**-23, 8: 2.0**-52}[array.dtype.itemsize]
        if array.size and np.abs(back - wide).max() > epsilon * np.abs(wide).max():
            return None
    return array


def dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """Element type of a constant."""
    tensor = constant_tensor(value)
    return None if tensor is None or tensor.meta else tensor.dtype


def binary(place: Place, node: ir.Node) -> tuple[int, Array] | None:
    """Which input of a binary operator is no constant, and the float constant that the other is; else None."""
    if place.opset < 7 or len(node.inputs) != 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    left, right = (is_floats(x) for x in node.inputs)
    if left == right:
        return None
    constant = floats(place, node.inputs[int(right)])
    return None if constant is None else (int(left), constant)


def factor(place: Place, node: ir.Node) -> tuple[ir.Value, Array] | None:
    """``x`` and ``s`` where the node computes ``s * x``; a constant with a zero is none."""
    parts = binary(place, node) if node.op_type in ("Mul", "Div") and node.domain == "" else None
    if parts is None:
        return None
    index, constant = parts
    x = node.inputs[index]
    if x is None or (constant == 0).any() or (node.op_type == "Div" and index == 1):
        return None
    return x, 1 / constant if node.op_type == "Div" else constant


def summand(place: Place, node: ir.Node) -> tuple[ir.Value, Array] | None:
    """``x`` and ``c`` where the node computes ``x + c``."""
    parts = binary(place, node) if node.op_type in ("Add", "Sub") and node.domain == "" else None
    if parts is None:
        return None
    index, constant = parts
    x = node.inputs[index]
    if x is None or (node.op_type == "Sub" and index == 1):
        return None
    return x, -constant if node.op_type == "Sub" else constant


def is_number(place: Place, constant: Array, beside: ir.Value) -> bool:
    """Whether it is one number that leaves the shape of ``beside`` alone."""
    if constant.size != 1:
        return False
    rank = place.facts.rank(beside)
    return constant.ndim == 0 or (rank is not None and constant.ndim <= rank)


def along(constant: Array, size: int, after: int, rank: int | None) -> Array | None:
    """``constant`` as a vector of ``size`` along one dim of what it is broadcast with; None if it is no such thing.

    Args:
        constant: What is added or multiplied, of any shape.
        size: Length of the dim.
        after: How many dims follow it.
        rank: Number of dims of the other operand; None if unknown.
    """
    if constant.ndim > (1 if rank is None else rank):
        return None
    if constant.size == 1:
        return np.full(size, constant.reshape(()))
    at = constant.ndim - 1 - after
    if at < 0 or constant.shape[at] != size or constant.size != size:
        return None
    return constant.reshape(size)


def one_use(value: ir.Value) -> bool:
    """Whether exactly one input of one node needs it."""
    return len(value.uses()) == 1 and not value.is_graph_output() and ANNOTATION not in value.meta


def is_dead(node: ir.Node) -> bool:
    """Whether a match has left the node behind."""
    return not any(y.uses() or y.is_graph_output() for y in node.outputs)


def paths(place: Place, value: ir.Value, through: Callable[[ir.Node], Sequence[int]]) -> Iterator[tuple[Path, ir.Node]]:
    """Nodes of the default domain above ``value`` and the way to each, near ones first.

    Args:
        place: Where ``value`` is.
        value: Where the search begins. It and all between must have one use.
        through: The inputs of a node that what is moved may go on to.
    """
    queue: deque[tuple[ir.Value, Path]] = deque([(value, ())])
    for _ in range(MAX_STEPS):
        if not queue:
            return
        value, path = queue.popleft()
        node = value.producer()
        if node is None or node.domain != "" or node.graph is not place.scope.graph or not one_use(value):
            continue
        if any(y.name for y in node.outputs if y is not value):
            continue
        yield path, node
        for index in through(node):
            x = node.inputs[index] if index < len(node.inputs) else None
            if x is not None:
                queue.append((x, (*path, (node, index))))


def number(node: ir.Node, name: str, default: float) -> float | None:
    """An attribute that is a number; None where it is a function's parameter."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else float(attribute.value)


def ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of numbers; None where it is absent or a function's parameter."""
    attribute = node.attributes.get(name)
    return None if attribute is None or attribute.is_ref() else tuple(attribute.as_ints())


def like(place: Place, node: ir.Node, inputs: Sequence[ir.Value | None], *, same_shape: bool = True) -> ir.Node:
    """The same operator on other inputs; what is known of the output's shape stays known if that is the same."""
    new = remade(node, inputs)
    if not same_shape:
        return new
    old, output = node.outputs[0], new.outputs[0]
    output.type, output.shape = old.type, old.shape
    place.facts.facts[output] = replace(place.facts.facts.get(old, UNKNOWN), value=None)
    return new


def copies(
    place: Place, path: Path, value: ir.Value, scale: Array | None = None, *, same_shape: bool = True
) -> list[ir.Node] | None:
    """The nodes of ``path`` again, on ``value``; the last one gives what the path began with.

    Args:
        place: Where they are.
        path: As of ``paths``.
        value: What the last node of the path is given in the place of its input.
        scale: What constants that are added on the way are multiplied with.
        same_shape: Whether the values on the way keep their shapes.

    Returns:
        None where a constant cannot be held.
    """
    nodes: list[ir.Node] = []
    for node, index in reversed(path):
        inputs = list(node.inputs)
        inputs[index] = value
        if scale is not None and node.op_type in ("Add", "Sub"):
            other = node.inputs[1 - index]
            old, dtype = floats(place, other), dtype_of(other)
            if old is None or dtype is None or other is None:
                return None
            with np.errstate(all="ignore"):
                array = rounded(old * scale, dtype)
            if array is None:
                return None
            inputs[1 - index] = place.new_constant(array, other.name or "constant")
        nodes.append(like(place, node, inputs, same_shape=same_shape))
        value = nodes[-1].outputs[0]
    return nodes
