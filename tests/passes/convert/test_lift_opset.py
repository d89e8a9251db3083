"""Every adapter keeps what onnxruntime computes, whatever the opset the model came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.execution import open_session
from onnxslim.graph import load, parse, to_bytes
from onnxslim.passes.convert.lift_opset import LiftOpset
from onnxslim.pipeline import Context
from tests.rewriting import assert_declines

X = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)


def model(
    op: str, opset: int, *, constants: dict[str, np.ndarray] | None = None, ir_version: int = 6, **attributes: Any
) -> onnx.ModelProto:
    """x -> op -> y, with constants as further inputs."""
    from onnx import numpy_helper

    constants = constants or {}
    node = helper.make_node(op, ["x", *constants], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64 if op == "ArgMax" else TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    if ir_version < 4:
        graph.input.extend(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in constants.items()
        )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


CASES = {
    "softmax on the last axis": model("Softmax", 11, axis=3),
    "softmax with its old default axis": model("Softmax", 12),
    "softmax flattening from axis 2": model("Softmax", 9, axis=2),
    "softmax with a negative axis": model("LogSoftmax", 11, axis=-2),
    "hardmax": model("Hardmax", 11),
    "squeeze": model("Squeeze", 9, axes=[0]),
    "squeeze without axes": model("Squeeze", 11),
    "unsqueeze": model("Unsqueeze", 11, axes=[0, -1]),
    "reduce sum": model("ReduceSum", 11, axes=[1, 2], keepdims=0),
    "reduce sum of all": model("ReduceSum", 9),
    "clip both": model("Clip", 9, min=-0.5, max=0.25),
    "clip one": model("Clip", 7, min=0.0),
    "pad": model("Pad", 9, pads=[0, 0, 1, 2, 0, 0, 0, 1], value=2.5),
    "pad reflecting": model("Pad", 10, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
    "slice": model("Slice", 9, starts=[0, 1], ends=[1, 100], axes=[1, 2]),
    "dropout": model("Dropout", 9, ratio=0.3),
    "dropout of 11": model("Dropout", 11, ratio=0.3),
    "upsample": model("Upsample", 9, constants={"s": np.array([1, 1, 2, 3], np.float32)}, mode="nearest"),
    "upsample linear": model("Upsample", 9, constants={"s": np.array([1, 1, 2, 2], np.float32)}, mode="linear"),
    "resize of 10": model("Resize", 10, constants={"s": np.array([1, 1, 1.5, 1.5], np.float32)}, mode="nearest"),
    "arg max": model("ArgMax", 11, axis=1),
    "average pool": model("AveragePool", 9, kernel_shape=[2, 2]),
    "max pool": model("MaxPool", 8, kernel_shape=[2, 2]),
    "gemm-less add before IR 4": model("Add", 9, constants={"c": np.array([3], np.float32)}, ir_version=3),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_same(name: str) -> None:
    proto = CASES[name]
    x = X[:1] if name == "squeeze" else X
    expected = open_session(proto).run({"x": x})
    lifted = load(proto)
    result = LiftOpset().run(lifted, Context())
    assert result.modified
    assert lifted.opset_imports[""] == 13
    actual = open_session(lifted).run({"x": x})
    lifted.graph.outputs[0].shape = ir.Shape(actual["y"].shape)  # the checker wants one
    onnx.checker.check_model(to_bytes(lifted), full_check=True)
    np.testing.assert_array_equal(actual["y"], expected["y"])


def test_split_keeps_its_sizes() -> None:
    text = """
    <ir_version: 7, opset_import: ["" : 11]>
    g (float[N,7] x) => (float[N,3] a, float[N,4] b) { a, b = Split <axis = 1, split = [3, 4]> (x) }
    """
    lifted = parse(text)
    LiftOpset().run(lifted, Context())
    x = X.reshape(-1, 4)[:6].reshape(-1)[:21].reshape(3, 7)
    for name, array in open_session(parse(text)).run({"x": x}).items():
        np.testing.assert_array_equal(open_session(lifted).run({"x": x})[name], array)


def test_nodes_in_subgraphs_are_lifted_too() -> None:
    text = """
    <ir_version: 7, opset_import: ["" : 11]>
    g (bool c, float[2,3] x) => (float[1,2,3] y) {
        y = If (c) <
            then_branch = t () => (float[1,2,3] p) { p = Unsqueeze <axes = [0]> (x) },
            else_branch = e () => (float[1,2,3] q) { n = Neg(x) q = Unsqueeze <axes = [0]> (n) }
        >
    }
    """
    lifted = parse(text)
    LiftOpset().run(lifted, Context())
    onnx.checker.check_model(to_bytes(lifted), full_check=True)
    for c in (True, False):
        feed = {"c": np.array(c), "x": X.reshape(-1)[:6].reshape(2, 3)}
        np.testing.assert_array_equal(open_session(lifted).run(feed)["y"], open_session(parse(text)).run(feed)["y"])


def test_what_has_no_adapter_is_left_alone_with_a_reason() -> None:
    text = """
    <ir_version: 7, opset_import: ["" : 6]> g (float[3] x) => (float[3] y) { y = Relu(x) }
    """
    assert_declines(text, LiftOpset(), reason="opset 6 is older than 7")
    masked = """
    <ir_version: 7, opset_import: ["" : 9]> g (float[3] x) => (float[3] y, float[3] z) {
        y, m = Dropout <ratio = 0.5> (x)
        z = Relu(m)
    }
    """
    assert_declines(masked, LiftOpset(), reason="its mask is used")


def test_a_model_of_today_is_not_touched() -> None:
    assert_declines(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) { y = Softmax(x) }', LiftOpset()
    )
