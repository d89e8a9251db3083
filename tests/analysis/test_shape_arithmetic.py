"""Random shape arithmetic: what is inferred once, symbolically, is what onnxruntime computes at each size."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxslim.analysis import infer_shapes
from tests.analysis.backend_models import disagreements

SIZES = [(2, 3, 4), (1, 7, 2), (5, 1, 1), (3, 3, 3)]


class Generator:
    """Builds a graph on x[A, B, C] and y[B, C], op by op, knowing the length of each integer vector."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.vectors: list[tuple[str, int]] = []
        self.data = ["x", "y"]
        self.emit("Shape", ["x"], 3)
        self.emit("Shape", ["y"], 2)
        self.data.append(self.node("Add", ["x", "y"]))

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def emit(self, kind: str, inputs: list[str], length: int, **attributes: Any) -> str:
        name = self.node(kind, inputs, **attributes)
        self.vectors.append((name, length))
        return name

    def constant(self, array: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def grow(self) -> None:
        rng = self.rng
        (a, n), (b, m) = rng.choice(self.vectors), rng.choice(self.vectors)
        small = [rng.randint(1, 6) for _ in range(n)]
        choice = rng.randrange(16)
        if choice == 0 and n:
            picks = [rng.randrange(-n, n) for _ in range(rng.randint(1, 3))]
            self.emit("Gather", [a, self.constant(picks)], len(picks))
        elif choice == 1 and n + m < 9:
            self.emit("Concat", [a, b], n + m, axis=0)
        elif choice == 2:
            start, end, step = rng.randint(-1, 3), rng.randint(-4, 9), rng.choice([1, 2, -1])
            if n and -n <= start:
                length = len(np.arange(n)[start:end:step])
                indices = [self.constant([i]) for i in (start, end, 0, step)]
                self.emit("Slice", [a, *indices], length)
        elif choice == 3 and (n == m or 1 in (n, m)):
            self.emit(rng.choice(["Add", "Sub", "Min", "Max"]), [a, b], m if n == 1 else n)
        elif choice == 4:
            self.emit(rng.choice(["Div", "Mul", "Mod"]), [a, self.constant(small)], n)
        elif choice == 5:
            self.emit(rng.choice(["Neg", "Abs", "Sign", "Identity"]), [a], n)
        elif choice == 6 and n:
            kind = rng.choice(["ReduceSum", "ReduceMax", "ReduceMin"])
            axes = [self.constant([0])] if kind == "ReduceSum" else []
            self.emit(kind, [a, *axes], 1, keepdims=1, **({} if axes else {"axes": [0]}))
        elif choice == 7:
            real = self.node("Cast", [a], to=TensorProto.FLOAT)
            kind, factor = rng.choice([("Mul", 0.5), ("Mul", 2.0), ("Div", 3.0), ("Mul", 0.75), ("Mul", 0.3)])
            scaled = self.node(kind, [real, self.constant(factor, np.float32)])
            rounded = self.node(rng.choice(["Floor", "Ceil"]), [scaled])
            self.emit("Cast", [rounded], n, to=TensorProto.INT64)
        elif choice == 8 and n == m:
            test = self.node(rng.choice(["Equal", "Less", "Greater"]), [a, b])
            self.emit("Where", [test, a, self.constant(small)], n)
        elif choice == 9 and n:
            scalar = self.node("Squeeze", [self.node("Gather", [a, self.constant([0])], axis=0)])
            self.emit("Unsqueeze", [scalar, self.constant([0])], 1)
        elif choice == 10:
            clipped = self.node("Min", [self.node("Max", [a, self.constant([1])]), self.constant([4])])
            filled = self.node("ConstantOfShape", [clipped])
            self.emit("Shape", [filled], n)
        elif choice == 11:
            whole = self.rng.choice(self.data)
            self.data.append(self.node("Reshape", [whole, self.constant([-1])]))
            self.emit("Shape", [self.data[-1]], 1)
        elif choice == 12:
            whole = rng.choice(["x", "v2"])
            start, step = rng.randint(-3, 2), rng.choice([1, 1, 2, 3])
            ends = rng.choice([2**63 - 1, -1, 2, 5])
            indices = [self.constant([i]) for i in (start, ends, rng.randrange(3), step)]
            self.emit("Shape", [self.node("Slice", [whole, *indices])], 3)
        elif choice == 13:
            pads = [rng.randint(0, 2) for _ in range(6)]
            self.emit("Shape", [self.node("Pad", ["x", self.constant(pads)])], 3, start=0)
        elif choice == 14:
            repeats = [rng.randint(1, 3) for _ in range(3)]
            self.emit("Shape", [self.node("Tile", ["x", self.constant(repeats)])], 3)
        elif choice == 15:
            joined = self.node("Concat", ["x", "x"], axis=rng.randrange(3))
            self.emit("Shape", [self.node("Transpose", [joined], perm=rng.sample(range(3), 3))], 2, end=2)

    def model(self) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A", "B", "C"]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", "C"]),
        ]
        outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in self.nodes]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, feeds: list[dict[str, Any]]) -> list[list[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_inferred_values_are_what_onnxruntime_computes(seed: int) -> None:
    generator = Generator(random.Random(seed))
    for _ in range(14):
        generator.grow()
    proto = generator.model()
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.problems == ()
    feeds = [{"x": np.ones((a, b, c), np.float32), "y": np.ones((b, c), np.float32)} for a, b, c in SIZES]
    for (a, b, c), arrays in zip(SIZES, run(proto, feeds), strict=True):
        bindings = {"A": a, "B": b, "C": c}
        assert list(disagreements(facts, model.graph.outputs, arrays, bindings)) == []
    assert all(facts.rank(value) is not None for value in model.graph.outputs)


def test_the_generator_reaches_symbolic_values() -> None:
    """Were nothing followed, the test above could not fail."""
    followed = total = 0
    for seed in range(40):
        generator = Generator(random.Random(seed))
        for _ in range(14):
            generator.grow()
        model = ir.from_proto(generator.model())
        facts = infer_shapes(model)
        by_name = {value.name: value for value in model.graph.outputs}
        for name, _ in generator.vectors:
            value = facts.value(by_name[name])
            total += 1
            followed += value is not None and not any("?" in str(element) for element in value.flat)
    assert total > 400
    assert followed / total > 0.7
