"""Small models as text."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import parse


def model(graph: str, *, opset: int = 17) -> ir.Model:
    return parse(f'<ir_version: 8, opset_import: ["" : {opset}]> g {graph}')


def matmul(rows: int = 256, columns: int = 256, *, seed: int = 0) -> ir.Model:
    """``z = Relu(x w)`` with a weight large enough to be lent."""
    made = model(
        f"(float[N,{rows}] x) => (float[N,{columns}] z) <float[1] w = {{1}}> {{ t = MatMul(x, w) z = Relu(t) }}"
    )
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    value = made.graph.initializers["w"]
    value.const_value = ir.tensor(weight, name="w")
    value.shape = ir.Shape(weight.shape)
    return made


def weight_of(made: ir.Model, name: str = "w") -> np.ndarray:
    tensor = made.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()
