"""What is said of Conv, ConvTranspose, Gemm and MatMul, held against onnxruntime; and that nobody else says it."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxslim
from onnxslim.execution import open_session
from onnxslim.ops.contraction import TRANSPOSES, Contraction, bias_of, contraction_of
from onnxslim.ops.unfold import Unfold

PRODUCT = Path(onnxslim.__file__).parent
WRITERS = {
    "passes/slim/fuse_gemm.py",  # a Transpose goes, and the Gemm behind it gets the flag
    "passes/slim/fold_scaler.py",  # a Scaler goes into the weights of a Gemm, which keeps its flags
    "passes/slim/fuse_fused_matmul.py",  # FusedMatMul takes the flags of Transposes that go
}
"""What gives an operator such a flag. They read its name from `TRANSPOSES`."""


def model(op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], slot: int = 1) -> tuple[ir.Model, Any]:
    """One node with random weights in ``slot``, and its other input and weights."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    names = ["x", "w"] if slot else ["w", "x"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, names, ["y"], **attributes)],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, arrays[0].shape)],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(arrays[1], "w")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(proto), arrays


def known(node: ir.Node, slot: int = 1) -> Contraction:
    found = contraction_of(node, slot)
    assert isinstance(found, Contraction)
    return found


def rows_times_matrix(found: Contraction, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``[rows, outputs]``: the unfolded input times the matrix, group by group."""
    assert isinstance(found.unfold, Unfold)
    rows = np.concatenate(list(found.unfold.rows(x)), axis=1)
    made: np.ndarray = np.einsum("grf,gof->rgo", rows, found.matrix(w))
    return made.reshape(rows.shape[1], -1)


def scales(found: Contraction, x: np.ndarray, w: np.ndarray, channels: int) -> tuple[np.ndarray, ...]:
    """Input and weights that undo each other's factors of the input channels, and factors of the outputs."""
    rng = np.random.default_rng(1)
    by_input, by_output = rng.uniform(0.5, 2, found.inputs), rng.uniform(0.5, 2, found.outputs)
    assert found.outputs == channels
    ahead = [1] * x.ndim
    ahead[found.data_axis] = -1
    changed = w * found.along(1 / by_input, found.input_axis) * found.along(by_output, found.output_axis)
    assert changed.shape == w.shape
    return (x * by_input.reshape(ahead)).astype(np.float32), changed, by_output


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    rank, groups = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))

    def ints(low: int, high: int, count: int = rank) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    (each_in, each_out), kernel = ints(1, 3, 2), ints(1, 3)
    attributes = {"group": groups, "strides": ints(1, 2), "dilations": ints(1, 2), "pads": ints(0, 2, 2 * rank)}
    shapes = [(2, groups * each_in, *[7] * rank), (groups * each_out, each_in, *kernel)]
    made, (x, w) = model("Conv", shapes, attributes)
    found, session = known(made.graph[0]), open_session(made)
    assert found.places == math.prod(kernel)
    assert found.matrix(w).shape == (groups, each_out, each_in * found.places)
    assert np.array_equal(found.with_matrix(found.matrix(w)), w)
    np.testing.assert_array_equal(
        found.by_channel(w), w.reshape(groups, each_out, each_in, -1).sum(axis=3), strict=True
    )
    y = np.moveaxis(session.run({"x": x})["y"], 1, -1)
    np.testing.assert_allclose(rows_times_matrix(found, x, w).reshape(y.shape), y, atol=1e-4)
    other, changed, by_output = scales(found, x, w, groups * each_out)
    np.testing.assert_allclose(rows_times_matrix(found, other, changed).reshape(y.shape), y * by_output, atol=1e-3)


@pytest.mark.parametrize("flags", [{}, {"transA": 1}, {"transB": 1}, {"transA": 1, "transB": 1}, {"transB": 2}])
def test_gemm(flags: dict[str, int]) -> None:
    across, turned = flags.get("transA"), flags.get("transB")
    made, (x, w) = model("Gemm", [(6, 5) if across else (5, 6), (4, 6) if turned else (6, 4)], {**flags, "alpha": 0.5})
    found = known(made.graph[0])
    assert (found.scaled, found.alpha, found.beta) == (True, 0.5, 1.0)
    assert np.array_equal(found.with_matrix(found.matrix(w)), w)
    assert np.shares_memory(found.matrix(w), w)
    y = open_session(made).run({"x": x})["y"]
    np.testing.assert_allclose(0.5 * rows_times_matrix(found, x, w), y, atol=1e-5)
    other, changed, by_output = scales(found, x, w, 4)
    np.testing.assert_allclose(0.5 * rows_times_matrix(found, other, changed), y * by_output, atol=1e-4)


def test_matmul_on_either_side() -> None:
    made, (x, w) = model("MatMul", [(2, 5, 6), (6, 4)], {})
    found = known(made.graph[0])
    y = open_session(made).run({"x": x})["y"]
    np.testing.assert_allclose(rows_times_matrix(found, x, w).reshape(y.shape), y, atol=1e-5)
    made, (x, w) = model("MatMul", [(2, 6, 3), (4, 6)], {}, slot=0)
    found = known(made.graph[0], 0)
    y = np.moveaxis(open_session(made).run({"x": x})["y"], 1, -1)
    np.testing.assert_allclose(rows_times_matrix(found, x, w).reshape(y.shape), y, atol=1e-5)
    assert not found.rowwise
    assert np.array_equal(found.with_matrix(found.matrix(w)), w)


