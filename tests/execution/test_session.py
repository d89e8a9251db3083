from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.errors import CheckFailed, InputError, SetupError
from onnxslim.execution import Port, open_session, optimized_graph
from onnxslim.execution.weights import pack
from onnxslim.graph import save, to_bytes, to_proto
from tests.execution.models import matmul, model, weight_of

X = np.random.default_rng(1).standard_normal((3, 256)).astype(np.float32)


def expected(made: ir.Model) -> np.ndarray:
    result: np.ndarray = np.maximum(X @ weight_of(made), 0)
    return result


def test_every_form_of_a_model_gives_the_same_outputs(tmp_path: Path) -> None:
    made = matmul()
    save(made, tmp_path / "m.onnx")
    for form in (made, to_proto(made), to_bytes(made), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        outputs = open_session(form).run({"x": X})
        np.testing.assert_allclose(outputs["z"], expected(made), rtol=1e-4, atol=1e-4)


def test_ports_show_names_dtypes_and_shapes() -> None:
    session = open_session(
        model(
            "(float16[N,3] x, string s) => (float16[N,3] y, seq(float16[N,3]) z, string t) "
            "{ y = Identity(x) z = SequenceConstruct(x, y) t = Identity(s) }"
        )
    )
    assert session.inputs == (
        Port("x", np.dtype(np.float16), ("N", 3), "tensor(float16)"),
        Port("s", np.dtype(object), (), "tensor(string)"),
    )
    assert [(p.name, p.dtype, p.type) for p in session.outputs] == [
        ("y", np.dtype(np.float16), "tensor(float16)"),
        ("z", None, "seq(tensor(float16))"),
        ("t", np.dtype(object), "tensor(string)"),
    ]


def test_large_weights_are_lent_not_copied() -> None:
    made = matmul()
    before = made.graph.initializers["w"].const_value
    packed = pack(made)
    assert (packed.names, packed.folder) == (["w"], None)
    assert packed.values[0].ctypes.data == weight_of(made).ctypes.data
    assert len(packed.proto) < 2000
    assert made.graph.initializers["w"].const_value is before


def test_external_weights_run_from_their_mapping(tmp_path: Path) -> None:
    made = matmul()
    save(made, tmp_path / "m.onnx", external_data=True)
    loaded = ir.load(tmp_path / "m.onnx")
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    packed = pack(loaded)
    assert (packed.names, packed.folder) == ([], str(tmp_path.resolve()))
    np.testing.assert_allclose(open_session(loaded).run({"x": X})["z"], expected(made), rtol=1e-4, atol=1e-4)


def test_weights_behind_links_and_in_several_folders_run(tmp_path: Path) -> None:
    made = model(
        "(float[N,256] x) => (float[N,256] z) <float[1] w = {1}, float[1] v = {1}, float[1] u = {1}> "
        "{ a = MatMul(x, w) b = MatMul(a, v) z = MatMul(b, u) }"
    )
    arrays = [np.random.default_rng(i).standard_normal((256, 256)).astype(np.float32) / 16 for i in range(3)]
    for index, (name, array) in enumerate(zip("wvu", arrays, strict=True)):
        folder = tmp_path / f"folder{min(index, 1)}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.bin").write_bytes(b"skip" * 4 + array.tobytes())
        (tmp_path / f"{name}.link").symlink_to(folder / f"{name}.bin")
        value = made.graph.initializers[name]
        value.shape = ir.Shape(array.shape)
        value.const_value = ir.ExternalTensor(
            f"{name}.link", 16, array.nbytes, ir.DataType.FLOAT, shape=value.shape, name=name, base_dir=tmp_path
        )
    packed = pack(made)
    assert (packed.names, packed.folder) == (["w"], str((tmp_path / "folder1").resolve()))
    result = open_session(made).run({"x": X})["z"]
    np.testing.assert_allclose(result, X @ arrays[0] @ arrays[1] @ arrays[2], rtol=1e-3, atol=1e-3)


