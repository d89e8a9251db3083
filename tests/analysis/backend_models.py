"""The ONNX backend's node models, their expected outputs, and a check of facts against them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.analysis.dims import evaluate
from onnxslim.analysis.facts import Ratio

FREEZABLE = (np.int64, np.int32, np.bool_, np.float32)


@lru_cache(maxsize=1)
def node_cases() -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return tuple(case for case in collect_testcases("") if case.model is not None)


def disagreements(
    facts: ShapeFacts, values: Sequence[ir.Value], arrays: Sequence[Any], bindings: Mapping[str, int]
) -> Iterator[str]:
    """What the facts claim of values that the arrays, which they were in a run, do not bear out."""
    for value, array in zip(values, arrays, strict=True):
        if isinstance(array, onnx.TensorProto):
            array = onnx.numpy_helper.to_array(array)
        if not isinstance(array, np.ndarray | np.generic):
            if facts.shape(value) is not None:
                yield f"{value.name} is no tensor, but has shape {facts.shape(value)}"
            continue
        array = np.asarray(array)
        shape, dtype = facts.shape(value), facts.dtype(value)
        if dtype is not None and dtype != ir.DataType.STRING and dtype.numpy() != array.dtype:
            yield f"{value.name}: dtype {dtype} is {array.dtype}"
        if shape is None:
            continue
        found = [evaluate(dim, bindings) for dim in shape]
        if len(found) != array.ndim or any(f not in (None, d) for f, d in zip(found, array.shape, strict=True)):
            yield f"{value.name}: shape {shape} is {array.shape}"
            continue
        known = facts.value(value)
        if known is None:
            continue
        elements: list[Any] = list(known.flat)
        for claimed, real in zip(elements, array.reshape(-1).tolist(), strict=True):
            if isinstance(claimed, Ratio):
                top = evaluate(claimed.numerator, bindings)
                expected = None if top is None else top / claimed.denominator
            else:
                expected = claimed if isinstance(claimed, float) else evaluate(claimed, bindings)
            if expected is not None and not np.isclose(float(expected), float(real), rtol=1e-6, equal_nan=True):
                yield f"{value.name}: value {known} is {array}"
                break


def symbolic(model: onnx.ModelProto, inputs: Sequence[Any]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model with every dim of its inputs a symbol of its own, and what each symbol is in the case."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    bindings: dict[str, int] = {}
    for i, (port, array) in enumerate(zip(model.graph.input, inputs, strict=False)):
        if not port.type.HasField("tensor_type") or not isinstance(array, np.ndarray):
            continue
        for axis, dim in enumerate(port.type.tensor_type.shape.dim):
            dim.dim_param = f"d{i}_{axis}"
            bindings[dim.dim_param] = array.shape[axis]
    return model, bindings


def frozen(model: onnx.ModelProto, inputs: Sequence[Any]) -> onnx.ModelProto:
    """The model with its small integer inputs as initializers, so that their numbers are known."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for port, array in zip(list(model.graph.input), inputs, strict=False):
        if isinstance(array, np.ndarray) and array.dtype in FREEZABLE and array.size < 64:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, port.name))
            model.graph.input.remove(port)
    return model
