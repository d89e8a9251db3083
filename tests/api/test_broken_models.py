"""Models that no runtime could run are bad input of every verb; valid ones that onnxruntime cannot run are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import helper, parser

import onnxslim
from onnxslim.analysis.validity import examine
from onnxslim.cli import main
from onnxslim.errors import InputError
from onnxslim.graph import load
from onnxslim.ops.conformity import RUNTIME_OPERATORS

HEADER = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3, "my" : 1]>'
X, Y = "float[2,3] x", "float[2,3] y"
BROKEN = {
    "unknown operator": (f"g ({X}) => ({Y}) {{ y = Foo(x) }}", "the operator Foo is unknown"),
    "unknown operator of ml": (f"g ({X}) => ({Y}) {{ y = ai.onnx.ml.Foo(x) }}", "the operator Foo is unknown"),
    "operator of a later opset": (f"g ({X}) => ({Y}) {{ y = Gelu(x) }}", "since opset 20"),
    "operator that was taken out": (
        "g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 2, 2}> { y = Upsample(x, s) }",
        "deprecated",
    ),
    "unknown operator that nothing uses": (f"g ({X}) => ({Y}) {{ z = Foo(x) y = Neg(x) }}", "Foo"),
    "missing attribute": (f"g ({X}) => ({Y}) {{ y = Cast(x) }}", "lacks the attribute 'to'"),
    "attribute that there is not": (f"g ({X}) => ({Y}) {{ y = Relu <k = 1> (x) }}", "no attribute 'k'"),
    "attribute of another type": (f"g ({X}) => ({Y}) {{ y = Concat <axis = 1.0> (x) }}", "must be of type INT"),
    "axis outside": (f"g ({X}) => ({Y}) {{ y = Softmax <axis = 5> (x) }}", "axis 5"),
    "axis outside that onnx finds": (f"g ({X}) => ({Y}) {{ y = Gather <axis = 5> (x, x) }}", "input 1"),
    "permutation": (f"g ({X}) => (float[3,2] y) {{ y = Transpose <perm = [0, 0]> (x) }}", "repeated"),
    "no such type": (f"g ({X}) => ({Y}) {{ y = Cast <to = 99> (x) }}", "valid type"),
    "two values of a Constant": (
        "g () => (float y) { y = Constant <value_float = 1.0, value_int = 2>() }",
        "2 values",
    ),
    "too many inputs": (f"g ({X}) => ({Y}) {{ y = Relu(x, x) }}", "has 2 inputs"),
    "too few inputs": (f"g ({X}) => ({Y}) {{ y = Add(x) }}", "has 1 inputs"),
    "too many outputs": (f"g ({X}) => ({Y}) {{ y, z = Relu(x) }}", "has 2 outputs"),
    "types that differ": (f"g ({X}, int64[2,3] k) => ({Y}) {{ y = Add(x, k) }}", "must have the same type"),
    "type that it does not take": ("g (int64[2] x) => (int64[2] y) { y = Sigmoid(x) }", "takes no such type"),
    "type of an output": (f"g ({X}) => (int64[2,3] y) {{ y = Relu(x) }}", "declared as a tensor(int64)"),
    "type of a value": (f"g ({X}) => ({Y}) <int64[2,3] a> {{ a = Relu(x) y = Neg(a) }}", "declared as a tensor(int64)"),
    "padding of no known mode": (
        f'g ({X}) => ({Y}) <int64[4] p = {{0, 0, 0, 0}}> {{ y = Pad<mode = "sideways">(x, p) }}',
        "the mode 'sideways' is unknown",
    ),
    "resized to nothing": ("g (float[1,1,2,2] x) => (float[1,1,4,4] y) { y = Resize(x) }", "neither scales nor sizes"),
    "gathered beyond the end": (
        f"g ({X}) => (float[1,3] y) <int64[1] i = {{2}}> {{ y = Gather(x, i) }}",
        "the index 2 is none of 2 entries",
    ),
    "matrices": ("g (float[2,3] x, float[4,5] w) => (float[2,5] y) { y = MatMul(x, w) }", "Incompatible"),
    "sums": ("g (float[2,3] x, float[4,5] w) => (float y) { y = Add(x, w) }", "Incompatible"),
    "joined": ("g (float[2,3] x, float[4,5] w) => (float y) { y = Concat <axis = 0> (x, w) }", "3 and 5"),
    "reshaped": (f"g ({X}) => (float[4,5] y) <int64[2] s = {{4, 5}}> {{ y = Reshape(x, s) }}", "6 elements"),
    "channels": ("g (float[1,4,2,2] x, float[2,3,1,1] w) => (float y) { y = Conv(x, w) }", "4 channels"),
    "step of 0": (
        f"g ({X}) => (float y) <int64[1] a = {{0}}, int64[1] b = {{2}}> {{ y = Slice(x, a, b, a, a) }}",
        "a step is 0",
    ),
    "branches of two types": (
        "g (bool c, float x) => (float y) { y = If (c) <then_branch = a () => (float p) { p = Relu(x) },"
        " else_branch = b () => (int64 q) { q = Cast <to = 7> (x) }> }",
        "the branches",
    ),
    "branch without an output": (
        "g (bool c, float x) => (float y) { y = If (c) <then_branch = a () => () { p = Relu(x) },"
        " else_branch = b () => (float q) { q = Neg(x) }> }",
        "gives 0 outputs",
    ),
    "body of a loop": (
        "g (int64 n, bool c, float[1] x) => (float[1] y) { y = Loop (n, c, x) <body = b (int64 i, bool d) =>"
        " (bool e, float[1] o) { e = Identity(d) o = Identity(x) }> }",
        "has 2 inputs",
    ),
    "inside a branch": (
        "g (bool c, float x) => (float y) { y = If (c) <then_branch = a () => (float p) { p = Foo(x) },"
        " else_branch = b () => (float q) { q = Neg(x) }> }",
        "in graph 'a'",
    ),
}
VALID = {
    "custom operator": f"g ({X}) => ({Y}) {{ y = my.Foo(x) }}",
    "operator of TensorRT": f"g ({X}) => ({Y}) {{ y = EfficientNMS_TRT(x) }}",
    "operator that onnx dropped": "g (float[1,3,4,4] x) => (float y) { y = ImageScaler <scale = 2.0> (x) }",
    "unknown to onnx, known to onnxruntime": f"g ({X}) => ({Y}) {{ y = SimplifiedLayerNormalization(x, x) }}",
    "no kernel": "g (uint16[2] x) => (uint16[2] y) { y = Abs(x) }",
    "false shape of an output": f"g ({X}) => (float[6] y) {{ y = Neg(x) }}",
    "false shape of a value": f"g ({X}) => ({Y}) <float[7] a> {{ a = Relu(x) y = Neg(a) }}",
    "empty parts may differ": "g (float[0,3] x, float[2,5] w) => (float y) { y = Concat <axis = 0> (x, w) }",
    "a branch that fits nothing and never runs": (
        f"g ({X}, bool c, float[9,9] w) => (float y) {{ y = If (c) <then_branch = a () => (float p)"
        " { p = MatMul(x, w) }, else_branch = b () => (float q) { q = Neg(x) }> }"
    ),
}


def model(text: str) -> onnx.ModelProto:
    return parser.parse_model(f"{HEADER} {text}")


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_a_broken_model_is_refused_with_what_and_where(fault: str) -> None:
    text, words = BROKEN[fault]
    with pytest.raises(InputError, match="the model is broken") as error:
        onnxslim.inspect(model(text))
    assert words in str(error.value)
    assert error.value.where
    when_run = ("reshaped", "channels", "gathered beyond the end")
    if "Constant" not in fault and fault not in when_run:
        with pytest.raises(Exception, match=r"\S"):
            ort.InferenceSession(model(text).SerializeToString(), providers=["CPUExecutionProvider"])


def no_outputs() -> onnx.ModelProto:
    made = model(f"g ({X}) => ({Y}) {{ y = Relu(x) }}")
    del made.graph.output[:]
    return made


def without(clear: Callable[[onnx.ValueInfoProto], object]) -> onnx.ModelProto:
    made = model(f"g ({X}) => ({Y}) {{ y = Relu(x) }}")
    clear(made.graph.input[0])
    return made


def listed(kind: int, dims: list[int]) -> onnx.ModelProto:
    made = model(f"g ({X}) => ({Y}) <float[3] w = {{1, 2, 3}}> {{ y = Add(x, w) }}")
    made.graph.input.append(helper.make_tensor_value_info("w", kind, dims))
    return made


def left_out() -> onnx.ModelProto:
    made = model(f"g ({X}) => ({Y}) {{ y = Add(x, x) }}")
    made.graph.node[0].input[1] = ""
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (no_outputs(), "no outputs"),
        (without(lambda info: info.ClearField("type")), "has no type"),
        (without(lambda info: info.type.tensor_type.ClearField("elem_type")), "has no type"),
        (without(lambda info: info.type.sequence_type.SetInParent()), "has no type"),
        (listed(onnx.TensorProto.INT64, [3]), "holds a tensor(float)"),
        (listed(onnx.TensorProto.FLOAT, [4]), "has the dims [3]"),
        (left_out(), "may not be left out"),
    ],
)
def test_so_is_one_that_no_text_can_state(made: onnx.ModelProto, words: str) -> None:
    with pytest.raises(InputError, match="the model is broken") as error:
        onnxslim.inspect(made)
    assert words in str(error.value)


VERBS = {
    "slim": ["-o", "o.onnx"],
    "slim --no-verify": ["-o", "o.onnx"],
    "quantize": ["--samples", "s.npy", "-o", "o.onnx"],
    "prune": ["--samples", "s.npy", "-o", "o.onnx"],
    "sparsify": ["-o", "o.onnx"],
    "decode": ["-o", "o.onnx"],
    "compress": ["--samples", "s.npy", "-o", "o.onnx"],
    "calibrate": ["--samples", "s.npy", "-o", "o.npz"],
    "inspect": [],
    "bench": [],
    "verify": ["m.onnx"],
}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_ends_with_2(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(model("g (float[2,3] x, int64[2,3] k) => (float[2,3] y) { y = Add(x, k) }"), "m.onnx")
    monkeypatch.setattr("sys.argv", ["onnxslim", *verb.split(), "m.onnx", *VERBS[verb]])
    assert main() == 2
    assert "must have the same type" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx"}


@pytest.mark.parametrize("kind", sorted(VALID))
def test_a_valid_model_passes_whether_onnxruntime_knows_it_or_not(kind: str) -> None:
    assert examine(load(model(VALID[kind]))).fault is None


def test_operators_of_onnxruntime_in_the_default_domain_are_known() -> None:
    schemas = ort.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    of_onnx = {(each.name, each.since_version) for each in onnx.defs.get_all_schemas_with_history() if not each.domain}
    own = {each.name for each in schemas if not each.domain and (each.name, each.since_version) not in of_onnx}
    assert {name for name in own if not name.endswith("_TRT")} <= RUNTIME_OPERATORS
