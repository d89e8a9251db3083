"""Embedding tables in few bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import models_zoo
from onnxslim.passes.sparse.table_codes import TableForm, forms_of, round_table
from onnxslim.passes.sparse.tables import insert, tables_of
from onnxslim.pipeline.config import Ops

RNG = np.random.default_rng(0)
ARRAY = RNG.normal(size=(700, 96)).astype(np.float32)
INT4 = TableForm("int4", block=32)
UNPACK = ["BitShift"] * 3 + ["Cast", "Concat", "Gather", "Gather", "Mul", "Reshape", "Sub"]


def model_of(nodes: list[onnx.NodeProto], array: np.ndarray = ARRAY, outputs: dict[str, int] | None = None) -> ir.Model:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ["n", "m"]),
            helper.make_tensor_value_info("j", TensorProto.INT32, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(k, kind, [None] * r) for k, r in (outputs or {"y": 3, "z": 1}).items()],
        [numpy_helper.from_array(array, "t")],
    )
    opsets = [helper.make_opsetid("", 13)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def both(axis: int = 0) -> list[onnx.NodeProto]:
    return [helper.make_node("Gather", ["t", "i"], ["y"], axis=axis), helper.make_node("Gather", ["t", "j"], ["z"])]


def run(model: ir.Model) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"i": np.array([[0, -1, 5], [699, -700, 33]]), "j": np.array(-3, np.int32), "c": np.array(True)}
    results: list[np.ndarray] = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
    return results


@pytest.mark.parametrize(
    ("form", "ops", "expected"),
    [
        (TableForm("int8", axis="row"), "standard", ["Cast", "Gather", "Gather", "Mul"] * 2),
        (TableForm("int8", axis="column"), "standard", ["Cast", "Gather", "Mul"] * 2),
        (INT4, "standard", UNPACK * 2),
        (TableForm("int4", block=16, half=True), "standard", [*UNPACK, "Cast"] * 2),
        (
            TableForm("int5", block=16, half=True),
            "standard",
            ["Cast", "Cast", "Gather", "Gather", "Mul", "Reshape"] * 2,
        ),
        (TableForm("int6", block=32), "onnxruntime", ["Cast", "Gather", "Gather", "Mul", "Reshape"] * 2),
        (INT4, "onnxruntime", ["GatherBlockQuantized"] * 2),
        (TableForm("int4", block=16, half=True), "onnxruntime", ["GatherBlockQuantized", "Cast"] * 2),
    ],
)
def test_rows_are_what_the_codes_make(form: TableForm, ops: Ops, expected: list[str]) -> None:
    """Two Gathers share one table; negative and scalar indices of both types; outputs of the model keep their names."""
    model = model_of(both())
    (table,) = tables_of(model)
    assert (table.key, table.size, len(table.consumers)) == ("t", ARRAY.size, 2)
    rounded = round_table(ARRAY, form)
    insert(model, table, rounded, ops)
    assert sorted(node.op_type for node in model.graph) == sorted(expected)
    assert "t" not in model.graph.initializers
    floats = rounded.floats()
    y, z = run(model)
    rough = 1e-3 if ops == "onnxruntime" and form.half else 0  # rows have the type of their scales there
    np.testing.assert_allclose(y, floats[[[0, -1, 5], [699, -700, 33]]], rtol=rough)
    np.testing.assert_allclose(z, floats[-3], rtol=rough)
    assert rounded.bytes() < ARRAY.nbytes / 3


@pytest.mark.parametrize("ops", ["standard", "onnxruntime"])
def test_bodies_read_the_table_of_the_graph_around_them(ops: Ops) -> None:
    def branch(places: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Gather", ["t", places], ["o"])], "b", [], [out])

    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch("i"), else_branch=branch("i"))]
    model = model_of(nodes, outputs={"y": 3})
    (table,) = tables_of(model)
    rounded = round_table(ARRAY, INT4)
    insert(model, table, rounded, ops)
    np.testing.assert_array_equal(run(model)[0], rounded.floats()[[[0, -1, 5], [699, -700, 33]]])


@pytest.mark.parametrize(
    ("nodes", "array", "reason"),
    [
        ([*both(), helper.make_node("Transpose", ["t"], ["w"])], ARRAY, "elsewhere"),
        (both(axis=1), ARRAY, "columns"),
        (both(), ARRAY.astype(np.float64), "DOUBLE"),
        (both(), np.where(ARRAY > 3, np.nan, ARRAY).astype(np.float32), "NaN"),
    ],
)
def test_other_tables_are_left_alone(nodes: list[onnx.NodeProto], array: np.ndarray, reason: str) -> None:
    said: list[str] = []
    assert tables_of(model_of(nodes, array), lambda node, why: said.append(why)) == []
    assert len(said) == 1
    assert reason in said[0]


def test_clipping_costs_no_more_than_the_largest_number() -> None:
    rounded = round_table(ARRAY, INT4)
    blocks = ARRAY.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 7
    plain = (np.clip(np.rint(blocks / scale), -8, 7) * scale).reshape(ARRAY.shape)
    assert np.square(rounded.floats() - ARRAY).sum() < 0.9 * np.square(plain - ARRAY).sum()
    assert [form.block for form in forms_of(ARRAY) if form.kind == "int4"] == [16, 32]
    with pytest.raises(ValueError, match="do not divide"):
        round_table(ARRAY, TableForm("int4", block=64))


def test_a_block_of_zeros_stays_zero() -> None:
    for form in (INT4, TableForm("int8")):
        assert not round_table(np.zeros((2, 32), np.float32), form).floats().any()


def test_scales_in_half_do_not_overflow() -> None:
    """A number of 1e30 is far beyond float16, and its square beyond float32."""
    array = np.full((1, 32), 1e30, np.float32)
    assert np.isfinite(round_table(array, TableForm("int4", half=True)).floats()).all()
    np.testing.assert_allclose(round_table(array, INT4).floats(), array, rtol=1e-6)


def test_words_of_minilm() -> None:
    """The table of words is found in the real model, 7 times smaller than float, and its rows are those computed."""
    model = ir.load(models_zoo.get("minilm_l3").path())
    (table,) = tables_of(model)
    (gather,) = table.consumers
    rounded = round_table(table.array[:2000], TableForm("int4", half=True))
    assert table.array.shape == (30522, 384)
    assert rounded.bytes() * 7 < 2000 * 384 * 4
    noise = np.square(rounded.floats() - table.array[:2000]).sum()
    assert 10 * np.log10(np.square(table.array[:2000]).sum() / noise) > 20
    name = gather.outputs[0].name
    insert(model, table, rounded)
    assert [node.op_type for node in model.graph if node.outputs[0].name == name] == ["Reshape"]
    onnx.checker.check_model(ir.to_proto(model))
