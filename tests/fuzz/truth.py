"""What a model computes in double precision: tells a rewrite that is wrong from a model that amplifies rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.session import open_session

AS_FAR = 4.0
"""The slimmed model may be so many times as far from the truth as the original is."""


def no_farther_from_the_truth(before: bytes, after: bytes, feeds: Sequence[Feed]) -> bool:
    """Whether the slimmed model's floats are about as near to those of double precision as the original's.

    Everything but floats must be equal. False where the model cannot be evaluated in double precision.
    """
    try:
        exact = ReferenceEvaluator(in_double(onnx.ModelProto.FromString(before)))
        left, right = open_session(before, optimize=False), open_session(after, optimize=False)
        for feed in feeds:
            wide = {name: array.astype(_wider(array.dtype)) for name, array in feed.items()}
            found: Any = exact.run(None, wide)
            if not _near(left.run(feed), right.run(feed), dict(zip(exact.output_names, found, strict=True))):
                return False
        return True
    except Exception:  # the reference implementation fails in its own ways: then the difference stands
        return False


def _near(before: Outputs, after: Outputs, truth: Outputs) -> bool:
    for name, a in before.items():
        b, true = after[name], np.asarray(truth[name])
        if a.shape != b.shape or a.shape != true.shape or a.dtype != b.dtype:
            return False
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return False
            continue
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(np.isnan(a), np.isnan(b)):
            return False
        own, theirs = (np.abs(x.astype(np.float64) - true)[finite].max(initial=0.0) for x in (a, b))
        if theirs > AS_FAR * own:
            return False
    return True


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float32 and float16 as double; edited in place."""
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            graph.ClearField("value_info")
            for tensor in graph.initializer:
                _widen(tensor)
            for info in (*graph.input, *graph.output):
                kind = info.type.tensor_type
                if kind.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
                    kind.elem_type = TensorProto.DOUBLE
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    _widen(attribute.t)
                elif node.op_type == "Cast" and attribute.i in (TensorProto.FLOAT, TensorProto.FLOAT16):
                    attribute.i = TensorProto.DOUBLE
                elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                    values = np.array(attribute.f if attribute.name == "value_float" else attribute.floats, np.float64)
                    attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(values)))
    return model


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    found: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for graph in found:  # grows while it is walked
        yield graph
        found.extend(attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _wider(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    return np.dtype(np.float64) if dtype.kind == "f" else dtype
