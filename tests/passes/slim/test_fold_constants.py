import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import parse, to_bytes, to_proto
from onnxslim.passes.slim import FoldConstants
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites, assert_same_outputs

HEADER = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>'


def fold(text: str) -> tuple[ir.Model, list[str]]:
    model = parse(text)
    before = len(to_bytes(model))
    result = FoldConstants().run(model, Context())
    assert len(to_bytes(model)) <= before
    return model, [declined.reason for declined in result.declined]


def test_a_constant_region_becomes_one_constant() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {{1, 2, 3, 4}}, float k = {{2}}> {{
            t = Transpose(w)
            m = Mul(t, k)
            e = Exp(m)
            y = Add(x, e)
        }}""",
        after=f"""{HEADER} g (float[2, 2] x) => (float[2, 2] y)
            <float[2, 2] e = {{7.389056, 403.4288, 54.59815, 2980.958}}> {{ y = Add(x, e) }}""",
        rewrite=FoldConstants(),
    )


def test_shapes_that_inference_knows_fold_and_dynamic_axes_do_not() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[N, 3, 4] x) => (int64[2] y, int64[1] n) <int64 i = {{1}}, int64[1] k = {{2}}> {{
            s = Shape(x)
            c = Shape <start = 1, end = 2> (x)
            d = Mul(c, k)
            b = Shape <start = 2> (x)
            y0 = Concat <axis = 0> (d, b)
            y = Identity(y0)
            n = Slice(s, z0, z1)
        }}""".replace("int64[1] k", "int64[1] z0 = {0}, int64[1] z1 = {1}, int64[1] k"),
        after=f"""{HEADER} g (float[N, 3, 4] x) => (int64[2] y, int64[1] n)
            <int64 i = {{1}}, int64[1] z0 = {{0}}, int64[1] z1 = {{1}}, int64[2] y0 = {{6, 4}}> {{
            s = Shape(x)
            y = Identity(y0)
            n = Slice(s, z0, z1)
        }}""",
        rewrite=FoldConstants(),
    )


