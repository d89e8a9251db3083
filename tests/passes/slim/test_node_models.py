"""ONNX's own node models through the whole of slim: with their inputs as given, and with their inputs made constant.

Every rewrite that slimming knows takes part. The result must validate, load in onnxruntime both as written and fully
optimized, give the outputs that the original gives, be no larger, and give the same bytes when it is slimmed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxslim.analysis.validity import examine
from onnxslim.graph import load, to_bytes, validate
from onnxslim.passes.slim import Slim
from onnxslim.pipeline.context import Context
from tools.node_models import Case, node_cases

DRAWN = frozenset(
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout"]
)
EVERY = 23
"""Of this many models one is in the quick test."""

Given = list[tuple[onnx.ModelProto, dict[str, Any]]]


def given(case: Case) -> Given:
    """The model and its inputs, and the model with them as initializers; nothing where it does not take tensors."""
    model = case.model
    if not case.inputs or any(node.op_type in DRAWN for node in model.graph.node):
        return []
    try:
        arrays = [
            onnx.numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x) for x in case.inputs[0]
        ]
        feed = {value.name: array for value, array in zip(model.graph.input, arrays, strict=False)}
        tensors = [onnx.numpy_helper.from_array(array, name) for name, array in feed.items()]
    except (TypeError, ValueError, NotImplementedError, RuntimeError):  # a sequence or an optional
        return []
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.ir_version = min(max(model.ir_version, 8), 10)
    folding = onnx.ModelProto.FromString(model.SerializeToString())
    if not any(entry.domain in ("", "ai.onnx") for entry in folding.opset_import):
        folding.opset_import.add(domain="", version=17)
    del folding.graph.input[:]
    folding.graph.initializer.extend(tensors)
    for output in folding.graph.output:
        folding.graph.node.add(op_type="Identity", input=[output.name], output=[f"{output.name}__out"])
        output.name += "__out"
    return [(model, feed), (folding, {})]


def run(model: bytes, feed: dict[str, Any], optimize: bool) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


def same(a: Any, b: Any, half: bool) -> bool:
    if isinstance(a, np.ndarray) and a.dtype.kind in "fc":
        bound = 5e-3 if half or "16" in str(a.dtype) else 1e-5  # halves are computed in single where casts merge
        return a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, rtol=bound, atol=bound, equal_nan=True)
    return str(a) == str(b)


def wrongs(cases: list[Case]) -> tuple[int, list[str]]:
    """How many models ran, and what went wrong."""
    ran = 0
    found: list[str] = []
    for case in cases:
        for model, feed in given(case):
            folding = not feed and bool(case.inputs[0])
            name = f"{case.name}{' (constant)' if folding else ''}"
            data = to_bytes(load(model))
            try:
                wanted = run(model.SerializeToString(), feed, optimize=False)
            except Exception:  # onnxruntime has no kernel for it, or not for numpy's types; its errors share no base
                continue
            ran += 1
            slim = load(data)
            if fault := examine(slim).fault:
                found.append(f"{name} is taken for broken: {fault}")
            Slim().run(slim, Context())
            validate(slim)
            result = to_bytes(slim)
            again = load(result)
            Slim().run(again, Context())
            if to_bytes(again) != result:
                found.append(f"{name} changes when it is slimmed again")
            if len(result) > len(data):
                found.append(f"{name} grew from {len(data)} to {len(result)} bytes")
            found.extend(_differences(name, model, feed, result, wanted))
    return ran, found


def _differences(
    name: str, model: onnx.ModelProto, feed: dict[str, Any], result: bytes, wanted: list[Any]
) -> Iterator[str]:
    outputs = [value.name for value in model.graph.output]
    for optimize in (False, True):
        try:
            got = run(result, feed, optimize)
        except Exception as error:  # onnxruntime's errors share no public base
            try:
                run(model.SerializeToString(), feed, optimize)
            except Exception:  # nor does the original run so
                continue
            yield f"{name} no longer runs: {error}"
            continue
        for output, a, b in zip(outputs, wanted, got, strict=True):
            if not same(a, b, optimize or "16" in name):
                yield f"{name}: output {output} differs {'optimized' if optimize else 'as written'}"


def test_some_node_models_keep_their_outputs() -> None:
    ran, found = wrongs(node_cases()[::EVERY])
    assert not found
    assert ran > 100


@pytest.mark.slow
def test_all_node_models_keep_their_outputs() -> None:
    ran, found = wrongs(node_cases())
    assert not found
    assert ran > 1000
