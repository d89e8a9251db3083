"""Plain initializers again: those of before, bit for bit, and nothing else of what encoding did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.graph import load, save, to_bytes
from onnxslim.graph.sparse import MARK
from onnxslim.packing import PREFIX, ledger
from onnxslim.passes.sparse.decode import Decode
from onnxslim.passes.sparse.encode import RECORD, Encode, Encoding
from onnxslim.passes.sparse.sparsify import Sparsify
from onnxslim.pipeline import Context
from tests.ops.channels.nets import feeds, model
from tests.packing.arrays import weights
from tests.passes.prune.nets import loaded
from tests.passes.sparse.nets import ENCODINGS, digits, encoded, nodes_of, outputs, small, tensors
from tests.passes.sparse.test_encode import PLACES, ROWS
from tests.rewriting import assert_declines, assert_same_graph


def decoded(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = loaded(proto)
    assert Decode().run(made, Context()).modified
    found: onnx.ModelProto = onnx.ModelProto.FromString(to_bytes(made))
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("net", ["small", "digits"])
def test_what_was_encoded_comes_back(net: str, encoding: Encoding) -> None:
    before = small() if net == "small" else digits()
    stored, _ = encoded(before, encoding)
    after = decoded(stored)
    assert tensors(loaded(after)) == tensors(loaded(before))
    assert_same_graph(loaded(after), loaded(before))
    assert RECORD in {each.key for each in stored.metadata_props}
    assert RECORD not in {each.key for each in after.metadata_props}
    onnx.checker.check_model(after, full_check=True)
    given = feeds(before)
    for wanted, found in zip(outputs(before, given), outputs(after, given), strict=True):
        assert wanted.tobytes() == found.tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_is(place: str, encoding: Encoding) -> None:
    before = PLACES[place][0]()
    after = decoded(encoded(before, encoding)[0])
    left = [each for each in nodes_of(after.graph) if each.name.startswith(PREFIX) or each.op_type == "Reshape"]
    assert not left
    held = sorted(bits for name, bits in tensors(loaded(after)).items())
    if place in ("constant", "loop"):  # Constant nodes have become initializers
        assert len(held) == len(tensors(loaded(before))) + 1
    else:
        assert held == sorted(tensors(loaded(before)).values())
    given = feeds(before)
    if "branches" in place:
        given = [{**feed, "c": np.array(flag)} for feed in given for flag in (True, False)]
    for wanted, found in zip(outputs(before, given), outputs(after, given), strict=True):
        assert wanted.tobytes() == found.tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_lies_in_a_file_is_decoded_too(encoding: Encoding, tmp_path: Path) -> None:
    before = model(["MatMul x w -> y"], {"w": weights((64, 2000), 0.8)}, inputs=ROWS)
    made = loaded(before)
    Encode(encoding).run(made, Context())
    save(made, tmp_path / "b.onnx", external_data=True)
    again = load(tmp_path / "b.onnx")
    result = Decode().run(again, Context())
    assert [each.site for each in result.actions] == ["w"]
    assert not result.declined
    assert tensors(again) == tensors(loaded(before))


@pytest.mark.parametrize("values", ["float16", "int8", "int4", "codebook"])
@pytest.mark.parametrize("encoding", ["dense", *ENCODINGS])
def test_few_values_are_floats_again(encoding: Encoding, values: str) -> None:
    before = model(["MatMul x w -> y"], {"w": weights((64, 300), 0.8)}, inputs=ROWS)
    made = loaded(before)
    assert Sparsify(values=values).run(made, Context()).modified  # type: ignore[arg-type]
    Encode(encoding).run(made, Context())
    few = onnx.ModelProto.FromString(to_bytes(made))
    after = decoded(few)
    assert [each.op_type for each in after.graph.node] == ["MatMul"]
    (tensor,) = after.graph.initializer
    assert (tensor.name, tensor.data_type, list(tensor.dims)) == ("w", TensorProto.FLOAT, [64, 300])
    for wanted, found in zip(outputs(few, feeds(before)), outputs(after, feeds(before)), strict=True):
        assert wanted.tobytes() == found.tobytes()


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_tensors_of_others(linear: bool) -> None:
    array = weights((64, 8), 0.9)
    array[3, 3] = -0.0
    places = np.flatnonzero(array.view(np.uint32))
    indices = places if linear else np.stack(np.unravel_index(places, array.shape), axis=1)
    values = numpy_helper.from_array(array.reshape(-1)[places], "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices.astype(np.int64)), array.shape)
    constant = helper.make_node("Constant", [], ["k"], sparse_value=sparse)
    constant.attribute[0].sparse_tensor.values.name = ""
    before = model(["MatMul x w -> a", constant, "Add k k -> b", "Add a b -> y"], {"w": array}, inputs={"x": [64, 64]})
    given = feeds(before)[:1]
    dense = outputs(before, given)
    del before.graph.initializer[:]
    before.graph.sparse_initializer.append(sparse)
    after = decoded(before)
    assert not after.graph.sparse_initializer
    assert {each.name for each in after.graph.initializer} == {"w", "k"}
    assert all(numpy_helper.to_array(each).tobytes() == array.tobytes() for each in after.graph.initializer)
    assert [each.tobytes() for each in outputs(after, given)] == [each.tobytes() for each in dense]


def test_a_refused_tensor_stays_encoded() -> None:
    stored, _ = encoded(small(), "standard")
    made = loaded(stored)
    key = next(each.key for each in Decode().run(loaded(stored), Context()).actions if each.site == "v")
    Decode().run(made, Context(refused=frozenset({key})))
    held = {name: value.const_value for name, value in made.graph.initializers.items()}
    marked = {name for name, tensor in held.items() if tensor is not None and MARK in tensor.meta}
    assert marked == {"v"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_is_done_unasked(encoding: Encoding) -> None:
    stored = loaded(encoded(small(), encoding)[0])
    before = to_bytes(stored)
    assert not Decode().run(stored, Context(limit=0)).modified
    assert to_bytes(stored) == before
    assert_declines(loaded(small()), Decode())


def test_a_node_that_only_bears_the_name_is_declined() -> None:
    proto = small()
    proto.graph.node[1].name = PREFIX
    result = assert_declines(loaded(proto), Decode())
    assert [each.reason for each in result.declined] == ["it depends on an input"]
    proto.graph.node[-1].name = f"{PREFIX}_1"
    assert_declines(loaded(proto), Decode(), reason="it is an output of its graph")


@pytest.mark.parametrize("encoding", ["auto", "folded"])
def test_the_others_are_unpacked_where_a_node_only_bears_the_name(encoding: Encoding) -> None:
    proto = small()
    proto.graph.node[1].name = PREFIX
    stored, _ = encoded(proto, encoding)
    assert {each.name for each in ledger(loaded(stored)) if each.stored == "packed"} == {"w", "v", "u"}
    after = decoded(stored)
    assert tensors(loaded(after)) == tensors(loaded(proto))
    assert [each.op_type for each in after.graph.node] == [each.op_type for each in proto.graph.node]
