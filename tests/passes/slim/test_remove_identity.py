import onnx_ir as ir
import pytest

from onnxslim.graph import parse
from onnxslim.passes.slim import RemoveIdentity
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'

NOTHING = {
    "Identity": ("a = Identity(r)", ""),
    "Dropout": ("a = Dropout(r)", ""),
    "Dropout, flag": ("a = Dropout(r, , off)", "bool off = {0}"),
    "Cast": ("a = Cast <to = 1> (r)", ""),
    "Transpose": ("a = Transpose <perm = [0, 1, 2]> (r)", ""),
    "Reshape, static": ("a = Reshape(r, s)", "int64[3] s = {-1, 3, 4}"),
    "Reshape, zeros": ("a = Reshape(r, s)", "int64[3] s = {0, 0, 0}"),
    "Expand": ("a = Expand(r, s)", "int64[2] s = {3, 1}"),
    "Tile": ("a = Tile(r, s)", "int64[3] s = {1, 1, 1}"),
    "Pad": ("a = Pad(r, s)", "int64[6] s = {0, 0, 0, 0, 0, 0}"),
    "Slice, to the end": (
        "a = Slice(r, s, e, x1)",
        "int64[1] s = {0}, int64[1] e = {9223372036854775807}, int64[1] x1 = {1}",
    ),
    "Slice, static": ("a = Slice(r, s, e, x1)", "int64[1] s = {-3}, int64[1] e = {3}, int64[1] x1 = {1}"),
    "Concat": ("a = Concat <axis = 1> (r)", ""),
    "Sum": ("a = Sum(r)", ""),
    "Mul": ("a = Mul(r, k)", "float[1] k = {1}"),
    "Mul, left": ("a = Mul(k, r)", "float k = {1}"),
    "Mul, full": ("a = Mul(r, k)", "float[3, 4] k = {1,1,1,1,1,1,1,1,1,1,1,1}"),
    "Div": ("a = Div(r, k)", "float k = {1}"),
    "Pow": ("a = Pow(r, k)", "float k = {1}"),
    "Sub": ("a = Sub(r, k)", "float k = {0}"),
    "Add of -0.0": ("a = Add(r, k)", "float k = {-0.0}"),
}


@pytest.mark.parametrize(("node", "constants"), NOTHING.values(), ids=NOTHING.keys())
def test_a_node_that_does_nothing_goes(node: str, constants: str) -> None:
    head = f"{HEADER} g (float[N, 3, 4] x) => (float[N, 3, 4] y)" + (f" <{constants}>" if constants else "")
    before, after = f"{head} {{ r = Relu(x) {node} y = Exp(a) }}", f"{head} {{ r = Relu(x) y = Exp(r) }}"
    assert_rewrites(before, after, RemoveIdentity())


SOMETHING = {
    "Cast": ("a = Cast <to = 11> (r)  y = Cast <to = 1> (a)", ""),
    "Transpose": ("y = Transpose <perm = [0, 2, 1]> (r)", ""),
    "Reshape, other order": ("y = Reshape(r, s)", "int64[3] s = {4, 0, -1}"),
    "Mul widens the rank": ("a = Mul(r, k)  y = ReduceSum <keepdims = 0> (a)", "float[1, 1, 1, 1] k = {1}"),
    "Mul widens a dim": ("y = Mul(r, k)", "float[5, 1, 1] k = {1, 1, 1, 1, 1}"),
    "Mul by 2": ("y = Mul(r, k)", "float k = {2}"),
    "1 / x": ("y = Div(k, r)", "float k = {1}"),
    "0 - x": ("y = Sub(k, r)", "float k = {0}"),
    "Slice backwards": (
        "y = Slice(r, s, e, x1, t)",
        "int64[1] s = {-1}, int64[1] e = {-9999}, int64[1] x1 = {1}, int64[1] t = {-1}",
    ),
    "Pad and crop": ("y = Pad(r, s)", "int64[6] s = {0, 1, 0, 0, -1, 0}"),
    "Expand widens": ("y = Expand(r, s)", "int64[4] s = {1, 1, 1, 1}"),
}


@pytest.mark.parametrize(("node", "constants"), SOMETHING.values(), ids=SOMETHING.keys())
def test_a_node_that_does_something_stays(node: str, constants: str) -> None:
    head = f"{HEADER} g (float[1, 4, 3] x) => (float y)" + (f" <{constants}>" if constants else "")
    assert_declines(f"{head} {{ r = Relu(x) {node} }}", RemoveIdentity())


def test_adding_zero_is_not_nothing() -> None:
    text = f"{HEADER} g (float[N] x) => (float[N] y) <float k = {{0}}> {{ a = Add(x, k)  y = Exp(a) }}"
    assert_declines(text, RemoveIdentity(), reason="x + 0.0 turns -0.0 into 0.0")