def test_random_numbers_stay_random() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y) <float k = {{2}}> {{
        r = RandomNormal <shape = [2], seed = 1.0> ()
        m = Mul(r, k)
        y = Add(x, m)
    }}"""
    assert_declines(text, FoldConstants())


def test_one_operator_that_cannot_be_evaluated_bars_nothing_else() -> None:
    model, reasons = fold(
        f"""{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}> {{
            c = my.Custom(w)
            e = Neg(w)
            f = Abs(e)
            a = Add(x, f)
            y = Add(a, c)
        }}"""
    )
    assert [node.op_type for node in model.graph] == ["Custom", "Add", "Add"]
    assert any("'my'" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("maker", "constants"),
    [
        ("g0 = ConstantOfShape(s)", "int64[2] s = {1000, 1000}"),
        ("g0 = Expand(one, s)", "int64[2] s = {1000, 1000}, float one = {1}"),
        ("g0 = Tile(one, s)", "int64[2] s = {1000, 1000}, float[1, 1] one = {1}"),
        ("r = Range(a, b, c)  g0 = Cast <to = 1> (r)", "int64 a = {0}, int64 b = {100000}, int64 c = {1}"),
    ],
)
def test_giants_stay_symbolic(maker: str, constants: str) -> None:
    text = f"{HEADER} g (float[1] x) => (float y) <{constants}> {{ {maker} y = Add(x, g0) }}"
    assert_declines(text, FoldConstants(), reason="the file would grow by")


def test_ten_gigabytes_are_never_allocated() -> None:
    text = f"""{HEADER} g (float[1] x) => (float y) <int64[2] s = {{50000, 50000}}> {{
        g0 = ConstantOfShape(s)
        y = Add(x, g0)
    }}"""
    assert_declines(text, FoldConstants(), reason="would take 10,000,000,000 bytes")


def test_a_large_value_is_folded_through_to_a_small_one() -> None:
    model, _ = fold(
        f"""{HEADER} g (float[1] x) => (float[1] y) <int64[2] s = {{1000, 1000}}> {{
            o = ConstantOfShape(s)
            c = Cos(o)
            m = ReduceSum <keepdims = 0> (c)
            y = Add(x, m)
        }}"""
    )
    assert [node.op_type for node in model.graph] == ["Add"]


def test_a_weight_that_would_be_stored_twice_stays() -> None:
    weight = ", ".join(["1"] * 256)
    text = f"""{HEADER} g (float[16, 16] x) => (float[16, 16] y) <float[16, 16] w = {{{weight}}}> {{
        t = Transpose(w)
        a = MatMul(x, w)
        y = MatMul(a, t)
    }}"""
    assert_declines(text, FoldConstants(), reason="the file would grow by")


def test_a_weight_that_is_cut_into_parts_is_folded_as_a_whole() -> None:
    weight = ", ".join(str(i) for i in range(256))
    text = f"""{HEADER} g (float[2, 16] x) => (float[2, 16] y)
        <float[16, 16] w = {{{weight}}}, int64[1] a0 = {{0}}, int64[1] a8 = {{8}}, int64[1] a16 = {{16}}> {{
        p = Slice(w, a0, a8, a0)
        q = Slice(w, a8, a16, a0)
        c = Concat <axis = 0> (p, x, q)
        y = Slice(c, a8, a16, a0)
    }}"""
    model = parse(text.replace("float[2, 16] y", "float[M, 16] y"))
    before = len(to_bytes(model))
    result = FoldConstants().run(model, Context())
    assert [action.rule for action in result.actions] == ["fold-region"]
    assert [node.op_type for node in model.graph] == ["Concat", "Slice"]
    assert "w" not in model.graph.initializers
    assert len(to_bytes(model)) < before
    assert np.array_equal(model.graph.initializers["q"].const_value.numpy()[0], np.arange(128, 144, dtype=np.float32))  # type: ignore[union-attr]


def test_defaults_of_inputs_are_no_constants() -> None:
    assert_declines(
        f"{HEADER} g (float[2] x, float[2] w = {{1, 2}}) => (float[2] y) {{ e = Exp(w)  y = Add(x, e) }}",
        FoldConstants(),
    )


def test_an_output_that_is_larger_than_what_computes_it_stays_computed() -> None:
    text = (
        f"{HEADER} g (float[2] x) => (float[2] y, float[2] e) <float[2] w = {{1, 2}}> {{ e = Exp(w)  y = Add(x, e) }}"
    )
    assert_declines(text, FoldConstants(), reason="the file would grow")


def test_a_known_output_becomes_a_constant_node() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (float[2, 1440] x) => (int64[1] b) <int64[2] sizes = {{1, 1}}> {{
            s = Shape(x)
            a, b = Split<axis = 0>(s, sizes)
        }}""",
        after=f"""{HEADER} g (float[2, 1440] x) => (int64[1] b) {{
            b = Constant<value = int64[1] b {{1440}}>()
        }}""",
        rewrite=FoldConstants(),
    )


