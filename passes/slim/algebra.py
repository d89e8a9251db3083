"""Arithmetic read back from nodes: how rules see through the many ways in which exporters write one formula.

A reader goes down from a value through nodes that compute nothing but sums and products, as long as nothing else needs
what they make. It collects these nodes: they die with the match. Constants count where they are single numbers whose
rank is no larger than the other operand's, so that they never change its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor
from onnxslim.rewriter.place import Place

MAX_NODES = 16
"""A formula of an activation has fewer nodes; this bounds the time at each place."""
MAX_TERMS = 6
CLOSE = 1e-6
"""Relative error that a constant may have: some roundings to float32. As much is what outputs may change by."""

_NUMBERS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)

Monomial = tuple[int, ...]
"""Indices of leaves in ascending order, each as often as its power; the empty one is the constant term."""


def scalar(place: Place, value: ir.Value | None, beside: ir.Value | None = None) -> float | None:
    """The number in a constant of one element that leaves the shape of ``beside`` alone; else None."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.meta or tensor.size != 1 or tensor.dtype not in _NUMBERS:
        return None
    if len(tensor.shape):
        rank = place.facts.rank(beside) if beside is not None else None
        if rank is None or len(tensor.shape) > rank:
            return None
    return float(tensor.numpy().reshape(()))


def is_close(found: float, wanted: float) -> bool:
    """Equal up to roundings; 0 only to 0."""
    return abs(found - wanted) <= CLOSE * abs(wanted)


def inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """The inputs that are given."""
    return tuple(x for x in node.inputs if x is not None)


def operand(place: Place, node: ir.Node) -> tuple[ir.Value, float, bool] | None:
    """The operand of a binary node that is no number, the number, and whether it is on the right; else None."""
    if len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if left is None or right is None:
        return None
    number = scalar(place, right, left)
    if number is not None:
        return left, number, True
    number = scalar(place, left, right)
    return None if number is None else (right, number, False)


@dataclass
class Affine:
    """``factor * x + shift``."""

    x: ir.Value
    factor: float = 1.0
    shift: float = 0.0
    reach: float = 0.0
    """Sum of the magnitudes of what was added: beside it, a small result is rounding."""
    nodes: list[ir.Node] = field(default_factory=list)
    """What computes it from ``x``."""


def affine(place: Place, value: ir.Value, user: ir.Node | None) -> Affine:
    """Reads ``value`` as ``factor * x + shift``, going down as far as nothing but ``user`` and they need the steps.

    Without ``user``, the node that makes ``value`` is the one that is to be replaced, whoever needs it.
    """
    found = Affine(value)
    while len(found.nodes) < MAX_NODES:
        node = place.before(found.x, "Add", "Sub", "Mul", "Div", "Neg")
        if node is None or (user is not None and not place.is_free(found.x, user)):
            break
        if node.op_type == "Neg":
            x, a, b = inputs(node)[0], -1.0, 0.0
        else:
            parts = operand(place, node)
            if parts is None:
                break
            x, number, on_right = parts
            if node.op_type == "Mul":
                a, b = number, 0.0
            elif node.op_type == "Add":
                a, b = 1.0, number
            elif node.op_type == "Sub":
                a, b = (1.0, -number) if on_right else (-1.0, number)
            elif on_right and number != 0:
                a, b = 1 / number, 0.0
            else:
                break
        found.shift += found.factor * b
        found.reach += abs(found.factor * b)
        found.factor *= a
        found.x = x
        found.nodes.append(node)
        user = node
    return found


@dataclass
class Polynomial:
    """A sum of products of leaves."""

    terms: dict[Monomial, float]
    leaves: list[ir.Value]
    nodes: list[ir.Node]

    def has(self, wanted: Mapping[Sequence[ir.Value], float]) -> bool:
        """Whether its terms are these, up to roundings."""
        index = {leaf: i for i, leaf in enumerate(self.leaves)}
        if len(wanted) != len(self.terms) or any(leaf not in index for product in wanted for leaf in product):
            return False
        for product, number in wanted.items():
            found = self.terms.get(tuple(sorted(index[leaf] for leaf in product)))
            if found is None or not is_close(found, number):
                return False
        return True


@dataclass
class Gate:
    """A polynomial in ``x`` and the output of one node, such as ``x * f(x)``."""

    x: ir.Value
    kernel: ir.Node
    """The node that ``polynomial`` alone needs."""
    polynomial: Polynomial

    @property
    def f(self) -> ir.Value:
        """What the kernel gives."""
        return self.kernel.outputs[0]

    def factor(self, *product: ir.Value) -> float:
        """The factor of a product of leaves; 0 where there is none."""
        leaves = self.polynomial.leaves
        return self.polynomial.terms.get(tuple(sorted(leaves.index(leaf) for leaf in product)), 0.0)