def test_a_batch_of_matrices_has_a_group_for_each() -> None:
    made, (x, w) = model("MatMul", [(2, 3, 5, 6), (2, 3, 6, 4)], {})
    found = known(made.graph[0])
    assert found.unfold == "the weights have 4 axes, not 2"
    assert np.array_equal(found.matrix(w), w.reshape(6, 6, 4).transpose(0, 2, 1))
    assert np.array_equal(found.with_matrix(found.matrix(w)), w)
    ones = found.with_matrix(np.ones((6, 4, 1)))
    assert ones.shape == (2, 3, 1, 4)
    y = open_session(made).run({"x": x})["y"]
    np.testing.assert_allclose(x @ (w * found.along(np.arange(4.0), found.output_axis)), y * np.arange(4), atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_each_pixel_of_a_transposed_convolution_is_spread_by_the_matrix(groups: int) -> None:
    strides = {"group": groups, "strides": [2, 3]}  # as large as the kernel: outputs do not overlap
    made, (x, w) = model("ConvTranspose", [(2, 2 * groups, 4, 5), (2 * groups, 3, 2, 3)], strides)
    found = known(made.graph[0])
    assert not found.rowwise
    matrix = found.matrix(w)
    assert matrix.shape == (groups, 3 * 2 * 3, 2)
    assert np.array_equal(found.with_matrix(matrix), w)
    y = open_session(made).run({"x": x})["y"]
    pixels = x.reshape(2, groups, 2, 4, 5)
    spread = np.einsum("gof,ngfhw->ngohw", matrix, pixels).reshape(2, groups, 3, 2, 3, 4, 5)
    np.testing.assert_allclose(spread.transpose(0, 1, 2, 5, 3, 6, 4).reshape(y.shape), y, atol=1e-5)
    other, changed, by_output = scales(found, x, w, 3 * groups)
    made.graph.initializers["w"].const_value = ir.tensor(changed.astype(np.float32), name="w")
    again = open_session(made).run({"x": other})["y"]
    np.testing.assert_allclose(again, y * by_output.reshape(1, -1, 1, 1), atol=1e-4)
    if groups == 1:
        np.testing.assert_allclose(rows_times_matrix(found, x, w)[0], spread[0].reshape(18, 20)[:, 0], atol=1e-5)
    else:
        assert found.unfold == "it is a ConvTranspose of groups"


def test_one_feature_is_broadcast_to_the_shape() -> None:
    for op, shape in (("Conv", (4, 3, 2, 2)), ("ConvTranspose", (4, 3, 2, 2)), ("Gemm", (4, 3))):
        node = ir.node(op, [ir.val("x"), ir.val("w")], {"group": 2} if op == "Conv" else {})
        found = contraction_of(node, shape=shape)
        assert isinstance(found, Contraction)
        array = np.arange(np.prod(shape)).reshape(shape)
        column = found.matrix(array)[..., :1]
        same = np.broadcast_to(column, found.matrix(array).shape)
        assert np.array_equal(np.broadcast_to(found.with_matrix(column), shape), found.with_matrix(same))


def test_reasons_and_biases() -> None:
    reasons = {
        ("Relu", (3,)): "Relu is no contraction that is known",
        ("MatMul", (3,)): "the weights have 1 axes, not 2",
        ("Gemm", (2, 3, 4)): "the weights have 3 axes, not 2",
        ("Conv", (2, 3)): "the weights have 2 axes, fewer than 3",
    }
    for (op, shape), reason in reasons.items():
        assert contraction_of(ir.node(op, [ir.val("x"), ir.val("w")]), shape=shape) == reason
    node = ir.node("Conv", [ir.val("x"), ir.val("w")], {"group": 2})
    assert contraction_of(node) == "the weights are not constant"
    assert contraction_of(node, 0, (4, 4, 1)) == "it reads its weights elsewhere"
    assert contraction_of(node, shape=(3, 4, 1)) == "its channels do not divide into groups"
    assert bias_of(node) == (node, None)
    node.attributes["group"] = ir.RefAttr("group", "g", ir.AttributeType.INT)
    assert contraction_of(node, shape=(4, 4, 1)) == "an attribute of it is a parameter of a function"
    product = ir.node("MatMul", [ir.val("x"), ir.val("w")])
    assert bias_of(product) == (product, None)
    bias = ir.val("b")
    add = ir.node("Add", [bias, product.outputs[0]])
    assert bias_of(product) == (add, bias)


def test_transposes_are_read_in_one_place() -> None:
    spelled, imported = set(), set()
    passes = (PRODUCT / "passes").resolve()  # a link in a checkout
    places = {path.relative_to(PRODUCT).as_posix(): path for path in PRODUCT.rglob("*.py")}
    places |= {f"passes/{path.relative_to(passes).as_posix()}": path for path in passes.rglob("*.py")}
    for place, path in places.items():
        tree = ast.parse(path.read_text())
        for part in ast.walk(tree):
            if isinstance(part, ast.Constant) and part.value in TRANSPOSES:
                spelled.add(place)
            if isinstance(part, ast.ImportFrom) and any(name.name == "TRANSPOSES" for name in part.names):
                imported.add(place)
    assert spelled == {"ops/contraction.py"}
    assert imported == WRITERS
