"""Equal forms of a model: what each makes, where it must not act, and which one is chosen. The clock is injected."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation import Tier
from onnxslim.graph import parse, to_proto
from onnxslim.passes.quantize import choose_forms
from onnxslim.passes.quantize.choose_forms import ChooseForms, Form, FormsPlan, fastest
from onnxslim.passes.quantize.form_bias import join_biases
from onnxslim.passes.quantize.form_products import merge_products
from onnxslim.passes.quantize.form_rows import use_rows
from onnxslim.passes.quantize.form_tables import slice_tables
from onnxslim.pipeline import Context, Pass, PassResult
from onnxslim.samples import Sample
from tests.rewriting import assert_declines, assert_rewrites, assert_same_outputs


@dataclass(frozen=True)
class Alone(Pass):
    """One form as a pass."""

    name: ClassVar[str] = "alone"
    tier: ClassVar[Tier] = Tier.NUMERIC
    form: Form = field(default=use_rows)

    def run(self, model: ir.Model, context: Context) -> PassResult:
        self.form(model, context)
        return context.result()


ROWS, PRODUCTS, BIASES = Alone(form=use_rows), Alone(form=merge_products), Alone(form=join_biases)
TABLES = Alone(form=slice_tables)
HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
FIRST = "float[2,3] w = {1, 2, -3, 4, 0.5, 6}, float[3] b = {1, -1, 2}"
WEIGHTS = FIRST + ", float[3,2] v = {3, 1, -2, 1, 1, 0.5}, float[2] c = {1, 2}"
LAYERS = """
    p = MatMul(x, w) q = Add(p, b) r = Relu(q) s = MatMul(r, v) t = Add(c, s) y = Add(t, x)
"""
INT8 = """
    xq = QuantizeLinear(x, xs, xz) xd = DequantizeLinear(xq, xs, xz)
    wd = DequantizeLinear <axis = 1> (wq, ws, wz)
