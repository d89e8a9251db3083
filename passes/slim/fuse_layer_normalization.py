"""The steps of LayerNormalization (opset 17) and RMSNormalization (opset 23) -> the operator.

With d = x - mean(x) over the last axes, ``d / sqrt(mean(d^2) + epsilon) * scale + bias`` is LayerNormalization, and
``x / sqrt(mean(x^2) + epsilon) * scale`` is RMSNormalization. The product is read as a set of factors: the order, and
division or multiplication by the reciprocal do not matter.

Both sides sum the same numbers in another order. onnxruntime's kernel is the more exact one: with x of mean 100 and
deviation 1 the largest error in 512 channels was 2e-6 against 1.4e-5 for the steps. Only float32: the operator computes
in it whatever the type is, so that double would lose digits, and float16 round at other places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import confined, float_dtype, inputs, scalar
from .reductions import axes_of, keeps_dims

MAX_FACTORS = 8
_NOT_FLOAT = "it is not known to be float32, and the operator computes in float32"
_DEFAULT_EPSILON = 1e-5


@dataclass
class Product:
    """A quotient of products."""

    above: list[ir.Value] = field(default_factory=list)
    below: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)


def product(place: Place, node: ir.Node) -> Product:
    """Reads the output of a Mul or Div as factors, going down as long as nothing else needs the partial products."""
    found, pending = Product(), [(node, True)]
    while pending:
        each, upward = pending.pop()
        found.nodes.append(each)
        for i, x in enumerate(inputs(each)):
            side = upward if i == 0 or each.op_type == "Mul" else not upward
            inner = place.before(x, "Mul", "Div")
            square = inner is not None and inner.inputs[0] is inner.inputs[-1]
            if inner is not None and not square and place.is_free(x, each) and len(found.nodes) < MAX_FACTORS:
                pending.append((inner, side))
            else:
                (found.above if side else found.below).append(x)
    return found


def under_root(place: Place, value: ir.Value, *, inverse: bool) -> tuple[ir.Value, list[ir.Node]] | None:
    """What ``value`` is the square root of, or the inverse square root, and the nodes between."""
    nodes = []
    node = place.before(value, "Reciprocal") if inverse else None
    if node is not None and node.inputs[0] is not None:
        nodes, value, inverse = [node], node.inputs[0], False
    node = place.before(value, "Sqrt", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    power = 0.5 if node.op_type == "Sqrt" else scalar(place, node.inputs[1], node.inputs[0])
    if power != (-0.5 if inverse else 0.5):
        return None
    return node.inputs[0], [*nodes, node]


@dataclass
class MeanSquare:
    """``mean(base^2) + epsilon`` over the last axes."""

    base: ir.Value
    axes: tuple[int, ...]
    epsilon: float
    nodes: list[ir.Node]


def mean_square(place: Place, value: ir.Value) -> MeanSquare | None:
    """Reads ``value`` as a mean of squares and an epsilon."""
    add = place.before(value, "Add")
    if add is None:
        return None
    for x, other in (inputs(add), inputs(add)[::-1]):
        epsilon, mean = scalar(place, other, x), place.before(x, "ReduceMean")
        if epsilon is None or mean is None or epsilon <= 0 or not keeps_dims(mean):
            continue
        axes, square = axes_of(place, mean), place.before(mean.inputs[0], "Mul", "Pow")
        if axes is None or square is None or len(square.inputs) != 2:
            continue
        base, by = square.inputs
        squared = by is base if square.op_type == "Mul" else scalar(place, by, base) == 2
        if base is not None and squared:
            return MeanSquare(base, axes, epsilon, [add, mean, square])
    return None


def normalized_shape(place: Place, x: ir.Value, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The numbers of elements along ``axes`` where these are the last ones and their sizes known."""
    shape = place.facts.shape(x)
    if shape is None or not axes or tuple(axes) != tuple(range(len(shape) - len(axes), len(shape))):
        return None
    dims = [dim for dim in shape[-len(axes) :] if isinstance(dim, int)]
    return tuple(dims) if len(dims) == len(axes) and all(dims) else None


def parameter(place: Place, value: ir.Value, shape: tuple[int, ...], rank: int) -> ir.Value | None:
    """``value`` as scale or bias of that shape, made anew where it is a constant that broadcasts to it; else None."""
    if not float_dtype(place, value):
        return None
    if place.facts.static_shape(value) == shape:
        return value
    array = place.constant(value)
    if array is None or array.ndim > rank or any(dim != 1 for dim in array.shape[: max(array.ndim - len(shape), 0)]):
        return None
    inner = array.reshape(array.shape[max(array.ndim - len(shape), 0) :])
    if any(dim not in (1, size) for dim, size in zip(inner.shape[::-1], shape[::-1], strict=False)):
        return None
    return place.new_constant(np.ascontiguousarray(np.broadcast_to(inner, shape)), value.name or "scale")


