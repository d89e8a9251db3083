import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.graph import parse, to_proto
from onnxslim.passes.slim import InlineIf
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites, assert_same_graph, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


@pytest.mark.parametrize(("flag", "operator"), [("1", "Relu"), ("0", "Neg")])
def test_a_constant_condition_leaves_its_branch(flag: str, operator: str) -> None:
    assert_rewrites(
        f"""{HEADER} g (float[N] x) => (float[N] y) <bool c = {{{flag}}}> {{
            a = Abs(x)
            b = If(c) <then_branch = t () => (float[N] u) {{ u = Relu(a) }},
                       else_branch = e () => (float[N] v) {{ v = Neg(a) }}>
            y = Exp(b)
        }}""",
        f"""{HEADER} g (float[N] x) => (float[N] y) <bool c = {{{flag}}}> {{
            a = Abs(x)  b = {operator}(a)  y = Exp(b) }}""",
        InlineIf(),
    )


def test_clashing_names_are_made_fresh_and_outputs_keep_theirs() -> None:
    """Both branches and a sibling call their values alike; the branch calls an inner value as the If's output."""
    result = assert_rewrites(
        f"""{HEADER} g (float[N] x, bool d) => (float[N] y, float[N] z) <bool c = {{1}}> {{
            y = If(c) <then_branch = t () => (float[N] u) {{ y = Abs(x) u = Relu(y) }},
                       else_branch = e () => (float[N] u) {{ u = Neg(x) }}>
            z = If(d) <then_branch = t () => (float[N] u) {{ u = Exp(x) }},
                       else_branch = e () => (float[N] u) {{ u = Neg(x) }}>
        }}""",
        f"""{HEADER} g (float[N] x, bool d) => (float[N] y, float[N] z) <bool c = {{1}}> {{
            k = Abs(x)  y = Relu(k)
            z = If(d) <then_branch = t () => (float[N] u) {{ u = Exp(x) }},
                       else_branch = e () => (float[N] u) {{ u = Neg(x) }}>
        }}""",
        InlineIf(),
    )
    assert [action.rule for action in result.actions] == ["inline-if"]


def test_branch_constants_move() -> None:
    """A constant as an output of the branch may not become the model's itself."""
    assert_rewrites(
        f"""{HEADER} g (float[2] x) => (float[2] y, float[2] w) <bool c = {{1}}> {{
            y, w = If(c) <then_branch = t () => (float[2] u, float[2] k)
                             <float[2] k = {{1, 2}}> {{ u = Add(x, k) }},
                          else_branch = e () => (float[2] v, float[2] r) {{ v = Neg(x) r = Abs(x) }}>
        }}""",
        f"""{HEADER} g (float[2] x) => (float[2] y, float[2] w) <bool c = {{1}}, float[2] k = {{1, 2}}> {{
            y = Add(x, k)  w = Identity(k) }}""",
        InlineIf(),
    )


def test_one_branch_value_for_two_outputs_stays_apart() -> None:
    """Not run: onnxruntime 1.32 gives uninitialized memory for a branch that names an output twice."""
    model = parse(
        f"""{HEADER} g (float[2] x) => (float[2] y, float[2] z) <bool c = {{1}}> {{
            y, z = If(c) <then_branch = t () => (float[2] u, float[2] u) {{ u = Abs(x) }},
                          else_branch = e () => (float[2] v, float[2] w) {{ v = Neg(x) w = Exp(x) }}>
        }}"""
    )
    InlineIf().run(model, Context())
    assert_same_graph(
        model,
        f"{HEADER} g (float[2] x) => (float[2] y, float[2] z) <bool c = {{1}}> {{ y = Abs(x) z = Identity(y) }}",
    )


