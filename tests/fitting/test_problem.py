"""The least squares problem of a layer is solved by the layer's own weights, whatever form its bias has."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.fitting import Problem, posed
from onnxslim.graph import parse
from onnxslim.graph.edit import set_constant

GEMM = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[4,8] x) => (float[4,6] y) <float w = {0}, float c = {0}> { y = Gemm(x, w, c) }
"""


def gemm(weight: np.ndarray, c: np.ndarray) -> ir.Node:
    model = parse(GEMM)
    set_constant(model.graph.initializers["w"], weight)
    set_constant(model.graph.initializers["c"], c)
    return model.graph[0]


@pytest.mark.parametrize("shape", [(4, 6), (4, 1), (1, 6), (6,), (1,), ()])
@pytest.mark.parametrize("pruned", [False, True])
def test_the_original_weights_leave_no_error(shape: tuple[int, ...], pruned: bool) -> None:
    rng = np.random.default_rng(0)
    weight, c = rng.normal(size=(8, 6)).astype(np.float32), np.asarray(rng.normal(size=shape), np.float32)
    left = np.array([True, False, True, True, False, True]) if pruned else None
    wide = shape[-1:] == (6,)
    now = gemm(weight[:, left] if pruned else weight, c[..., left] if pruned and wide else c)
    inputs = [rng.normal(size=(4, 8)).astype(np.float32) for _ in range(8)]
    problem = posed(now, gemm(weight, c), inputs, [x @ weight + c for x in inputs], left, 1 << 30)
    assert isinstance(problem, Problem)
    assert (problem.bias is None) == (not wide or shape == (4, 6))
    assert problem.judging.error(problem.weights) < 1e-8
