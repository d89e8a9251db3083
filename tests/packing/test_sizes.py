"""Bytes that are told before anything is written, and those that onnx then takes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxslim.graph.sparse import Layout, encode
from onnxslim.packing import Content, packings, sizes
from tests.packing.arrays import bytes_of, words


def in_a_graph(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> int:
    graph = onnx.GraphProto()
    (graph.initializer if isinstance(tensor, onnx.TensorProto) else graph.sparse_initializer).append(tensor)
    return len(graph.SerializeToString())


@pytest.mark.parametrize("count", [100, 128, 129, 16384, 16385, 300_000, 2_200_000])
@pytest.mark.parametrize("zeros", [0.5, 0.99])
def test_sparse_is_what_onnx_takes(count: int, zeros: float) -> None:
    array = words(np.float32, (count,), zeros)
    content = Content.of(array)
    layout = Layout(True, ir.DataType.INT64, False, True, content.places)
    real = in_a_graph(encode(ir.Tensor(array, name="w"), layout))
    assert abs(real - sizes.sparse(content)) <= 2 * sizes.TENSOR


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8])
def test_dense_is_what_onnx_takes(dtype: np.dtype[np.generic]) -> None:
    array = words(dtype, (300, 40), 0.5)
    real = in_a_graph(numpy_helper.from_array(array, "w"))
    assert abs(real - sizes.dense(Content.of(array))) <= sizes.TENSOR


@pytest.mark.parametrize(("zeros", "values"), [(0.5, 0), (0.8, 9), (0.95, 0), (0.0, 12)])
def test_folded_is_near_what_the_file_grows_by(zeros: float, values: int) -> None:
    array = words(np.float32, (70, 60), zeros, values)
    content = Content.of(array)
    for way in packings(content):
        told = sizes.folded(content, way) + sizes.shared(way)
        first = bytes_of([([array], way)])
        assert abs(first - told - sizes.TABLES) < 550, f"{way}: {first} bytes, not {told} and the tables"
        another = bytes_of([([array], way), ([array], way)]) - first
        assert abs(another - told) < 200, f"{way}: {another} bytes, not {told}"


def test_the_best_way_is_within_a_tenth_of_the_entropy_of_a_large_tensor() -> None:
    for zeros in (0.5, 0.8, 0.9, 0.95):
        array = words(np.float32, (200_000,), zeros)
        content = Content.of(array)
        way = sizes.best(content)
        assert way is not None
        assert content.bound < bytes_of([([array], way)]) < 1.1 * content.bound


def test_what_is_slower_to_unpack_must_be_smaller() -> None:
    for zeros in np.linspace(0.05, 0.99, 20):
        content = Content.of(words(np.float32, (5000,), float(zeros)))
        best = sizes.best(content)
        assert best is not None
        taken = sizes.folded(content, best)
        assert taken <= 1.03 * min(sizes.folded(content, way) for way in packings(content))
        for way in packings(content):  # nothing is both smaller and quicker
            assert sizes.folded(content, way) >= taken or sizes.steps(content, way) >= sizes.steps(content, best)
    assert sizes.effort(3) > sizes.effort(4) == sizes.effort(8) == 1
    assert sizes.best(Content.of(words(np.float32, (5000,), 0.0))) is None
