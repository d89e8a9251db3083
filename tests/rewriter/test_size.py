from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnxslim.graph import to_proto
from onnxslim.rewriter.size import LARGE, framed, tensor_bytes


def written(tensor: ir.TensorProtocol, name: str) -> int:
    """Bytes that the tensor takes as an initializer of that name, by protobuf."""
    graph = ir.Graph([], [], nodes=[], name="g", opset_imports={"": 17})
    graph.register_initializer(ir.Value(name=name, const_value=tensor))
    (proto,) = to_proto(ir.Model(graph, ir_version=9)).graph.initializer
    return framed(proto.ByteSize())


def with_words(proto: onnx.TensorProto) -> onnx.TensorProto:
    proto.doc_string = "what it is"
    proto.metadata_props.add(key="from", value="a test")
    return proto


@pytest.mark.parametrize("count", [1, LARGE // 4 - 1, LARGE // 4, 200_000])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("kind", ["raw", "typed", "made"])
def test_tensor_bytes_is_what_protobuf_writes(count: int, words: bool, kind: str) -> None:
    array = np.arange(count, dtype=np.float32)
    if kind == "made":
        tensor: ir.TensorProtocol = ir.Tensor(array, name="old")
    else:
        stored = (
            numpy_helper.from_array(array, "old")
            if kind == "raw"
            else helper.make_tensor("old", onnx.TensorProto.FLOAT, [count], array.tolist())
        )
        tensor = ir.serde.deserialize_tensor(with_words(stored) if words else stored)
    assert len(tensor.metadata_props) == (words and kind != "made")
    for name in ("w", "a name that is longer than the old one"):
        assert tensor_bytes(tensor, name) == written(tensor, name)
