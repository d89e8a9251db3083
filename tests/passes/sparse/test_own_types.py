"""Weights of float16 and double: zeros and few values are made in their own type, and unpacked bit for bit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxslim
from onnxslim.graph import load, to_bytes
from onnxslim.passes.sparse.decode import Decode
from onnxslim.passes.sparse.grids import levels
from onnxslim.passes.sparse.sparsify import HALVES, Sparsify
from onnxslim.pipeline import Context, get_pass
from onnxslim.samples import Sample
from tests.documents import DIGITS
from tests.ops.channels.nets import model, node
from tests.passes.sparse.nets import assert_same_but_smaller, encoded
from tests.passes.sparse.test_sparsify import arrays, sparsified
from tests.rewriting import assert_declines

WAYS: list[dict[str, Any]] = [
    {"sparsity": 0.7}, {"values": "int8"}, {"values": "int4", "sparsity": 0.5}, {"values": "codebook", "entries": 8},
]  # fmt: skip


@cache
def digits(kind: type) -> onnx.ModelProto:
    """The digits CNN in float16; a network of two layers in double, for onnxruntime has no such convolution."""
    if kind is np.float16:
        made = onnxslim.slim(onnx.load(str(DIGITS)), dtype="fp16")
        assert made is not None
        return made
    proto = model(
        [node("Gemm x w k -> a", transB=1), "Relu a -> b", "MatMul b v -> y"],
        {"w": (96, 40), "k": (96,), "v": (96, 48)},
        inputs={"x": ["N", 40]},
    )
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return proto


def given(proto: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    value = proto.graph.input[0]
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = [size.dim_value or 3 for size in value.type.tensor_type.shape.dim]
    return [{value.name: np.random.default_rng(0).random(shape).astype(dtype)}]


@pytest.mark.parametrize("options", WAYS, ids=lambda options: options.get("values", "float"))
@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_weights_keep_their_type_and_every_bit(kind: type, options: dict[str, Any]) -> None:
    proto = digits(kind)
    after, result = sparsified(proto, **options)
    assert result.actions
    packed, _ = encoded(after)
    plain = load(packed.SerializeToString())
    Decode().run(plain, Context())
    unpacked = onnx.ModelProto.FromString(to_bytes(plain))
    # Of the same nodes as the original, with weights of the same type; packed, it is that model bit for bit.
    assert [each.op_type for each in unpacked.graph.node] == [each.op_type for each in proto.graph.node]
    before, now = arrays(proto), arrays(unpacked)
    assert {name: each.dtype for name, each in now.items()} == {name: each.dtype for name, each in before.items()}
    assert_same_but_smaller(unpacked, packed, given(proto))
    assert packed.ByteSize() < 0.75 * proto.ByteSize()
    for action in result.actions:
        array, held = now[action.site], arrays(after)
        if "sparsity" in options:
            assert (array == 0).mean() > 0.1
        codes = held.get(f"{action.site}_quantized", held.get(f"{action.site}_codes"))
        if codes is not None:
            assert codes.dtype.itemsize <= array.dtype.itemsize
            product = codes.astype(np.float32) * held[f"{action.site}_scale"]
            assert np.array_equal(product.astype(kind), array)


def test_float16_of_float16_is_no_change() -> None:
    assert_declines(digits(np.float16), Sparsify(values="float16"), reason=HALVES)
    after, result = sparsified(digits(np.float16), values="float16", sparsity=0.5)
    assert {each.detail for each in result.actions} <= {f"{share}% zeros" for share in range(101)}
    assert all(each.data_type == onnx.TensorProto.FLOAT16 for each in after.graph.initializer)


@pytest.mark.parametrize(("kind", "name"), [(np.float16, "float16"), (np.float64, "double")])
def test_quantize_says_what_the_weights_are(kind: type, name: str) -> None:
    reason = f"its weights are {name}: int8 is made of float32 weights only"
    some = [Sample(str(place), feed) for place, feed in enumerate(given(digits(kind)) * 8)]
    assert_declines(digits(kind), get_pass("quantize")(), reason=reason, samples=some)


def test_double_as_float16_is_cast_to_double() -> None:
    after, result = sparsified(digits(np.float64), values="float16")
    assert {each.site for each in result.actions} == {"w", "v"}
    assert {each.attribute[0].i for each in after.graph.node if each.op_type == "Cast"} == {onnx.TensorProto.DOUBLE}


def test_values_stay_within_float16() -> None:
    rows = np.array([[60000.0, -30000.0, 100.0]])
    for kind in ("int8", "codebook"):
        grid = levels(rows, np.ones(3), kind, 4, rows == 0, np.dtype(np.float16))
        longer = grid.longer(np.array([4.0]))
        assert np.isfinite(longer.values(longer.nearest(4 * rows))).all()
