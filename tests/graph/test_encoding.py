from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

import models_zoo
from onnxslim.errors import InputError, OnnxSlimError
from onnxslim.graph import encode, load, save, to_proto
from onnxslim.graph.encoding import weight_chunks
from onnxslim.graph.wire import INLINE_BELOW
from tools.one_feature_models import one_feature_models

FEATURES = dict(one_feature_models())


def whole(model: onnx.ModelProto | Path) -> tuple[bytes, bytes, int, int]:
    """The file by pieces and by protobuf, the size that was told, and how many weights were left where they lie."""
    loaded = load(model)
    encoded = encode(loaded)
    kept = sum(not isinstance(piece, bytes) for piece in encoded.pieces)
    return encoded.join(), to_proto(loaded).SerializeToString(deterministic=True), encoded.size, kept


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_each_feature_is_encoded_as_protobuf_does(feature: str) -> None:
    try:
        pieces, proto, size, _ = whole(FEATURES[feature])
    except OnnxSlimError:  # refused by the reader: test_roundtrip says which
        return
    assert pieces == proto
    assert size == len(proto)


@pytest.mark.parametrize("name", ["digits_cnn", "ppocr_cls"])
def test_real_models_are_encoded_as_protobuf_does(name: str) -> None:
    pieces, proto, size, _ = whole(models_zoo.get(name).path())
    assert pieces == proto
    assert size == len(proto)


def model_of(*tensors: onnx.TensorProto) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", [tensor.name], [f"y_{tensor.name}"]) for tensor in tensors]
    outputs = [info(f"y_{tensor.name}", tensor.data_type, list(tensor.dims)) for tensor in tensors]
    graph = helper.make_graph(nodes, "g", [], outputs, list(tensors), doc_string="after the weights")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model.opset_import[0].ClearField("domain")
    return model


def weight(model: ir.Model) -> ir.TensorProtocol:
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor


def raw(name: str, count: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.arange(count).astype(dtype), name)


def test_large_weights_are_not_copied_and_small_ones_are_part_of_the_messages() -> None:
    small, large = raw("small", INLINE_BELOW // 4 - 1), raw("large", INLINE_BELOW // 4)
    for tensor in (small, large):
        tensor.doc_string = "what follows the bytes"
        tensor.metadata_props.add(key="from", value="a test")
    model = model_of(small, large, raw("huge", 100_000))
    pieces, proto, size, kept = whole(model)
    assert pieces == proto == model.SerializeToString(deterministic=True)
    assert size == len(proto)
    assert kept == 2


def test_typed_fields_stay_as_they_were_stored() -> None:
    typed = helper.make_tensor("typed", onnx.TensorProto.FLOAT, [1000], np.arange(1000.0).tolist())
    pieces, proto, _, kept = whole(model_of(typed))
    assert pieces == proto
    assert kept == 0


def test_a_sub_byte_tensor_has_its_packed_size() -> None:
    packed = onnx.TensorProto(name="int4", data_type=onnx.TensorProto.INT4, dims=[4097], raw_data=bytes(2049))
    pieces, proto, size, kept = whole(model_of(packed))
    assert pieces == proto
    assert size == len(proto)
    assert kept == 1


@pytest.mark.parametrize("mapped", [False, True])
def test_external_weights_come_back_inline(tmp_path: Path, mapped: bool) -> None:
    path, inline = tmp_path / "m.onnx", tmp_path / "inline.onnx"
    save(load(model_of(raw("w", 5_000_000))), path, external_data=True)
    loaded = load(path)
    if mapped:
        weight(loaded).numpy()
    save(loaded, inline, external_data=False)
    assert inline.read_bytes() == encode(load(model_of(raw("w", 5_000_000)))).join()


def test_a_data_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(load(model_of(raw("w", 5_000))), path, external_data=True)
    loaded = load(path)
    (data,) = tmp_path.glob("*.data")
    data.write_bytes(b"short")
    with pytest.raises(InputError, match="cut off"):
        list(weight_chunks(weight(loaded)))
