"""s * (W x + b) -> (s W) x + s b, and (W x + b) + c -> W x + (b + c), wherever a linear operator is above.

A factor or summand, constant, goes up to the operator with constants that can take it in: Conv, ConvTranspose, Gemm,
MatMul, a normalization's parameters, or another constant factor or summand. On the way it passes what it commutes with:
one number passes f with f(s x) = s f(x) (moves of elements, means, Relu if s > 0, products with what is no constant)
and, as a summand, moves of elements; a vector passes sums only, where shapes broadcast in any order.

Long because each operator that takes in a factor or a summand has its algebra here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim
from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.rewriter.place import Array, Place, Replacement
from onnxslim.rewriter.rule import Rule

from .fuse_conv_batchnorm import scaled_weights
from .linear import (
    FLOATS,
    MOVES,
    along,
    binary,
    copies,
    dtype_of,
    factor,
    floats,
    is_dead,
    is_floats,
    is_number,
    like,
    number,
    paths,
    rounded,
    summand,
)

HOMOGENEOUS = MOVES | {"Neg", "ReduceMean", "ReduceSum", "GlobalAveragePool", "AveragePool"}
"""f(s x) = s f(x) for any number s."""
POSITIVE = frozenset(("Relu", "LeakyRelu", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"))
"""f(s x) = s f(x) for s > 0."""

FAR = 2.0**32
"""A factor or its reciprocal beyond this stays where it is: between, numbers could leave the range of float32."""

_RANGE = "a constant would not be finite, or lose digits"
_CHANNELS = "it is not one number for each channel"
_OTHERS = "what is before it needs constants that are none"


def scale_passes(place: Place, node: ir.Node, scale: Array, dtype: ir.DataType | None) -> Sequence[int]:
    """The inputs of ``node`` that a factor of its output may go on to."""
    parts = binary(place, node) if node.op_type in ("Add", "Sub") else None
    if parts is not None:
        return (parts[0],)
    if scale.size != 1 or not 1 / FAR <= abs(scale.reshape(())) <= FAR:
        return ()
    if node.op_type in MOVES:
        return (0,)
    if dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return ()  # sums and products between have little range in half precision
    if node.op_type in HOMOGENEOUS or (node.op_type in POSITIVE and scale.reshape(()) > 0):
        return (0,)
    if node.op_type in ("MatMul", "Mul") and place.opset >= 7:
        return (0, 1)
    return (0,) if node.op_type == "Div" and place.opset >= 7 else ()


def shift_passes(node: ir.Node, shift: Array) -> Sequence[int]:
    """The inputs of ``node`` that a summand of its output may go on to."""
    if node.op_type == "Add":
        return (0, 1)
    return (0,) if node.op_type == "Sub" or (node.op_type in MOVES and shift.size == 1) else ()


class FoldScaleIntoProducer(Rule):
    """Multiply a constant factor into the constants of what computes the value: weights, parameters, other factors.

    Computed in double precision and rounded once. Everything between must have no other use. A Div of a product of two
    computed matrices stays: onnxruntime fuses attention written so.
    """

    name: ClassVar[str] = "fold-scale-into-producer"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Mul", "Div")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Finds the constants and scales them."""
        found = factor(place, node)
        if found is None or is_dead(node):
            return None
        x, scale = found
        if scale.size == 1 and feeds_clip(node):
            return None
        dtype = dtype_of(next(y for y in node.inputs if y is not x))
        if node.op_type == "Div" and place.before(x, "MatMul") and not weights_of(x):
            return "onnxruntime fuses attention that is written so"
        one = is_number(place, scale, x)
        if scale.size == 1 and not one and place.before(x, "Mul", "Div") is None:
            return "it may add dims"
        reason: str | None = None
        for path, target in paths(place, x, lambda each: scale_passes(place, each, scale, dtype)):
            if path and scale.size == 1 and not one:
                continue
            amount = scale.reshape(()) if scale.size == 1 and path else scale
            answer = scaled(place, target, amount)
            if isinstance(answer, ir.Node):
                between = copies(place, path, answer.outputs[0], amount, same_shape=one)
                if between is not None:
                    return _replacement([answer, *between], target)
                answer = _RANGE
            reason = reason or answer
        return reason


class FoldShiftIntoProducer(Rule):
    """Add a constant summand to the bias of what computes the value, or to another constant summand.

    Computed in double precision and rounded once. Everything between must have no other use.
    """

    name: ClassVar[str] = "fold-shift-into-producer"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Add", "Sub")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Finds the constant and adds to it."""
        if is_dead(node):
            return None
        found = summand(place, node)
        if (found is None or found[1].size == 1) and feeds_clip(node):
            return None
        if found is None:
            return merged_sums(place, node)
        x, shift = found
        one = is_number(place, shift, x)
        reason: str | None = None
        for path, target in paths(place, x, lambda each: shift_passes(each, shift)):
            moved = any(step.op_type in MOVES for step, _ in path)
            if moved and not one:
                continue
            answer = shifted(place, target, shift.reshape(()) if moved else shift)
            if isinstance(answer, ir.Node):
                between = copies(place, path, answer.outputs[0], same_shape=one)
                assert between is not None
                return _replacement([answer, *between], target)
            reason = reason or answer
        return reason


