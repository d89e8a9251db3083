import onnx_ir as ir
import pytest

from onnxslim.graph import parse
from onnxslim.passes.slim import RemoveUnused
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>'


def test_a_dead_chain_and_its_constants_go_and_inputs_stay() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[2] x, float[2] unused) => (float[2] y)
            <float[2] w = {{1, 2}}, float[2] z = {{3, 4}}> {{
            y = Relu(x)
            a = Add(x, w)
            b = Exp(a)
        }}""",
        after=f"{HEADER} g (float[2] x, float[2] unused) => (float[2] y) {{ y = Relu(x) }}",
        rewrite=RemoveUnused(),
    )


def test_an_initializer_that_is_an_input_stays() -> None:
    text = f"{HEADER} g (float[2] x, float[2] w = {{1, 2}}) => (float[2] y) {{ y = Relu(x) }}"
    model = parse(text)
    RemoveUnused().run(model, Context())
    assert [value.name for value in model.graph.inputs] == ["x", "w"]
    assert "w" in model.graph.initializers


def test_subgraphs_are_cleaned_and_give_up_what_they_captured() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            e = Exp(x)
            y = If(c) <
                then_branch = t () => (float[2] p) {{ d = Neg(e)  p = Relu(x) }},
                else_branch = f () => (float[2] q) {{ q = Abs(x) }}
            >
        }}""",
        after=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            y = If(c) <
                then_branch = t () => (float[2] p) {{ p = Relu(x) }},
                else_branch = f () => (float[2] q) {{ q = Abs(x) }}
            >
        }}""",
        rewrite=RemoveUnused(),
    )


def test_a_dead_if_frees_what_its_branches_captured() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            e = Exp(x)
            y = Relu(x)
            d = If(c) <then_branch = t () => (float[2] p) {{ p = Neg(e) }},
                       else_branch = f () => (float[2] q) {{ q = Abs(e) }}>
        }}""",
        after=f"{HEADER} g (bool c, float[2] x) => (float[2] y) {{ y = Relu(x) }}",
        rewrite=RemoveUnused(),
    )


@pytest.mark.parametrize(
    "dead",
    [
        "d = my.Print(x)",
        "d = If(c) <then_branch = t () => (float[2] p) {p = my.Print(x)},"
        " else_branch = f () => (float[2] q) {q = Abs(x)}>",
    ],
)
def test_nodes_of_unknown_domains_stay(dead: str) -> None:
    text = f"{HEADER} g (bool c, float[2] x) => (float[2] y) {{ y = Relu(x) {dead} }}"
    assert_declines(text, RemoveUnused(), reason="my::Print may do more")


def test_functions_that_nothing_calls_go_with_those_that_only_they_call() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y) {{ y = my.used(x) }}
        <domain: "my", opset_import: ["" : 17]> used (a) => (b) {{ b = Relu(a) dead = Exp(a) }}
        <domain: "my", opset_import: ["" : 17, "my" : 1]> idle (a) => (b) {{ b = my.inner(a) }}
        <domain: "my", opset_import: ["" : 17]> inner (a) => (b) {{ b = Neg(a) }}"""
    model = parse(text)
    RemoveUnused().run(model, Context())
    assert list(model.functions) == [("my", "used", "")]
    assert [node.op_type for node in model.functions["my", "used", ""]] == ["Relu"]


def test_annotated_values_stay() -> None:
    model = parse(
        f"{HEADER} g (float[2] x) => (float[2] y) <float scale = {{0.5}}, float idle = {{1}}> {{ y = Relu(x) }}"
    )
    model.graph.inputs[0].meta["quant_parameter_tensor_names"] = {"SCALE_TENSOR": "scale"}
    RemoveUnused().run(model, Context())
    assert list(model.graph.initializers) == ["scale"]


def test_long_dead_chains() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [2])
    nodes, last = [ir.node("Relu", [x], outputs=[ir.val("y", ir.DataType.FLOAT, [2])])], x
    for i in range(20_000):
        nodes.append(ir.node("Neg", [last], outputs=[ir.val(f"v{i}")]))
        last = nodes[-1].outputs[0]
    graph = ir.Graph([x], [nodes[0].outputs[0]], nodes=nodes, opset_imports={"": 17}, name="g")
    RemoveUnused().run(ir.Model(graph, ir_version=8), Context())
    assert len(graph) == 1