def test_small_external_weights_are_inlined(tmp_path: Path) -> None:
    made = model("(float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }")
    ir.save(made, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(open_session(loaded).run({"x": np.zeros(3, np.float32)})["y"], [1, 2, 3])


@pytest.mark.parametrize(("name", "number"), [("bfloat16", 16), ("float8e4m3fn", 17)])
def test_types_that_numpy_lacks_go_in_and_out(name: str, number: int) -> None:
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else ml_dtypes.float8_e4m3fn
    session = open_session(
        model(f"({name}[N,2] x) => ({name}[N,2] y, float[N,2] z) {{ y = Identity(x) z = Cast<to=1>(x) }}", opset=19)
    )
    array = np.array([[1.5, -2.0], [0.5, 4.0]]).astype(dtype)
    outputs = session.run({"x": array})
    assert outputs["y"].dtype == dtype
    assert outputs["y"].tobytes() == array.tobytes()
    np.testing.assert_array_equal(outputs["z"], array.astype(np.float32))
    assert session.run({"x": np.empty((0, 2), dtype)})["y"].shape == (0, 2)


def test_outputs_can_be_chosen_and_keep_the_asked_order() -> None:
    session = open_session(model("(float[2] x) => (float[2] a, float[2] b) { a = Abs(x) b = Neg(x) }"))
    feed = {"x": np.array([-1, 2], np.float32)}
    assert list(session.run(feed)) == ["a", "b"]
    assert list(session.run(feed, ["b"])) == ["b"]
    with pytest.raises(InputError, match="no output 'c'"):
        session.run(feed, ["c"])


def test_sequences_pass_through() -> None:
    session = open_session(
        model(
            "(seq(float[2]) x) => (seq(float[2]) y) { p = Constant<value_int = 0>() e = SequenceAt(x, p) "
            "y = SequenceInsert(x, e) }"
        )
    )
    result = session.run({"x": [np.ones(2, np.float32)]})["y"]  # type: ignore[dict-item]
    assert len(result) == 2


def test_wrong_feeds_are_named() -> None:
    session = open_session(matmul())
    with pytest.raises(InputError, match="lacks input 'x'"):
        session.run({})
    with pytest.raises(InputError, match=r"no input 'xx'.*did you mean 'x'"):
        session.run({"x": X, "xx": X})
    with pytest.raises(InputError, match=r"does not fit.*Got: 3 Expected: 256"):
        session.run({"x": np.ones((2, 3), np.float32)})
    with pytest.raises(InputError, match=r"does not fit.*double"):
        session.run({"x": X.astype(np.float64)})


def test_a_node_that_fails_is_no_traceback() -> None:
    session = open_session(model("(float[N] x) => (float[M] y) { s = Constant<value_ints = [4]>() y = Reshape(x, s) }"))
    with pytest.raises(CheckFailed, match=r"failed while running.*Reshape"):
        session.run({"x": np.ones(3, np.float32)})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"", "No graph was found"),
        (b"<html>", "protobuf parsing failed"),
        (to_bytes(model("(float x) => (float y) { y = Foo(x) }")), "No Op registered for Foo.*domain and opset"),
        ("missing.onnx", "no such model file"),
    ],
)
def test_what_onnxruntime_refuses_is_explained(source: bytes | str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_session(source)


def test_versions_that_onnxruntime_does_not_read_have_a_mend() -> None:
    proto = to_proto(model("(float x) => (float y) { y = Relu(x) }"))
    proto.ir_version = 99
    with pytest.raises(InputError, match=r"IR version: 99.*lower ir_version"):
        open_session(proto)
    proto.ir_version, proto.opset_import[0].version = 10, 99
    with pytest.raises(InputError, match=r"99.*convert the model"):
        open_session(proto)


def test_bad_options_are_refused() -> None:
    with pytest.raises(SetupError, match=r"no CpuExecutionProvider.*did you mean 'CPUExecutionProvider'"):
        open_session(matmul(), provider="CpuExecutionProvider")
    for threads in (0, 1025, 2**31):
        with pytest.raises(InputError, match=f"threads is {threads}; fix: give 1 to 1,024"):
            open_session(matmul(), threads=threads)
    with pytest.raises(InputError, match=r"unknown optimization level 'al'.*'all'"):
        open_session(matmul(), optimize="al")


def test_optimized_graph_shows_fusions_and_leaves_weights_out() -> None:
    proto = optimized_graph(matmul())
    assert [node.op_type for node in proto.graph.node] == ["MatMul", "Relu"]
    weight = proto.graph.initializer[0]
    assert list(weight.dims) == [256, 256]
    assert weight.data_location == onnx.TensorProto.EXTERNAL
    full = optimized_graph(matmul(), weights=True)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(full.graph.initializer[0]), weight_of(matmul()))


def test_optimized_graph_shows_the_int8_kernels_that_formed() -> None:
    made = model(
        "(float[N,8] x) => (float[N,8] y) <float s = {0.05}, uint8 z = {128}, int8 zw = {0}, int8[1] w = {0}> "
        "{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) f = DequantizeLinear(w, s, zw) "
        "y = MatMul(d, f) }"
    )
    made.graph.initializers["w"].const_value = ir.tensor(np.eye(8, dtype=np.int8), name="w")
    made.graph.initializers["w"].shape = ir.Shape([8, 8])
    kinds = [node.op_type for node in optimized_graph(made).graph.node]
    assert kinds == ["QuantizeLinear", "MatMulIntegerToFloat"]


def test_profile_is_written_where_asked(tmp_path: Path) -> None:
    session = open_session(matmul(), profile_to=tmp_path / "profile.json")
    session.run({"x": X})
    events = json.loads(session.end_profile().read_text())
    assert any(event.get("args", {}).get("op_name") == "MatMul" for event in events)
    assert os.listdir(tmp_path) == ["profile.json"]
    with pytest.raises(InputError, match="profile_to"):
        open_session(matmul()).end_profile()


def test_the_package_imports_without_onnxruntime_and_turns_its_telemetry_off() -> None:
    code = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None); import onnxslim.evaluation.tier;"
        "assert not {'onnx', 'onnx_ir', 'onnxruntime', 'numpy'} & set(sys.modules), 'eager import';"
        "from onnxslim.execution.ort import onnxruntime; onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
