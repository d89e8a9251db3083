"""Tensors stored in fewer bytes: smaller files that onnxruntime runs with the same kernels and to the same bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.errors import CannotRun
from onnxslim.execution import open_session
from onnxslim.graph import load, save, to_bytes
from onnxslim.packing import PREFIX, decoder
from onnxslim.packing.packing import pack
from onnxslim.passes.sparse.encode import RECORD, Encode, Encoding
from onnxslim.pipeline import Context
from tests.ops.channels.nets import feeds, model, node
from tests.packing.arrays import weights
from tests.passes.sparse.nets import (
    ENCODINGS,
    assert_same_but_smaller,
    digits,
    encoded,
    nodes_of,
    operators,
    outputs,
    small,
)
from tests.rewriting import assert_declines

ROWS: dict[str, list[str | int]] = {"x": ["N", 64]}
Proto = onnx.ModelProto


def metadata(proto: Proto) -> dict[str, str]:
    return {each.key: each.value for each in proto.metadata_props}


def stored(proto: Proto) -> dict[str, int]:
    """How many tensors are sparse initializers, sparse constants, and unpacked by nodes."""
    every = list(nodes_of(proto.graph))
    graphs = [proto.graph, *(a.g for each in every for a in each.attribute if a.HasField("g"))]
    return {
        "standard": sum(len(graph.sparse_initializer) for graph in graphs),
        "strict": sum(a.name == "sparse_value" for each in every for a in each.attribute),
        "folded": sum(each.name.startswith(PREFIX) and each.op_type == "Reshape" for each in every),
    }


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_small_net_at_every_opset(encoding: Encoding, opset: int) -> None:
    before = small(opset)
    after, result = encoded(before, encoding)
    assert_same_but_smaller(before, after, full=encoding == "strict")
    assert {each.site for each in result.actions if each.rule == "encode"} == {"w", "v", "u"}
    assert after.opset_import[0].version == (
        max(opset, 13) if encoding not in ("standard", "strict") or opset < 11 else opset
    )
    found = stored(after)
    assert sum(found.values()) == 3
    if encoding != "auto":
        assert found[encoding] == 3
    else:
        sizes = [encoded(before, each)[0].ByteSize() for each in ("standard", "folded")]
        assert after.ByteSize() <= min(sizes) + 100
    counts = [int(each) for each in re.findall(r": (\d+)", metadata(after)[RECORD])]
    assert sum(counts) == 3


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("zeros", [0.5, 0.95])
def test_a_real_net(encoding: Encoding, zeros: float) -> None:
    before = digits(zeros)
    after, result = encoded(before, encoding)
    assert result.modified
    assert_same_but_smaller(before, after, full=encoding == "strict")
    assert encoded(before, encoding)[0].SerializeToString() == after.SerializeToString()
    ratio = before.ByteSize() / after.ByteSize()
    packed = encoding in ("auto", "folded")
    assert ratio > {0.5: 1.8 if packed else 1.2, 0.95: 11.5 if packed else 9.5}[zeros]


def constants() -> Proto:
    """A Constant node holds the weight."""
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weights((64, 96), 0.8), ""))
    return model([constant, "MatMul x k -> y"], {}, inputs=ROWS)


def tied() -> Proto:
    """One weight is read by two nodes."""
    return model(["MatMul x w -> a", "Relu a -> b", "MatMul b w -> y"], {"w": weights((64, 64), 0.8)}, inputs=ROWS)


def branches(*, same_name: bool = False, captured: bool = False) -> Proto:
    """Weights in both branches of an If, or around it."""
    made = []
    for place, name in enumerate(("t", "e")):
        weight = "o" if captured else "w" if same_name else f"w{place}"
        inside = [] if captured else [numpy_helper.from_array(weights((64, 96), 0.8, seed=place), weight)]
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["N", 96])
        body = [node(f"MatMul x {weight} -> {name}_out")]
        made.append(helper.make_graph(body, name, [], [output], inside))
    choice = helper.make_node("If", ["c"], ["y"], then_branch=made[0], else_branch=made[1])
    proto = model(["Relu x -> r", choice], {"o": weights((64, 96), 0.8)} if captured else {}, inputs=ROWS)
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return proto


def loop() -> Proto:
    """The weight is in the body of a Loop, twice over: as an initializer and as a Constant node."""
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 64]) for name in ("s", "s_out")]
    flag = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("c", "c_out")]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weights((64, 64), 0.9), ""))
    body = helper.make_graph(
        [constant, *map(node, ("Identity c -> c_out", "MatMul s k -> z", "MatMul z w -> q", "Tanh q -> s_out"))],
        "body",
        [count, flag[0], state[0]],
        [flag[1], state[1]],
        [numpy_helper.from_array(weights((64, 64), 0.8), "w")],
    )
    start = {"n": np.array(3), "go": np.array(True)}
    proto = model([helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body)], start, inputs=ROWS)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64]))
    return proto


PLACES: dict[str, tuple[Callable[[], Proto], int]] = {
    "constant": (constants, 1),
    "tied": (tied, 1),
    "branches": (branches, 2),
    "branches with one name": (lambda: branches(same_name=True), 2),
    "around branches": (lambda: branches(captured=True), 1),
    "loop": (loop, 2),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
def test_weights_wherever_they_are(place: str, encoding: Encoding) -> None:
    build, count = PLACES[place]
    before = build()
    after, result = encoded(before, encoding)
    given = feeds(before)
    if "branches" in place:
        given = [{**feed, "c": np.array(flag)} for feed in given for flag in (True, False)]
    assert_same_but_smaller(before, after, given, full=encoding == "strict")
    assert sum(stored(after).values()) == len(result.actions) == count
    if encoding != "auto":
        assert stored(after)[encoding] == count


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_types(encoding: Encoding, dtype: npt.DTypeLike) -> None:
    table = (weights((500, 8), 0.9) * 100).astype(dtype)
    before = model([helper.make_node("Gather", ["w", "i"], ["y"])], {"w": table}, inputs={"i": ["N"]}, integers=["i"])
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    before.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", code, ["N", 8]))
    after, _ = encoded(before, encoding)
    assert_same_but_smaller(before, after, full=encoding == "strict")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_integer_kernels_still_take_int8_weights(encoding: Encoding) -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(-127, 128, (48, 24, 3, 3)).astype(np.int8)
    codes[generator.random(codes.shape) < 0.85] = 0
    before = model(
        [
            node("QuantizeLinear x xs xz -> xq"),
            node("DequantizeLinear xq xs xz -> xd"),
            node("DequantizeLinear w ws wz -> wd", axis=0),
            node("Conv xd wd -> c"),
            node("QuantizeLinear c ys xz -> cq"),
            node("DequantizeLinear cq ys xz -> y"),
        ],
        {
            "xs": np.float32(0.05),
            "xz": np.array(128, np.uint8),
            "w": codes,
            "ws": np.full(48, 0.01, np.float32),
            "wz": np.zeros(48, np.int8),
            "ys": np.float32(0.2),
        },
        inputs={"x": ["N", 24, 6, 6]},
    )
    after, result = encoded(before, encoding)
    assert [each.site for each in result.actions] == ["w"]
    assert operators(before)["QLinearConv"] == 1
    assert_same_but_smaller(before, after, full=encoding == "strict")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_external_data(encoding: Encoding, tmp_path: Path) -> None:
    before = model(["MatMul x w -> y"], {"w": weights((64, 2000), 0.8)}, inputs=ROWS)
    save(load(before.SerializeToString()), tmp_path / "a.onnx", external_data=True)
    made = load(tmp_path / "a.onnx")
    assert Encode(encoding).run(made, Context()).modified
    save(made, tmp_path / "b.onnx", external_data=True)
    after = onnx.ModelProto.FromString(to_bytes(load(tmp_path / "b.onnx")))
    assert_same_but_smaller(before, after, full=encoding == "strict")
    feed = feeds(before)[0]
    wanted, found = (open_session(each).run(feed)["y"] for each in (before, tmp_path / "b.onnx"))
    assert np.asarray(wanted).tobytes() == np.asarray(found).tobytes()
    assert sum(path.stat().st_size for path in tmp_path.glob("b.*")) < before.ByteSize() / 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_ir_version_in_which_initializers_are_inputs(encoding: Encoding) -> None:
    before = small(9)
    before.ir_version = 3
    before.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in before.graph.initializer
    )
    after, _ = encoded(before, encoding)
    assert_same_but_smaller(before, after, full=encoding == "strict")
    assert [each.name for each in after.graph.input] == ["x"]
    assert after.ir_version >= 6


@pytest.mark.parametrize("opset", [9, 17])
def test_the_ir_version_stays_where_nothing_is_stored(opset: int) -> None:
    before = model(["MatMul x w -> y"], {"w": weights((64, 64), 0.0)}, inputs=ROWS, opset=opset)
    before.ir_version = 3
    before.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [64, 64]))
    assert_declines(load(before.SerializeToString()), Encode())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_others_see_stays_as_it_is(encoding: Encoding) -> None:
    before = model(
        ["MatMul x w -> a", "MatMul a o -> y"],
        {"w": weights((64, 64), 0.9), "o": weights((64, 64), 0.9, seed=1), "unused": weights((64, 64), 0.9, seed=2)},
        inputs=ROWS,
    )
    before.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [64, 64]))
    before.graph.output.append(helper.make_tensor_value_info("o", TensorProto.FLOAT, [64, 64]))
    result = assert_declines(load(before.SerializeToString()), Encode(encoding))
    assert [(each.site, each.reason) for each in result.declined] == [("o", "it is an output of its graph")]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_grows(encoding: Encoding) -> None:
    shapes = [(16, 16), (24, 24), (40, 40), (64, 64)]
    for seed, shape in enumerate(shapes):
        for zeros in (0.0, 0.05, 0.3, 0.6, 0.9):
            before = model(["MatMul x w -> y"], {"w": weights(shape, zeros, seed)}, inputs={"x": ["N", shape[0]]})
            before = onnx.ModelProto.FromString(to_bytes(load(before.SerializeToString())))
            after, result = encoded(before, encoding)
            assert result.modified == (after.ByteSize() < before.ByteSize()), (shape, zeros)
            assert after.ByteSize() <= before.ByteSize(), (shape, zeros)
            assert result.modified or after == before
    assert result.modified


def test_dense_stores_nothing_anew() -> None:
    assert_declines(load(small().SerializeToString()), Encode("dense"))


def test_a_refused_tensor_stays_and_the_others_do_not() -> None:
    made, before = load(small().SerializeToString()), small()
    context = Context(refused=frozenset({next(a.key for a in encoded(before)[1].actions if a.site == "v")}))
    result = Encode("folded").run(made, context)
    assert {each.site for each in result.actions} == {"w", "u"}
    assert "v" in made.graph.initializers
    assert_same_but_smaller(before, onnx.ModelProto.FromString(to_bytes(made)))


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_no_more_than_is_allowed(limit: int) -> None:
    made = load(small().SerializeToString())
    result = Encode("folded").run(made, Context(limit=limit))
    after = onnx.ModelProto.FromString(to_bytes(made))
    assert len(result.actions) == stored(after)["folded"] == limit
    given = feeds(small())
    for wanted, found in zip(outputs(small(), given), outputs(after, given), strict=True):
        assert wanted.tobytes() == found.tobytes()


@pytest.mark.parametrize("encoding", ["auto", "folded"])
def test_a_tensor_that_comes_out_wrong_is_put_back(encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    before = small()
    monkeypatch.setattr(decoder, "pack", lambda codes, bits: pack(codes[::-1], bits))
    after, result = encoded(before, encoding)
    reasons = {each.site: each.reason for each in result.declined if each.site in ("w", "v", "u")}
    assert reasons == dict.fromkeys(("w", "v", "u"), "it is another tensor when it is unpacked")
    assert stored(after) == {"standard": 3 if encoding == "auto" else 0, "strict": 0, "folded": 0}
    assert metadata(after).get(RECORD) == ("standard: 3" if encoding == "auto" else None)
    assert not [each for each in after.graph.initializer if each.name not in ("w", "k", "v", "g", "u")]
    assert [each.op_type for each in after.graph.node] == [each.op_type for each in before.graph.node]
    for wanted, found in zip(outputs(before, feeds(before)), outputs(after, feeds(before)), strict=True):
        assert wanted.tobytes() == found.tobytes()


def test_what_onnxruntime_does_not_take_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxslim.passes.sparse import encode

    def fail(values: object, opset: int) -> None:
        raise CannotRun("no such operator")

    before = small()
    monkeypatch.setattr(encode, "restored", fail)
    after, result = encoded(before, "folded")
    assert len([each for each in result.declined if "onnxruntime does not take it" in each.reason]) == 3
    assert {each.name for each in after.graph.initializer} == {each.name for each in before.graph.initializer}


def test_nodes_that_onnxruntime_would_run_each_time_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxslim.passes.sparse import encode

    before = small()
    monkeypatch.setattr(encode, "optimized_graph", lambda made: onnx.ModelProto.FromString(to_bytes(made)))
    after, result = encoded(before, "folded")
    reasons = {each.site: each.reason for each in result.declined if each.site != "g"}
    assert reasons == dict.fromkeys(("w", "v", "u"), "onnxruntime would unpack it in every run")
    assert {each.name for each in after.graph.initializer} == {each.name for each in before.graph.initializer}
    assert stored(after)["folded"] == 0


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tensors_of_one_value(encoding: Encoding, value: float) -> None:
    before = model(["Add x w -> y"], {"w": np.full((64, 64), value, np.float32)}, inputs={"x": [64, 64]})
    after, result = encoded(before, encoding)
    sparse_only = encoding in ("standard", "strict")
    assert result.modified == (not sparse_only or np.float32(value).tobytes() == bytes(4))
    if result.modified:
        assert_same_but_smaller(before, after, full=encoding == "strict")


def test_a_model_too_old_is_declined_with_the_reason() -> None:
    proto = model(["MatMul x w -> y"], {"w": weights((64, 64), 0.9)}, inputs=ROWS, opset=6)
    result = assert_declines(load(proto.SerializeToString()), Encode())
    assert [(each.rule, each.site, each.reason) for each in result.declined] == [
        ("lift-opset", "model", "opset 6 is older than 7"),
        ("encode", "w", "opset 6 has not all operators that unpack it"),
        ("encode", "w", "opset 6 has no sparse tensors"),
    ]


def test_sparse_tensors_need_less_than_nodes_do() -> None:
    before = small(11)
    function = helper.make_function("f", "F", ["a"], ["b"], [node("Relu a -> b")], [helper.make_opsetid("", 11)])
    before.functions.append(function)
    before.opset_import.append(helper.make_opsetid("f", 1))
    before.ir_version = 8  # local functions keep the opset from being lifted
    after, result = encoded(before, "auto")
    assert stored(after) == {"standard": 3, "strict": 0, "folded": 0}
    assert after.opset_import[0].version == 11
    assert "opset 11 has not all operators that unpack it" in [each.reason for each in result.declined]
    assert_same_but_smaller(before, after)
