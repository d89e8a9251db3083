from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

import models_zoo
import onnxslim
from onnxslim.errors import InputError
from onnxslim.graph import load, to_proto
from onnxslim.graph.thin import Thin, proto_bytes, read_thin, thin_proto
from onnxslim.graph.wire import varint
from tests.graph.test_encoding import FEATURES, model_of, raw, weight


def thin_of(content: bytes) -> Thin:
    return read_thin(io.BufferedReader(io.BytesIO(content)), len(content))  # type: ignore[arg-type, unused-ignore]


def through_protobuf(content: bytes) -> bytes:
    """What the reader and the writer make of a model that protobuf parsed whole."""
    return bytes(to_proto(load(onnx.ModelProto.FromString(content))).SerializeToString(deterministic=True))


def in_pieces(content: bytes) -> bytes:
    return bytes(to_proto(load(content)).SerializeToString(deterministic=True))


def outcome(read: Callable[[bytes], bytes], content: bytes) -> bytes | str:
    """What comes of reading, or the message of its refusal."""
    try:
        return read(content)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_a_proto_in_memory_is_copied_without_its_large_weights(feature: str) -> None:
    proto = FEATURES[feature]
    thin, weights = thin_proto(proto)
    assert all(not thin.graph.initializer[at].HasField("raw_data") for at in weights)
    for at, data in weights.items():
        thin.graph.initializer[at].raw_data = data.tobytes()
    assert thin.SerializeToString(deterministic=True) == proto.SerializeToString(deterministic=True)


@pytest.mark.slow
def test_a_proto_above_two_gib_is_loaded_and_given_back() -> None:
    """Takes 8 GB of memory."""
    side = 9300
    proto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,{side}] x) => (float[1,{side}] y) {{ y = Neg(x) }}'
    )
    del proto.graph.node[:]
    values, numbers = ["x", *(f"m{i}" for i in range(6)), "y"], np.random.default_rng(0)
    for i in range(7):
        tensor = proto.graph.initializer.add(name=f"w{i}", data_type=1, dims=[side, side])
        tensor.raw_data = numbers.standard_normal((side, side), np.float32).tobytes()
        proto.graph.node.append(onnx.helper.make_node("MatMul", [values[i], f"w{i}"], [f"i{i}"]))
        proto.graph.node.append(onnx.helper.make_node("Identity", [f"i{i}"], [values[i + 1]]))
    assert proto_bytes(proto) > 2**31
    slimmed = onnxslim.slim(proto, verify=False)
    assert slimmed is not None
    assert [node.op_type for node in slimmed.graph.node] == ["MatMul"] * 7
    assert proto_bytes(slimmed) > 2**31


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_each_feature_is_read_as_protobuf_does(feature: str) -> None:
    content = FEATURES[feature].SerializeToString()
    assert outcome(in_pieces, content) == outcome(through_protobuf, content)


def test_a_real_model_is_read_as_protobuf_does() -> None:
    content = models_zoo.get("digits_cnn").path().read_bytes()
    assert thin_of(content).weights
    assert in_pieces(content) == through_protobuf(content) == content


def test_weights_are_aligned_arrays_that_nobody_can_write_to(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of(raw("v", 999), raw("w", 1001)).SerializeToString())
    tensor = weight(load(path))
    assert isinstance(tensor, ir.Tensor)
    array = tensor.numpy()
    assert array is tensor.numpy()
    assert array.flags.aligned
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, np.arange(1001, dtype=np.float32))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "bool", "complex64", "float16", "int64"])
def test_dtypes_keep_their_bits(dtype: str) -> None:
    kind = {"bool": np.bool_}.get(dtype) or ir.DataType[dtype.upper().replace("_", "")].numpy()
    array = (np.arange(5000) % 2).astype(kind)
    tensor = ir.serde.serialize_tensor(ir.Tensor(array, name="w"))
    content = model_of(tensor).SerializeToString(deterministic=True)
    assert thin_of(content).weights
    assert in_pieces(content) == content
    np.testing.assert_array_equal(weight(load(content)).numpy().view("u1"), array.view("u1"))


def test_wrong_sizes_are_refused_as_before() -> None:
    tensor = raw("w", 1000)
    tensor.dims[0] = 1001
    content = model_of(tensor).SerializeToString()
    with pytest.raises(InputError, match="needs 4,004 bytes, but holds 4,000"):
        load(content)


def test_data_that_is_there_twice_is_refused_as_before() -> None:
    tensor = raw("w", 1000)
    tensor.float_data.extend([1.0] * 1000)
    with pytest.raises(InputError, match="holds its data twice"):
        load(model_of(tensor).SerializeToString())


def test_messages_in_two_parts_are_merged_by_protobuf() -> None:
    one, other = model_of(raw("w", 1000)), onnx.ModelProto()
    other.graph.initializer.append(raw("v", 1000))
    content = one.SerializeToString() + other.SerializeToString()
    assert not thin_of(content).weights
    assert in_pieces(content) == through_protobuf(content)
    assert set(load(content).graph.initializers) == {"w", "v"}


def test_the_last_raw_data_counts() -> None:
    first, last = raw("w", 1000), onnx.TensorProto(raw_data=np.full(1000, 7, np.float32).tobytes())
    tensor = onnx.TensorProto.FromString(first.SerializeToString() + last.SerializeToString())
    assert numpy_helper.to_array(tensor)[0] == 7
    model = model_of(first)
    content = model.SerializeToString()
    inner, doubled = first.SerializeToString(), first.SerializeToString() + last.SerializeToString()
    graph = model.graph.SerializeToString()

    def lengthened(text: bytes, old: bytes, new: bytes) -> bytes:
        at = text.index(old)
        head = varint(len(old))
        assert text[at - len(head) : at] == head
        return text[: at - len(head)] + varint(len(new)) + new + text[at + len(old) :]

    content = lengthened(content, graph, lengthened(graph, inner, doubled))
    assert not thin_of(content).weights
    assert weight(load(content)).numpy()[0] == 7


@pytest.mark.parametrize("at", [1, 100, 1000, 3000])
def test_a_cut_file_is_refused(at: int) -> None:
    content = model_of(raw("v", 300), raw("w", 500)).SerializeToString()
    with pytest.raises(InputError):
        load(content[:-at])
