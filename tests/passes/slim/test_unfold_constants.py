from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import load, parse, to_bytes, to_proto
from onnxslim.graph.edit import add_initializer
from onnxslim.passes.slim import Slim, UnfoldConstants
from onnxslim.passes.slim.unfold_constants import recipe
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
SMALL = UnfoldConstants(min_bytes=64)


def model_of(array: np.ndarray[Any, Any], body: str, output: str = "float[N, M] y") -> ir.Model:
    """``k`` is the array; ``x`` a matrix of the array's first shape."""
    dtype = ir.DataType.from_numpy(array.dtype).name.lower()
    model = parse(f"{HEADER} g (float[3, 8] x, {dtype}[8] z) => ({output}) {{ k = Abs(z) {body} }}")
    node = model.graph[0]
    value = ir.Value(
        name="k", const_value=ir.tensor(array, name="k"), type=ir.TensorType(ir.DataType.from_numpy(array.dtype))
    )
    node.outputs[0].name = "unused"
    value.dtype, value.shape = ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape)
    model.graph.register_initializer(value)
    node.outputs[0].replace_all_uses_with(value)
    model.graph.remove(node, safe=True)
    return model


@pytest.mark.parametrize("number", [0.0, -0.0, 2.5, np.nan, np.inf])
def test_one_value_everywhere(number: float) -> None:
    model = model_of(np.full((64, 3, 8), number, np.float32), "y = Add(x, k)", "float[A, B, C] y")
    assert_rewrites(model, model_after(model.clone(), "ConstantOfShape"), SMALL)


def model_after(model: ir.Model, operator: str) -> ir.Model:
    """What the pass gives: its operator is asserted here, its outputs by ``assert_rewrites``."""
    SMALL.run(model, Context())
    assert model.graph[0].op_type == operator
    return model


def test_the_same_along_axes() -> None:
    row = np.arange(8, dtype=np.float32)
    array = np.ascontiguousarray(np.broadcast_to(row, (64, 3, 8)))
    model = model_of(array, "y = Mul(x, k)", "float[A, B, C] y")
    after = model_after(model.clone(), "Expand")
    small = after.graph[0].inputs[0]
    assert small is not None
    assert small.const_value is not None
    assert tuple(small.const_value.shape.numpy()) == (1, 1, 8)
    assert_rewrites(model, after, SMALL)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
@pytest.mark.parametrize(("start", "step"), [(0, 1), (-7, 3), (90, -2)])
def test_integer_ranges(dtype: type, start: int, step: int) -> None:
    array: np.ndarray[Any, Any] = np.arange(start, start + 100 * step, step, dtype=dtype)
    made = recipe(ir.tensor(array), 17)
    assert made is not None
    assert made[0] == "Range"
    assert np.array_equal(np.arange(*(int(number) for number in made[1]), dtype=dtype), array)
    model = model_of(array, "f = Cast <to = 1> (k)  e = ReduceSum <keepdims = 0> (x)  y = Add(f, e)", "float[A] y")
    assert_rewrites(model, model_after(model.clone(), "Range"), SMALL)


NOTHING = {
    "one element differs": np.concatenate([np.zeros(99, np.float32), np.ones(1, np.float32)]),
    "a zero is negative": np.concatenate([np.zeros(99, np.float32), -np.zeros(1, np.float32)]),
    "floats in steps": np.arange(100, dtype=np.float32),
    "a range with a break": np.concatenate([np.arange(90), np.arange(10)]),
    "no room for the end": np.arange(32768 - 100, 32768).astype(np.int16),
    "rows that agree but for one": np.concatenate([np.tile(np.arange(8.0), (20, 1)), np.ones((1, 8))]),
}


@pytest.mark.parametrize("array", NOTHING.values(), ids=NOTHING.keys())
def test_what_nothing_simple_computes(array: np.ndarray[Any, Any]) -> None:
    assert recipe(ir.tensor(array), 17) is None


def test_small_constants_and_weights_of_convolutions_stay() -> None:
    assert_declines(model_of(np.zeros((64, 3, 8), np.float32), "y = Add(x, k)", "float[A, B, C] y"), UnfoldConstants())
    model = model_of(
        np.zeros((4, 3, 8), np.float32),
        "s = Constant <value = int64[3] {1, 3, 8}> ()  r = Reshape(x, s)  y = Conv(r, k)",
        "float[A, B, C] y",
    )
    assert_declines(model, SMALL, reason="looks for a constant in Conv")


def test_outputs_stay() -> None:
    model = parse(f"{HEADER} g (float[2] x) => (float[2] y, float[32] k) <float[32] k> {{ y = Abs(x) }}")
    value = model.graph.outputs[1]
    value.const_value = ir.tensor(np.zeros(32, np.float32), name="k")
    model.graph.register_initializer(value)
    assert_declines(model, SMALL, reason="input or an output")


def test_slimming_unfolds_last_and_does_not_fold_again() -> None:
    """A chain on the constant is folded before the result is unfolded; a second run gives the same bytes."""
    array = np.ones((4000, 3, 8), np.float32) * 128
    model = model_of(array, "a = Add(k, k)  b = Neg(a)  y = Add(x, b)", "float[A, B, C] y")
    before = to_proto(model)
    Slim().run(model, Context())
    assert [node.op_type for node in model.graph] == ["ConstantOfShape", "Add"]
    once = to_bytes(model)
    assert len(once) < 1000 < array.nbytes
    assert_same_outputs(before, model)
    again = load(once)
    assert not Slim().run(again, Context()).modified
    assert to_bytes(again) == once


def test_equal_shapes_are_stored_once() -> None:
    model = parse(f"{HEADER} g (float[N, 2, 40] x) => (float[A, B, C] y) {{ p = Abs(x) q = Abs(x) y = Add(p, q) }}")
    for i, node in enumerate(model.graph):
        if node.op_type == "Abs":
            array = np.full((2, 40), i, np.float32)
            value = add_initializer(model.graph, f"k{i}", array)
            node.outputs[0].replace_all_uses_with(value)
    SMALL.run(model, Context())
    assert [tuple(v.const_value.numpy()) for v in model.graph.initializers.values() if v.const_value] == [(2, 40)]