"""
INT8_WEIGHTS = """float xs = {0.02}, uint8 xz = {128}, int8[2,3] wq = {1, 127, -3, 4, -100, 6},
    float[3] ws = {0.01, 0.02, 0.5}, int8[3] wz = {0, 0, 0}, float[3] b = {1, -1, 2}"""


def model_of(body: str, weights: str = WEIGHTS, y: str = "float[N,L,2] y", head: str = HEAD) -> str:
    return f"{head} g (float[N,L,2] x) => ({y}) <{weights}> {{ {body} }}"


def test_layers_are_computed_on_matrices_and_restored_at_the_end() -> None:
    # The sum with what comes from outside stays outside: inside, another value would have to be reshaped.
    assert_rewrites(
        model_of(LAYERS),
        model_of(
            """ dims = Shape <end = 2> (x) shape = Concat <axis = 0> (dims, last) rows = Reshape(x, flat)
            q = Gemm(rows, w, b) r = Relu(q) s = Gemm(r, v, c)
            t = Reshape <allowzero = 1> (s, shape) y = Add(t, x) """,
            WEIGHTS + ", int64[1] last = {2}, int64[2] flat = {-1, 2}",
        ),
        ROWS,
    )


def test_a_reshape_that_stands_there_anyway_takes_the_part_of_another() -> None:
    heads = "int64[4] t = {0, 0, 3, 1}, int64[3] u = {0, 0, 2}"
    body = """ z = Reshape(x, u) p = MatMul(z, w) q = Add(p, b) h = Reshape(q, t) y = Relu(h) """
    assert_rewrites(
        f"{HEAD} g (float[N,5,1,2] x) => (float[N,5,3,1] y) <{FIRST}, {heads}> {{ {body} }}",
        f"""{HEAD} g (float[N,5,1,2] x) => (float[N,5,3,1] y) <{FIRST}, int64[2] flat = {{-1, 2}},
            int64[4] t = {{-1, 5, 3, 1}}>
            {{ z = Reshape(x, flat) q = Gemm(z, w, b) h = Reshape(q, t) y = Relu(h) }}""",
        ROWS,
    )


@pytest.mark.parametrize("scales", [[0.01, 0.02, 0.5], [0.02] * 3])
def test_an_int8_product_adds_its_bias_as_integers(scales: list[float]) -> None:
    body, weights = INT8 + "p = MatMul(xd, wd) y = Add(p, b)", INT8_WEIGHTS
    if len(set(scales)) == 1:  # one scale for the whole weight
        weights = weights.replace(
            "float[3] ws = {0.01, 0.02, 0.5}, int8[3] wz = {0, 0, 0}", "float ws = {0.02}, int8 wz = {0}"
        )
    before = model_of(body, weights, "float[N,L,3] y")
    model, context = parse(before), Context()
    use_rows(model, context)
    assert [node.op_type for node in model.graph].count("Gemm") == 1
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    bias = gemm.inputs[2].producer()  # type: ignore[union-attr]
    assert bias is not None
    integers, scale = (value.const_value.numpy() for value in bias.inputs)  # type: ignore[union-attr]
    assert integers.dtype == np.int32
    np.testing.assert_allclose(scale, np.float32(0.02) * np.array(scales, np.float32))
    np.testing.assert_allclose(integers * scale, [1, -1, 2], rtol=1e-2)
    assert_same_outputs(before, model, tier=Tier.LOSSY, sqnr=50)
    assert "QGemm" in optimized(model)


def test_dims_of_zero_and_outputs_inside_a_region_are_restored() -> None:
    body = "p = MatMul(x, w) q = Add(p, b) z = Relu(q) s = MatMul(z, v) y = Add(s, c)"
    before = model_of(body, y="float[N,L,2] y, float[N,L,3] z")
    model = parse(before)
    use_rows(model, Context())
    feeds = [{"x": np.ones(shape, np.float32)} for shape in ((2, 0, 2), (0, 3, 2), (2, 3, 2))]
    assert_same_outputs(before, model, feeds=feeds)
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("p = MatMul(x, w) y = Relu(p)", "no bias alone is added"),
        ("p = MatMul(x, w) q = Add(p, b) r = Add(q, p) y = Relu(r)", "no bias alone is added"),
        ("p = MatMul(x, w) k = ReduceSum <keepdims = 0> (x) q = Add(p, k) y = Relu(q)", "no constant vector"),
        ("d = Relu(w) p = MatMul(x, d) q = Add(p, b) y = Relu(q)", "only one side of the product is int8"),
        ("p = MatMul(x, w) q = Add(p, one) y = Relu(q)", "not one number a column"),
        ("p = MatMul(x, thin) q = Add(p, b) y = Relu(q)", "not one number a column"),
    ],
)
def test_a_product_without_a_bias_stays(body: str, reason: str) -> None:
    assert_declines(
        model_of(body, WEIGHTS + ", float[1] one = {1}, float[2,1] thin = {1, 2}", "float[N,L,3] y"),
        ROWS,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("xs = {0.02}", "xs = {1e-9}"), "does not fit into the integers"),
        (("float[3] ws = {0.01, 0.02, 0.5}", "float[3] ws = {0, 0.02, 0.5}"), "a scale of the product underflows"),
    ],
)
def test_a_bias_that_is_no_integer_stays_float(change: tuple[str, str], reason: str) -> None:
    body = model_of(INT8 + "p = MatMul(xd, wd) y = Add(p, b)", INT8_WEIGHTS, "float[N,L,3] y")
    assert_declines(body.replace(*change), ROWS, reason=reason)


def test_before_opset_15_only_dims_that_a_constant_can_name_are_restored() -> None:
    head = HEAD.replace("17", "13")
    assert_declines(model_of(LAYERS, head=head), ROWS, reason="below opset 15")
    fixed = model_of(LAYERS, head=head).replace("N,L", "N,4")
    assert ROWS.run(parse(fixed), Context()).actions


def test_layer_normalization_and_gelu_stay_inside() -> None:
    body = """p = MatMul(x, w) q = Add(p, b) n = LayerNormalization <axis = 2> (q, g, b) a = Gelu(n)
        s = MatMul(a, v) t = Add(s, c) z = Tanh(t) e = MatMul(z, w) f = Add(e, b) y = Add(f, n)"""
    text = model_of(body, WEIGHTS + ", float[3] g = {1, 2, 3}", "float[N,L,3] y", HEAD.replace("17", "20"))
    model = parse(text)
    use_rows(model, Context())
    assert [node.op_type for node in model.graph].count("Reshape") == 2
    assert next(node for node in model.graph if node.op_type == "LayerNormalization").attributes["axis"].value == -1
    assert_same_outputs(text, model)


def test_rows_of_unknown_or_other_dims_stay() -> None:
    unknown = LAYERS.replace("MatMul(x, w)", "MatMul(z, w)")
    body = f"k = Identity(x) z = Slice(k, start, end, axis) {unknown}"
    weights = WEIGHTS + ", int64[1] start = {0}, int64[1] axis = {1}"
    # As long as the input, or shorter: the sum with x broadcasts, or fails.
    text = f"{HEAD} g (float[N,L,2] x, int64[1] end) => (float[N,M,2] y) <{weights}> {{ {body} }}"
    model = parse(text)
    use_rows(model, Context())
    feeds = [{"x": np.ones((2, 3, 2), np.float32), "end": np.array([end])} for end in (1, 3)]
    assert_same_outputs(text, model, feeds=feeds)


SIBLINGS = """ p = MatMul(x, w) q = Add(p, b) r = MatMul(x, v) s = Add(d, r) """
TWO = """float[2,3] w = {1, 2, -3, 4, 0.5, 6}, float[3] b = {1, -1, 2}, float[2,1] v = {3, -2}, float[1] d = {5}"""


def test_products_of_one_value_are_one() -> None:
    assert_rewrites(
        model_of(SIBLINGS + "y = Relu(q) z = Relu(s)", TWO, "float[N,L,3] y, float[N,L,1] z"),
        model_of(
            "p = MatMul(x, wv) q = Add(p, bd) r, s = Split <axis = -1> (q, sizes) y = Relu(r) z = Relu(s)",
            """float[2,4] wv = {1, 2, -3, 3, 4, 0.5, 6, -2}, float[4] bd = {1, -1, 2, 5}, int64[2] sizes = {3, 1}""",
            "float[N,L,3] y, float[N,L,1] z",
        ),
        PRODUCTS,
    )


def test_heads_are_reshaped_once() -> None:
    heads = "h = Reshape(q, t) k = Reshape(s, u) y = Relu(h) z = Relu(k)"
    y = "float[N,L,3,1] y, float[N,L,1,1] z"
    assert_rewrites(
        model_of(SIBLINGS + heads, TWO + ", int64[4] t = {0, 0, 3, 1}, int64[4] u = {0, 0, 1, 1}", y),
        model_of(
            """p = MatMul(x, wv) q = Add(p, bd) m = Reshape(q, t) h, k = Split <axis = -2> (m, sizes)
            y = Relu(h) z = Relu(k)""",
            """float[2,4] wv = {1, 2, -3, 3, 4, 0.5, 6, -2}, float[4] bd = {1, -1, 2, 5}, int64[2] sizes = {3, 1},
            int64[4] t = {0, 0, 4, 1}""",
            y,
        ),
        PRODUCTS,
    )


def test_int8_products_keep_the_scale_and_the_zero_point_of_each_column() -> None:
    body = INT8 + "vd = DequantizeLinear(vq, vs) p = MatMul(xd, wd) r = MatMul(xd, vd) y = Relu(p) z = Relu(r)"
    before = model_of(
        body, INT8_WEIGHTS + ", int8[2,2] vq = {5, 6, -7, 8}, float vs = {0.3}", "float[N,L,3] y, float[N,L,2] z"
    )
    model = parse(before)
    assert PRODUCTS.run(model, Context()).actions
    weight = next(node for node in model.graph if node.op_type == "MatMul").inputs[1].producer()  # type: ignore[union-attr]
    assert weight is not None
    integers, scale, zero = (value.const_value.numpy() for value in weight.inputs)  # type: ignore[union-attr]
    assert integers.tolist() == [[1, 127, -3, 5, 6], [4, -100, 6, -7, 8]]
    np.testing.assert_allclose(scale, np.array([0.01, 0.02, 0.5, 0.3, 0.3], np.float32))
    assert zero.dtype == np.int8
    assert [node.op_type for node in model.graph].count("DequantizeLinear") == 2
    assert_same_outputs(before, model, tier=Tier.NUMERIC)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("p = MatMul(x, w) r = MatMul(x, w) y = Relu(p) z = Relu(r)", "something else needs its weight"),
        (
            "k = Add(w, one) p = MatMul(x, w) r = MatMul(x, k) y = Relu(p) z = Relu(r)",
            "something else needs its weight",
        ),
        ("k = Add(v, one) p = MatMul(x, w) r = MatMul(x, k) y = Relu(p) z = Relu(r)", "no constant matrix"),
        ("y = MatMul(x, w) z = MatMul(x, v)", "an output of the model"),
        ("p = MatMul(x, w) q = Add(p, b) r = MatMul(x, v) y = Relu(q) z = Relu(r)", "of another kind"),
    ],
)
def test_products_that_cannot_be_one_stay(body: str, reason: str) -> None:
    weights = TWO + ", float one = {1}"
    assert_declines(model_of(body, weights, "float[N,L,M] y, float[N,L,K] z"), PRODUCTS, reason=reason)


def test_the_kernel_of_onnxruntime_adds_the_bias_and_keeps_scales_and_zero_points() -> None:
    body = INT8 + "p = MatMul(xd, wd) y = Add(b, p)"
    before = model_of(body, INT8_WEIGHTS, "float[N,L,3] y")
    model = parse(before)
    assert BIASES.run(model, Context()).actions
    kernel = model.graph[-1]
    assert (kernel.domain, kernel.op_type) == ("com.microsoft", "MatMulIntegerToFloat")
    assert [value.name for value in kernel.inputs] == ["xq", "wq", "xs", "ws", "xz", "wz", "b"]  # type: ignore[union-attr]
    assert [node.op_type for node in model.graph] == ["QuantizeLinear", "MatMulIntegerToFloat"]
    assert model.opset_imports["com.microsoft"] == 1
    assert_same_outputs(before, model, tier=Tier.LOSSY, sqnr=60)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("uint8 xz = {128}", "int8 xz = {0}"), "not in uint8"),
        (("<axis = 1>", "<axis = 0>"), "one scale a row"),
        (("float[3] b = {1, -1, 2}", "float[1] b = {1}"), "not one number a column"),
        (("Add(b, p)", "Sub(b, p)"), "no bias alone is added"),
    ],
)
def test_what_the_kernel_does_not_take_stays(change: tuple[str, str], reason: str) -> None:
    body = INT8.replace("2,3", "3,3") + "p = MatMul(xd, wd) y = Add(b, p)"
    weights = INT8_WEIGHTS.replace("int8[2,3] wq = {1, 127, -3,", "int8[3,3] wq = {1, 2, 3, 1, 127, -3,")
    text = model_of(body, weights, "float[N,L,3] y").replace("float[N,L,2] x", "float[N,L,3] x")
    assert_declines(text.replace(*change), BIASES, reason=reason)


POSITIONS = "p = Slice(numbers, start, end, axis) r = Gather(t, p)"
TABLE = """float[4,2] t = {1, 2, 3, 4, 5, 6, 7, 8}, int64[1,3] numbers = {1, 2, 3}, int64[1] start = {0},
    int64[1] axis = {1}"""


def looked_up(body: str, table: str = TABLE) -> str:
    return f"{HEAD} g (int64[1] end) => (float[1,N,2] y) <{table}> {{ {body} }}"


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_rows_side_by_side_are_a_slice_of_the_table(dtype: str) -> None:
    """Start, end and axis of a Slice have one type."""

    def typed(text: str) -> str:
        return re.sub(r"int64\[1\] (end|start|axis)", rf"{dtype}[1] \1", text)

    assert_rewrites(
        typed(looked_up(POSITIONS + " y = Neg(r)")),
        typed(
            looked_up(
                "r = Slice(t, start, end, axis) y = Neg(r)",
                "float[1,3,2] t = {3, 4, 5, 6, 7, 8}, int64[1] start = {0}, int64[1] axis = {1}",
            )
        ),
        TABLES,
        feeds=[{"end": np.array([end], dtype)} for end in (0, 1, 3, 9, -1)],
    )


def test_an_int8_table_is_made_float_before_it_is_sliced() -> None:
    table = TABLE.replace("float[4,2] t", "int8[4,2] t") + ", float[2] s = {0.5, 2}"
    before = looked_up(POSITIONS + " c = Cast <to = 1> (r) d = Mul(c, s) y = Neg(d)", table)
    model = parse(before)
    assert TABLES.run(model, Context()).actions
    assert [node.op_type for node in model.graph] == ["Cast", "Mul", "Slice", "Neg"]
    assert_same_outputs(before, model, feeds=[{"end": np.array([end])} for end in (0, 2, 3)], tier=Tier.EXACT)
    assert optimized(model) == ["Slice", "Neg"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("axis = {1}", "axis = {0}"), "along another dim"),
        (("numbers = {1, 2, 3}", "numbers = {-1, 0, 1}"), "count from the end"),
        (("numbers = {1, 2, 3}", "numbers = {2, 3, 4}"), "no rows of the table"),
        (("y = Neg(r)", "k = MatMul(r, t) y = Neg(r)"), "something else needs the table"),
        (("numbers = {1, 2, 3}", "numbers = {1, 3, 2}"), None),
    ],
)
def test_other_rows_are_looked_up(change: tuple[str, str], reason: str | None) -> None:
    assert_declines(looked_up(POSITIONS + " y = Neg(r)").replace(*change), TABLES, reason=reason)


def test_the_fastest_form_beyond_noise_is_chosen() -> None:
    names = [("a",), ("b",), ("a", "b")]
    assert fastest(names, np.array([[0.9, 0.8, 0.85]] * 5)) == (("b",), "")
    noisy = np.array([[0.99, 0.5, 1.0]] * 4 + [[0.99, 1.01, 1.0]])  # b is slower in one comparison
    assert fastest(names, noisy) == (("a",), "")
    chosen, reason = fastest(names, np.full((5, 3), 0.998))
    assert chosen is None
    assert "not faster beyond noise: a measured 1.002x" in reason


Clock = Callable[..., np.ndarray]


def clock(*shares: float) -> Clock:
    return lambda model, others, feeds, context: np.array([shares[: len(others)]] * 5)


@pytest.fixture
def samples() -> list[Sample]:
    generator = np.random.default_rng(0)
    return [Sample(str(k), {"x": generator.standard_normal((2, 3, 2)).astype(np.float32)}) for k in range(4)]


def planned(samples: Any, monkeypatch: pytest.MonkeyPatch, timing: Clock, **given: Any) -> tuple[FormsPlan, Context]:
    monkeypatch.setattr(choose_forms, "times", timing)
    context = Context.of(samples=samples, selection=samples, **given)
    return ChooseForms().plan(parse(model_of(LAYERS)), context), context


def test_the_pass_takes_what_is_faster(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, context = planned(samples, monkeypatch, clock(0.9))
    assert plan == FormsPlan(("rows",), 0.9)
    model = parse(model_of(LAYERS))
    assert ChooseForms().apply(model, plan, context).actions
    assert [node.op_type for node in model.graph].count("Gemm") == 2
    assert_same_outputs(model_of(LAYERS), model)


@pytest.mark.parametrize(("ops", "count"), [("standard", 1), ("onnxruntime", 2)])
def test_operators_of_onnxruntime_are_made_only_where_they_are_allowed(
    ops: str, count: int, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def timing(model: ir.Model, others: Any, feeds: Any, context: Context) -> np.ndarray:
        tried.append(len(others))
        return np.array([[0.9, 0.8][: len(others)]] * 5)

    monkeypatch.setattr(choose_forms, "times", timing)
    before = model_of(INT8 + "p = MatMul(xd, wd) y = Add(p, b)", INT8_WEIGHTS, "float[N,L,3] y")
    plan = ChooseForms().plan(parse(before), Context.of(samples=samples, ops=ops))
    assert tried == [count]
    assert plan.forms == (("rows",) if ops == "standard" else ("integer-bias",))


@pytest.mark.parametrize(
    ("share", "given", "reason"),
    [(1.1, {}, "not faster beyond noise"), (0.9, {"bench": False}, "nothing is timed here")],
)
def test_the_pass_leaves_what_is_not_known_to_be_faster(
    share: float, given: dict[str, bool], reason: str, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, context = planned(samples, monkeypatch, clock(share), **given)
    assert plan == FormsPlan()
    assert any(reason in each.reason for each in context.declined)


def test_a_form_that_a_check_refused_is_not_timed(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    key = ROWS.run(parse(model_of(LAYERS)), Context()).actions[0].key
    plan, context = planned(samples, monkeypatch, clock(0.9), refused=frozenset((key,)))
    assert plan == FormsPlan()
    assert "a check failed with this rewrite" in {each.reason for each in context.declined}


def test_a_form_beyond_the_error_budget_is_not_timed(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_forms, "INAUDIBLE_DB", 1e9)
    monkeypatch.setattr(choose_forms, "BUDGET_DB", -1e9)
    plan, context = planned(
        samples, monkeypatch, clock(0.9), original=parse(model_of(LAYERS.replace("(c, s)", "(s, s)")))
    )
    assert plan == FormsPlan()
    assert any("costs the outputs more than" in each.reason for each in context.declined)


def optimized(model: ir.Model) -> list[str]:
    """Operators of the graph that onnxruntime makes."""
    from onnxslim.execution import optimized_graph

    return [node.op_type for node in optimized_graph(to_proto(model)).graph.node]
