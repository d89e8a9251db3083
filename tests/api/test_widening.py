"""Weights in half precision behind a Cast are constants to every lossy verb, and those that are left stay halves."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxslim
from onnxslim.api.result import Result
from onnxslim.graph import to_proto
from tests.ops.channels.nets import model
from tests.rewriting import assert_same_outputs


@cache
def net(kind: str = "dense") -> onnx.ModelProto:
    """Weights of float16, with a Cast to float32 each, as converters and compressors write them."""
    rng = np.random.default_rng(0)

    def half(*shape: int) -> np.ndarray:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]), np.float16)

    if kind == "dense":
        nodes: list[Any] = ["MatMul x w -> h", "Add h k -> a", "Relu a -> r", "MatMul r v -> y"]
        numbers = {"w": half(64, 96), "k": half(96), "v": half(96, 48)}
        inputs: dict[str, list[str | int]] = {"x": ["N", 64]}
    else:
        normal = [half(32), half(32), half(32), np.abs(half(32)) + np.float16(1)]
        nodes = ["Conv x w -> h", "BatchNormalization h s b m q -> a", "Relu a -> r", "Conv r v -> y"]
        numbers = {"w": half(32, 16, 3, 3), "v": half(24, 32, 3, 3), **dict(zip("sbmq", normal, strict=True))}
        inputs = {"x": [1, 16, 10, 10]}
    made = model(nodes, {name: array.astype(np.float32) for name, array in numbers.items()}, inputs=inputs)
    for tensor in made.graph.initializer:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numbers[name], f"{name}_16"))
        made.graph.node.insert(0, helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    return made


def samples(kind: str = "dense") -> list[dict[str, np.ndarray]]:
    """Inputs of few directions, so that channels and weights can make up for others."""
    rng = np.random.default_rng(1)
    shape = (16, 64) if kind == "dense" else (1, 16, 10, 10)
    mixing = rng.standard_normal((8, int(np.prod(shape[1:]))))
    return [
        {"x": (rng.standard_normal((shape[0], 8)) @ mixing).reshape(shape).astype(np.float32) / 3} for _ in range(24)
    ]


def written(result: Result) -> tuple[onnx.ModelProto, list[str], dict[str, int]]:
    proto = to_proto(result.model)
    onnx.checker.check_model(proto)
    large = {each.name: each.data_type for each in proto.graph.initializer if np.prod(each.dims) > 64}
    return proto, [each.op_type for each in proto.graph.node], large


def decibels(result: Result) -> float:
    """Of the worst part of the outputs."""
    parity = result.report.parity
    assert parity is not None
    assert parity.sqnr is not None
    return float(parity.sqnr)


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
def test_quantize_takes_them(kind: str) -> None:
    result = onnxslim.quantize(
        net(kind), samples=samples(kind), search=False, rest="int8", bench=False, target="x86-vnni"
    )
    proto, ops, _ = written(result)
    assert result.report.decision == "quantized"
    matrices = [each.data_type for each in proto.graph.initializer if len(each.dims) > 1 and each.dims[1] > 1]
    # The last convolution is computed in float, for nothing after it reads int8: its weights are stored in int8 alone.
    assert matrices == [TensorProto.INT8, TensorProto.INT8]
    assert ops.count("Cast") == (kind != "dense")
    assert "BatchNormalization" not in ops  # which is folded, for the weights are constants
    assert written(result)[0].ByteSize() < 0.9 * net(kind).ByteSize()
    assert decibels(result) > 25


@pytest.mark.parametrize("kind", ["dense", "convolutions"])
def test_prune_stores_what_is_left_as_it_was(kind: str) -> None:
    result = onnxslim.prune(net(kind), samples=samples(kind), ratio=0.5, bench=False)
    _, ops, large = written(result)
    assert result.report.decision == "pruned"
    assert set(large.values()) == {TensorProto.FLOAT16}
    assert ops.count("Cast") >= len(large)
    assert written(result)[0].ByteSize() < 0.65 * net(kind).ByteSize()
    assert decibels(result) > 8
    assert any("half precision" in note for note in result.report.notes)


def test_sparsify_packs_halves() -> None:
    result = onnxslim.sparsify(net(), samples=samples(), sparsity=0.6, bench=False)
    assert result.report.decision == "sparsified"
    assert written(result)[0].ByteSize() < 0.75 * net().ByteSize()
    assert result.report.output is not None
    found = [each for each in result.report.output.tensors if each.elements > 1024]
    assert len(found) == 2
    assert {each.dtype for each in found} == {"float16"}
    assert sum(each.zeros for each in found) > 0.55 * sum(each.elements for each in found)
    kept = onnxslim.sparsify(net(), samples=samples(), values="float16", bench=False)
    assert kept.report.decision == "kept all weights"
    assert kept.report.reason == "its weights are float16 already: values float16 changes nothing"


def test_what_nothing_comes_of_stays_half() -> None:
    result = onnxslim.quantize(net(), samples=samples(), search=False, bench=False, min_sqnr=200)
    proto, _, large = written(result)
    assert result.report.decision == "kept float"
    assert set(large.values()) == {TensorProto.FLOAT16}
    assert proto.ByteSize() <= net().ByteSize()
    assert_same_outputs(net(), proto)


def test_statistics_are_of_the_same_values(tmp_path: Path) -> None:
    found = onnxslim.calibrate(net(), tmp_path / "s.npz", samples=samples())
    assert found.entries
    result = onnxslim.quantize(net(), samples=samples(), stats=[tmp_path / "s.npz"], search=False, bench=False)
    assert result.report.decision == "quantized"


def test_zeros_alone_take_no_more_bytes() -> None:
    result = onnxslim.sparsify(net(), samples=samples(), sparsity=0.5, bench=False, encoding="dense")
    proto, _, large = written(result)
    assert result.report.decision == "sparsified"
    assert set(large) == {"w_16", "v_16", "k_16"}
    assert proto.ByteSize() <= net().ByteSize()
