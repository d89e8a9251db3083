from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

import onnxslim
from onnxslim.api.slim import simplify
from onnxslim.commands.options import run_options
from onnxslim.graph import load, save, to_proto
from onnxslim.graph.edit import add_initializer, constant_tensor, raise_ir_version

NODES = """{
  c = Conv <kernel_shape = [1, 1]> (x, w)
  n = BatchNormalization (c, g, b, m, v)
  y = Relu (n)
}"""
WEIGHTS = """<float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}, float[2] g = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1},
  float[2] v = {1, 4}>"""
LISTED = "float[2,3,1,1] w, float[2] g, float[N,3,4,4] x, float[2] b, float[2] m, float[2] v"


def model(ir_version: int, *, inputs: str = LISTED) -> onnx.ModelProto:
    text = f'<ir_version: {ir_version}, opset_import: ["" : 9]> g ({inputs}) => (float[N,2,4,4] y) {WEIGHTS} {NODES}'
    proto = parser.parse_model(text)
    onnx.checker.check_model(proto)
    return proto


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def names(proto: onnx.ModelProto) -> list[str]:
    return [info.name for info in proto.graph.input]


def test_an_old_file_comes_out_as_it_went_in() -> None:
    proto = model(3)
    loaded = load(proto)
    assert [value.name for value in loaded.graph.inputs] == ["x"]
    assert constant_tensor(loaded.graph.initializers["w"]) is not None
    assert list(to_proto(loaded).graph.input) == list(proto.graph.input)
    assert not to_proto(loaded).graph.value_info


def test_an_old_file_lists_what_is_new_and_forgets_what_is_gone() -> None:
    loaded = load(model(3))
    loaded.graph.initializers.pop("v")
    loaded.graph.node(1).replace_input_with(4, add_initializer(loaded.graph, "new", np.array([1, 4], np.float32)))
    written = to_proto(loaded)
    assert names(written) == ["w", "g", "x", "b", "m", "new"]
    onnx.checker.check_model(written, full_check=True)


def test_constants_stay_constants_where_the_version_is_raised() -> None:
    loaded = load(model(3))
    raise_ir_version(loaded, 8)
    assert names(to_proto(loaded)) == ["x"]


def test_weights_of_an_old_file_are_slimmed_like_those_of_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old.onnx", tmp_path / "new.onnx"
    for path, proto in ((old, model(3)), (new, model(8, inputs="float[N,3,4,4] x"))):
        onnx.save(proto, path)
        result = simplify(path, tmp_path / f"slim-{path.name}")
        assert result.report.parity is not None
        assert result.report.parity.passed
    slim_old, slim_new = (onnx.load(tmp_path / f"slim-{path.name}") for path in (old, new))
    assert operators(slim_old) == operators(slim_new) == ["Conv", "Relu"]
    assert slim_old.ir_version == 3
    assert {tensor.name for tensor in slim_old.graph.initializer} | {"x"} == set(names(slim_old))
    onnx.checker.check_model(slim_old, full_check=True)


@pytest.mark.parametrize("form", ["proto", "ir"])
def test_initializers_that_may_be_replaced_are_constants_only_where_the_user_says_so(form: str) -> None:
    given: onnx.ModelProto | ir.Model = model(8) if form == "proto" else ir.from_proto(model(8))
    default = simplify(given)
    assert operators(to_proto(default.model)) == ["Conv", "BatchNormalization", "Relu"]
    assert any(f"--{freeze_option_name()}" in note for note in default.report.notes)
    frozen = onnxslim.slim(given, freeze_initializers=True)
    assert frozen is not None
    assert operators(frozen) == ["Conv", "Relu"]
    assert names(frozen) == ["x"]


def freeze_option_name() -> str:
    command = click.command()(run_options("freeze_initializers")(lambda: None))
    return command.params[0].opts[0].removeprefix("--")


def test_frozen_inputs_are_gone_though_no_rewrite_applies(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}>'
    proto = parser.parse_model(text + " { y = Add (x, w) }")
    written = onnxslim.slim(proto, freeze_initializers=True)
    assert written is not None
    assert names(written) == ["x"]
    assert names(proto) == ["x", "w"]
    save(load(proto, freeze_initializers=True), tmp_path / "m.onnx")
    assert names(onnx.load(tmp_path / "m.onnx")) == ["x"]
