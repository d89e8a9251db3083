"""Long lists in attributes are packed; every parser of protobuf reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim.graph import load, save, to_bytes, to_proto
from onnxslim.graph.packed import LONG_LIST, list_bytes
from onnxslim.graph.wire import varint, varints
from tests.passes.slim.classical import FOLDER, fixture, outputs, rows


def scaler(count: int) -> onnx.ModelProto:
    values = [float(each) for each in range(count)]
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=values, scale=values)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count]) for name in "xy"]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8)


def test_varints_are_those_of_protobuf() -> None:
    numbers = [0, 1, 127, 128, 300, 2**31, 2**63 - 1]
    assert varints(np.array(numbers, np.int64)) == b"".join(map(varint, numbers))
    assert varints(np.array([-1, 5], np.int64)) == b"\xff" * 9 + b"\x01\x05"


@pytest.mark.parametrize("count", [LONG_LIST - 1, LONG_LIST, 1000])
def test_a_long_list_loses_its_tags(count: int) -> None:
    proto = scaler(count)
    plain, written = proto.SerializeToString(), to_bytes(load(proto))
    if count < LONG_LIST:
        assert len(written) == len(plain)
    else:
        assert 2 * count - 12 <= len(plain) - len(written) <= 2 * count
    assert onnx.ModelProto.FromString(written) == to_proto(load(proto))


@pytest.mark.parametrize("name", ["forest_of_two", "boosting_missing", "scaled_logistic"])
def test_a_packed_file_is_the_same_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(fixture(name), path)
    assert path.stat().st_size <= (FOLDER / f"{name}.onnx").stat().st_size
    assert onnx.load(path) == to_proto(fixture(name))
    again = tmp_path / "again.onnx"
    save(load(path), again)
    assert again.read_bytes() == path.read_bytes()
    for a, b in zip(outputs(load(path), rows(name)), outputs(fixture(name), rows(name)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["forest_of_two", "forest_of_words"])
def test_list_bytes_are_those_of_the_file(name: str) -> None:
    model = fixture(name)
    (node,) = (node for node in model.graph if node.op_type.startswith("Tree"))
    held = sum(list_bytes(each) for each in node.attributes.values() if each.type.name in ("FLOATS", "INTS", "STRINGS"))
    total = len(to_bytes(model))
    assert total - 1200 < held < total
