"""W ((x - o) * s) + b -> (s W) x + (b - W (s o)): a Scaler goes into the layer behind it.

Computed in double precision and rounded once. A feature whose offset is many times its spread is left to the Scaler: x
and o are nearly equal then, and the layer would have to subtract two large numbers at the end.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.ops.contraction import TRANSPOSES
from onnxslim.ops.ml import DOMAIN
from onnxslim.rewriter.place import Array, Place, Replacement, remade
from onnxslim.rewriter.rule import Rule

from .linear import dtype_of, floats, is_dead, number, one_use, rounded

MAX_OFFSET: Final = 32.0
"""Largest offset of a feature, in units of its spread: five bits of 24 are lost where it is subtracted late."""
_RANGE = "a constant would not be finite, or lose digits"


class FoldScaler(Rule):
    """Multiply a Scaler into the Gemm, MatMul, LinearClassifier or LinearRegressor that alone reads it."""

    name: ClassVar[str] = "fold-scaler"
    tier: ClassVar[Tier] = Tier.NUMERIC
    op_types: ClassVar[tuple[str, ...]] = ("Gemm", "MatMul", "LinearClassifier", "LinearRegressor")
    domains: ClassVar[tuple[str, ...]] = ("", DOMAIN)

    def rewrite(self, node: ir.Node, place: Place) -> Replacement | str | None:
        """Looks for the Scaler right before the layer."""
        value = node.inputs[0] if node.inputs else None
        scaler = value.producer() if value is not None else None
        if scaler is None or value is None or (scaler.domain, scaler.op_type) != (DOMAIN, "Scaler") or is_dead(node):
            return None
        x = scaler.inputs[0]
        if scaler.graph is not place.scope.graph or not one_use(value) or x is None:
            return "the scaled features have another use"
        if place.facts.dtype(x) != ir.DataType.FLOAT or place.facts.rank(x) != 2:
            return "the features are not known to be a matrix of float32"
        terms = scaler_terms(scaler)
        if terms is None:
            return "the Scaler does not state as many offsets as factors"
        offset, scale = terms
        if np.abs(offset * scale).max(initial=0) > MAX_OFFSET:
            return f"an offset is more than {MAX_OFFSET:g} times the spread of its feature"
        return _into_attributes(node, x, offset, scale) if node.domain else _into_inputs(place, node, x, offset, scale)


def scaler_terms(scaler: ir.Node) -> tuple[Array, Array] | None:
    """Offsets and factors of a Scaler, one for each feature or one for all; None where they do not fit together."""
    found = [scaler.attributes.get(name) for name in ("offset", "scale")]
    if any(each is None or each.is_ref() for each in found):
        return None
    offset, scale = (np.array(each.as_floats(), np.float64) for each in found if each is not None)
    return (offset, scale) if len(offset) == len(scale) and len(scale) else None


def _into_inputs(place: Place, node: ir.Node, x: ir.Value, offset: Array, scale: Array) -> Replacement | str:
    """Into the weights of a Gemm or MatMul; what is subtracted becomes a bias, behind a MatMul an Add."""
    weights, dtype = floats(place, node.inputs[1]), dtype_of(node.inputs[1])
    if weights is None or dtype is None or weights.ndim != 2:
        return "its weights are no constant matrix"
    flag = {name: number(node, name, default) for name, default in _GEMM.items()}
    if None in flag.values() or flag[_LEFT] or not flag["beta"] or (node.op_type == "Gemm" and place.opset < 7):
        return "its parameters do not allow it"
    matrix = weights.T if flag[_RIGHT] else weights  # [features, outputs]
    if len(scale) not in (1, len(matrix)):
        return "the Scaler has another number of features"
    old = floats(place, node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if old is None:
        return "the bias is no constant"
    scaled = matrix * np.broadcast_to(scale, len(matrix))[:, None]
    alpha, beta = float(flag["alpha"] or 0), float(flag["beta"] or 1)
    shift = -(np.broadcast_to(offset, len(matrix)) @ scaled) * alpha / beta
    new_weights, new_bias = rounded(scaled.T if flag[_RIGHT] else scaled, dtype), rounded(old + shift, dtype)
    if new_weights is None or new_bias is None:
        return _RANGE
    held = place.new_constant(np.ascontiguousarray(new_weights), node.inputs[1].name or "weights")  # type: ignore[union-attr]
    moves = bool(shift.any())
    if node.op_type == "Gemm":
        kept = list(node.inputs[2:])
        bias = [place.new_constant(new_bias, _name(node, 2, "bias"))] if moves else kept
        new = remade(node, [x, held, *bias])
        return Replacement([new], (new.outputs[0],))
    new = remade(node, [x, held])
    if not moves:
        return Replacement([new], (new.outputs[0],))
    add = ir.node("Add", [new.outputs[0], place.new_constant(new_bias, "bias")], name="")
    return Replacement([new, add], (add.outputs[0],))


_LEFT, _RIGHT = TRANSPOSES
_GEMM: Final = {_LEFT: 0.0, _RIGHT: 0.0, "alpha": 1.0, "beta": 1.0}
"""Attributes of a Gemm and what they are where it does not state them; a MatMul is one without."""


def _name(node: ir.Node, index: int, otherwise: str) -> str:
    value = node.inputs[index] if len(node.inputs) > index else None
    return (value.name if value is not None else None) or otherwise


def _into_attributes(node: ir.Node, x: ir.Value, offset: Array, scale: Array) -> Replacement | str:
    """Into coefficients and intercepts, which are lists: [outputs, features], and one for each output."""
    stated = {name: node.attributes.get(name) for name in ("coefficients", "intercepts")}
    if any(each is not None and each.is_ref() for each in stated.values()) or stated["coefficients"] is None:
        return "its coefficients are not stated"
    coefficients = np.array(stated["coefficients"].as_floats(), np.float64)
    intercepts = stated["intercepts"]
    old = np.array(intercepts.as_floats() if intercepts is not None else [], np.float64)
    outputs = len(old) or (int(node.attributes["targets"].as_int()) if "targets" in node.attributes else 1)
    features = len(coefficients) // outputs
    if features * outputs != len(coefficients) or len(scale) not in (1, features):
        return "the Scaler has another number of features"
    scaled = coefficients.reshape(outputs, features) * scale
    new_weights = rounded(scaled.reshape(-1), ir.DataType.FLOAT)
    moved = (old if len(old) else np.zeros(outputs)) - scaled @ np.broadcast_to(offset, features)
    new_bias = rounded(moved, ir.DataType.FLOAT)
    if new_weights is None or new_bias is None:
        return _RANGE
    if not len(old) and moved.any() and node.op_type == "LinearClassifier":
        return "it states no intercepts"
    attributes = dict(node.attributes)
    attributes["coefficients"] = ir.AttrFloat32s("coefficients", new_weights.tolist())
    if len(old) or moved.any():
        attributes["intercepts"] = ir.AttrFloat32s("intercepts", new_bias.tolist())
    new = remade(node, [x], attributes, outputs=len(node.outputs))
    return Replacement([new], new.outputs)
