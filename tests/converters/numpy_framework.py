"""A framework of a few lines, whose exporter can be told to make mistakes. It runs in the child without onnxslim.

A model is a two-layer net on ``x: float32[n, 3, 4, 4]``. The source's file names a fault, or none.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Step:
    def __init__(self, name: str, output: np.ndarray, users: list[int], value: str) -> None:
        self.name, self.output, self.users, self.value = name, output, users, value


class Exported:
    exporter = "the numpy exporter"
    notes = ("exported by a test",)


class Model:
    framework = "Numpy 1"
    narrows = False

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.notes: list[str] = []
        rng = np.random.default_rng(0)
        self.ramp = np.arange(1, 5, dtype=np.float32)[:, None, None]
        if fault == "indifferent":
            self.ramp *= np.float32(1e-7)
        self.kernel = rng.normal(size=(6, 3)).astype(np.float32)
        self.bias = rng.normal(size=6).astype(np.float32)
        self.weight = rng.normal(size=(6, 6)).astype(np.float32)
        if fault == "constant":
            self.weight *= 0
        self.random = np.random.default_rng()

    def example(self) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng(1).normal(size=(2, 3, 4, 4)).astype(np.float32)}

    def steps(self, feed: dict[str, np.ndarray]) -> list[Step]:
        x = feed["x"]
        if self.fault == "fails at size 5" and len(x) == 5:
            raise ValueError("5 is too many")
        if self.fault == "dropout":
            x = x * (self.random.random(x.shape) > 0.3)
        if self.fault == "float64":
            x = x.astype(np.float64)
        wide = self.fault == "float64"
        pixels = x.transpose(0, 2, 3, 1)
        scaled = pixels * self.ramp.astype(x.dtype)
        hidden = scaled @ self.kernel.T.astype(x.dtype) + self.bias
        active = np.maximum(hidden, 0).astype(np.float64 if wide else np.float32)
        pooled = active.mean((1, 2))
        y = pooled @ self.weight
        kept = np.float64 if wide else np.float32
        names = ("transpose", "scale", "affine", "relu", "pool", "matmul")
        arrays = (pixels, scaled, hidden.astype(kept), active, pooled.astype(kept), y.astype(kept))
        return [Step(n, a, [i + 1] if i < 5 else [], n) for i, (n, a) in enumerate(zip(names, arrays, strict=True))]

    def run(self, feed: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
        print("noise on standard output", flush=True)
        if self.fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        steps = self.steps(feed)
        if self.fault == "nan in framework":
            steps[5].output[0, 0] = np.nan
        return [("y", steps[5].output), ("label", steps[5].output.argmax(1))]

    def trace(self, feed: dict[str, np.ndarray]) -> list[Step]:
        return self.steps(feed)

    def export(self, options: Any) -> Exported:
        if self.fault == "no exporter":
            raise ValueError("operator foo is not known")
        perm = [0, 3, 2, 1] if self.fault == "transpose" else [0, 2, 3, 1]
        batch: int | str = "n" if options.dynamic and self.fault != "frozen" else 2
        kernel, bias, weight = self.kernel.T.copy(), self.bias, self.weight
        if self.fault == "square weight transposed":
            weight = weight.T.copy()
        if self.fault == "bias dropped":
            bias = np.zeros_like(bias)
        if self.fault == "weights rounded to fp16":
            kernel = kernel.astype(np.float16).astype(np.float32)
        relu = {"another activation": "LeakyRelu", "activation dropped": "Identity"}.get(self.fault, "Relu")
        axes = [1] if self.fault == "one axis pooled" else [1, 2]
        nodes = [
            helper.make_node("Transpose", ["x"], ["transpose"], perm=perm),
            helper.make_node("Mul", ["transpose", "ramp"], ["scale"]),
            helper.make_node("MatMul", ["scale", "kernel"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["affine"]),
            helper.make_node(relu, ["affine"], ["relu"]),
            helper.make_node("ReduceMean", ["relu"], ["pool"], axes=axes, keepdims=0),
        ]
        pool = "pool"
        if self.fault == "one axis pooled":
            nodes.append(helper.make_node("ReduceMax", ["pool"], ["most"], axes=[1], keepdims=0))
            pool = "most"
        if self.fault == "size baked in":
            nodes.append(helper.make_node("Reshape", [pool, "shape"], ["fixed"]))
            pool = "fixed"
        nodes.append(helper.make_node("MatMul", [pool, "weight"], ["y"]))
        op = "ArgMin" if self.fault == "argmin" else "ArgMax"
        nodes.append(helper.make_node(op, ["y"], ["label"], axis=1, keepdims=0))
        constants = {"ramp": self.ramp, "kernel": kernel, "bias": bias, "weight": weight, "shape": np.array([2, 6])}
        outputs = [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 6]),
            helper.make_tensor_value_info("label", TensorProto.INT64, [batch]),
        ]
        if self.fault == "outputs swapped":
            outputs.reverse()
        if self.fault == "output missing":
            outputs.pop()
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 4, 4])],
            outputs,
            [numpy_helper.from_array(each, name) for name, each in constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        if self.fault == "unknown operator":
            graph = made.graph
            graph.node[3].op_type = "Rulu"
        onnx.save(made, options.path)
        return Exported()


def load(request: Any) -> Model:
    fault = Path(request.source).read_text().strip()
    if fault == "broken file":
        raise ValueError("this is no model")
    if fault == "exit":
        sys.exit(3)
    return Model(fault)
