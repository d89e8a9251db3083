"""Calls of OnnxSlim as they stand in exporters and scripts, each with what its caller does with the result."""

from __future__ import annotations

import inspect as python_inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import onnxslim
from onnxslim import CheckFailed, InputError
from onnxslim.pipeline import Context, Pass, PassResult, get_pass
from tests.compat.models import STRINGLESS_RANDOM, net, ops

SLIM = ["MatMul", "Min", "Relu"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(net(), "model.onnx")
    return tmp_path / "model.onnx"


def run(model: onnx.ModelProto | str | Path, rows: int = 2) -> np.ndarray:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": np.linspace(-1, 1, rows * 4, dtype=np.float32).reshape(rows, 4)})
    return np.asarray(output)


@pytest.mark.parametrize("form", ["str", "Path", "bytes", "ModelProto", "ir.Model"])
def test_every_form_of_a_model(path: Path, form: str) -> None:
    given: Any = {
        "str": str(path),
        "Path": path,
        "bytes": path.read_bytes(),
        "ModelProto": net(),
        "ir.Model": ir.from_proto(net()),
    }[form]
    slimmed = onnxslim.slim(given)
    assert slimmed is not None
    assert ops(slimmed) == SLIM
    np.testing.assert_allclose(run(slimmed), run(net()), rtol=1e-5)


def test_ultralytics_edits_and_saves_what_it_gets(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print(onnxslim.__version__)
    model_onnx = onnxslim.slim(onnx.load(path))
    assert type(model_onnx) is onnx.ModelProto
    meta = model_onnx.metadata_props.add()
    meta.key, meta.value = "stride", "32"
    model_onnx.ir_version = 7
    onnx.save(model_onnx, "out.onnx")
    assert run("out.onnx").shape == (2, 3)
    assert capsys.readouterr().out == f"{onnxslim.__version__}\n"


def test_the_callers_proto_is_not_touched() -> None:
    given = net()
    before = given.SerializeToString()
    for arguments in ({}, {"input_shapes": ["x:1,4"]}, {"dtype": "fp16"}, {"outputs": ["product"]}):
        slimmed = onnxslim.slim(given, **arguments)
        assert given.SerializeToString() == before
        assert slimmed
        slimmed.graph.node[0].name = "mine"
        slimmed.graph.initializer[0].name = "mine"
        assert given.SerializeToString() == before


def test_an_unchanged_models_proto_is_a_copy() -> None:
    once = onnxslim.slim(net())
    assert once is not None
    twice = onnxslim.slim(once)
    assert twice is not once
    assert twice == once


def test_transformers_js_and_optimum_take_the_result_for_a_truth_value(path: Path) -> None:
    slimmed = onnxslim.slim(str(path))
    assert bool(slimmed)
    if slimmed:
        onnx.save(slimmed, path)
    assert ops(onnx.load(path)) == SLIM


def test_llm_exporters_slim_in_place(path: Path) -> None:
    size = path.stat().st_size
    arguments: dict[str, Any] = {
        "no_shape_infer": True,
        "skip_fusion_patterns": False,
        "skip_optimizations": None,
        "no_constant_folding": False,
        "size_threshold": 1 << 20,
        "save_as_external_data": False,
        "verbose": False,
    }
    with pytest.deprecated_call(match="skip_optimizations"):
        assert onnxslim.slim(model=str(path), output_model=str(path), **arguments) is None
    assert ops(onnx.load(path)) == SLIM
    assert path.stat().st_size <= size


def test_deploy2serve_checks_a_proto_and_writes_it(path: Path) -> None:
    proto = onnx.load(path)
    done = onnxslim.slim(
        proto,
        model_check=True,
        skip_optimizations=False,
        skip_fusion_patterns=False,
        output_model=path.parent / "o.onnx",
    )
    assert done is None
    assert ops(onnx.load("o.onnx")) == SLIM


def test_skip_fusion_patterns_true_leaves_all_of_them_out(path: Path) -> None:
    slimmed = onnxslim.slim(str(path), skip_fusion_patterns=True)
    assert slimmed is not None
    np.testing.assert_allclose(run(slimmed), run(net()), rtol=1e-5)


def test_ocr_ports_skip_patterns_and_fix_shapes(path: Path) -> None:
    assert onnxslim.slim(str(path), output_model="dst.onnx", skip_fusion_patterns=["EliminationSlice"]) is None
    fixed = onnxslim.slim(str(path), input_shapes=["x:2,4"], skip_fusion_patterns=["FusionGemm"])
    assert fixed is not None
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [2, 4]
    assert [d.dim_value for d in fixed.graph.output[0].type.tensor_type.shape.dim] == [2, 3]
    assert "Gemm" not in ops(fixed)


def test_an_exporter_that_prints_the_table_itself(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnxslim.utils import print_model_info_as_table, summarize_model

    model = onnx.load(path)
    before = summarize_model(model, "Before slimming")
    slimmed = onnxslim.slim(model, verbose=False)
    assert slimmed is not None
    after = summarize_model(slimmed, "After slimming")
    print_model_info_as_table([before, after], 1.5)
    said = capsys.readouterr().out
    assert all(text in said for text in ("Before slimming", "After slimming", "Identity", "1.50 s", "IN: x"))
    assert (before.op_type_counts["Identity"], after.op_type_counts["Identity"]) == (1, 0)


@pytest.mark.parametrize("names", [["constant_folding"], "constant_folding"])
def test_constant_folding_may_be_left_out(path: Path, names: Any) -> None:
    slimmed = onnxslim.slim(str(path), skip_optimizations=names)
    assert slimmed is not None
    assert ops(slimmed).count("Add") == 1


@pytest.mark.parametrize(
    "program", [[sys.executable, "-m", "onnxslim"], [str(Path(sys.executable).parent / "onnxslim")]]
)
def test_as_a_subprocess(path: Path, program: list[str]) -> None:
    subprocess.run([*program, "model.onnx", "out.onnx"], check=True, capture_output=True)
    assert ops(onnx.load("out.onnx")) == SLIM


def test_the_idiom_of_onnxsim_does_not_pass_for_success(path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        _model, _check = onnxslim.slim(onnx.load(path))  # type: ignore[misc]


def test_positional_and_keyword_outputs_are_the_same(path: Path) -> None:
    onnxslim.slim(str(path), "a.onnx")
    onnxslim.slim(model=path, output_model=Path("b.onnx"))
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_imports_that_callers_make() -> None:
    from onnxslim.cli import main, slim
    from onnxslim.cli._main import main as same_main
    from onnxslim.cli._main import slim as same_slim

    assert slim is same_slim is onnxslim.slim
    assert main is same_main
    assert isinstance(onnxslim.__version__, str)


def test_a_list_is_shown_and_nothing_else(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onnxslim.slim([str(path), net()]) is None
    said = capsys.readouterr().out
    assert "model.onnx" in said
    assert "OnnxModel" in said
    assert list(path.parent.iterdir()) == [path]


def test_a_model_that_is_inspected_is_slimmed_all_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = onnxslim.slim(str(path), inspect=True)
    assert shown is not None
    assert ops(shown) == SLIM
    assert "model.onnx" in capsys.readouterr().out
    assert onnxslim.slim(str(path), "out.onnx", inspect=True) is None
    assert ops(onnx.load("out.onnx")) == SLIM


def test_fused_nodes_have_a_name() -> None:
    model = net("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 3] z)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1},
         float[2] v = {1, 2}, float[1, 2] p = {1, 2}, float[2, 3] q = {1, 2, 3, 4, 5, 6}, float[3] r = {1, 2, 3}> {
            c = Conv (x, w)
            y = BatchNormalization (c, s, b, m, v)
            u = ReduceMax <axes = [2, 3], keepdims = 0> (y)
            t = MatMul (u, q)
            z = Add (t, r)
        }""")
    slimmed = onnxslim.slim(model)
    assert slimmed is not None
    names = {node.op_type: node.name for node in slimmed.graph.node}
    assert names == {"Conv": "c", "ReduceMax": "", "Gemm": "z"}


def test_the_signature_is_the_one_of_onnxslim() -> None:
    names = list(python_inspect.signature(onnxslim.slim).parameters)
    assert names[:2] == ["model", "output_model"]
    theirs = (
        "model_check input_shapes inputs outputs no_shape_infer skip_optimizations dtype skip_fusion_patterns "
        "size_threshold inspect dump_to_disk save_as_external_data model_check_inputs verbose"
    )
    assert names[2:16] == theirs.split()


@pytest.mark.parametrize(("wrong", "near"), [("model_chek", "model_check"), ("input_shape", "input_shapes")])
def test_an_unknown_keyword_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(TypeError, match=f"'{wrong}'.*{near}"):
        onnxslim.slim(net(), **{wrong: True})  # type: ignore[arg-type]


def test_legacy_keywords_keep_their_meaning() -> None:
    with pytest.deprecated_call(match="no_constant_folding"):
        slimmed = onnxslim.slim(net(), no_constant_folding=True)
    assert slimmed is not None
    assert ops(slimmed).count("Add") == 1


def test_unknown_patterns_and_optimizations_name_the_nearest() -> None:
    with pytest.raises(InputError, match="FusionGemm"):
        onnxslim.slim(net(), skip_fusion_patterns=["FusionGem"])
    with pytest.raises(InputError, match="constant_folding"):
        onnxslim.slim(net(), skip_optimizations=["const_folding"])


class Spoil(Pass):
    """Turns Relu into Neg: what a wrong pass does."""

    name = "slim"

    def run(self, model: ir.Model, context: Context) -> PassResult:
        for node in model.graph:
            if node.op_type == "Relu":
                node.op_type = "Neg"
        return PassResult(True)


def test_a_failed_check_raises_and_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = get_pass("slim")
    monkeypatch.setattr(real, "run", Spoil.run)
    for check in (False, True):
        with pytest.raises(CheckFailed):
            onnxslim.slim(str(path), "out.onnx", model_check=check)
    with pytest.raises(CheckFailed):
        onnxslim.slim(str(path), "out.onnx", model_check=True, verify=False)
    assert list(path.parent.iterdir()) == [path]
    assert onnxslim.slim(str(path), verify=False) is not None


def test_a_check_that_can_compare_nothing_fails() -> None:
    text = STRINGLESS_RANDOM.replace('["" : 17]', '["" : 17, "vendor" : 1]').replace("Add (x, r)", "vendor.Add (x, r)")
    assert onnxslim.slim(net(text)) is not None
    with pytest.raises(CheckFailed, match="cannot be compared"):
        onnxslim.slim(net(text.replace("r = Random", "s = Identity (x)\n r = Random")), model_check=True)


def test_random_operators_are_not_folded() -> None:
    slimmed = onnxslim.slim(net(STRINGLESS_RANDOM))
    assert slimmed is not None
    assert ops(slimmed) == ["RandomNormal", "Add"]
