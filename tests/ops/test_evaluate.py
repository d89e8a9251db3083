import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.ops import evaluate as module
from onnxslim.ops.evaluate import CannotEvaluate, evaluate, output_bytes


def node(op: str, count: int, outputs: int = 1, /, **attributes: Any) -> ir.Node:
    inputs = [ir.val(f"x{i}") for i in range(count)]
    return ir.node(op, inputs, attributes, outputs=[ir.val(f"y{i}") for i in range(outputs)])


def tensors(*arrays: Any) -> list[ir.TensorProtocol | None]:
    return [None if a is None else ir.tensor(np.asarray(a)) for a in arrays]


I64: Any = np.int64
F32: Any = np.float32
RANGES = list(itertools.product((-9, -2, 0, 1, 4, 9), (-9, -3, 0, 2, 5, 9), (-2, -1, 1, 3)))
CASES = [
    ("Div", tensors(I64([-7, 7, -8, 8]), I64([2, -2, 2, -2])), {}),
    ("Div", tensors(F32([1, -1, 0]), F32([0, 0, 0])), {}),
    ("Add", tensors(np.array([127], np.int8), np.array([1], np.int8)), {}),
    ("Sub", tensors(np.array([0], np.uint8), np.array([1], np.uint8)), {}),
    ("Mul", tensors(F32([[1], [2]]), F32([3, 4])), {}),
    ("Cast", tensors(F32([1.9, -1.9, 0.5, -0.0])), {"to": 7}),
    ("Cast", tensors(F32([0.0, np.nan, -0.1])), {"to": 9}),
    ("Cast", tensors(I64([300, -1])), {"to": 2}),
    ("Cast", tensors(F32([300.7, -5.0, np.nan, np.inf])), {"to": 6}),
    ("Cast", tensors(F32([1e6, 1.0])), {"to": 10}),
    ("Cast", tensors(np.array([True, False])), {"to": 1}),
    ("Shape", tensors(np.zeros((2, 3, 4), F32)), {"start": -2}),
    ("Shape", tensors(np.zeros((2, 3, 4), F32)), {"start": 1, "end": -1}),
    ("Shape", tensors(np.zeros((2, 3, 4), F32)), {"start": 2, "end": 1}),
    ("Size", tensors(np.zeros((2, 3), F32)), {}),
    ("Gather", tensors(np.arange(12).reshape(3, 4), I64([[-1, 0]])), {"axis": 1}),
    ("Gather", tensors(np.arange(3), I64(-2)), {}),
    ("Reshape", tensors(np.zeros((2, 3, 4), F32), I64([0, -1])), {}),
    ("Reshape", tensors(np.zeros((0, 3), F32), I64([3, 0])), {"allowzero": 1}),
    ("Squeeze", tensors(np.zeros((1, 3, 1), F32)), {}),
    ("Squeeze", tensors(np.zeros((1, 3, 1), F32), I64([-1])), {}),
    ("Unsqueeze", tensors(F32([1, 2]), I64([0, -1])), {}),
    ("Transpose", tensors(np.arange(6).reshape(1, 2, 3)), {}),
    ("Transpose", tensors(np.arange(6).reshape(1, 2, 3)), {"perm": [2, 0, 1]}),
    ("Concat", tensors(I64([1]), I64([]), I64([2, 3])), {"axis": -1}),
    ("Where", tensors(np.array([True, False]), F32([1, 2]), F32(9)), {}),
    ("Expand", tensors(F32([[1], [2]]), I64([1, 3])), {}),
    ("Expand", tensors(F32([1, 2]), I64([1])), {}),
    ("ConstantOfShape", tensors(I64([2, 0])), {}),
    ("Range", tensors(I64(5), I64(-1), I64(-2)), {}),
    ("Range", tensors(F32(0), F32(1), F32(0.3)), {}),
    ("Equal", tensors(F32([np.nan, 0.0]), F32([np.nan, -0.0])), {}),
    ("Sqrt", tensors(F32([-1, 2])), {}),
    ("Not", tensors(np.array([True])), {}),
    *(
        ("Slice", tensors(np.arange(10).reshape(2, 5), I64([a]), I64([b]), I64([-1]), I64([step])), {})
        for a, b, step in RANGES
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES)
def test_kernels_give_the_bits_of_onnxruntime(
    op: str, inputs: list[ir.TensorProtocol | None], attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = node(op, len(inputs), **attributes)
    (ours,) = evaluate(it, inputs, 17)
    monkeypatch.setattr(module, "KERNELS", {})
    (theirs,) = evaluate(it, inputs, 17)
    assert ours is not None
    assert theirs is not None
    assert ours.dtype == theirs.dtype
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert ours.tobytes() == theirs.tobytes() or np.isnan(theirs.numpy()).any()


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Exp", tensors(F32([1, 2])), {}),
        ("MatMul", tensors(np.ones((2, 2), np.float16), np.ones((2, 2), np.float16)), {}),
        ("CumSum", tensors(F32([1, 2, 3]), np.int32(0)), {}),
    ],
)
def test_the_rest_goes_to_onnxruntime(
    op: str, inputs: list[ir.TensorProtocol | None], attributes: dict[str, Any]
) -> None:
    (found,) = evaluate(node(op, len(inputs), **attributes), inputs, 17)
    assert found is not None
    assert found.size