def test_a_default_of_an_input_is_no_constant() -> None:
    assert_declines(
        f"{HEADER} g (float[N] x, float k = {{1}}) => (float[N] y) {{ a = Mul(x, k)  y = Exp(a) }}", RemoveIdentity()
    )


def test_a_declared_shape_is_not_believed() -> None:
    text = f"""{HEADER} g (float[2, N] x, int64[2] s) => (float[2, 6] y) <float[2, 6] r, float[2, 6] a> {{
        r = Relu(x)
        a = Reshape(r, s)
        y = Exp(a)
    }}"""
    assert_declines(text, RemoveIdentity())


def test_the_output_keeps_its_name_type_and_symbols() -> None:
    model = parse(f"{HEADER} g (float[N, 2] x) => (float[M, 2] y) {{ a = Relu(x)  b = Identity(a)  y = Identity(b) }}")
    RemoveIdentity().run(model, Context())
    (output,) = model.graph.outputs
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert (output.name, str(output.shape), output.dtype) == ("y", "[M,2]", ir.DataType.FLOAT)
    assert output.producer() is model.graph.node(0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(float[2] x) => (float[2] y) { y = Identity(x) }", "joins an input or a constant"),
        ("(float[2] x) => (float[2] a, float[2] y) { a = Relu(x)  y = Identity(a) }", "both values are outputs"),
    ],
)
def test_an_output_that_has_no_other_producer_keeps_the_node(body: str, reason: str) -> None:
    assert_declines(f"{HEADER} g {body}", RemoveIdentity(), reason=reason)


def test_inside_subgraphs_what_is_no_output_goes() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            r = Relu(x)
            y = If(c) <
                then_branch = t () => (float[2] p) {{ i = Identity(r)  p = Exp(i) }},
                else_branch = f () => (float[2] q) {{ q = Identity(r) }}
            >
        }}""",
        after=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            r = Relu(x)
            y = If(c) <
                then_branch = t () => (float[2] p) {{ p = Exp(r) }},
                else_branch = f () => (float[2] q) {{ q = Identity(r) }}
            >
        }}""",
        rewrite=RemoveIdentity(),
    )


def test_function_bodies() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[2] x) => (float[2] y) { y = my.f(x) }
        <domain: "my", opset_import: ["" : 17]> f (a) => (b) { i = Identity(a)  b = Exp(i) }"""
    )
    RemoveIdentity().run(model, Context())
    assert [node.op_type for node in model.functions["my", "f", ""]] == ["Exp"]


def test_a_function_that_bears_the_name_of_an_operator_is_not_that_operator() -> None:
    assert_declines(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { a = Identity(x)  y = Exp(a) }
        <domain: "", opset_import: ["" : 17]> Identity (a) => (b) { b = Neg(a) }""",
        RemoveIdentity(),
    )


def test_a_used_mask_and_a_training_flag_keep_the_dropout() -> None:
    assert_declines(
        f"{HEADER} g (float[2] x) => (float[2] y, bool[2] m) {{ r = Relu(x)  a, m = Dropout(r)  y = Exp(a) }}",
        RemoveIdentity(),
    )
    assert_declines(
        f"{HEADER} g (float[2] x, bool t) => (float[2] y) {{ r = Relu(x)  a = Dropout(r, , t)  y = Exp(a) }}",
        RemoveIdentity(),
        reason="it may be in training mode",
    )


def test_refused_actions_and_limits_are_honoured() -> None:
    text = f"{HEADER} g (float[2] x) => (float[2] y) {{ a = Identity(x)  b = Identity(a)  y = Exp(b) }}"
    keys = [action.key for action in RemoveIdentity().run(parse(text), Context()).actions]
    assert len(keys) == 2
    model = parse(text)
    result = RemoveIdentity().run(model, Context(refused=frozenset(keys[:1])))
    assert [action.key for action in result.actions] == keys[1:]
    assert [node.outputs[0].name for node in model.graph] == ["a", "y"]
    model = parse(text)
    RemoveIdentity().run(model, Context(limit=1))
    assert [node.outputs[0].name for node in model.graph] == ["b", "y"]


def test_long_chains() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [2])
    nodes, last = [], x
    for i in range(20_000):
        nodes.append(ir.node("Identity", [last], outputs=[ir.val(f"v{i}")]))
        last = nodes[-1].outputs[0]
    nodes.append(ir.node("Relu", [last], outputs=[ir.val("y", ir.DataType.FLOAT, [2])]))
    graph = ir.Graph([x], [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": 17}, name="g")
    RemoveIdentity().run(ir.Model(graph, ir_version=8), Context())
    assert len(graph) == 1