def test_nested_ifs_go_in_one_run_and_inner_ones_with_the_outer_condition() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[N] x, bool d) => (float[N] y) <bool c = {{1}}> {{
            y = If(c) <then_branch = t () => (float[N] u) {{
                          u = If(d) <then_branch = t2 () => (float[N] a) {{
                                         a = If(d) <then_branch = t3 () => (float[N] p) {{ p = Exp(x) }},
                                                    else_branch = e3 () => (float[N] q) {{ q = Log(x) }}> }},
                                     else_branch = e2 () => (float[N] b) {{
                                         b = If(d) <then_branch = t4 () => (float[N] r) {{ r = Exp(x) }},
                                                    else_branch = e4 () => (float[N] s) {{ s = Abs(x) }}> }}> }},
                       else_branch = e () => (float[N] v) {{ v = Neg(x) }}>
        }}""",
        f"""{HEADER} g (float[N] x, bool d) => (float[N] y) <bool c = {{1}}> {{
            y = If(d) <then_branch = t2 () => (float[N] a) {{ a = Exp(x) }},
                       else_branch = e2 () => (float[N] b) {{ b = Abs(x) }}>
        }}""",
        InlineIf(),
    )


def test_a_rank_test_is_decided() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[1, N, 3] x) => (float[M, K] y) <int64 three = {{3}}, int64[1] zero = {{0}}> {{
            s = Shape(x)  r = Size(s)  c = Equal(r, three)
            y = If(c) <then_branch = t () => (float[P, Q] u) {{ u = Squeeze(x, zero) }},
                       else_branch = e () => (float[P, Q] v) {{ v = Identity(x) }}>
        }}""",
        f"""{HEADER} g (float[1, N, 3] x) => (float[M, K] y) <int64 three = {{3}}, int64[1] zero = {{0}}> {{
            s = Shape(x)  r = Size(s)  c = Equal(r, three)  y = Squeeze(x, zero) }}""",
        InlineIf(),
        feeds=[{"x": np.ones((1, n, 3), np.float32)} for n in (1, 4)],
    )


def test_branches_that_say_the_same_stand_for_both() -> None:
    assert_rewrites(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) {{
            y = If(c) <then_branch = t () => (float[2] u) <float[2] k = {{1, 2}}> {{ a = Add(x, k) u = Relu(a) }},
                       else_branch = e () => (float[2] v) <float[2] m = {{1, 2}}> {{ b = Add(x, m) v = Relu(b) }}>
        }}""",
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) <float[2] k = {{1, 2}}> {{ a = Add(x, k) y = Relu(a) }}""",
        InlineIf(),
    )


DIFFERENT = {
    "constants": ("<float k = {1}> { u = Add(x, k) }", "<float k = {2}> { u = Add(x, k) }"),
    "signed zeros": ("<float k = {0}> { u = Div(x, k) }", "<float k = {-0.0}> { u = Div(x, k) }"),
    "operators": ("{ u = Relu(x) }", "{ u = Abs(x) }"),
    "captures": ("{ u = Add(x, z) }", "{ u = Add(z, z) }"),
    "attributes": ("{ u = LeakyRelu <alpha = 0.5> (x) }", "{ u = LeakyRelu (x) }"),
    "order of inputs": ("{ u = Sub(x, z) }", "{ u = Sub(z, x) }"),
}