def test_several_outputs() -> None:
    found = evaluate(node("Split", 2, 2, axis=0), tensors(np.arange(4), I64([1, 3])), 17)
    assert [t.numpy().tolist() for t in found if t is not None] == [[0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("ConstantOfShape", tensors(I64([100_000, 100_000]))),
        ("Expand", tensors(F32([1]), I64([100_000, 100_000]))),
        ("Tile", tensors(F32([1]), I64([10_000_000_000]))),
        ("Range", tensors(I64(0), I64(10_000_000_000), I64(1))),
        ("OneHot", tensors(I64([1]), I64(10_000_000_000), F32([0, 1]))),
    ],
)
def test_giants_are_refused_before_anything_is_allocated(op: str, inputs: list[ir.TensorProtocol | None]) -> None:
    with pytest.raises(CannotEvaluate, match=r"would take [\d,]+ bytes|not known beforehand"):
        evaluate(node(op, len(inputs)), inputs, 17)


def test_a_limit_is_kept_to_the_byte() -> None:
    it, inputs = node("ConstantOfShape", 1), tensors(I64([25]))
    assert output_bytes(it, inputs, 17) == 100
    assert evaluate(it, inputs, 17, max_bytes=100)[0] is not None
    with pytest.raises(CannotEvaluate, match="would take 100 bytes"):
        evaluate(it, inputs, 17, max_bytes=99)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Gather", tensors(I64([1, 2]), I64([5]))),
        ("Reshape", tensors(I64([1, 2]), I64([3]))),
        ("Add", tensors(I64([1, 2, 3]), I64([1, 2]))),
        ("NoSuchOperator", tensors(I64([1]))),
    ],
)
def test_an_invalid_node_is_a_reason_not_a_crash(op: str, inputs: list[ir.TensorProtocol | None]) -> None:
    with pytest.raises(CannotEvaluate):
        evaluate(node(op, len(inputs)), inputs, 17)


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize(("a", "b", "reason"), [(1, 0, "by zero"), (np.iinfo(I64).min, -1, "overflows")])
def test_divisions_that_trap_never_reach_the_runtime(op: str, a: int, b: int, reason: str) -> None:
    with pytest.raises(CannotEvaluate, match=reason):
        evaluate(node(op, 2), tensors(I64([a]), I64([b])), 17)


def test_mod_of_sound_integers() -> None:
    (found,) = evaluate(node("Mod", 2), tensors(I64([-7, 7]), I64([3, -3])), 17)
    assert found is not None
    assert found.numpy().tolist() == [2, -2]


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "attributes"),
    [
        ("GatherND", tensors(np.zeros((3, 3, 2), F32), I64([0])), 1, {"batch_dims": -1}),
        ("Split", tensors(np.zeros((4, 3), F32)), 3, {"num_outputs": 2}),
    ],
)
def test_what_would_end_the_process_within_onnx_is_refused(
    op: str, inputs: list[ir.TensorProtocol | None], outputs: int, attributes: dict[str, int]
) -> None:
    with pytest.raises(CannotEvaluate, match="is no"):
        output_bytes(node(op, len(inputs), outputs, **attributes), inputs, 18)
