"""Giant constant of little content -> ConstantOfShape, Range or Expand: the reverse of careless folding.

| the constant | becomes |
|---|---|
| one value everywhere | ConstantOfShape(shape) |
| a, a + d, a + 2 d, ... (integers, one axis) | Range(a, a + n d, d) |
| the same along some axes | Expand(its first slice along these, shape) |

onnxruntime (1.32, measured) computes them once at load, so that a session takes the same memory and time as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, add_initializer
from onnxslim.ops.signature import tensor_key
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, Scope, annotated
from onnxslim.rewriter.size import node_bytes, tensor_bytes

Array = np.ndarray[Any, np.dtype[Any]]

MIN_BYTES = 256 << 10
"""A smaller constant is not worth the node."""
_KINDS = frozenset({"b", "i", "u", "f"})
_RANGE_TYPES = frozenset({ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64})
_NEEDS_CONSTANTS = frozenset({"LSTM", "GRU", "RNN", "QuantizeLinear", "DequantizeLinear", "MatMulInteger"})
"""Operators that runtimes prepare or match by constant inputs before they fold; so do all of other domains."""
_NEEDS_CONSTANTS_PREFIX = ("QLinear", "Conv")

Made = tuple[str, list[Array], dict[str, Any]]
"""Operator, constant inputs, attributes."""


@dataclass(frozen=True)
class UnfoldConstants(Pass):
    """Store giant constants of little content as what computes them.

    1. Initializers of the main graph that are no inputs or outputs, from ``min_bytes`` on, bit for bit.
    2. Only where the file becomes smaller, and no weight of a convolution, a recurrent or a quantized operator, nor of
       one of another domain: runtimes look for constants there.

    The last step of slimming: rules see constants, and folding never undoes it, since the file would grow.
    """

    name: ClassVar[str] = "unfold-constants"
    tier: ClassVar[Tier] = Tier.EXACT

    min_bytes: int = field(default=MIN_BYTES, metadata={"help": "bytes from which a constant is looked at", "least": 0})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Unfolds in place."""
        graph, kept = model.graph, annotated(model)
        large = [
            value
            for value in graph.initializers.values()
            if value.const_value is not None
            and not value.const_value.meta
            and value.const_value.dtype != ir.DataType.STRING
            and value.const_value.nbytes >= self.min_bytes
        ]
        if large:
            unfold(model, large, kept, context)
        return context.result()


def unfold(model: ir.Model, values: list[ir.Value], kept: frozenset[str], context: Context) -> None:
    """Replaces those of the values that can be computed from less."""
    scope = Scope(model.graph, model.graph.opset_imports, None, in_function=False)
    names = Names.of(model)
    first = next(iter(model.graph), None)
    shared: dict[Any, ir.Value] = {}
    for value in values:
        assert value.const_value is not None
        made = recipe(value.const_value, scope.opset())
        if made is None or first is None:
            continue
        operator, arrays, attributes = made
        come = sum(tensor_bytes(ir.Tensor(array), f"{value.name}_{i}") for i, array in enumerate(arrays))
        probe = ir.node(operator, [ir.Value(name=f"{value.name}_{i}") for i in range(len(arrays))], attributes, name="")
        probe.outputs[0].name = value.name
        saved = tensor_bytes(value.const_value, value.name or "") - come - node_bytes(probe)
        reason = refusal(value, kept)
        if reason is None and saved <= 0:
            reason = "the file would grow"
        if reason is not None:
            context.decline("unfold-constant", value.name or "", reason)
            continue
        if not context.allow(Action("unfold-constant", (value.name or "",), operator, f"-{saved:,} bytes")):
            continue
        inputs = []
        for array in arrays:
            tensor = ir.Tensor(array)
            key = tensor_key(tensor)
            if key not in shared:
                shared[key] = add_initializer(model.graph, names.fresh(f"{value.name}_{operator}"), array)
            inputs.append(shared[key])
        name = value.name or ""
        del model.graph.initializers[name]
        node = ir.node(operator, inputs, attributes, name="")
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, value.type, value.shape
        node.outputs[0].doc_string = value.doc_string
        node.outputs[0].metadata_props.update(value.metadata_props)
        model.graph.insert_before(first, node)
        value.replace_all_uses_with(node.outputs[0])


def refusal(value: ir.Value, kept: frozenset[str]) -> str | None:
    """Why the value must stay a constant; None if it need not."""
    if value.is_graph_input() or value.is_graph_output():
        return "it is an input or an output"
    if ANNOTATION in value.meta or value.name in kept:
        return "it takes part in a quantization annotation"
    for use in value.uses():
        op_type = use.node.op_type
        if use.node.domain != "" or op_type in _NEEDS_CONSTANTS or op_type.startswith(_NEEDS_CONSTANTS_PREFIX):
            return f"a runtime looks for a constant in {op_type}"
    return None


def recipe(tensor: ir.TensorProtocol, opset: int) -> Made | None:
    """What computes the tensor from less; None where nothing simple does.

    Bits are compared, so that NaN equals itself and -0.0 is not 0.0. A few elements are looked at before all are.
    """
    if tensor.dtype.numpy().kind not in _KINDS or tensor.dtype.itemsize not in (1, 2, 4, 8) or opset < 13:
        return None
    array = np.ascontiguousarray(tensor.numpy())
    if array.dtype.newbyteorder("=") != tensor.dtype.numpy() or array.size < 2:
        return None
    bits = array.view(f"u{array.itemsize}")
    flat, shape = bits.reshape(-1), np.array(array.shape, np.int64)
    if _all_equal(flat[:64]) and _all_equal(flat):
        value = ir.Tensor(array.reshape(-1)[:1].copy())
        return "ConstantOfShape", [shape], {"value": value}
    if array.ndim == 1:
        return _range(array) if tensor.dtype in _RANGE_TYPES else None
    small = bits
    for axis in range(array.ndim):
        if small.shape[axis] < 2:
            continue
        ends = small.take([0, 1], axis)
        if (ends.take(0, axis) == ends.take(1, axis)).all():
            head = small[(slice(None),) * axis + (slice(0, 1),)]
            if (small == head).all():
                small = head
    if small is bits:
        return None
    return "Expand", [np.ascontiguousarray(small).view(array.dtype), shape], {}


def _all_equal(flat: Array) -> bool:
    return bool((flat == flat[0]).all())


def _range(array: Array) -> Made | None:
    """Range in the array's own type; the end must have room there."""
    start, step = int(array[0]), int(array[1]) - int(array[0])
    end = start + step * array.size
    bounds = np.iinfo(array.dtype)
    if step == 0 or not (bounds.min <= end <= bounds.max and bounds.min <= step <= bounds.max):
        return None
    if not (np.diff(array[:64].astype(object)) == step).all():
        return None
    if not np.array_equal(np.arange(start, end, step, dtype=array.dtype), array):
        return None
    return "Range", [np.array(number, array.dtype) for number in (start, end, step)], {}