@pytest.mark.parametrize(("then", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_an_unknown_condition_with_different_branches_stays(then: str, other: str) -> None:
    assert_declines(
        f"""{HEADER} g (float[2] x, float[2] z, bool c) => (float[2] y) {{
            y = If(c) <then_branch = t () => (float[2] u) {then}, else_branch = e () => (float[2] u) {other}>
        }}""",
        InlineIf(),
        reason="not known",
    )


def test_a_default_that_the_caller_may_override_is_no_constant() -> None:
    assert_declines(
        f"""{HEADER} g (float[2] x, bool c = {{1}}) => (float[2] y) {{
            y = If(c) <then_branch = t () => (float[2] u) {{ u = Abs(x) }},
                       else_branch = e () => (float[2] u) {{ u = Neg(x) }}>
        }}""",
        InlineIf(),
        reason="not known",
    )


def test_in_a_function_constants_of_the_branch_become_nodes() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[2] x) => (float[2] y) { y = local.f(x) }
        <domain: "local", opset_import: ["" : 17]>
        f (x) => (y) {
            c = Constant <value = bool {1}> ()
            y = If(c) <then_branch = t () => (float[2] u) <float[2] k = {1, 2}> { u = Add(x, k) },
                       else_branch = e () => (float[2] u) { u = Neg(x) }>
        }"""
    )
    original = to_proto(model)
    assert InlineIf().run(model, Context()).modified
    (function,) = model.functions.values()
    assert [node.op_type for node in function] == ["Constant", "Constant", "Add"]
    onnx.checker.check_model(to_proto(model), full_check=True)
    assert_same_outputs(original, model)


def test_an_annotated_branch_stays() -> None:
    model = parse(
        f"""{HEADER} g (float[2] x) => (float[2] y) <bool c = {{1}}> {{
            y = If(c) <then_branch = t () => (float[2] u) {{ u = Abs(x) }},
                       else_branch = e () => (float[2] u) {{ u = Neg(x) }}>
        }}"""
    )
    branch: ir.Graph = model.graph[0].attributes["then_branch"].as_graph()
    branch.outputs[0].meta["quant_parameter_tensor_names"] = {"SCALE_TENSOR": "c"}
    assert_declines(model, InlineIf(), reason="annotation")


def test_two_thousand_ifs_in_a_row_end_in_time() -> None:
    nodes = "\n".join(
        f"a{i + 1} = If(c) <then_branch = t () => (float[N] u) {{ w = Abs(a{i}) u = Neg(w) }},"
        f" else_branch = e () => (float[N] u) {{ w = Exp(a{i}) u = Neg(w) }}>"
        for i in range(2000)
    )
    model = parse(f"{HEADER} g (float[N] a0) => (float[N] a2000) <bool c = {{1}}> {{ {nodes} }}")
    InlineIf().run(model, Context())
    assert [node.op_type for node in model.graph] == ["Abs", "Neg"] * 2000
    assert len({node.outputs[0].name for node in model.graph}) == 4000


RECURRENT = """<float[1, 4, 3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3},
    float[1, 4, 1] r = {0.1, 0.2, 0.3, 0.4}, int64 i = {2}, int64 one = {1}, int64[1] zero = {0}, int64[1] last = {2}
>"""


def test_a_branch_after_which_no_run_succeeds_is_never_taken() -> None:
    """The LSTM after the If takes rank 3: the branch that leaves rank 3 would become 4 there."""
    start = f"{HEADER} g (float[N, 3, M] x) => (float[1, N, A, B] y) {RECURRENT}"
    assert_rewrites(
        f"""{start} {{
            s = Shape(x)  d = Gather(s, i)  c = Equal(d, one)
            b = If(c) <then_branch = t () => (float[P, Q] u) {{ u = Squeeze(x, last) }},
                       else_branch = e () => (float[P, Q, R] v) {{ v = Identity(x) }}>
            k = Unsqueeze(b, zero)
            y = LSTM <hidden_size = 1> (k, w, r)
        }}""",
        f"""{start} {{
            s = Shape(x)  d = Gather(s, i)  c = Equal(d, one)
            b = Squeeze(x, last)  k = Unsqueeze(b, zero)  y = LSTM <hidden_size = 1> (k, w, r) }}""",
        InlineIf(),
        feeds=[{"x": np.ones((n, 3, 1), np.float32)} for n in (1, 2)],
    )


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ("y = Relu(b)", "any rank will do"),
        ("y = Relu(b) k = Unsqueeze(b, zero) o = LSTM <hidden_size = 1> (k, w, r)", "nothing needs the LSTM"),
        ("y = If(q) <then_branch = m () => (o) { k = Unsqueeze(b, zero) o = LSTM <hidden_size = 1> (k, w, r) }, "
         "else_branch = n () => (z) { z = Relu(b) }>", "the LSTM does not always run"),
    ],
)  # fmt: skip
def test_a_branch_that_some_run_survives_stays(nodes: str, why: str) -> None:
    text = f"""{HEADER} g (float[N, 3, M] x, bool q) => (y) {RECURRENT} {{
            s = Shape(x)  d = Gather(s, i)  c = Equal(d, one)
            b = If(c) <then_branch = t () => (float[P, Q] u) {{ u = Squeeze(x, last) }},
                       else_branch = e () => (float[P, Q, R] v) {{ v = Identity(x) }}>
            {nodes}
        }}"""
    model, context = parse(text), Context()
    InlineIf().run(model, context)
    assert not context.actions, why
    assert any(each.reason == "its condition is not known" for each in context.declined)


def test_what_one_branch_decides_says_nothing_of_runs_that_take_the_other() -> None:
    """Inside a branch the condition must be true; outside it is still open."""
    text = f"""{HEADER} g (float[N, 3, M] x, bool q) => (y, z) {RECURRENT} {{
            s = Shape(x)  d = Gather(s, i)  c = Equal(d, one)
            y = If(q) <
                then_branch = t () => (o) {{
                    b = If(c) <then_branch = p () => (u) {{ u = Squeeze(x, last) }},
                               else_branch = f () => (v) {{ v = Identity(x) }}>
                    k = Unsqueeze(b, zero)  o = LSTM <hidden_size = 1> (k, w, r) }},
                else_branch = e () => (a) {{ a = Relu(x) }}>
            z = If(c) <then_branch = h () => (aa) {{ aa = Neg(x) }}, else_branch = j () => (bb) {{ bb = Abs(x) }}>
        }}"""
    model, context = parse(text), Context()
    InlineIf().run(model, context)
    assert not context.actions


def test_gemm_takes_a_vector_too() -> None:
    """The specification wants a matrix; onnxruntime runs both branches, so that neither is out."""
    text = f"""{HEADER} g (float[4] x, float[4, 3] w, bool c) => (float[M, 3] y) <int64[1] zero = {{0}}> {{
            a = If(c) <then_branch = t () => (u) {{ u = Neg(x) }},
                       else_branch = e () => (v) {{ v = Unsqueeze(x, zero) }}>
            y = Gemm(a, w) }}"""
    assert_declines(text, InlineIf(), reason="its condition is not known")


def test_a_branch_is_not_tried_on_what_another_iteration_knows() -> None:
    """The weights of the Conv are of rank 3 in the first iteration and of rank 4 in the second, as the If's output."""
    text = f"""{HEADER} g (float[1, 2, 5] x, float[2, 2, 3] w, bool[2] c) => (float[2, K] y)
        <int64 n = {{2}}, bool yes = {{1}}, int64[1] last = {{3}}, int64[4] four = {{2, 2, 3, 1}},
         int64[1] flat = {{-1}}> {{
            end, y = Loop(n, yes, w) <body = b (i, go, k) => (on, next, z) {{
                on = Identity(go)
                d = Gather(c, i)
                a = If(d) <then_branch = t () => (u) {{ u = Identity(x) }},
                           else_branch = e () => (v) {{ v = Unsqueeze(x, last) }}>
                m = Neg(k)
                r = Conv(a, m)
                z = Reshape(r, flat)
                next = Reshape(k, four) }}>
        }}"""
    assert_declines(text, InlineIf(), reason="its condition is not known")


def test_a_function_of_another_operators_name_demands_nothing() -> None:
    text = f"""{HEADER} g (float[1, 2, 5] x, float[2, 2, 3] w, bool c) => (y) <int64[1] last = {{3}}> {{
            a = If(c) <then_branch = t () => (u) {{ u = Identity(x) }},
                       else_branch = e () => (v) {{ v = Unsqueeze(x, last) }}>
            y = Conv(a, w) }}
        <domain: "", opset_import: ["" : 17]> Conv (a, b) => (c) {{ c = Neg(a) }}"""
    assert_declines(text, InlineIf(), reason="its condition is not known")