def waits(place: Place, node: ir.Node) -> bool:
    """Whether the only user is a product with a constant: the scale, which the match that starts there includes."""
    users = {use.node for use in node.outputs[0].uses()}
    if len(users) != 1 or node.outputs[0].is_graph_output():
        return False
    (user,) = users
    return user.op_type == "Mul" and user.domain == "" and any(place.constant(x) is not None for x in user.inputs)


class FuseLayerNormalization(Rule):
    """Join the steps of a LayerNormalization or RMSNormalization, where the opset has it."""

    name: ClassVar[str] = "fuse-layer-normalization"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul", "Div")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses what ends in ``node``."""
        if place.opset < 17:
            return None
        factors = product(place, node)
        if len(factors.above) + len(factors.below) > 5:
            return None
        found = _deviation(place, factors)
        if found is None:
            return None
        square, root, used = found
        base, steps = square.base, [*factors.nodes, *root, *square.nodes]
        rest = [x for x in factors.above if x is not used and scalar(place, x) != 1.0]
        twice = [*factors.above, *factors.below].count(used) > 1
        if base not in rest or twice or any(x is not used for x in factors.below):
            return None
        rest.remove(base)
        x, op_type = base, "RMSNormalization"
        sub = place.before(base, "Sub")
        mean = place.before(sub.inputs[1], "ReduceMean") if sub is not None else None
        if sub is not None and mean is not None and mean.inputs[0] is sub.inputs[0] and sub.inputs[0] is not None:
            if axes_of(place, mean) != square.axes or not keeps_dims(mean):
                return "its mean and variance are taken over other axes"
            x, op_type, steps = sub.inputs[0], "LayerNormalization", [*steps, sub, mean]
        elif place.opset < 23:
            return None
        if len(rest) > 1 or (not rest and waits(place, node)):
            return None
        shape, rank = normalized_shape(place, x, square.axes), place.facts.rank(x)
        if shape is None or rank is None:
            return "it is not over the last axes, or their size is not known"
        if not float_dtype(place, x):
            return _NOT_FLOAT
        if not confined(steps, node):
            return "others need one of its steps too"
        scale = (
            parameter(place, rest[0], shape, rank) if rest else place.new_constant(np.ones(shape, np.float32), "ones")
        )
        if scale is None:
            return "its scale is not of the shape that is normalized"
        new = ir.node(op_type, [x, scale], attributes(len(shape), square.epsilon))
        return Replacement([new], [new.outputs[0]], op_type)


def _deviation(place: Place, factors: Product) -> tuple[MeanSquare, list[ir.Node], ir.Value] | None:
    """The factor that is the inverse of a root of a mean of squares: what it is of, the root's nodes, the factor."""
    for value, inverse in [*((x, False) for x in factors.below), *((x, True) for x in factors.above)]:
        root = under_root(place, value, inverse=inverse)
        square = mean_square(place, root[0]) if root is not None else None
        if root is not None and square is not None:
            return square, root[1], value
    return None


def attributes(axes: int, epsilon: float) -> dict[str, int | float]:
    """Attributes that are not the default."""
    found: dict[str, int | float] = {}
    if axes != 1:
        found["axis"] = -axes
    if np.float32(epsilon) != np.float32(_DEFAULT_EPSILON):
        found["epsilon"] = epsilon
    return found


class FuseNormalizationBias(Rule):
    """Make what is added to a LayerNormalization without bias its bias."""

    name: ClassVar[str] = "fuse-normalization-bias"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Add",)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Fuses an Add into the LayerNormalization before it."""
        for value, bias in (inputs(node), inputs(node)[::-1]):
            norm = place.before(value, "LayerNormalization")
            if norm is None or (len(norm.inputs) > 2 and norm.inputs[2] is not None) or bias is value:
                continue
            if any(a.is_ref() for a in norm.attributes.values()) or norm.inputs[0] is None or norm.inputs[1] is None:
                continue
            rank, scale = place.facts.rank(norm.inputs[0]), norm.inputs[1]
            axis = norm.attributes["axis"].as_int() if "axis" in norm.attributes else -1
            axes = range(axis + rank if axis < 0 else axis, rank) if rank is not None else range(0)
            shape = normalized_shape(place, norm.inputs[0], tuple(axes))
            if rank is None or shape is None or not float_dtype(place, norm.inputs[0]):
                continue
            if not place.is_free(value, node) or any(y.uses() or y.is_graph_output() for y in norm.outputs[1:]):
                return "others need what is normalized too"
            third = parameter(place, bias, shape, rank)
            if third is None:
                return "what is added is not of the shape that is normalized"
            new = ir.Node("", "LayerNormalization", [norm.inputs[0], scale, third], norm.attributes.values())
            return Replacement([new], [new.outputs[0]])
        return None
