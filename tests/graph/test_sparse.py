from __future__ import annotations

import re
from collections.abc import Callable

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxslim.errors import InputError
from onnxslim.graph import load, to_bytes, to_proto
from onnxslim.graph.sparse import MARK, Layout


def sparse_proto(
    dense: npt.NDArray[np.generic],
    *,
    name: str = "w",
    linear: bool = True,
    index_type: npt.DTypeLike = np.int64,
    raw: bool = True,
    code: int | None = None,
) -> onnx.SparseTensorProto:
    flat = dense.reshape(-1)
    positions = np.flatnonzero(flat.view(f"u{flat.itemsize}"))
    indices = positions if linear else np.stack(np.unravel_index(positions, dense.shape), axis=1)
    indices = indices.astype(index_type)
    code = code or helper.np_dtype_to_tensor_dtype(dense.dtype)
    values = numpy_helper.from_array(flat[positions], name)
    located = numpy_helper.from_array(indices)
    if not raw:
        values = helper.make_tensor(name, code, [len(positions)], flat[positions].tolist())
        located = helper.make_tensor("", located.data_type, indices.shape, indices.reshape(-1).tolist())
    for tensor in (values, located):
        if not tensor.name:
            tensor.ClearField("name")
    return helper.make_sparse_tensor(values, located, list(dense.shape))


def model_of(sparse: onnx.SparseTensorProto, *, rank_input: tuple[int, ...] = (4, 6)) -> onnx.ModelProto:
    code = sparse.values.data_type
    node = helper.make_node("Identity", ["w"], ["y"])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", code, list(rank_input))])
    graph.sparse_initializer.append(sparse)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def dense_of(dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    array = np.zeros((4, 6), dtype)
    array[0, 1], array[1, 5], array[3, 0] = 1, 1, 1
    return array


DTYPES = [
    np.float32,
    np.float64,
    np.float16,
    ml_dtypes.bfloat16,
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
]
DTYPES += [np.uint64, np.bool_]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_dtype_comes_back_byte_for_byte(dtype: npt.DTypeLike, linear: bool, raw: bool) -> None:
    dense = dense_of(dtype)
    proto = model_of(sparse_proto(dense, linear=linear, raw=raw))
    model = load(proto)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    assert tensor.numpy().tobytes() == dense.tobytes()
    back = to_proto(model)
    assert not back.graph.initializer
    assert [item.SerializeToString() for item in back.graph.sparse_initializer] == [
        item.SerializeToString() for item in proto.graph.sparse_initializer
    ]


@pytest.mark.parametrize("index_type", [np.int64, np.int32, np.int16, np.int8])
@pytest.mark.parametrize("linear", [True, False])
def test_index_dtypes_are_kept_and_run_the_same(index_type: npt.DTypeLike, linear: bool) -> None:
    dense = dense_of(np.float32)
    proto = model_of(sparse_proto(dense, linear=linear, index_type=index_type))
    back = to_proto(load(proto))
    assert back.graph.sparse_initializer[0] == proto.graph.sparse_initializer[0]
    assert ort.InferenceSession(back.SerializeToString()).run(None, {})[0].tolist() == dense.tolist()


def test_explicit_zeros_and_negative_zeros_are_kept() -> None:
    values = numpy_helper.from_array(np.array([0.0, -0.0, 2.0], np.float32), "w")
    proto = model_of(helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1, 2, 3])), [4, 6]))
    assert to_proto(load(proto)).graph.sparse_initializer[0] == proto.graph.sparse_initializer[0]


def test_changed_data_is_what_is_written() -> None:
    model = load(model_of(sparse_proto(dense_of(np.float32), linear=False)))
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    tensor.numpy()[2, 2] = 7
    tensor.numpy()[0, 1] = 0
    expected = tensor.numpy().copy()
    content = to_bytes(model)
    assert ort.InferenceSession(content).run(None, {})[0].tolist() == expected.tolist()
    assert onnx.ModelProto.FromString(content).graph.sparse_initializer[0].indices.dims == [3, 2]


def test_a_replaced_tensor_is_dense() -> None:
    model = load(model_of(sparse_proto(dense_of(np.float32))))
    model.graph.initializers["w"].const_value = ir.tensor(np.ones((4, 6), np.float32), name="w")
    back = to_proto(model)
    assert not back.graph.sparse_initializer
    assert numpy_helper.to_array(back.graph.initializer[0]).all()


def test_marks_survive_a_clone_and_a_new_name() -> None:
    model = load(model_of(sparse_proto(dense_of(np.float32)))).clone()
    model.graph.initializers["w"].name = "renamed"
    back = to_proto(model)
    assert [item.values.name for item in back.graph.sparse_initializer] == ["renamed"]
    assert back.graph.node[0].input == ["renamed"]
    onnx.checker.check_model(back)


