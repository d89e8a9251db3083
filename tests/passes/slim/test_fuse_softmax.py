import numpy as np
import pytest

from onnxslim.passes.slim.fuse_softmax import FuseSoftmax
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

INF = np.inf
FEEDS = [
    {"x": np.array([[0, 1, 2], [200, -200, 0], [3e38, -3e38, 1], [-INF, 1, 2]], np.float32)},
    {"x": np.array([[INF, 1, 2], [-INF, -INF, -INF], [np.nan, 0, 1]], np.float32)},
    {"x": np.zeros((0, 3), np.float32)},
]
EXP = "m = ReduceMax <axes = [-1]> (x)  d = Sub(x, m)  e = Exp(d)  s = ReduceSum(e, last)  "
SOFTMAX, LOG = EXP + "y = Div(e, s)", EXP + "l = Log(s)  y = Sub(d, l)"


def model(body: str, *, opset: int = 13, dtype: str = "float", outputs: str = "", constants: str = "") -> str:
    given = ", ".join(c for c in ("int64[1] last = {-1}" if "last" in body else "", constants) if c)
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({dtype}[N, M] x) => ({dtype}[N, M] y{outputs})
        {f"<{given}>" if given else ""} {{ {body} }}"""


@pytest.mark.parametrize(("body", "after"), [(SOFTMAX, "Softmax"), (LOG, "LogSoftmax")])
def test_steps_become_the_operator(body: str, after: str) -> None:
    assert_rewrites(model(body), model(f"y = {after}(x)"), Fused(FuseSoftmax()), feeds=FEEDS)
    new = body.replace("ReduceMax <axes = [-1]> (x)", "ReduceMax(x, last)")
    assert_rewrites(model(new, opset=18), model(f"y = {after}(x)", opset=18), Fused(FuseSoftmax()), feeds=FEEDS)
    old = body.replace("ReduceSum(e, last)", "ReduceSum <axes = [1]> (e)")
    expected = model(f"y = {after} <axis = 1> (x)", opset=11)
    assert_rewrites(model(old, opset=11), expected, Fused(FuseSoftmax()), feeds=FEEDS)


def test_double() -> None:
    after = model("y = Softmax(x)", dtype="double")
    double = [{"x": feed["x"].astype(np.float64)} for feed in FEEDS]
    assert_rewrites(model(SOFTMAX, dtype="double"), after, Fused(FuseSoftmax()), feeds=double)
    assert_declines(model(LOG, dtype="double"), FuseSoftmax(), reason="the same in")


def test_axis_lost_and_given_back() -> None:
    """As jax2tf writes it."""
    body = """m = ReduceMax <axes = [1], keepdims = 0> (x)  n = Max(low, m)  shape = Shape(x)
        r = Unsqueeze(n, last)  f = Expand(r, shape)  d = Sub(x, f)  e = Exp(d)
        s = ReduceSum <keepdims = 0> (e, last)  t = Unsqueeze(s, last)  u = Expand(t, shape)  y = Div(e, u)"""
    before = model(body, constants="float low = {-1.0}").replace("-1.0", "-inf")
    assert_rewrites(before, model("y = Softmax(x)"), Fused(FuseSoftmax()), feeds=FEEDS)
    assert_declines(before.replace("-inf", "-1.0"), FuseSoftmax(), reason="maximum")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("d = Sub(x, m)  e = Exp(d)", "e = Exp(x)", "without subtracting"),
        ("axes = [-1]", "axes = [0]", "maximum"),
        ("ReduceMax", "ReduceMean", "maximum"),
        ("last = {-1}", "last = {0}", None),
        ("ReduceSum(e, last)", "ReduceSum(d, last)", None),
        ("ReduceSum(e, last)", "ReduceMax <axes = [-1]> (e)", None),
        ("float[N, M] y", "float[N, M] y, float[N, M] e", "others need"),
        ("float[N, M] y", "float[N, M] y, float[N, K] s", "others need"),
        ("Sub(x, m)", "Sub(m, x)", "maximum"),
        ("Div(e, s)", "Div(s, e)", None),
    ],
)
def test_near_misses(old: str, new: str, reason: str | None) -> None:
    text = model(SOFTMAX)
    assert old in text
    assert_declines(text.replace(old, new), FuseSoftmax(), reason=reason)


def test_log_of_softmax_stays() -> None:
    assert_declines(model("s = Softmax(x)  y = Log(s)"), FuseSoftmax())


def test_axes_unknown() -> None:
    text = (
        model(SOFTMAX)
        .replace("(float[N, M] x)", "(float[N, M] x, int64[1] last)")
        .replace("<int64[1] last = {-1}>", "")
    )
    assert_declines(text, FuseSoftmax())
