from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.errors import InputError
from onnxslim.graph.text import INLINE, parse, show
from tests.rewriting import assert_same_graph

RICH = r"""
<ir_version: 10, opset_import: ["" : 21, "my" : 1], producer_name: "p", domain: "d", model_version: 3,
 doc_string: "says \"hi\"", metadata_props: ["key" : "value"]>
g (float[N,3] x, seq(float[1]) s, optional(float[2]) o, sparse_tensor(float[2]) sp, bool c, float["N/2",?] u, float[] r)
=> (float[N,2] y, z)
<float[2] w = {1.0, 2.5}, int64[2] k = {1, 2}, float[N] mid, float[2,2] special = {1, nan, -inf, 1e-20},
 int4[3] q = {1, -2, 7}, uint4[3] uq = {1, 15, 7}, float16[2] h = {15872, 0}, bool[1] b = {1}, complex64[1] cc = {1, 2},
 string[2] ss = {"a", "b c"}, float scalar = {3}, bfloat16[1] bf = {16256}, float[0] none = {}, double[1] dd = {0.1},
 uint64[1] big = {18446744073709551615}, float8e4m3fn[1] f8 = {56}>
{
  [first] mid = Add (x, w)
  y, "" = my.Foo:ov <a = 1, b = [1,2], c = "s\"q", e: ints = [], t = float[1] {1.0}, f = 1.5, fi: float = inf,
    tp: type_proto = float[N], f2 = [1.0, 2.0], f3: floats = [nan], f4 = 2.0, f5 = 1e30, n = ["p", "q"]> (mid, , k)
  "weird/name:0" = If (c) <
    then_branch = g2 () => (float[2] q1) {
       q1 = Neg (w)
       unused = If (c) <then_branch = g4 () => (float[2] e4) { e4 = Neg (w) },
                        else_branch = g5 () => (float[1] e5) <float[1] iz = {1}> { e5 = Neg (iz) }>
    },
    else_branch = g3 () => (float[2] q2) { q2 = Abs (w) }>
  "float" = Neg ("weird/name:0")
  z = Abs ("float")
}
<domain: "my", overload: "ov", opset_import: ["" : 17], doc_string: "doc">
Foo <alpha, beta: int = 1, gamma: float = 1.0> (a) => (b) { b = Elu <alpha: float = @alpha> (a) }
"""


def without_comments(text: str) -> str:
    return re.sub(r"  # .*", "", text)


def test_what_is_shown_reads_back_as_the_same_model() -> None:
    model = parse(RICH)
    text = show(model)
    assert_same_graph(parse(text), model)
    assert without_comments(show(parse(text))) == without_comments(text)


def test_the_text_is_the_same_each_time_and_for_equal_models() -> None:
    assert show(parse(RICH)) == show(parse(RICH)) == show(parse(RICH).clone())


def test_one_node_a_line_with_types_constants_and_indented_subgraphs() -> None:
    lines = show(parse(RICH)).splitlines()
    assert "   [first] mid = Add (x, w)  # float[N]" in lines
    assert "   float16[2] h = {15872, 0},  # 1.5, 0.0" in lines
    assert "   float[2,2] special = {1.0, nan, -inf, 1e-20}," in lines
    assert "         q1 = Neg (w)  # float[2]" in lines
    assert "            else_branch = g5 () => (float[1] e5) <" in lines
    assert "   b = Elu (a) <alpha: float = @alpha>" in lines


def test_names_that_onnx_ir_invents_are_left_out() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float x) => (float y) {y = Neg(x)}')
    )
    model.graph[0].name = "node_Neg_0"
    assert "   y = Neg (x)  # float\n" in show(model)
    model.graph[0].name = "a name"
    assert '   ["a name"] y = Neg (x)  # float\n' in show(model)


def test_a_large_constant_is_summarised_and_the_summary_is_refused_with_the_mend() -> None:
    weights = np.arange(INLINE + 1, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Neg", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [INLINE + 1])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    text = show(ir.from_proto(helper.make_model(graph, ir_version=8)))
    assert "float[17] w = ...  # 68 bytes" in text
    with pytest.raises(InputError, match="write the constant out"):
        parse(text)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("int4", [1, -2, 7]), ("uint4", [1, 15, 7, 0]), ("int8", [-128, 127]), ("uint8", [0, 255]), ("bool", [1, 0])],
)
def test_integer_constants_keep_their_values(dtype: str, values: list[int]) -> None:
    literal = ", ".join(map(str, values))
    model = parse(
        f'<ir_version: 10, opset_import: ["" : 21]> g () => ({dtype}[{len(values)}] y) '
        f"<{dtype}[{len(values)}] w = {{{literal}}}> {{ y = Identity (w) }}"
    )
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    assert [int(value) for value in tensor.numpy()] == values
    assert f"w = {{{literal}}}" in show(model)


def test_strings_that_are_not_utf8_are_shown_escaped() -> None:
    model = parse(
        '<ir_version: 8, opset_import: ["" : 17]> g () => (string[1] y) <string[1] w = {"a"}> { y = Identity (w) }'
    )
    model.graph.initializers["w"].const_value = ir.StringTensor([b"\xff\x00"], shape=ir.Shape([1]), name="w")
    assert r'w = {"\\xff' in show(model)


def test_twenty_thousand_nodes_and_deep_subgraphs_need_no_recursion() -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    current, nodes = value, []
    for position in range(20_000):
        node = ir.node("Neg", [current], name=f"n{position}")
        node.outputs[0].name = f"v{position}"
        nodes.append(node)
        current = node.outputs[0]
    flat = ir.Model(ir.Graph([value], [current], nodes=nodes, opset_imports={"": 17}, name="g"), ir_version=8)
    assert show(flat).count("Neg") == 20_000

    graph = ir.Graph([], [], nodes=[], name="innermost")
    for _ in range(2_000):
        graph = ir.Graph([], [], nodes=[ir.node("If", [], {"then_branch": graph})], name="g")
    graph.opset_imports[""] = 17
    assert show(ir.Model(graph, ir_version=8)).count("then_branch") == 2_000


HEADER = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) '


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nonsense", ["line 1", "cannot be read"]),
        ("", ["cannot be read"]),
        (HEADER + "{\n y == Neg (x) }", ["line 2", "y == Neg (x)", "Expected character ("]),
        (HEADER + "{ y = Foo <a: tensors = [float[1] {1}]> (x) }", ["attribute 'a' of Foo", "drops lists of tensors"]),
        (HEADER + "{ y = Foo <a: graphs = [h () => () {}]> (x) }", ["attribute 'a' of Foo", "drops lists of graphs"]),
        (HEADER + "{ y = Foo <a = [float[1] {1}]> (x) }", ["attribute 'a' of Foo", "different kinds"]),
        (
            HEADER + "{ y = If (x) <then_branch = h () => () { q = Foo <b: graphs = []> () }> }",
            ["attribute 'b' of Foo"],
        ),
        (HEADER + "{ y = Neg (x)\n y = Abs (x) }", ["does not make a model", "redeclared"]),
        (
            HEADER + "{ y = Foo <a: graphs = []> (x) } \n" + '<domain: "m", opset_import: ["" : 17]> f (a) => (b) {}',
            ["a"],
        ),
    ],
)
def test_bad_text_gets_one_message_with_the_place(text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    for part in parts:
        assert part in str(caught.value)
