from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxslim
from onnxslim import CheckFailed, InputError
from onnxslim.compat.arguments import OPTIMIZATIONS, PATTERNS, skipped
from onnxslim.compat.slim import slim_result
from onnxslim.evaluation import Tier
from onnxslim.pipeline import get_pass, make_pass, pass_table
from onnxslim.report import Report
from tests.compat.models import COLUMNS, large, net, ops

FLOAT, FLOAT16, INT32 = 1, 10, 6


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in value.type.tensor_type.shape.dim]


def elem(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def slim(model: onnx.ModelProto, **arguments: object) -> onnx.ModelProto:
    slimmed = onnxslim.slim(model, **arguments)  # type: ignore[arg-type]
    assert slimmed is not None
    onnx.checker.check_model(slimmed, full_check=True)
    return slimmed


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(each) for each in session.run(None, feed)]


X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize("shapes", [["x:2,4"], "x:2,4", {"x": [2, 4]}, {"x": "2,4"}, {"x": (2, -1)}])
def test_input_shapes(shapes: object) -> None:
    slimmed = slim(net(), input_shapes=shapes)
    assert dims(slimmed.graph.input[0]) == ([2, "?"] if shapes == {"x": (2, -1)} else [2, 4])
    assert dims(slimmed.graph.output[0]) == [2, 3]
    np.testing.assert_allclose(run(slimmed, x=X)[0], run(net(), x=X)[0], rtol=1e-5)


def test_minus_one_keeps_the_symbol() -> None:
    assert dims(slim(net(), input_shapes=["x:-1,4"]).graph.input[0]) == ["batch", 4]


def test_names_of_inputs_may_contain_colons() -> None:
    model = net()
    model.graph.input[0].name = model.graph.node[1].input[0] = "x:0"
    assert dims(slim(model, input_shapes=["x:0:5,4"]).graph.input[0]) == [5, 4]


def test_stale_output_sizes_go() -> None:
    model = net(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) '
        "<float[1, 4] t> { t = Exp (x) y = Abs (t) }"
    )
    slimmed = slim(model, input_shapes=["x:3,4"])
    assert dims(slimmed.graph.output[0]) == [3, 4]


@pytest.mark.parametrize("shapes", [["z:1,4"], ["x:1"], ["x:a,b"], ["x"], ["x:-2,4"], [3]])
def test_bad_input_shapes(shapes: list[object]) -> None:
    with pytest.raises(InputError):
        onnxslim.slim(net(), input_shapes=shapes)  # type: ignore[arg-type]


def test_outputs() -> None:
    slimmed = slim(net(), outputs=["product"])
    assert ops(slimmed) == ["MatMul"]
    assert [value.name for value in slimmed.graph.output] == ["product"]
    assert dims(slimmed.graph.output[0]) == ["batch", 3]
    w = np.array([1, 0.5, -1, 2, 0.25, 3, -2, 1, 0.125, 4, -0.5, 1], np.float32).reshape(4, 3)
    np.testing.assert_allclose(run(slimmed, x=X)[0], X @ w, rtol=1e-5)


def test_outputs_of_another_dtype_are_cast() -> None:
    slimmed = slim(net(), outputs=["y:int32"])
    assert elem(slimmed.graph.output[0]) == INT32
    np.testing.assert_array_equal(run(slimmed, x=X)[0], run(net(), x=X)[0].astype(np.int32))


def test_inputs_in_the_middle() -> None:
    slimmed = slim(net(), inputs=["product"])
    assert [value.name for value in slimmed.graph.input] == ["product"]
    assert ops(slimmed) == ["Min", "Relu"]
    given = np.array([[1, -9, 0]], np.float32)
    np.testing.assert_allclose(run(slimmed, product=given)[0], np.maximum(np.minimum(given, np.array([2, 3, 4])), 0))


def test_inputs_of_another_dtype_are_cast() -> None:
    slimmed = slim(net(), inputs=["x:fp16"])
    assert elem(slimmed.graph.input[0]) == FLOAT16
    half = X.astype(np.float16)
    np.testing.assert_allclose(run(slimmed, x=half)[0], run(net(), x=half.astype(np.float32))[0], rtol=1e-5)


