"""W (s * x) -> (s W) x, and W (x + c) + b -> W x + (W c + b), wherever a linear operator comes after.

One number passes on its way down what it commutes with (f(s x) = s f(x)), and sums with a constant: ``s x + c`` is
``s (x + c / s)``. A vector, one number for each input channel, must be right before the operator, and so must a
summand. What is padded with zeros does not take a summand in: the border would get it, too.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.rewriter.place import Array, Place, Replacement
from onnxslim.rewriter.rule import Rule

from .algebra import Gate
from .fold_into_producer import scale_passes
from .fuse_gelu import gelu
from .linear import (
    FLOATS,
    Path,
    along,
    copies,
    dtype_of,
    factor,
    floats,
    is_dead,
    is_floats,
    is_number,
    like,
    one_use,
    paths,
    rounded,
    summand,
)

_RANGE = "a constant would not be finite, or lose digits"
_CHANNELS = "it is not one number for each input channel"


class FoldScaleIntoConsumer(Rule):
    """Multiply a constant factor of the input into the weights of Conv, ConvTranspose, Gemm or MatMul.

    Computed in double precision and rounded once. Everything between must have no other use.
    """

    name: ClassVar[str] = "fold-scale-into-consumer"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Conv", "ConvTranspose", "Gemm", "MatMul")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Looks up the input for a factor."""
        side = _weights(node)
        data = node.inputs[1 - side] if side is not None else None
        if side is None or data is None or is_dead(node):
            return None
        dtype, one = dtype_of(node.inputs[side]), np.ones(())
        reason: str | None = None
        for path, target in paths(place, data, lambda each: scale_passes(place, each, one, dtype)):
            found = factor(place, target)
            if found is None:
                continue
            if any(isinstance(gelu(place, step), Gate) for step in (target, *(step for step, _ in path))):
                reason = reason or "onnxruntime fuses a Gelu that is written so"
                continue
            x, scale = found
            if is_number(place, scale, x):
                scale = scale.reshape(())
                if path and not all(scale_passes(place, step, scale, dtype) for step, _ in path):
                    continue
            elif path:
                continue
            answer = self._without(place, node, side, x, scale, path)
            if isinstance(answer, Replacement):
                return answer
            reason = reason or answer
        return reason

    def _without(
        self, place: Place, node: ir.Node, side: int, x: ir.Value, scale: Array, path: Path
    ) -> Replacement | str:
        weights, dtype = node.inputs[side], dtype_of(node.inputs[side])
        wide = scaled_inputs(place, node, side, x, scale)
        array = rounded(wide, dtype) if wide is not None and dtype is not None else None
        if wide is None or weights is None:
            return _CHANNELS
        if array is None:
            return _RANGE
        between = copies(place, path, x, 1 / scale)
        if between is None:
            return _RANGE
        inputs = list(node.inputs)
        inputs[1 - side] = between[-1].outputs[0] if between else x
        inputs[side] = place.new_constant(array, weights.name or "weights")
        new = like(place, node, inputs)
        return Replacement([*between, new], (new.outputs[0],))


class FoldShiftIntoConsumer(Rule):
    """Move a constant summand of the input through the weights of Conv, Gemm or MatMul into the bias.

    Computed in double precision and rounded once. A MatMul must be followed by an Add of a constant. A Conv must have
    no padding.
    """

    name: ClassVar[str] = "fold-shift-into-consumer"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Conv", "Gemm", "Add")

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Looks for the summand right before the operator."""
        if is_dead(node):
            return None
        linear, bias, x = node, node.inputs[2] if len(node.inputs) > 2 else None, node.inputs[0]
        if node.op_type == "Add":
            after = summand(place, node)
            product = place.before(after[0], "MatMul") if after is not None else None
            if after is None or product is None or not one_use(after[0]):
                return None
            linear, x = product, product.inputs[0]
            bias = next(value for value in node.inputs if value is not after[0])
        before = place.before(x, "Add", "Sub")
        found = summand(place, before) if before is not None else None
        if found is None or x is None or not one_use(x):
            return None
        weights = floats(place, linear.inputs[1])
        if weights is None:
            return None
        source, shift = found
        dtype = dtype_of(linear.inputs[1])
        old = floats(place, bias)
        if dtype not in FLOATS or (bias is not None and old is None):
            return "the bias is no constant"
        answer = _moved(place, linear, weights, source, shift)
        if isinstance(answer, str):
            return answer
        array = rounded(answer if old is None else old + answer, dtype)
        if array is None:
            return _RANGE
        total = place.new_constant(array, (bias.name if bias is not None else None) or "bias")
        if node.op_type == "Add":
            new = like(place, linear, [source, linear.inputs[1]])
            add = ir.node("Add", [new.outputs[0], total], name=node.name)
            return Replacement([new, add], (add.outputs[0],))
        new = like(place, node, [source, node.inputs[1], total])
        return Replacement([new], (new.outputs[0],))


def scaled_inputs(place: Place, node: ir.Node, side: int, x: ir.Value, scale: Array) -> Array | None:
    """The weights with each input channel multiplied; None where the factor is not one number for each."""
    weights = floats(place, node.inputs[side])
    if weights is None:
        return None
    if scale.ndim == 0:
        return weights * scale
    known = contraction_of(node, shape=weights.shape) if side == 1 else ""
    vector = None if isinstance(known, str) else _input_vector(place, x, scale, known)
    if isinstance(known, str) or vector is None:
        return None
    return np.asarray(weights * known.along(vector, known.input_axis))


def _moved(place: Place, node: ir.Node, weights: Array, x: ir.Value, shift: Array) -> Array | str:
    """What a summand of the input adds to the output: one number for each output channel."""
    known = contraction_of(node, shape=weights.shape)
    unfold = known if isinstance(known, str) else known.unfold
    if isinstance(known, str) or isinstance(unfold, str):
        return str(unfold)
    if any(unfold.pads) or unfold.auto_pad not in ("NOTSET", "VALID"):
        return "the border is padded with zeros, not with the summand"
    if known.data_axis == 0 or known.alpha is None or not known.beta or (node.op_type == "Gemm" and place.opset < 7):
        return "its parameters do not allow it"
    vector = _input_vector(place, x, shift, known)
    if vector is None:
        return _CHANNELS
    if node.op_type != "Conv":
        return np.asarray(vector @ known.matrix(weights)[0].T * (known.alpha / known.beta))
    by_group: Array = np.einsum("goi,gi->go", known.by_channel(weights), vector.reshape(known.groups, -1))
    return by_group.reshape(-1)


def _input_vector(place: Place, x: ir.Value, constant: Array, known: Contraction) -> Array | None:
    """``constant`` as a vector over the channels of ``x``, if it does not widen them; else None."""
    shape, axis = place.facts.shape(x), known.data_axis
    if not shape or axis == 0 or (axis == 1 and len(shape) != len(known.shape)) or shape[axis] != known.inputs:
        return None
    return along(constant, known.inputs, 0 if axis < 0 else len(shape) - 2, len(shape))


def _weights(node: ir.Node) -> int | None:
    """Which of the first two inputs holds constant weights, if the other does not."""
    if len(node.inputs) < 2:
        return None
    held = [is_floats(x) for x in node.inputs[:2]]
    if held == [False, True]:
        return 1
    return 0 if held == [True, False] and node.op_type in ("MatMul", "Gemm") else None
