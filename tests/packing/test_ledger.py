from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxslim.graph import load, to_bytes
from onnxslim.packing import TensorFacts, ledger
from onnxslim.passes.sparse.encode import Encode, Encoding
from onnxslim.pipeline import Context
from tests.ops.channels.nets import Node, model, node
from tests.packing.arrays import Array, weights

ROWS: dict[str, list[str | int]] = {"x": ["N", 24]}


def facts(proto: onnx.ModelProto, encoding: Encoding | None = None) -> dict[str, TensorFacts]:
    made = load(proto.SerializeToString())
    if encoding is not None:
        assert Encode(encoding).run(made, Context()).modified
        made = load(to_bytes(made))
    return {each.name: each for each in ledger(made)}


def linear(weight: Array, op: str | Node = "MatMul x w -> y") -> onnx.ModelProto:
    return model([op], {"w": weight}, inputs=ROWS)


def test_one_weight_is_told_in_full() -> None:
    weight = weights((24, 40), 0.8)
    weight[:, 3] = 0
    found = facts(linear(weight))["w"]
    assert (found.dtype, found.shape, found.elements, found.stored) == ("float", (24, 40), 960, "dense")
    assert found.zeros == int((weight == 0).sum())
    assert found.distinct == len(np.unique(weight[weight != 0]))
    assert found.mean_abs == pytest.approx(float(np.abs(weight).mean()))
    assert found.neurons == pytest.approx(np.abs(weight).mean(axis=0), rel=1e-3)
    assert found.neurons[3] == 0
    assert found.least == min(each for each in found.bytes.values() if each is not None)
    assert found.bytes["dense"] == 960 * 4 + 24
    assert found.bound < found.least < 960 * 4


@pytest.mark.parametrize("encoding", ["standard", "strict", "folded"])
def test_what_is_stored_otherwise_is_told_as_it_is(encoding: Encoding) -> None:
    weight = weights((24, 300), 0.8)
    before, after = facts(linear(weight))["w"], facts(linear(weight), encoding)["w"]
    assert after.stored == ("packed" if encoding == "folded" else "sparse")
    same = ("dtype", "shape", "elements", "zeros", "distinct", "mean_abs", "neurons", "bytes", "packing", "bound")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert len(facts(linear(weight), encoding)) == 1


@pytest.mark.parametrize(
    ("op", "shape", "axis"),
    [
        (node("Gemm x w -> y"), (24, 30), 1),
        (node("Gemm x w -> y", transB=1), (30, 24), 0),
        (node("MatMul x w -> y"), (24, 30), 1),
    ],
)
def test_neurons_are_outputs(op: Node, shape: tuple[int, int], axis: int) -> None:
    weight = weights(shape, 0.2)
    assert facts(linear(weight, op))["w"].neurons == pytest.approx(np.abs(weight).mean(axis=1 - axis), rel=1e-3)


def test_neurons_of_a_weight_behind_a_cast() -> None:
    weight = weights((24, 30), 0.2).astype(np.float16)
    found = facts(model([node("Cast w -> v", to=1), "MatMul x v -> y"], {"w": weight}, inputs=ROWS))["w"]
    assert found.dtype == "float16"
    assert found.neurons == pytest.approx(np.abs(weight.astype(np.float32)).mean(axis=0), rel=1e-3)


def test_neurons_of_a_convolution() -> None:
    weight = weights((6, 3, 3, 3), 0.2)
    found = facts(model(["Conv x w -> y"], {"w": weight}))["w"]
    assert found.neurons == pytest.approx(np.abs(weight).mean(axis=(1, 2, 3)), rel=1e-3)


def test_small_tensors_and_other_types_are_left_out_and_bodies_are_not() -> None:
    weight = weights((24, 30), 0.5)
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weight, ""))
    output = helper.make_tensor_value_info("z", 1, None)
    branch = helper.make_graph([constant, node("MatMul x k -> z")], "b", [], [output])
    proto = model(
        ["MatMul x w -> a", "Add a v -> b", node("If c -> y", then_branch=branch, else_branch=branch)],
        {"w": weight, "v": (30,), "c": np.array(True)},
        inputs=ROWS,
    )
    assert [each.name for each in ledger(load(proto.SerializeToString()))] == ["w", "k", "k"]


def test_numbers_that_no_mean_holds_do_not_hurt() -> None:
    weight = np.full((24, 40), 3e38, np.float32)
    assert facts(linear(weight))["w"].mean_abs == pytest.approx(3e38)
    weight[0, 0] = np.nan
    found = facts(linear(weight))["w"]
    assert math.isnan(found.mean_abs)
    assert math.isnan(found.neurons[0])
    assert found.neurons[1] == pytest.approx(3e38)
