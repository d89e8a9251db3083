"""Operators whose sizes, words, bodies and indices fit nothing are bad input; what merely looks like it is not."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

import onnxslim
from onnxslim.analysis.validity import examine
from onnxslim.api.source import refuse_broken
from onnxslim.errors import InputError
from onnxslim.graph import load
from onnxslim.passes.slim import Slim
from tests.api.broken_files import broken_files, model

BROKEN = broken_files()
VALID = {
    "a recurrent net without hidden_size": (
        "g (float[5,1,4] x, float[1,8,4] w, float[1,8,8] r) => (float y) { y = RNN (x, w, r) }"
    ),
    "batch first, both directions": (
        "g (float[1,5,4] x, float[2,8,4] w, float[2,8,8] r, float[1,2,8] h) => (float y)"
        ' { y = RNN <hidden_size = 8, layout = 1, direction = "bidirectional"> (x, w, r, , , h) }'
    ),
    "activations in lower case": (
        "g (float[5,1,4] x, float[1,8,4] w, float[1,8,8] r) => (float y)"
        ' { y = RNN <hidden_size = 8, activations = ["relu"]> (x, w, r) }'
    ),
    "one-element tensors as the limits of a Range": "g (int64[1] a) => (int64 y) { y = Range(a, a, a) }",
    "a bound of one element": "g (float[2] x, float[1] a) => (float y) { y = Clip(x, a) }",
    "a window one place too wide": ("g (float[1,1,2,2] x) => (float y) { y = MaxPool <kernel_shape = [3, 3]> (x) }"),
    "slopes that make the result larger": "g (float[2,3] x, float[3,1,1] w) => (float y) { y = PRelu(x, w) }",
    "a scan from the back": (
        "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = 1,"
        " scan_input_axes = [-2], body = b (float[1] a, float[1] v) => (float[1] o, float[1] p)"
        " { o = Add(a, v) p = Neg(v) }> (s, x) }"
    ),
    "a body that fits nothing in a function that a branch calls": (
        "g (float[2,3] x, bool c) => (float y) { y = If (c) <then_branch = a () => (float p) { p = my.f(x) },"
        ' else_branch = b () => (float q) { q = Neg(x) }> } <domain: "my", opset_import: ["" : 17]>'
        " f (a) => (b) { b = MatMul(a, a) }"
    ),
    "an attribute with a default in the function": (
        'g (float[2,3] x) => (float y) { y = my.f(x) } <domain: "my", opset_import: ["" : 17]>'
        " f <k: int = 0> (a) => (b) { b = Concat <axis : int = @k> (a, a) }"
    ),
    "operators of other domains": "g (float[2,3] x) => (float y) { y = my.LSTM <direction = 5> (x) }",
}


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_it_is_refused_with_what_and_where(fault: str) -> None:
    made, words = BROKEN[fault]
    with pytest.raises(InputError, match="the model is broken") as error:
        refuse_broken(load(made))
    assert words in str(error.value)
    assert error.value.where


@pytest.mark.parametrize("kind", sorted(VALID))
def test_what_is_odd_but_valid_passes(kind: str) -> None:
    assert examine(load(model(VALID[kind]))).fault is None


def test_a_sequence_is_a_state_of_a_loop() -> None:
    made = model(
        "g (int64 n, bool c, float[2] x) => (seq(float[2]) y) { s = SequenceConstruct(x)"
        " y = Loop (n, c, s) <body = b (int64 i, bool d, seq(float[2]) v) => (bool e, seq(float[2]) o)"
        " { e = Identity(d) o = SequenceInsert(v, x) }> }"
    )
    assert examine(load(made)).fault is None


def test_an_equation_on_which_onnx_never_ends_is_not_asked_about() -> None:
    node = helper.make_node("Einsum", ["x"], ["y"], equation="i!j->")
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b"]) for name in "xy"]
    made = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]))
    fault = examine(load(made)).fault
    assert fault is not None
    assert "'i!j->' is malformed" in fault.why


def test_a_false_shape_that_onnxruntime_tolerates_is_named_in_the_report() -> None:
    made = model("g (float[2,3] x) => (float[6] y) { a = Relu(x) y = Neg(a) }")
    notes = onnxslim.compress(made, recipe=[Slim()], bench=False).report.notes
    assert any("'y' as FLOAT[6], and it is FLOAT[2, 3]" in note for note in notes)


def test_a_graph_that_a_function_gets_as_an_attribute_is_refused() -> None:
    made = model(
        'g (float[2,3] x, bool c) => (float y) { y = my.f(c) } <domain: "my", opset_import: ["" : 17]>'
        " f <k> (c) => (b) { b = Identity(c) }"
    )
    node = made.functions[0].node[0]
    node.op_type = "If"
    for name in ("then_branch", "else_branch"):
        node.attribute.add(name=name, type=onnx.AttributeProto.GRAPH, ref_attr_name="k")
    with pytest.raises(InputError, match="not supported"):
        load(made)
