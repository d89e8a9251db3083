"""Conv o BatchNormalization -> Conv, in inference.

BatchNormalization scales and shifts each channel, ``y = a * x + c`` with ``a = scale / sqrt(var + epsilon)`` and
``c = shift - a * mean``. Conv is linear in its weights, so that ``a * (W * x + b) + c = (a W) * x + (a b + c)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, site
from onnxslim.ops.contraction import Contraction, contraction_of
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding, Scope, as_nodes, scopes
from onnxslim.rewriter.size import node_bytes, tensor_bytes

Array = np.ndarray[Any, np.dtype[Any]]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


@dataclass(frozen=True)
class FuseConvBatchNorm(Pass):
    """Fold BatchNormalization into the Conv or ConvTranspose before it.

    The new weights are computed in double precision and rounded once. The Conv's output may have no other use, the
    normalization must be in inference mode, and all parameters must be constants. Weights that others use too stay
    apart: a second copy would make the file larger. In function bodies nothing is fused.
    """

    name: ClassVar[str] = "fuse-conv-batchnorm"
    tier: ClassVar[Tier] = Tier.NUMERIC

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Fuses in place."""
        forwarding: Forwarding | None = None
        names: Names | None = None
        for scope in scopes(model):
            if as_nodes(scope, model):
                continue
            for node in tuple(scope.graph):
                if node.op_type != "BatchNormalization" or node.domain != "" or node.graph is None:
                    continue
                forwarding, names = forwarding or Forwarding(model), names or Names.of(model)
                fuse(scope, node, forwarding, names, context)
        return context.result()


def scale_and_shift(scale: Array, shift: Array, mean: Array, var: Array, epsilon: float) -> tuple[Array, Array]:
    """``a`` and ``c`` of ``y = a * x + c``, float64 of shape (channels,)."""
    wide = [np.asarray(x, np.float64) for x in (scale, shift, mean, var)]
    with np.errstate(all="ignore"):
        a = wide[0] / np.sqrt(wide[3] + epsilon)
        return a, wide[1] - a * wide[2]


def scaled_weights(weights: Array, a: Array, geometry: Contraction) -> Array:
    """Weights with each output channel multiplied by ``a``, of shape (out,), in float64."""
    return np.asarray(weights.astype(np.float64) * geometry.along(a, geometry.output_axis))


def fuse(scope: Scope, norm: ir.Node, forwarding: Forwarding, names: Names, context: Context) -> None:
    """Fuses one normalization, or says why not."""
    reason = obstacle(scope, norm) or forwarding.refusal(norm.outputs[0], _conv(norm).outputs[0])
    if reason is not None:
        if reason != _NO_CONV:
            context.decline("fuse-conv-batchnorm", site(norm), reason)
        return
    conv = _conv(norm)
    weights, bias = conv.inputs[1], conv.inputs[2] if len(conv.inputs) > 2 else None
    shift = norm.inputs[2]
    assert weights is not None
    assert shift is not None
    w, params = _array(weights), [_array(x) for x in norm.inputs[1:5]]
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    geometry = contraction_of(conv)
    assert not isinstance(geometry, str)  # `obstacle` has seen to it
    a, c = scale_and_shift(params[0], params[1], params[2], params[3], epsilon)
    with np.errstate(all="ignore"):
        new_w = scaled_weights(w, a, geometry).astype(w.dtype)
        new_b = (c if bias is None else c + a * _array(bias).astype(np.float64)).astype(w.dtype)
    if not (np.isfinite(new_w).all() and np.isfinite(new_b).all()):
        context.decline("fuse-conv-batchnorm", site(norm), "a weight would not be finite (variance, or range of dtype)")
        return
    old = norm.outputs[0]
    if not context.allow(Action("fuse-conv-batchnorm", (old.name or "",), site(norm), f"into {site(conv)}")):
        return
    used = [weights, bias, *norm.inputs[1:5]]
    if not conv.name and (bias is not None or len(shift.uses()) == 1):  # the norm's bytes, which hold the name, go
        conv.name = conv.outputs[0].name
    conv.replace_input_with(1, None)
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, None)
    forwarding.forward(old, conv.outputs[0])
    if not conv.outputs[0].is_graph_output():
        conv.outputs[0].shape, conv.outputs[0].type = old.shape, old.type
    for i in range(len(norm.inputs)):
        norm.replace_input_with(i, None)
    scope.graph.remove(norm)
    for value in used:
        _drop_unused(value, forwarding.annotated)
    conv.replace_input_with(1, _constant(scope, conv, names, weights, new_w))
    conv.replace_input_with(2, _constant(scope, conv, names, bias or shift, new_b))


