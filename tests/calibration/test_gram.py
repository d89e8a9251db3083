from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.calibration import Gram
from onnxslim.execution import open_session
from onnxslim.ops.unfold import CHUNK, WIDE, Uneven, Unfold
from tests.calibration.nets import unfold_of

RNG = np.random.default_rng(0)


def node_model(node: onnx.NodeProto, x: np.ndarray, w: np.ndarray) -> ir.Model:
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, x.shape)],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))


CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    "padded": ((1, 3, 9, 8), (4, 3, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "dilated": ((1, 3, 11, 12), (4, 3, 3, 3), {"dilations": [2, 3]}),
    "grouped": ((1, 6, 7, 7), (4, 3, 3, 3), {"group": 2}),
    "depthwise": ((1, 5, 7, 7), (5, 1, 3, 3), {"group": 5, "pads": [1, 1, 1, 1]}),
    "same upper": ((1, 2, 8, 7), (3, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 2, 8, 7), (3, 2, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "1x1": ((2, 8, 4, 4), (5, 8, 1, 1), {}),
    "1-d": ((1, 3, 20), (4, 3, 5), {"strides": [3]}),
    "3-d": ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {}),
}


@pytest.mark.parametrize("case", CONVS)
def test_patches_times_weights_are_the_convolution(case: str) -> None:
    shape, weights, attributes = CONVS[case]
    x, w = RNG.standard_normal(shape, np.float32), RNG.standard_normal(weights, np.float32)
    model = node_model(onnx.helper.make_node("Conv", ["x", "w"], ["y"], **attributes), x, w)
    unfold = unfold_of(model.graph[0])
    assert isinstance(unfold, Unfold)
    table = np.concatenate(list(unfold.rows(x)), axis=1)
    y = open_session(model).run({"x": x})["y"]
    flat = w.reshape(unfold.groups, -1, unfold.features).astype(np.float64)
    found = np.einsum("grf,gof->rgo", table, flat).reshape(shape[0], -1, weights[0])
    assert np.allclose(found.transpose(0, 2, 1).reshape(y.shape), y, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "attributes", "shape", "weights"),
    [
        ("MatMul", {}, (2, 5, 6), (6, 4)),
        ("Gemm", {}, (5, 6), (6, 4)),
        ("Gemm", {"transB": 1}, (5, 6), (4, 6)),
        ("Gemm", {"transA": 1}, (6, 5), (6, 4)),
    ],
)
def test_rows_of_matrices(
    op: str, attributes: dict[str, Any], shape: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    x, w = RNG.standard_normal(shape, np.float32), RNG.standard_normal(weights, np.float32)
    model = node_model(onnx.helper.make_node(op, ["x", "w"], ["y"], **attributes), x, w)
    unfold = unfold_of(model.graph[0])
    assert isinstance(unfold, Unfold)
    y = open_session(model).run({"x": x})["y"].reshape(-1, 4).astype(np.float64)
    gram = Gram(unfold)
    gram.add(x, 0)
    matrix = w.T if attributes.get("transB") else w
    # y^T y = w^T (x^T x) w
    assert np.allclose(matrix.T @ gram.matrix[0] @ matrix, y.T @ y, atol=1e-3)
    assert np.allclose(gram.sums[0] @ matrix, y.sum(axis=0), atol=1e-4)
    assert gram.rows == len(y)


def test_chunks_add_up_and_the_matrix_is_symmetric() -> None:
    x = RNG.standard_normal((1, 32, 64, 60), np.float32)
    unfold = Unfold(32 * 9, kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1))
    tables = list(unfold.rows(x))
    assert len(tables) > 1
    assert max(table.size for table in tables) <= CHUNK
    gram = Gram(unfold)
    gram.add(x, 0)
    whole = np.concatenate(tables, axis=1)[0]
    assert np.allclose(gram.matrix[0], whole.T @ whole)
    assert np.array_equal(gram.matrix[0], gram.matrix[0].T)


@pytest.mark.parametrize("rows", [100, 150])  # of each of 8 blocks: 1,024 in all are kept
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_rows_are_kept_and_who_had_which_does_not_matter(rows: int, dtype: type) -> None:
    unfold = Unfold(WIDE)
    data: list[np.ndarray] = [RNG.standard_normal((rows, WIDE)).astype(dtype) for _ in range(8)]

    def gram(blocks: range) -> Gram:
        made = Gram(unfold)
        for block in blocks:
            made.add(data[block], block)
        return made

    whole, x = gram(range(8)), np.concatenate(data)
    merged = gram(range(5, 8)).merge(gram(range(2))).merge(gram(range(2, 5)))
    again = Gram.from_arrays(merged.to_arrays(), unfold)
    few = len(x) <= 2 * WIDE
    for each in (whole, merged, again):
        assert each.rows == len(x)
        assert (each.table is not None) == few
        assert each.matrix.tobytes() == whole.matrix.tobytes()
        assert each.sums.tobytes() == whole.sums.tobytes()
    assert whole.table is None or np.array_equal(whole.table, x)
    np.testing.assert_allclose(whole.matrix[0], x.T.astype(np.float64) @ x, atol=1e-3)
    np.testing.assert_allclose(whole.sums[0], x.sum(axis=0, dtype=np.float64), atol=1e-3)
    if few:
        arrays = merged.to_arrays()
        with pytest.raises(ValueError, match="malformed rows"):
            Gram.from_arrays({**arrays, "table": arrays["table"][1:]}, unfold)


def test_what_cannot_be_unfolded_says_why() -> None:
    x = np.ones((1, 2), np.float32)
    reasons = {
        ("Relu", (2,)): "Relu is no contraction",
        ("MatMul", (3, 2, 2)): "3 axes, not 2",
    }
    for (op, shape), reason in reasons.items():
        model = node_model(onnx.helper.make_node(op, ["x", "w"], ["y"]), x, np.ones(shape, np.float32))
        assert reason in str(unfold_of(model.graph[0]))
    model = node_model(onnx.helper.make_node("MatMul", ["x", "x"], ["y"]), x, x)
    assert unfold_of(model.graph[0]) == "the weights are not constant"
    with pytest.raises(Uneven, match="has not 4 channels"):
        next(Unfold(4, kernel=(1,), strides=(1,), dilations=(1,), pads=(0, 0)).rows(np.ones((1, 3, 5))))
    with pytest.raises(Uneven, match="has not 4 features"):
        next(Unfold(4).rows(np.ones((1, 3))))
    with pytest.raises(Uneven, match="NaN"):
        Gram(Unfold(2)).add(np.array([[1, np.nan]]), 0)
