import numpy as np
import pytest

from onnxslim.passes.slim.fuse_activation import FuseClip, FuseLeakyRelu, FuseSigmoid
from onnxslim.pipeline.rewrite import Pass
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

X = [[np.nan, np.inf, -np.inf, -3, 3, 0, -0.0, 0.7, -0.7, 100, -100, 1e38, -1e38, 88.5, -88.5, 1e-30]]
FEEDS = [{"x": np.array(X, np.float32)}, {"x": np.zeros((0, 3), np.float32)}]
NUMBERS = {"one": 1.0, "two": 2.0, "minus": -1.0, "low": -0.5, "high": 6.0, "slope": 0.1, "steep": 1.5}


def model(body: str, *, opset: int = 13, dtype: str = "float", outputs: str = "", constants: str = "") -> str:
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = [f"{dtype} {name} = {{{number}}}" for name, number in NUMBERS.items() if name in words]
    given = ", ".join([*used, *([constants] if constants else [])])
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({dtype}[N, M] x) => ({dtype}[N, M] y{outputs})
        {f"<{given}>" if given else ""} {{ {body} }}"""


SIGMOID = "a = Neg(x)  b = Exp(a)  c = Add(b, one)  y = Div(one, c)"
CLIP = "a = Max(x, low)  y = Min(a, high)"
LEAKY = "a = Mul(x, slope)  y = Max(x, a)"


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (SIGMOID, "y = Sigmoid(x)", FuseSigmoid()),
        ("a = Mul(minus, x)  b = Exp(a)  c = Add(one, b)  y = Reciprocal(c)", "y = Sigmoid(x)", FuseSigmoid()),
        ("a = Abs(x)  b = Add(a, one)  y = Div(x, b)", "y = Softsign(x)", FuseSigmoid()),
        (CLIP, "y = Clip(x, low, high)", FuseClip()),
        ("a = Min(high, x)  y = Max(a, low)", "y = Clip(x, low, high)", FuseClip()),
        (LEAKY, "y = LeakyRelu <alpha = 0.1> (x)", FuseLeakyRelu()),
        ("a = Mul(slope, x)  y = Max(a, x)", "y = LeakyRelu <alpha = 0.1> (x)", FuseLeakyRelu()),
    ],
)
@pytest.mark.parametrize("opset", [12, 16])
def test_formulas(before: str, after: str, rule: Pass, opset: int) -> None:
    assert_rewrites(model(before, opset=opset), model(after, opset=opset), Fused(rule), feeds=FEEDS)
    reason = "float32"
    assert_declines(model(before, opset=opset, dtype="double"), rule, reason=reason)


@pytest.mark.parametrize(
    ("body", "rule", "reason"),
    [
        (SIGMOID.replace("Add(b, one)", "Add(b, two)"), FuseSigmoid(), None),
        (SIGMOID.replace("Div(one", "Div(two"), FuseSigmoid(), None),
        (SIGMOID.replace("Div(one, c)", "Div(c, one)"), FuseSigmoid(), None),
        (SIGMOID.replace("Neg", "Abs"), FuseSigmoid(), None),
        (SIGMOID.replace("Div(one", "Div(x"), FuseSigmoid(), None),
        ("a = Abs(x)  b = Add(a, one)  y = Div(a, b)", FuseSigmoid(), None),
        ("b = Exp(x)  c = Add(b, one)  y = Log(c)", FuseSigmoid(), None),
        ("a = Max(x, high)  y = Min(a, low)", FuseClip(), "wrong order"),
        ("a = Max(x, low)  y = Max(a, high)", FuseClip(), None),
        ("a = Max(x, low)  b = Neg(a)  y = Min(a, high)", FuseClip(), "others need"),
        (LEAKY.replace("slope", "steep"), FuseLeakyRelu(), None),
        (LEAKY.replace("slope", "minus"), FuseLeakyRelu(), None),
        (LEAKY.replace("Max", "Min"), FuseLeakyRelu(), None),
        (LEAKY + "  b = Neg(a)", FuseLeakyRelu(), "others need"),
    ],
)
def test_near_misses(body: str, rule: Pass, reason: str | None) -> None:
    assert_declines(model(body), rule, reason=reason)


@pytest.mark.parametrize(("body", "rule"), [(SIGMOID, FuseSigmoid()), (CLIP, FuseClip()), (LEAKY, FuseLeakyRelu())])
def test_a_step_that_is_an_output(body: str, rule: Pass) -> None:
    assert_declines(model(body, outputs=", float[N, M] a"), rule)


def test_limits_get_rank_zero() -> None:
    before = model("a = Max(x, l)  y = Min(a, h)", constants="float[1] l = {-0.5}, float[1, 1] h = {6}")
    assert_rewrites(before, model("y = Clip(x, low, high)"), Fused(FuseClip()), feeds=FEEDS)
    wide = model("a = Max(x, l)  y = Min(a, high)", constants="float[1, 1, 1] l = {-0.5}")
    assert_declines(wide.replace("M] y", "M, K] y"), FuseClip())
    many = model("a = Max(x, l)  y = Min(a, high)", constants="float[2] l = {-0.5, 0}")
    assert_declines(many, FuseClip())