def constant_model(where: str) -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["k"], sparse_value=sparse_proto(dense_of(np.float32), name=""))
    constant.doc_string = "sparse"
    add = helper.make_node("Add", ["k", "k"], ["y"])
    output = helper.make_tensor_value_info("y", 1, [4, 6])
    opsets = [helper.make_opsetid("", 17)]
    if where == "main":
        return helper.make_model(
            helper.make_graph([constant, add], "g", [], [output]), opset_imports=opsets, ir_version=9
        )
    if where == "function":
        function = helper.make_function("f", "F", [], ["y"], [constant, add], opsets)
        call = helper.make_node("F", [], ["y"], domain="f")
        opsets = [*opsets, helper.make_opsetid("f", 1)]
        return helper.make_model(
            helper.make_graph([call], "g", [], [output]), functions=[function], opset_imports=opsets, ir_version=9
        )
    branch = helper.make_graph([constant, add], "b", [], [output])
    branch.sparse_initializer.append(sparse_proto(dense_of(np.float32), name="unused"))
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    return helper.make_model(helper.make_graph([node], "g", [condition], [output]), opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("where", ["main", "function", "subgraph"])
def test_constants_come_back_wherever_they_are(where: str) -> None:
    proto = constant_model(where)
    model = load(proto)
    assert not any("sparse_value" in node.attributes for node in model.graph.all_nodes())
    back = to_proto(model.clone())
    assert back.SerializeToString(deterministic=True).count(b"sparse_value") == (2 if where == "subgraph" else 1)
    feed = {"c": np.array(True)} if where == "subgraph" else {}
    runs = [ort.InferenceSession(item.SerializeToString()).run(None, feed)[0] for item in (proto, back)]
    assert runs[0].tolist() == runs[1].tolist() == (2 * dense_of(np.float32)).tolist()
    assert plain(back) == plain(proto)


def plain(proto: onnx.ModelProto) -> str:
    return re.sub(r'\s*domain: ""\n', "\n", str(proto))


def corrupt(edit: Callable[[onnx.SparseTensorProto], object], *, linear: bool = True) -> onnx.ModelProto:
    sparse = sparse_proto(dense_of(np.float32), linear=linear)
    edit(sparse)
    return model_of(sparse)


def indices(*values: int) -> Callable[[onnx.SparseTensorProto], object]:
    return lambda sparse: sparse.indices.CopyFrom(numpy_helper.from_array(np.array(values)))


CORRUPT = {
    "duplicate": (indices(1, 1, 18), "index 1 of a sparse tensor is a duplicate"),
    "unsorted": (indices(1, 18, 11), "index 2 of a sparse tensor is not in ascending order"),
    "beyond": (indices(1, 11, 24), "index 2 of a sparse tensor is out of range"),
    "negative": (indices(-1, 11, 18), "index 0 of a sparse tensor is out of range"),
    "too few": (indices(1, 11), "have shape"),
    "dtype": (lambda s: s.indices.CopyFrom(numpy_helper.from_array(np.array([1.0, 11, 18]))), "are DOUBLE"),
    "rank": (lambda s: s.indices.CopyFrom(numpy_helper.from_array(np.zeros((3, 3), np.int64))), "have shape"),
    "values rank": (lambda s: s.values.dims.append(1), "have rank 2"),
    "payload": (lambda s: setattr(s.values, "raw_data", bytes(8)), "holds 8"),
    "strings": (lambda s: setattr(s.values, "data_type", TensorProto.STRING), "strings"),
    "huge": (lambda s: s.dims.__setitem__(slice(None), [1 << 20, 1 << 20]), "budget"),
    "overflow": (lambda s: s.dims.__setitem__(slice(None), [1 << 40, 1 << 40]), "overflow"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_sparse_tensors_are_refused_by_name(name: str) -> None:
    edit, message = CORRUPT[name]
    with pytest.raises(InputError, match=message) as caught:
        load(corrupt(edit))
    assert "'w'" in caught.value.where


def test_a_coordinate_out_of_range_is_refused_though_its_flat_position_is_not() -> None:
    def edit(sparse: onnx.SparseTensorProto) -> None:
        sparse.indices.CopyFrom(numpy_helper.from_array(np.array([[0, 1], [0, 7], [3, 0]])))

    with pytest.raises(InputError, match=r"index 1 .* \[0, 7\]"):
        load(corrupt(edit, linear=False))


def test_all_sparse_tensors_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.graph.sidecar.MAX_DENSE_BYTES", 150)
    proto = model_of(sparse_proto(dense_of(np.float32)))
    load(proto)
    proto.graph.sparse_initializer.append(sparse_proto(dense_of(np.float32), name="v"))
    with pytest.raises(InputError, match="budget"):
        load(proto)


def test_sparse_attributes_of_other_operators_are_carried() -> None:
    proto = constant_model("main")
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "Custom", "c"
    proto.opset_import.add(domain="c", version=1)
    assert plain(to_proto(load(proto).clone())) == plain(proto)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=0, max_size=3),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_shape_and_sparsity(shape: list[int], linear: bool, raw: bool, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    dense = (rng.integers(0, 3, shape) * rng.integers(0, 2, shape)).astype(np.float32).reshape(shape)
    proto = model_of(sparse_proto(dense, linear=linear or not shape, raw=raw), rank_input=tuple(shape))
    model = load(proto)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    assert tensor.numpy().tolist() == dense.tolist()
    assert isinstance(tensor.meta[MARK], Layout)
    again = load(to_proto(model)).graph.initializers["w"].const_value
    assert again is not None
    assert again.numpy().tolist() == dense.tolist()
