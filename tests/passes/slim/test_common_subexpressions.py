import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import parse
from onnxslim.passes.slim import CommonSubexpressions
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>'


def test_equal_nodes_are_one_defaults_included() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[N, 4] x) => (float[N, 4] y) {{
            a = Softmax(x)
            b = Softmax <axis = -1> (x)
            c = Softmax <axis = 0> (x)
            d = Add(a, b)
            y = Add(d, c)
        }}""",
        after=f"""{HEADER} g (float[N, 4] x) => (float[N, 4] y) {{
            a = Softmax(x)
            c = Softmax <axis = 0> (x)
            d = Add(a, a)
            y = Add(d, c)
        }}""",
        rewrite=CommonSubexpressions(),
    )


def test_what_becomes_equal_by_a_merge_is_merged_in_the_same_walk() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[N] x) => (float[N] y) {{
            a = Relu(x)  b = Exp(a)  c = Relu(x)  d = Exp(c)
            y = Add(b, d)
        }}""",
        after=f"{HEADER} g (float[N] x) => (float[N] y) {{ a = Relu(x)  b = Exp(a)  y = Add(b, b) }}",
        rewrite=CommonSubexpressions(),
    )


def test_initializers_with_the_same_bits_are_one_and_others_never() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[2] x) => (float[2] y)
            <float[2] a = {{0, 0}}, float[2] b = {{0, 0}}, float[2] m = {{-0.0, 0}},
             float[1, 2] s = {{0, 0}}, int32[2] i = {{0, 0}}> {{
            p = Add(x, a)  q = Add(p, b)  r = Add(q, m)  t = Add(r, s)  u = Cast <to = 1> (i)  v = Add(t, u)
            y = Reshape(v, k)
        }}""".replace("int32[2] i", "int64[1] k = {2}, int32[2] i"),
        after=f"""{HEADER} g (float[2] x) => (float[2] y)
            <float[2] a = {{0, 0}}, float[2] m = {{-0.0, 0}},
             float[1, 2] s = {{0, 0}}, int64[1] k = {{2}}, int32[2] i = {{0, 0}}> {{
            p = Add(x, a)  q = Add(p, a)  r = Add(q, m)  t = Add(r, s)  u = Cast <to = 1> (i)  v = Add(t, u)
            y = Reshape(v, k)
        }}""",
        rewrite=CommonSubexpressions(),
    )


@pytest.mark.parametrize(
    "nodes",
    [
        "a = RandomNormal <shape = [2], seed = 1.0> ()  b = RandomNormal <shape = [2], seed = 1.0> ()",
        "a = Bernoulli(x)  b = Bernoulli(x)",
        "a = my.Custom(x)  b = my.Custom(x)",
    ],
)
def test_what_is_not_pure_is_never_merged(nodes: str) -> None:
    assert_declines(f"{HEADER} g (float[2] x) => (float[2] y) {{ {nodes}  y = Add(a, b) }}", CommonSubexpressions())


def test_defaults_of_inputs_are_not_tied() -> None:
    text = f"""{HEADER} g (float[2] x, float[2] v = {{1, 2}}) => (float[2] y) <float[2] w = {{1, 2}}> {{
        a = Add(x, v)
        y = Add(a, w)
    }}"""
    assert_declines(text, CommonSubexpressions())


def test_a_merged_node_gives_its_output_name_to_its_twin() -> None:
    model = parse(f"{HEADER} g (float[N] x) => (float[M] y, float[N] z) {{ a = Exp(x)  z = Neg(a)  y = Exp(x) }}")
    CommonSubexpressions().run(model, Context())
    assert [(node.op_type, node.outputs[0].name) for node in model.graph] == [("Exp", "y"), ("Neg", "z")]
    assert [(value.name, str(value.shape)) for value in model.graph.outputs] == [("y", "[M]"), ("z", "[N]")]


def test_two_outputs_that_are_equal_stay_two() -> None:
    assert_declines(
        f"{HEADER} g (float[N] x) => (float[N] y, float[N] z) {{ y = Exp(x)  z = Exp(x) }}",
        CommonSubexpressions(),
        reason="both values are outputs",
    )


def test_a_subgraph_uses_what_was_computed_outside_before_it_only() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) <float[1] one = {{1}}> {{
            e = Exp(x)
            i = If(c) <
                then_branch = t () => (float[2] p) <float[1] uno = {{1}}> {{
                    f = Exp(x)  g1 = Neg(x)  h = Add(f, uno)  p = Add(h, g1)
                }},
                else_branch = f () => (float[2] q) {{ k = Neg(x)  q = Abs(k) }}
            >
            n = Neg(x)
            s = Add(e, n)
            r = Add(s, one)
            y = Add(i, r)
        }}""",
        after=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) <float[1] one = {{1}}> {{
            e = Exp(x)
            i = If(c) <
                then_branch = t () => (float[2] p) {{ g1 = Neg(x)  h = Add(e, one)  p = Add(h, g1) }},
                else_branch = f () => (float[2] q) {{ k = Neg(x)  q = Abs(k) }}
            >
            n = Neg(x)
            s = Add(e, n)
            r = Add(s, one)
            y = Add(i, r)
        }}""",
        rewrite=CommonSubexpressions(),
    )


def test_nodes_with_several_outputs_merge_as_a_whole() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[4] x, int64[1] k) => (float[K] y, int64[K] z) {{
            y, i = TopK(x, k)  v, z = TopK(x, k)
        }}""",
        after=f"{HEADER} g (float[4] x, int64[1] k) => (float[K] y, int64[K] z) {{ y, z = TopK(x, k) }}",
        rewrite=CommonSubexpressions(),
        feeds=[{"x": np.arange(4, dtype=np.float32), "k": np.array([2])}],
    )