def gate(place: Place, node: ir.Node, *op_types: str) -> Gate | None:
    """Reads the output of a node as a polynomial in a value and the output of one of these operators."""
    found = polynomial(place, node)
    if found is None or len(found.leaves) != 2:
        return None
    for x, f in (found.leaves, found.leaves[::-1]):
        kernel = place.before(f, *op_types)
        if kernel is not None and not f.is_graph_output() and all(use.node in found.nodes for use in f.uses()):
            return Gate(x, kernel, found)
    return None


def polynomial(place: Place, node: ir.Node) -> Polynomial | None:
    """Reads the output of a node as a polynomial; None where it has too many parts.

    A value that more than one node needs is a leaf. In ``x * f(x)`` so is ``x``, wherever it comes from.
    """
    leaves: dict[ir.Value, int] = {}
    nodes: list[ir.Node] = []
    known: dict[ir.Value, dict[Monomial, float]] = {}
    stack: list[tuple[ir.Node, bool]] = [(node, False)]
    while stack:  # operands before the node that needs them
        each, ready = stack.pop()
        if not ready:
            nodes.append(each)
            if len(nodes) > MAX_NODES:
                return None
            stack.append((each, True))
            operands = inputs(each)
            for i, x in enumerate(operands):
                if scalar(place, x, operands[1 - i] if len(operands) == 2 else None) is not None:
                    continue
                if x in known or (i and x is operands[0]):
                    continue
                inner = place.before(x, "Add", "Sub", "Mul", "Div", "Neg", "Pow")
                if inner is not None and place.is_free(x, each) and _readable(place, inner):
                    stack.append((inner, False))
                else:
                    known[x] = {(leaves.setdefault(x, len(leaves)),): 1.0}
            continue
        terms = _combine(place, each, known)
        if terms is None or len(terms) > MAX_TERMS:
            return None
        known[each.outputs[0]] = terms
    return Polynomial(known[node.outputs[0]], list(leaves), nodes)


def _readable(place: Place, node: ir.Node) -> bool:
    if node.op_type in ("Add", "Sub", "Mul", "Neg"):
        return True
    parts = operand(place, node)
    if parts is None or not parts[2]:
        return False
    return parts[1] in (2.0, 3.0) if node.op_type == "Pow" else parts[1] != 0


def _combine(
    place: Place, node: ir.Node, known: Mapping[ir.Value, dict[Monomial, float]]
) -> dict[Monomial, float] | None:
    """The terms of a node's output from those of its operands."""
    operands = inputs(node)
    if not operands or len(operands) > 2:
        return None
    sides: list[dict[Monomial, float]] = []
    for i, x in enumerate(operands):
        number = scalar(place, x, operands[1 - i] if len(operands) == 2 else None)
        if number is not None:
            sides.append({(): number})
        elif x in known:
            sides.append(known[x])
        else:
            return None  # one number that changes the rank of the other operand
    left, right = sides[0], sides[-1]
    if node.op_type == "Neg":
        return {m: -c for m, c in left.items()}
    if node.op_type in ("Add", "Sub"):
        sign = 1.0 if node.op_type == "Add" else -1.0
        return {m: left.get(m, 0.0) + sign * right.get(m, 0.0) for m in {**left, **right}}
    if node.op_type == "Mul":
        return _product(left, right)
    number = right.get((), 0.0) if set(right) == {()} else 0.0
    if node.op_type == "Div" and number:
        return {m: c / number for m, c in left.items()}
    if node.op_type == "Pow" and number in (2.0, 3.0):
        square = _product(left, left)
        return square if number == 2 else _product(square, left)
    return None


def _product(left: Mapping[Monomial, float], right: Mapping[Monomial, float]) -> dict[Monomial, float]:
    terms: dict[Monomial, float] = {}
    for m, a in left.items():
        for n, b in right.items():
            key = tuple(sorted(m + n))
            terms[key] = terms.get(key, 0.0) + a * b
    return terms


def confined(steps: Sequence[ir.Node], last: ir.Node) -> bool:
    """Whether nothing but the steps needs what they make, apart from the last one."""
    inside = set(steps)
    return not any(
        y.is_graph_output() or any(use.node not in inside for use in y.uses())
        for step in inside - {last}
        for y in step.outputs
    )


def float_dtype(place: Place, value: ir.Value, *allowed: ir.DataType) -> bool:
    """Whether the elements of ``value`` are known to be of one of these types, of float32 if none is given."""
    return place.facts.dtype(value) in (allowed or (ir.DataType.FLOAT,))


def finite_float32(*numbers: float) -> bool:
    """Whether attributes can hold these numbers."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(numbers, np.float32)).all())