def feeds_clip(node: ir.Node) -> bool:
    """Whether it may be a part of a hard sigmoid, which has an operator of its own and constants that are numbers.

    What a hard swish reads too is none.
    """
    for _ in range(2):
        users = [use.node for use in node.outputs[0].uses()]
        if len(users) != 1:
            return False
        node = users[0]
        if node.op_type in ("Clip", "HardSigmoid"):
            return True
        if node.op_type not in ("Add", "Sub"):
            return False
    return False


def weights_of(value: ir.Value) -> bool:
    """Whether the MatMul that makes ``value`` has a constant side."""
    node = value.producer()
    return node is not None and any(is_floats(x) for x in node.inputs)


def merged_sums(place: Place, node: ir.Node) -> Replacement | None:
    """(x + c) + (y + d) -> (x + (c + d)) + y."""
    sides = [place.before(x, "Add", "Sub") for x in node.inputs]
    if node.op_type != "Add" or len(sides) != 2 or sides[0] is sides[1]:
        return None
    left, right = sides
    if left is None or right is None or not all(place.is_free(each.outputs[0], node) for each in (left, right)):
        return None
    found, other = summand(place, left), summand(place, right)
    answer = shifted(place, left, other[1]) if found is not None and other is not None else None
    if other is None or not isinstance(answer, ir.Node):
        return None
    total = ir.node("Add", [answer.outputs[0], other[0]], name=node.name)
    return _replacement([answer, total], left)


def scaled(place: Place, node: ir.Node, scale: Array) -> ir.Node | str | None:
    """A node that gives ``scale`` times what ``node`` gives; a reason why not; None where it holds no constants."""
    inputs, amount = list(node.inputs), scale.reshape(()) if scale.size == 1 else scale
    weights = floats(place, inputs[1]) if len(inputs) > 1 else None
    output_rank = place.facts.rank(node.outputs[0])
    changed: dict[int, Array] = {}
    match node.op_type:
        case "Conv" | "ConvTranspose" | "Gemm":
            # Facts do not know a constant of this round: a convolution with such weights waits for the next one.
            shape = weights.shape if weights is not None and node.op_type == "Gemm" else None
            known = _known(place, node, shape)
            if weights is None or known is None:
                return _OTHERS
            vector = along(scale, known.outputs, weights.ndim - 2, weights.ndim)
            if vector is None:
                return _CHANNELS
            changed[1] = scaled_weights(weights, vector, known)
            if not _each(place, node, (2,), amount if scale.size == 1 else vector, changed):
                return _OTHERS
        case "MatMul":
            side = 1 if weights is not None else 0
            weights = weights if weights is not None else floats(place, inputs[0])
            if weights is None:
                return None
            if scale.size == 1:
                changed[side] = weights * amount
            else:
                vector = along(scale, weights.shape[-1], 0, output_rank) if side and weights.ndim > 1 else None
                if vector is None:
                    return _CHANNELS
                changed[side] = weights * vector
        case "Mul" | "Div":
            return _product(place, node, scale)
        case "BatchNormalization":
            if place.opset < 9 or number(node, "training_mode", 0) != 0 or weights is None:
                return _OTHERS
            rank = 2 if scale.size == 1 and output_rank is None else output_rank
            vector = None if rank is None or rank < 2 else along(scale, weights.size, rank - 2, rank)
            if vector is None:
                return _CHANNELS
            if not _each(place, node, (1, 2), vector, changed):
                return _OTHERS
        case "LayerNormalization" | "InstanceNormalization":
            trailing = node.op_type == "LayerNormalization" and weights is not None and weights.ndim == 1
            if scale.size != 1 and not (trailing and weights is not None and scale.shape == weights.shape):
                return _CHANNELS
            if weights is None or not _each(place, node, (1, 2), amount, changed):
                return _OTHERS
        case _:
            return None
    return _with(place, node, changed)


