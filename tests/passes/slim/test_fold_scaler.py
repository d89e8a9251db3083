"""A Scaler goes into the layer behind it, or stays with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.passes.slim.fold_scaler import FoldScaler
from onnxslim.passes.slim.slim import Slim
from onnxslim.pipeline.context import Context
from tests.passes.slim.classical import fixture, operators, outputs, rows
from tests.passes.slim.tidy import TidyNumeric
from tests.rewriting import assert_declines, assert_rewrites

HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]> g '
SCALER = "s = ai.onnx.ml.Scaler <offset = [1.0, -2.0], scale = [0.5, 4.0]> (x)"
W = "float[2,2] w = {1, 2, 3, 4}"


@pytest.mark.parametrize(
    ("before", "constants", "after", "new"),
    [
        (
            f"{SCALER} y = Gemm(s, w, b)",
            f"{W}, float[2] b = {{10, 20}}",
            "y = Gemm(x, w, b)",
            "float[2,2] w = {0.5, 1, 12, 16}, float[2] b = {33.5, 51}",
        ),
        (
            f"{SCALER} y = Gemm <transB = 1, alpha = 2.0> (s, w)",
            W,
            "y = Gemm <transB = 1, alpha = 2.0> (x, w, b)",
            "float[2,2] w = {0.5, 8, 1.5, 16}, float[2] b = {31, 61}",
        ),
        (
            f"{SCALER} y = MatMul(s, w)",
            W,
            "p = MatMul(x, w) y = Add(p, b)",
            "float[2,2] w = {0.5, 1, 12, 16}, float[2] b = {23.5, 31}",
        ),
        (
            "s = ai.onnx.ml.Scaler <offset = [0.0], scale = [0.5]> (x) y = MatMul(s, w)",
            W,
            "y = MatMul(x, w)",
            "float[2,2] w = {0.5, 1, 1.5, 2}",
        ),
        (
            f"{SCALER} y = ai.onnx.ml.LinearRegressor "
            "<coefficients = [1.0, 3.0, 2.0, 4.0], intercepts = [10.0, 20.0], targets = 2> (s)",
            "",
            "y = ai.onnx.ml.LinearRegressor "
            "<coefficients = [0.5, 12.0, 1.0, 16.0], intercepts = [33.5, 51.0], targets = 2> (x)",
            "",
        ),
    ],
)
def test_it_is_multiplied_in(before: str, constants: str, after: str, new: str) -> None:
    ports = "(float[N, 2] x) => (float[N, 2] y)"
    first = f"{HEAD}{ports} {f'<{constants}>' if constants else ''} {{ {before} }}"
    second = f"{HEAD}{ports} {f'<{new}>' if new else ''} {{ {after} }}"
    assert_rewrites(first, second, TidyNumeric(FoldScaler()))


@pytest.mark.parametrize(
    ("x", "nodes", "reason"),
    [
        ("float[N, 2] x", f"{SCALER} p = MatMul(s, w) y = Add(p, s)", "another use"),
        ("double[N, 2] x", f"{SCALER} y = MatMul(s, w)", "matrix of float32"),
        ("float[2] x", f"{SCALER} y = MatMul(s, w)", "matrix of float32"),
        ("float[N, 2] x", f"{SCALER} y = MatMul(s, x)", "no constant matrix"),
        ("float[N, 2] x", f"{SCALER} y = Gemm <transA = 1> (s, w)", "do not allow it"),
        (
            "float[N, 2] x",
            "s = ai.onnx.ml.Scaler <offset = [100.0, 0.0], scale = [1.0, 1.0]> (x) y = MatMul(s, w)",
            "times the spread",
        ),
    ],
)
def test_it_stays(x: str, nodes: str, reason: str) -> None:
    output = "float[2] y" if x == "float[2] x" else "float y"
    text = f"{HEAD}({x}) => ({output}) <{W}> {{ {nodes} }}"
    assert_declines(text, FoldScaler(), reason=reason)


@pytest.mark.parametrize(
    ("name", "gone"),
    [("scaled_logistic", "Scaler"), ("scaled_ridge", "Scaler"), ("scaled_network", "Scaler")],
)
def test_pipelines_lose_their_scaler(name: str, gone: str) -> None:
    model = fixture(name)
    assert gone in operators(model)
    Slim().run(model, Context())
    assert gone not in operators(model)
    *labels, scores = outputs(model, rows(name))
    *old_labels, old_scores = outputs(fixture(name), rows(name))
    np.testing.assert_allclose(scores, old_scores, rtol=1e-4, atol=1e-5)
    for a, b in zip(labels, old_labels, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_behind_a_scaler_is_all_gemm() -> None:
    model = fixture("scaled_network")
    Slim().run(model, Context())
    assert [name for name in operators(model) if name in ("Gemm", "MatMul", "Add")] == ["Gemm", "Gemm"]