def test_quantization_is_left_to_the_runtime() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y) <int32[2] w = {{1, 2}}, float s = {{0.5}}> {{
        d = DequantizeLinear(w, s)
        y = Add(x, d)
    }}"""
    assert_declines(text, FoldConstants())


def test_subgraphs_fold_with_outer_constants() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) <float[2] w = {{1, 2}}> {{
            y = If(c) <
                then_branch = t () => (float[2] p) {{ n = Neg(w)  m = Abs(n)  p = Add(x, m) }},
                else_branch = f () => (float[2] q) {{ q = Relu(x) }}
            >
        }}""",
        after=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            y = If(c) <
                then_branch = t () => (float[2] p) <float[2] m = {{1, 2}}> {{ p = Add(x, m) }},
                else_branch = f () => (float[2] q) {{ q = Relu(x) }}
            >
        }}""",
        rewrite=FoldConstants(),
    )


def test_a_branch_that_is_never_taken_is_not_made_invalid() -> None:
    text = f"""{HEADER} g (float[4] x) => (float[M] y)
        <float[4] w = {{1, 2, 3, 4}}, int64[1] i = {{4}}, int64[1] z = {{0}}> {{
        c0 = Constant <value = bool {{0}}> ()
        k = Reshape(w, i)
        r = Exp(k)
        y = If(c0) <
            then_branch = t () => (float[P] p) {{ p = Squeeze(r, z) }},
            else_branch = f () => (float[Q] q) {{ q = Add(x, r) }}
        >
    }}"""
    model, reasons = fold(text)
    assert [node.op_type for node in model.graph] == ["Constant", "Exp", "If"]
    assert any("a subgraph uses it" in reason for reason in reasons)


def test_loop_bodies_fold_what_no_iteration_changes() -> None:
    model, _ = fold(
        f"""{HEADER} g (float[2] x) => (float[2] y) <int64 n = {{3}}, bool c = {{1}}, float[2] w = {{1, 2}}> {{
            y = Loop(n, c, x) <body = b (int64 i, bool ci, float[2] a) => (bool co, float[2] z) {{
                co = Identity(ci)
                e = Exp(w)
                f = Neg(e)
                k = Cast <to = 1> (i)
                d = Add(a, f)
                z = Add(d, k)
            }}>
        }}"""
    )
    body = next(node for node in model.graph if node.op_type == "Loop").attributes["body"].as_graph()
    assert [node.op_type for node in body] == ["Identity", "Cast", "Add", "Add"]


def test_function_bodies_get_constant_nodes_and_parameters_stay() -> None:
    model, _ = fold(
        f"""{HEADER} g (float[2] x) => (float[2] y) {{ y = my.f <k = 2.0> (x) }}
        <domain: "my", opset_import: ["" : 17]> f <k> (a) => (b) {{
            w = Constant <value = float[2] {{1, 2}}> ()
            e = Exp(w)
            n = Neg(e)
            p = Constant <value_float: float = @k> ()
            q = Neg(p)
            c = Add(a, n)
            b = Mul(c, q)
        }}"""
    )
    function = model.functions["my", "f", ""]
    assert [node.op_type for node in function] == ["Constant", "Constant", "Neg", "Add", "Mul"]


def test_an_invalid_constant_node_is_left_with_its_reason() -> None:
    text = f"""{HEADER} g (int64[1] x) => (int64[1] y) <int64[2] w = {{1, 2}}, int64 i = {{7}}> {{
        e = Gather(w, i)
        y = Add(x, e)
    }}"""
    assert_declines(text, FoldConstants(), reason="indices element out of data bounds")


def test_no_types_are_added_to_the_file() -> None:
    model, _ = fold(
        f"""{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}> {{
            a = Neg(w)  b = Exp(a)  c = Relu(x)
            y = Add(c, b)
        }}"""
    )
    assert [value.name for value in to_proto(model).graph.value_info] == []


def test_refused_actions_and_limits_are_honoured() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}, float[2] v = {{3, 4}}> {{
        a = Neg(w)
        b = Neg(v)
        c = Add(x, a)
        y = Add(c, b)
    }}"""
    keys = [action.key for action in FoldConstants().run(parse(text), Context()).actions]
    assert len(keys) == 2
    model = parse(text)
    FoldConstants().run(model, Context(refused=frozenset(keys[:1])))
    assert [node.op_type for node in model.graph] == ["Neg", "Add", "Add"]
    model = parse(text)
    FoldConstants().run(model, Context(limit=1))
    assert [node.op_type for node in model.graph] == ["Neg", "Add", "Add"]


def test_time_is_bounded() -> None:
    text = f"{HEADER} g (float[2] x) => (float[2] y) <float[2] w = {{1, 2}}> {{ e = Exp(w)  y = Add(x, e) }}"
    assert_declines(text, FoldConstants(max_work=1), reason="more work than is left")


def test_long_constant_chains() -> None:
    x, last = (
        ir.val("x", ir.DataType.FLOAT, [2]),
        ir.val("w", const_value=ir.tensor(np.array([1, 2], np.float32), name="w")),
    )
    weight, nodes = last, []
    for i in range(20_000):
        nodes.append(ir.node("Neg", [last], outputs=[ir.val(f"v{i}")]))
        last = nodes[-1].outputs[0]
    nodes.append(ir.node("Add", [x, last], outputs=[ir.val("y", ir.DataType.FLOAT, [2])]))
    graph = ir.Graph([x], [nodes[-1].outputs[0]], nodes=nodes, initializers=[weight], opset_imports={"": 17}, name="g")
    result = FoldConstants().run(ir.Model(graph, ir_version=8), Context())
    assert len(graph) == 1
    assert len(result.actions) == 1