def test_a_node_that_omits_an_output_has_no_twin_with_it() -> None:
    text = f"""{HEADER} g (float[1, 1, 4] x) => (float[1, 1, K] y, int64[1, 1, K] z) {{
        a = MaxPool <kernel_shape = [2]> (x)  b, z = MaxPool <kernel_shape = [2]> (x)
        y = Add(a, b)
    }}"""
    assert_declines(text, CommonSubexpressions())


def test_function_bodies() -> None:
    model = parse(
        f"""{HEADER} g (float[2] x) => (float[2] y) {{ y = my.f(x) }}
        <domain: "my", opset_import: ["" : 17]> f <axis> (a) => (b) {{
            s = Softmax <axis: int = @axis> (a)
            t = Softmax <axis: int = @axis> (a)
            u = Softmax(a)
            c = Add(s, t)
            b = Add(c, u)
        }}"""
    )
    CommonSubexpressions().run(model, Context())
    assert [node.op_type for node in model.functions["my", "f", ""]] == ["Softmax", "Softmax", "Add", "Add"]


def test_refused_actions_and_limits_are_honoured() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y) <float[2] v = {{1, 2}}, float[2] w = {{1, 2}}> {{
        a = Add(x, v)  b = Add(x, w)  y = Mul(a, b)
    }}"""
    keys = [action.key for action in CommonSubexpressions().run(parse(text), Context()).actions]
    assert [key.split("|")[0] for key in keys] == ["tie-initializers", "merge-nodes"]
    model = parse(text)
    CommonSubexpressions().run(model, Context(refused=frozenset(keys[:1])))
    assert (len(model.graph), len(model.graph.initializers)) == (3, 2)
    model = parse(text)
    CommonSubexpressions().run(model, Context(limit=1))
    assert (len(model.graph), len(model.graph.initializers)) == (3, 1)


def test_long_chains_of_twins() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [2])
    ends: list[ir.Value] = []
    nodes: list[ir.Node] = []
    for side in "ab":
        last = x
        for i in range(10_000):
            nodes.append(ir.node("Neg", [last], outputs=[ir.val(f"{side}{i}")]))
            last = nodes[-1].outputs[0]
        ends.append(last)
    nodes.append(ir.node("Add", ends, outputs=[ir.val("y", ir.DataType.FLOAT, [2])]))
    graph = ir.Graph([x], [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": 17}, name="g")
    CommonSubexpressions().run(ir.Model(graph, ir_version=8), Context())
    assert len(graph) == 10_001


def test_many_weights_of_one_shape() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [64])
    weights = [
        ir.val(f"w{i}", const_value=ir.tensor(np.full(64, i // 2, np.float32), name=f"w{i}")) for i in range(200)
    ]
    nodes, last = [], x
    for i, weight in enumerate(weights):
        nodes.append(ir.node("Add", [last, weight], outputs=[ir.val(f"v{i}", ir.DataType.FLOAT, [64])]))
        last = nodes[-1].outputs[0]
    graph = ir.Graph([x], [last], nodes=nodes, initializers=weights, opset_imports={"": 17}, name="g")
    CommonSubexpressions().run(ir.Model(graph, ir_version=8), Context())
    assert list(graph.initializers) == [f"w{i}" for i in range(0, 200, 2)]


def test_nodes_with_equal_subgraphs_are_one() -> None:
    """Names inside do not count, constants do; a branch that draws random numbers bars the merge."""
    branch = (
        "If(c) <then_branch = t () => (float[2] {0}) {{ {0} = Add(x, k) }},"
        " else_branch = e () => (float[2] q) {{ q = {1}(x) }}>"
    )
    assert_rewrites(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) <float[2] k = {{1, 2}}> {{
            a = {branch.format("p", "Neg")}  b = {branch.format("r", "Neg")}  d = {branch.format("p", "Abs")}
            m = Add(a, b)  y = Add(m, d) }}""",
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) <float[2] k = {{1, 2}}> {{
            a = {branch.format("p", "Neg")}  d = {branch.format("p", "Abs")}
            m = Add(a, a)  y = Add(m, d) }}""",
        CommonSubexpressions(),
    )
    assert_declines(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) <float[2] k = {{1, 2}}> {{
            a = {branch.format("p", "RandomNormalLike")}  b = {branch.format("p", "RandomNormalLike")}
            y = Add(a, b) }}""",
        CommonSubexpressions(),
    )