def test_inputs_and_outputs_together() -> None:
    slimmed = slim(net(), inputs=["product"], outputs=["sum"])
    assert (ops(slimmed), [v.name for v in slimmed.graph.output]) == (["Min"], ["sum"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"outputs": ["prodct"]},
        {"outputs": ["y:fp17"]},
        {"outputs": ["y", "y"]},
        {"inputs": ["nothing"]},
        {"inputs": ["b"]},
    ],
)
def test_bad_parts(arguments: dict[str, list[str]]) -> None:
    with pytest.raises(InputError):
        onnxslim.slim(net(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["fp16", "float16"])
def test_fp16_and_back(dtype: str) -> None:
    half = slim(net(), dtype=dtype)
    assert (elem(half.graph.input[0]), elem(half.graph.output[0])) == (FLOAT16, FLOAT16)
    assert {tensor.data_type for tensor in half.graph.initializer if tensor.name == "w"} == {FLOAT16}
    expected = run(net(), x=X)[0]
    np.testing.assert_allclose(run(half, x=X.astype(np.float16))[0], expected, rtol=1e-2, atol=1e-2)
    back = slim(half, dtype="fp32")
    assert (elem(back.graph.input[0]), elem(back.graph.output[0])) == (FLOAT, FLOAT)
    np.testing.assert_allclose(run(back, x=X)[0], expected, rtol=1e-2, atol=1e-2)


def test_a_conversion_reports_what_was_compared() -> None:
    def report_of(dtype: str, **options: Any) -> Report:
        return slim_result(net(), dtype=dtype, **options).report

    half = report_of("fp16")
    assert half.parity is not None
    assert half.parity.sqnr is not None
    assert (half.parity.tier, half.parity.evidence, half.evidence) == (Tier.LOSSY, "random inputs", "random inputs")
    assert 40 < half.parity.sqnr < 100
    line = rf"parity: outputs differ by SQNR {half.parity.sqnr:.1f} dB, .* on {half.parity.feeds} random inputs\n"
    assert re.search(line, str(half))
    assert f"SQNR {half.parity.sqnr:.1f} dB" in str(half).splitlines()[0]
    assert "those before the conversion, on inputs that suit fp16" in str(half)
    given = report_of("fp16", samples=[{"x": X.astype(np.float16)}])
    assert given.parity is not None
    assert (given.parity.feeds, given.evidence) == (1, "samples")
    assert "parity: not checked" in str(report_of("fp16", verify=False))
    wide = report_of("fp32").parity  # there is no float16 to convert
    assert wide is not None
    assert wide.tier is Tier.NUMERIC


def test_fp32_reaches_subgraphs_casts_and_constants() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float16[2] x, bool c) => (float16[2] y) {
        k = Constant <value = float16[2] {15360, 16384}> ()
        y = If (c) <
            then_branch = t () => (float16[2] a) { a = Add (x, k) },
            else_branch = e () => (float16[2] b) { i = Cast <to = 7> (x) b = Cast <to = 10> (i) }
        >
    }"""
    wide = slim(net(text), dtype="fp32")
    assert b"\x0a\x02\x08\x0a" not in wide.SerializeToString()
    x = np.array([1.5, -2.5], np.float32)
    np.testing.assert_array_equal(run(wide, x=x, c=np.array(True))[0], x + np.array([1, 2]))
    np.testing.assert_array_equal(run(wide, x=x, c=np.array(False))[0], [1, -2])


def test_a_conversion_that_overflows_is_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[99] x) => (float[99] y) <float[1] k = {60000}> { a = Mul (x, k) b = Mul (a, k) y = Div (b, k) }"""
    with pytest.raises(CheckFailed, match="fp16"):
        onnxslim.slim(net(text), dtype="fp16", skip_optimizations=True)


def test_an_unknown_dtype() -> None:
    with pytest.raises(InputError, match="quantize"):
        onnxslim.slim(net(), dtype="int8")  # type: ignore[arg-type]


