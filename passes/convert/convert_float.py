"""float32 -> float16 and back, weights, inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import InputError, failed
from onnxslim.evaluation.tier import Tier
from onnxslim.graph import load, to_proto
from onnxslim.graph.walk import bodies, tensors
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass

_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
"""Attributes of standard operators that hold a dtype."""


@dataclass(frozen=True)
class ConvertFloat(Pass):
    """Compute in another floating point type; inputs and outputs change theirs too.

    To float16 by onnxruntime's converter (``onnxruntime.transformers.float16``), which leaves operators that have no
    float16 kernel, and those of other domains, in float32 between Casts. To float32 by changing every float16 tensor,
    type and attribute. It changes the interface: run it before a pipeline, not within one.
    """

    name: ClassVar[str] = "convert-float"
    tier: ClassVar[Tier] = Tier.LOSSY

    dtype: Literal["fp16", "fp32"] = field(default="fp16", metadata={"help": "what to compute in"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Edits in place.

        Raises:
            InputError: The model is over 2 GB, or the converter fails.
        """
        outputs = tuple(value.name or "" for value in model.graph.outputs)
        if self.dtype == "fp32" and not _holds_float16(model):
            return context.result()
        if not context.allow(Action(self.name, outputs, self.dtype)):
            return context.result()
        if self.dtype == "fp16":
            _to_float16(model)
        else:
            _to_float32(model)
        return context.result()


def _to_float16(model: ir.Model) -> None:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    proto = to_proto(model)
    foreign = {node.op_type for body in bodies(model) for node in body if node.domain not in ("", "ai.onnx")}
    blocked = [*DEFAULT_OP_BLOCK_LIST, *sorted(foreign)]
    try:
        converted = convert_float_to_float16(proto, op_block_list=blocked)
        kept = load(onnx.ModelProto.FromString(converted.SerializeToString()))
    except Exception as error:  # the converter raises whatever is at hand
        raise failed("the model cannot be converted to float16", error, where=model.graph.name or "") from error
    kept.graph.meta.update(model.graph.meta)
    model.graph = kept.graph
    model.functions.clear()
    model.functions.update(kept.functions)


def _to_float32(model: ir.Model) -> None:
    for body in bodies(model):
        values = [*body.inputs, *(y for node in body for y in node.outputs)]
        if isinstance(body, ir.Graph):
            values += body.initializers.values()
        for value in values:
            if value.type is not None:
                value.type = _widened(value.type)
            if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT16:
                value.const_value = _as_float32(value.const_value)
        for node in body:
            for attribute in list(node.attributes.values()):
                changed = _converted(attribute)
                if changed is not None:
                    node.attributes.add(changed)
    if any(tensor.dtype == ir.DataType.FLOAT16 for tensor in tensors(model)):
        raise InputError("a float16 tensor stands where it cannot be converted", where=model.graph.name or "")


def _holds_float16(model: ir.Model) -> bool:
    """Whether anything in the model is float16: a tensor, a value, or what an attribute asks for."""
    if any(tensor.dtype == ir.DataType.FLOAT16 for tensor in tensors(model)):
        return True
    for body in bodies(model):
        for value in (*body.inputs, *(y for node in body for y in node.outputs)):
            if value.type is not None and value.type.dtype == ir.DataType.FLOAT16:
                return True
        for attribute in (each for node in body for each in node.attributes.values() if not each.is_ref()):
            if attribute.name in _TYPE_ATTRIBUTES and attribute.value == int(ir.DataType.FLOAT16):
                return True
            if attribute.type == ir.AttributeType.TYPE_PROTO and attribute.value.type.dtype == ir.DataType.FLOAT16:
                return True
    return False


def _converted(attribute: ir.Attr) -> ir.Attr | None:
    """The attribute with float32 for float16; None where it has none."""
    if attribute.is_ref():
        return None
    if attribute.name in _TYPE_ATTRIBUTES and attribute.value == int(ir.DataType.FLOAT16):
        return ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT))
    if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == ir.DataType.FLOAT16:
        return ir.AttrTensor(attribute.name, _as_float32(attribute.value))
    if attribute.type == ir.AttributeType.TYPE_PROTO:
        wide = ir.TypeAndShape(_widened(attribute.value.type), attribute.value.shape)
        return ir.Attr(attribute.name, ir.AttributeType.TYPE_PROTO, wide)
    return None


def _as_float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    made = ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name, doc_string=tensor.doc_string)
    made.meta.update(tensor.meta)
    return made


def _widened(kind: Any) -> Any:
    """A type with float32 in the place of float16, of whatever nesting."""
    if kind is None or kind.dtype != ir.DataType.FLOAT16:
        return kind
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        return type(kind)(_widened(kind.elem_type))
    return type(kind)(ir.DataType.FLOAT)