CALLS = """{header} g (float[2] x) => (float[2] y) {{ a = my.f <s = 0.5> (x)  b = my.f <s = {s}> (x)  y = Add(a, b) }}
    <domain: "my", opset_import: ["" : 17]> f <s> (p) => (q) {{
        r = {operator}(p)  q = LeakyRelu <alpha: float = @s> (r) }}"""


def test_equal_calls_of_a_pure_function_are_one() -> None:
    before = CALLS.format(header=HEADER, s=0.5, operator="Relu")
    after = before.replace("b = my.f <s = 0.5> (x)  y = Add(a, b)", "y = Add(a, a)")
    assert_rewrites(before, after, CommonSubexpressions())


@pytest.mark.parametrize(("s", "operator"), [(0.25, "Relu"), (0.5, "RandomNormalLike"), (0.5, "Bernoulli")])
def test_calls_that_differ_or_draw_stay(s: float, operator: str) -> None:
    assert_declines(CALLS.format(header=HEADER, s=s, operator=operator), CommonSubexpressions())


def test_a_function_that_hides_an_operator_has_its_own_defaults() -> None:
    """LeakyRelu's default of 0.01 says nothing of the function that bears its name."""
    assert_declines(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { a = LeakyRelu <alpha = 0.01> (x)  b = LeakyRelu (x)  y = Add(a, b) }
        <domain: "", opset_import: ["" : 17]> LeakyRelu <alpha: float = 0.5> (p) => (q) {
            c = Constant <value_float: float = @alpha> ()  q = Mul(p, c) }""",
        CommonSubexpressions(),
    )


def test_equal_weights_of_two_branches_move_to_the_graph_around_both() -> None:
    """Both branches call their weights alike; the one that moves gets a name that is free everywhere."""
    out = "() => (float[2] u)"
    branch = "() => (float[2] u) <float[2] k = {{1, 2}}, float[2] m = {{{0}, 4}}> {{ p = {1}(x, k) u = {1}(p, m) }}"
    assert_rewrites(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) {{
            y = If(c) <then_branch = t {branch.format(3, "Add")}, else_branch = e {branch.format(5, "Mul")}> }}""",
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) <float[2] w = {{1, 2}}> {{
            y = If(c) <then_branch = t {out} <float[2] m = {{3, 4}}> {{ p = Add(x, w) u = Add(p, m) }},
                       else_branch = e {out} <float[2] m = {{5, 4}}> {{ p = Mul(x, w) u = Mul(p, m) }}> }}""",
        CommonSubexpressions(),
    )


def test_branches_of_a_function_keep_their_weights() -> None:
    branch = "() => (float[2] u) <float[2] k = {{1, 2}}> {{ u = {0}(p, k) }}"
    assert_declines(
        f"""{HEADER} g (float[2] x, bool c) => (float[2] y) {{ y = my.f(x, c) }}
        <domain: "my", opset_import: ["" : 17]> f (p, c) => (q) {{
            q = If(c) <then_branch = t {branch.format("Add")}, else_branch = e {branch.format("Mul")}> }}""",
        CommonSubexpressions(),
    )