def shifted(place: Place, node: ir.Node, shift: Array) -> ir.Node | str | None:
    """A node that gives what ``node`` gives plus ``shift``; a reason why not; None where it takes no summand."""
    inputs = list(node.inputs)
    bias = floats(place, inputs[2]) if len(inputs) > 2 and inputs[2] is not None else None
    absent = len(inputs) < 3 or inputs[2] is None
    match node.op_type:
        case "Conv" | "ConvTranspose" | "Gemm":
            known = _known(place, node)
            if (bias is None and not absent) or known is None or not known.beta:
                return _OTHERS
            vector = along(shift, known.outputs, len(known.shape) - 2, len(known.shape))
            if vector is None:
                return _CHANNELS
            one = node.op_type == "Gemm" and shift.size == 1  # its C is of any shape that broadcasts
            total = (shift.reshape(()) if one else vector) / known.beta
            return _with(place, node, {2: np.atleast_1d(total) if bias is None else bias + total})
        case "Add" | "Sub":
            return _sum(place, node, shift)
        case "BatchNormalization":
            rank = place.facts.rank(node.outputs[0])
            old = floats(place, inputs[2]) if not absent else None
            if old is None or rank is None or rank < 2 or place.opset < 9 or number(node, "training_mode", 0) != 0:
                return _OTHERS
            vector = along(shift, old.size, rank - 2, rank)
            return _CHANNELS if vector is None else _with(place, node, {2: old + vector})
        case "LayerNormalization":
            scale = floats(place, inputs[1])
            if scale is None or scale.ndim != 1 or (bias is None and not absent):
                return _OTHERS
            if shift.shape not in ((), (1,), scale.shape):
                return _CHANNELS
            return _with(place, node, {2: np.broadcast_to(shift, scale.shape) + (0 if bias is None else bias)})
        case _:
            return None


def _product(place: Place, node: ir.Node, scale: Array) -> ir.Node | str | None:
    """(x * c) * s -> x * (c s), (x / c) * s -> x * (s / c), (c / x) * s -> (c s) / x."""
    parts = binary(place, node)
    if parts is None:
        return None
    index, constant = parts
    x, other = node.inputs[index], node.inputs[1 - index]
    with np.errstate(all="ignore"):
        try:
            wide = scale / constant if node.op_type == "Div" and index == 0 else constant * scale
        except ValueError:
            return _CHANNELS
    dtype = dtype_of(other)
    array = rounded(wide, dtype) if dtype in FLOATS else None
    if array is None or other is None or (array == 0).any() != (np.asarray(constant) == 0).any():
        return _RANGE
    value = place.new_constant(array, other.name or "factor")
    if node.op_type == "Div" and index == 1:
        return ir.node("Div", [value, x], name=node.name)
    return ir.node("Mul", [x, value], name=node.name)


def _sum(place: Place, node: ir.Node, shift: Array) -> ir.Node | str | None:
    """(x + c) + d -> x + (c + d), (x - c) + d -> x + (d - c), (c - x) + d -> (c + d) - x."""
    parts = binary(place, node)
    if parts is None:
        return None
    index, constant = parts
    x, other = node.inputs[index], node.inputs[1 - index]
    negative = node.op_type == "Sub" and index == 0
    try:
        wide = (-constant if negative else constant) + shift
    except ValueError:
        return _CHANNELS
    largest = max(float(np.abs(constant).max()), float(np.abs(shift).max()))
    if largest > 1024 and float(np.abs(wide).min()) < largest / 16:
        return "the summands cancel: they may be there to round"
    dtype = dtype_of(other)
    array = rounded(wide, dtype) if dtype is not None else None
    if array is None or other is None:
        return _RANGE
    value = place.new_constant(array, other.name or "summand")
    if node.op_type == "Sub" and index == 1:
        return ir.node("Sub", [value, x], name=node.name)
    return ir.node("Add", [x, value], name=node.name)


def _known(place: Place, node: ir.Node, shape: Sequence[Dim] | None = None) -> Contraction | None:
    """The geometry of a node, if its output channels are known; ``shape`` is that of its weights, by facts if None."""
    if shape is None and node.inputs[1] is not None:
        shape = place.facts.shape(node.inputs[1])
    if shape is None or (node.op_type == "Gemm" and place.opset < 7):
        return None
    known = contraction_of(node, shape=[dim if isinstance(dim, int) else 0 for dim in shape])
    return None if isinstance(known, str) or not known.outputs else known


def _each(place: Place, node: ir.Node, indices: Sequence[int], by: Array, changed: dict[int, Array]) -> bool:
    """Multiplies constants among the inputs; False where one is given that is none."""
    for index in indices:
        if index >= len(node.inputs) or node.inputs[index] is None:
            continue
        old = floats(place, node.inputs[index])
        if old is None:
            return False
        changed[index] = old * by
    return True


def _with(place: Place, node: ir.Node, changed: dict[int, Array]) -> ir.Node | str:
    """The node with other constants."""
    inputs = list(node.inputs) + [None] * (max(changed) + 1 - len(node.inputs))
    dtype = next((d for x in node.inputs[1:] if (d := dtype_of(x)) is not None), None)
    dtype = dtype or dtype_of(node.inputs[0]) or place.facts.dtype(node.outputs[0])
    for index, wide in changed.items():
        old = inputs[index]
        kept = dtype_of(old) or dtype
        array = rounded(wide, kept) if kept in FLOATS and kept is not None else None
        if array is None:
            return _RANGE
        inputs[index] = place.new_constant(array, (old.name if old is not None else None) or "bias")
    return like(place, node, inputs)


def _replacement(nodes: list[ir.Node], target: ir.Node) -> Replacement:
    return Replacement(nodes, (nodes[-1].outputs[0],), f"into {target.op_type} {target.name or ''}".rstrip())
