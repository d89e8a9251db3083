from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, parser

from onnxslim.analysis import model_cost
from tests.analysis.test_shapes import HEAD


def weights(**shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    return [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]


def model(text: str, opset: int = 17, more: str = "", **shapes: tuple[int, ...]) -> ir.Model:
    proto = parser.parse_model(HEAD.format(opset=opset, more=more) + text)
    proto.graph.initializer.extend(weights(**shapes))
    return ir.from_proto(proto)


@pytest.mark.parametrize(
    ("call", "shapes", "macs"),
    [
        ("Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w)", {"x": (2, 6, 9, 9), "w": (8, 6, 3, 3)}, 2 * 8 * 25 * 54),
        ("Conv<group = 3>(x, w)", {"x": (1, 6, 5, 5), "w": (9, 2, 3, 3)}, 9 * 9 * 2 * 9),
        ("Conv(x, w)", {"x": (1, 4, 10), "w": (5, 4, 3)}, 5 * 8 * 12),
        ("ConvTranspose<strides = [2, 2]>(x, w)", {"x": (1, 4, 5, 5), "w": (4, 3, 2, 2)}, 100 * 12),
        ("Gemm(x, w)", {"x": (3, 4), "w": (4, 5)}, 60),
        ("Gemm<transA = 1, transB = 1>(x, w)", {"x": (4, 3), "w": (5, 4)}, 60),
        ("MatMul(x, w)", {"x": (2, 7, 3, 4), "w": (7, 4, 5)}, 2 * 7 * 60),
        ("MatMul(x, w)", {"x": (4,), "w": (4, 5)}, 20),
        ("MatMul(x, w)", {"x": (3, 4), "w": (4,)}, 12),
        ('Einsum<equation = "bij,bjk->bik">(x, w)', {"x": (2, 3, 4), "w": (2, 4, 5)}, 120),
        ('Einsum<equation = "...ij,jk->...ik">(x, w)', {"x": (2, 3, 4), "w": (4, 5)}, None),
        ("Add(x, w)", {"x": (2, 3), "w": (2, 3)}, 0),
        ("com.acme.Magic(x, w)", {"x": (2, 3), "w": (2, 3)}, None),
    ],
)
def test_macs_of_one_node(call: str, shapes: dict[str, tuple[int, ...]], macs: int | None) -> None:
    dims = ", ".join(map(str, shapes["x"]))
    built = model(f"g (float[{dims}] x) => (float[a] y) {{ y = {call} }}", more=', "com.acme" : 1', w=shapes["w"])
    cost = model_cost(built)
    assert cost.total.macs == macs
    assert cost.total.parameters == np.prod(shapes["w"])
    assert cost.total.weight_bytes == 4 * np.prod(shapes["w"])
    assert len(cost.unknown) == (macs is None)
    assert cost.nodes[built.graph[0]] == cost.total


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_macs_of_recurrent_nodes(kind: str, gates: int) -> None:
    built = model(
        f"g (float[T, B, 6] x) => (float[a] y) {{ y = {kind}<hidden_size = 5>(x, w, r) }}",
        w=(1, 5 * gates, 6),
        r=(1, 5 * gates, 5),
    )
    assert model_cost(built, bindings={"T": 7, "B": 2}).total.macs == 7 * 2 * 5 * gates * 11


def test_symbolic_dims_are_bound_or_one_and_unknown_ones_are_told() -> None:
    built = model(
        "g (float[N, 4] x) => (float[a] y) { h = MatMul(x, w)  i = NonZero(x)  f = Cast<to = 1>(i)  y = MatMul(f, h) }",
        w=(4, 5),
    )
    cost = model_cost(built)
    assert cost.nodes[built.graph[0]].macs == 20
    assert model_cost(built, bindings={"N": 9}).nodes[built.graph[0]].macs == 180
    assert cost.total.macs is None
    assert [node.op_type for node in cost.unknown] == ["MatMul"]


def test_shared_weights_count_once_in_the_model() -> None:
    built = model("g (float[2, 4] x) => (float[a] y) { h = MatMul(x, w)  y = MatMul(h, w) }", w=(4, 4))
    cost = model_cost(built)
    assert cost.total.parameters == 16
    assert [cost.nodes[node].parameters for node in built.graph] == [16, 16]
    assert cost.total.macs == 64


def test_bodies_count_as_often_as_they_run() -> None:
    text = """
        g (float[2, 4] x, bool c, int64 n) => (float[a] y) {
            y = If(c) <then_branch = t () => (p) { h = MatMul(x, w)  p = MatMul(h, w) },
                       else_branch = f () => (q) { q = MatMul(x, w) }>
        }"""
    assert model_cost(model(text, w=(4, 4))).total.macs == 64
    scan = """
        g (float[7, 2, 4] x) => (float[a] y) {
            y = Scan(x) <num_scan_inputs = 1, body = b (float[2, 4] i) => (o) { o = MatMul(i, w) }>
        }"""
    assert model_cost(model(scan, w=(4, 4))).total.macs == 7 * 32
    loop = """
        g (float[2, 4] x, bool c, int64 n) => (float[a] y) {
            y = Loop(n, c, x) <body = b (int64 i, bool g, float[2, 4] p) => (on, q) { on = Identity(g)  q = BODY }>
        }"""
    assert model_cost(model(loop.replace("BODY", "MatMul(p, w)"), w=(4, 4))).total.macs is None
    assert model_cost(model(loop.replace("BODY", "Relu(p)"), w=(4, 4))).total.macs == 0
    function = """
        g (float[2, 4] x) => (float[a] y) { h = local.f(x)  y = local.f(h) }
        <domain: "local", opset_import: ["" : 17]> f (p) => (r) {
            v = Constant<value = float[4, 4] {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4}>()
            r = MatMul(p, v)
        }"""
    cost = model_cost(model(function, more=', "local" : 1'))
    assert cost.total.macs == 64
    assert cost.total.parameters == 16


def test_quantized_weights_count_their_bytes() -> None:
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [3, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, None)]
    weight = onnx.numpy_helper.from_array(np.ones((4, 5), np.int8), "w")
    proto = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [weight]))
    cost = model_cost(ir.from_proto(proto)).total
    assert (cost.macs, cost.parameters, cost.weight_bytes) == (60, 20, 20)