def test_work_that_is_too_much_bars_only_itself() -> None:
    """The product takes 8 * 8 * 8 multiplications, the sum 64 bytes: what is small is still folded."""
    node = "a = MatMul(k, k)  b = Add(v, v)  s = ReduceSum <keepdims = 0> (a)  c = Add(x, b)  y = Add(c, s)"
    numbers = ", ".join("1" for _ in range(64))
    model = parse(
        f"""{HEADER} g (float[8] x) => (float[8] y)
        <float[8, 8] k = {{{numbers}}}, float[8] v = {{1, 2, 3, 4, 5, 6, 7, 8}}> {{ {node} }}"""
    )
    FoldConstants(max_work=300).run(model, Context())
    assert [n.op_type for n in model.graph] == ["MatMul", "ReduceSum", "Add", "Add"]


def test_a_weight_whose_parts_are_rearranged_folds_as_a_whole() -> None:
    # as exporters reorder the gates of an LSTM: no slice alone pays, for the weight would stay
    numbers = ", ".join(str(i) for i in range(400))
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[P, Q] y)
        <float[8, 50] w = {{{numbers}}}, int64[1] a = {{0}}, int64[1] b = {{3}}, int64[1] c = {{8}}> {{
        first = Slice(w, a, b)  second = Slice(w, b, c)  both = Concat <axis = 0> (second, first)
        y = MatMul(x, both) }}"""
    model = parse(text)
    result = FoldConstants().run(model, Context())
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert [action.rule for action in result.actions] == ["fold-region"]
    assert len(to_bytes(model)) < len(to_bytes(parse(text)))
    assert_same_outputs(text, model)


def wide_model() -> ir.Model:
    """Two folds that take more bytes: 8 numbers become 8 x 64, and 8 x 16."""
    return parse(
        f"""{HEADER} g (float[8, 64] x, float[8, 16] z) => (float[8, 64] y, float[8, 16] w)
        <float[8, 1] k = {{1, 2, 3, 4, 5, 6, 7, 8}}, int64[2] s = {{8, 64}}, int64[2] t = {{8, 16}}> {{
            a = Expand(k, s)  y = Add(x, a)  b = Expand(k, t)  w = Add(z, b) }}"""
    )


@pytest.mark.parametrize(("spare", "left"), [(0, 2), (600, 1), (4000, 0)])
def test_bytes_to_spare_are_spent_and_no_more(spare: int, left: int) -> None:
    model = wide_model()
    before, original = len(to_bytes(model)), to_proto(model)
    FoldConstants(spare=spare).run(model, Context())
    assert sum(node.op_type == "Expand" for node in model.graph) == left
    assert len(to_bytes(model)) <= before + spare
    assert_same_outputs(original, model)


def test_nothing_giant_is_made_however_much_there_is_to_spare() -> None:
    text = f"""{HEADER} g (float[80, 1000] x) => (float[80, 1000] y) <float[1] k = {{2}}, int64[2] s = {{80, 1000}}> {{
        a = Expand(k, s)  y = Pow(x, a) }}"""
    assert_declines(text, FoldConstants(spare=1 << 30), reason="would grow by 31")


GIANTS = f"""{HEADER} g (int64[1] i) => (float[1] y) <int64[1] s = {{400000}}> {{
    c = ConstantOfShape(s)
    a = Exp(c)
    b = Cos(c)
    g0 = Gather(a, i)
    g1 = Gather(b, i)
    y = Add(g0, g1)
}}"""


def test_what_could_never_be_written_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(node: ir.Node, *_: object, **__: object) -> None:
        raise AssertionError(f"{node.op_type} was evaluated")

    monkeypatch.setattr("onnxslim.passes.slim.region.evaluate", refuse)
    assert fold(GIANTS)[1] == ["the file would grow by 1,600,000 bytes"] * 3


def test_the_values_of_a_region_take_half_of_the_memory_budget() -> None:
    text = GIANTS.replace("y = Add(g0, g1)", "m = ReduceMax <keepdims = 0> (a)  h = Add(g0, g1)  y = Add(h, m)")
    told = {}
    for memory in (1 << 30, 4_000_000):
        context = Context.of(memory=memory)
        model = parse(text)
        FoldConstants().run(model, context)
        told[memory] = [each.reason for each in context.declined if "budget" in each.reason]
        assert ("m" in model.graph.initializers) == (memory == 1 << 30)
    assert told == {
        1 << 30: [],
        4_000_000: ["its output would take 1,600,000 bytes, and 400,000 are left of the memory budget"],
    }