def test_size_threshold_leaves_large_values_alone() -> None:
    model = net(
        """<ir_version: 8, opset_import: ["" : 17]> g (float["n", 900] x) => (float["n", 900] y)
        <float[900] a, float[900] b> { c = Mul (a, b) s = Add (x, c) y = Sin (s) }"""
    )
    generator = np.random.default_rng(0)
    for name in "ab":
        array = generator.random(900, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    del model.graph.value_info[:]
    assert "Mul" in ops(slim(model, size_threshold=3599))
    assert "Mul" not in ops(slim(model, size_threshold=3600))
    assert "Mul" not in ops(slim(model, size_threshold=0))


def test_every_pattern_and_optimization_of_onnxslim_is_accepted() -> None:
    own = set(pass_table()) | {"merge-nodes", "tie-initializers"}
    assert len(PATTERNS) == 21
    for name in PATTERNS:
        assert set(skipped([name], None)) == set(PATTERNS[name]) <= own
        slim(net(), skip_fusion_patterns=[name])
    assert len(OPTIMIZATIONS) == 5
    for name in OPTIMIZATIONS:
        assert skipped(None, [name])
        slim(net(), skip_optimizations=[name])
    assert {"fuse-conv-batchnorm", "fold-constants"} <= set(skipped(True, True))
    make_pass(get_pass("slim"), {"skip": skipped(True, True)})


def test_own_names_may_be_skipped_too() -> None:
    assert "Identity" in ops(slim(net(), skip_fusion_patterns=["remove-identity"]))


def test_weights_are_tied_unless_left_out() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float["n", 8] x) => (float["n", 8] y)
    <float[8] a = {1, 2, 3, 4, 5, 6, 7, 8}, float[8] b = {1, 2, 3, 4, 5, 6, 7, 8}>
    { s = Add (x, a) t = Sin (s) y = Add (t, b) }"""
    assert len(slim(net(text)).graph.initializer) == 1
    assert len(slim(net(text), skip_optimizations=["weight_tying"]).graph.initializer) == 2


@pytest.mark.parametrize("value", ["x:3,4", "x:{}"])
def test_model_check_inputs(tmp_path: Path, value: str) -> None:
    np.save(tmp_path / "x.npy", X)
    slim(net(), model_check=True, model_check_inputs=[value.format(tmp_path / "x.npy")])


@pytest.mark.parametrize("value", ["z:3,4", "x:3", "x:nothing.npy", "z:nothing.npy"])
def test_bad_model_check_inputs(value: str) -> None:
    with pytest.raises(InputError):
        onnxslim.slim(net(), model_check=True, model_check_inputs=[value])


def test_model_check_inputs_and_samples_exclude_each_other() -> None:
    with pytest.raises(InputError, match="model_check_inputs"):
        onnxslim.slim(net(), model_check_inputs=["x:1,4"], samples=[{"x": X}])


def test_external_data_is_replaced_and_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(large(), path)
    for _ in range(3):
        onnxslim.slim(str(path), str(path), save_as_external_data=True)
        files = sorted(tmp_path.iterdir())
        assert len(files) == 2
        assert sum(each.stat().st_size for each in files) < (4 + 1) * COLUMNS * 4 + 4096


def test_dump_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(net(), "m.onnx")
    assert onnxslim.slim(["m.onnx"], dump_to_disk=True) is None
    lines = Path("m.onnx_model_info.csv").read_text().splitlines()
    assert lines[0] == "NodeName,OpType,OutputDtype,OutputShape"
    assert len(lines) == 6
    assert ",MatMul,float32,\"('batch', 3)\"" in lines
    with pytest.raises(InputError, match="inspect"):
        onnxslim.slim("m.onnx", dump_to_disk=True)
    with pytest.raises(InputError, match="output"):
        onnxslim.slim(["m.onnx"], "out.onnx")
    with pytest.raises(InputError):
        onnxslim.slim([])


def test_verbose_logs_to_stderr(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    slim(net(), verbose=True)
    assert any("compare" in record.message for record in caplog.records)
    caplog.clear()
    slim(net())
    assert not caplog.records