_NO_CONV = "no convolution before it"


def obstacle(scope: Scope, norm: ir.Node) -> str | None:
    """Why the normalization cannot be fused into what is before it."""
    x = norm.inputs[0]
    conv = x.producer() if x is not None else None
    if x is None or conv is None or conv.domain != "" or conv.op_type not in ("Conv", "ConvTranspose"):
        return _NO_CONV
    if conv.graph is not norm.graph:
        return "the convolution is in an outer graph"
    if scope.opset() < 7:
        return "BatchNormalization before opset 7 has another meaning"
    if x.is_graph_output() or len(x.uses()) != 1:
        return "the convolution's output has another use"
    mode = norm.attributes.get("training_mode")
    if mode is not None and (mode.is_ref() or mode.as_int() != 0):
        return "it is in training mode"
    if any(y.name for y in norm.outputs[1:]):
        return "it gives running statistics"
    if "spatial" in norm.attributes and norm.attributes["spatial"].as_int() != 1:
        return "it normalizes each position, not each channel"
    constants = [
        conv.inputs[1],
        *(conv.inputs[2:3] if len(conv.inputs) > 2 and conv.inputs[2] else []),
        *norm.inputs[1:5],
    ]
    tensors = [constant_tensor(value) for value in constants]
    if any(tensor is None for tensor in tensors):
        return "a parameter is not constant"
    if any(tensor is not None and tensor.meta for tensor in tensors):
        return "a parameter is stored sparse, and would become dense"
    dtypes = {tensor.dtype for tensor in tensors if tensor is not None}
    if len(dtypes) != 1 or not dtypes <= set(_FLOATS):
        return "the parameters are of different dtypes, or of one that is not computed with"
    weights = conv.inputs[1]
    assert weights is not None
    if len(weights.uses()) != 1 or weights.is_graph_output():
        return "others use the weights too: a second copy would make the file larger"
    if any(value is not None and ANNOTATION in value.meta for value in (*constants, x)):
        return "it takes part in a quantization annotation"
    w = tensors[0]
    assert w is not None
    geometry = contraction_of(conv)
    if isinstance(geometry, str):
        return geometry
    if any(tensor is not None and tuple(tensor.shape.numpy()) != (geometry.outputs,) for tensor in tensors[1:]):
        return "a parameter does not have one number a channel"
    freed = sum(
        tensor_bytes(tensor, value.name or "")
        for value, tensor in dict(zip(constants[1:], tensors[1:], strict=True)).items()
        if value is not None and tensor is not None and all(use.node in (conv, norm) for use in value.uses())
    )
    if tensor_bytes(tensors[-1] or w) > freed + node_bytes(norm):
        return "others use all its parameters too: a new bias would make the file larger"
    return None


def _conv(norm: ir.Node) -> ir.Node:
    x = norm.inputs[0]
    conv = x.producer() if x is not None else None
    return conv if conv is not None else norm


def _array(value: ir.Value | None) -> Array:
    tensor = constant_tensor(value)
    assert tensor is not None
    return tensor.numpy()


def _drop_unused(value: ir.Value | None, pinned: frozenset[str]) -> None:
    """Removes a constant that nothing uses any more."""
    if value is None or value.uses() or value.is_graph_output() or value.name in pinned:
        return
    producer = value.producer()
    if producer is not None and producer.graph is not None:
        producer.graph.remove(producer)
    elif producer is None and value.graph is not None:
        del value.graph.initializers[value.name or ""]


def _constant(scope: Scope, conv: ir.Node, names: Names, like: ir.Value, array: Array) -> ir.Value:
    """A new initializer under the old name where that has become free."""
    name = like.name or ""
    gone = not like.uses() and like.graph is None
    return add_initializer(scope.graph, name if gone and name else names.fresh(f"{name}_fused"), array)
