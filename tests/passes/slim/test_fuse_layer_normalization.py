import numpy as np
import pytest

from onnxslim.passes.slim.fuse_layer_normalization import FuseLayerNormalization, FuseNormalizationBias
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

FEEDS = [
    {"x": (np.random.default_rng(0).normal(size=(2, 3, 4)) * 3 + 1).astype(np.float32)},
    {"x": np.ones((1, 1, 4), np.float32)},
    {"x": np.array([[[np.nan, 1, 2, 3], [1, 2, 3, 9]]], np.float32)},
    {"x": np.zeros((0, 2, 4), np.float32)},
]
W = "float[4] w = {0.5, 1.5, -2, 3}"
B = "float[4] b = {1, -1, 0.25, 0}"


def model(body: str, *constants: str, opset: int = 18, dtype: str = "float", outputs: str = "", ir: int = 9) -> str:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    numbers = {"eps": 1e-6, "two": 2.0, "half": 0.5, "minus": -0.5, "one": 1.0}
    given = [f"{dtype} {name} = {{{number}}}" for name, number in numbers.items() if name in words]
    given += ["int64[1] last = {-1}"] * ("last" in words) + list(constants)
    return f"""<ir_version: {ir}, opset_import: ["" : {opset}]> g ({dtype}[N, L, 4] x) => ({dtype}[N, L, 4] y{outputs})
        {f"<{', '.join(given)}>" if given else ""} {{ {body} }}"""


def mean(source: str, opset: int) -> str:
    return f"ReduceMean({source}, last)" if opset >= 18 else f"ReduceMean <axes = [-1]> ({source})"


def steps(opset: int = 18, *, square: str = "Mul(d, d)", end: str = "r = Sqrt(a)  n = Div(d, r)  y = Mul(n, w)") -> str:
    return f"m = {mean('x', opset)}  d = Sub(x, m)  q = {square}  v = {mean('q', opset)}  a = Add(v, eps)  {end}"


@pytest.mark.parametrize(
    "end",
    [
        "r = Sqrt(a)  n = Div(d, r)  y = Mul(n, w)",
        "r = Sqrt(a)  n = Div(d, r)  y = Mul(w, n)",
        "r = Sqrt(a)  i = Reciprocal(r)  n = Mul(i, d)  y = Mul(w, n)",
        "r = Sqrt(a)  i = Reciprocal(r)  s = Mul(i, w)  y = Mul(d, s)",
        "r = Sqrt(a)  i = Div(one, r)  n = Mul(d, i)  y = Mul(n, w)",
        "r = Pow(a, half)  n = Div(d, r)  y = Mul(n, w)",
        "r = Pow(a, minus)  n = Mul(d, r)  y = Mul(n, w)",
        "r = Sqrt(a)  s = Div(w, r)  y = Mul(d, s)",
    ],
)
@pytest.mark.parametrize("opset", [17, 18])
def test_layer_normalization(end: str, opset: int) -> None:
    after = model("y = LayerNormalization <epsilon = 0.000001> (x, w)", W, opset=opset)
    for square in ("Mul(d, d)", "Pow(d, two)"):
        before = model(steps(opset, square=square, end=end), W, opset=opset)
        assert_rewrites(before, after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    assert_declines(model(steps(13, end=end), W, opset=13, ir=8), FuseLayerNormalization())


def test_bias() -> None:
    before = model("n = LayerNormalization <epsilon = 0.1> (x, w)  y = Add(b, n)", W, B)
    after = model("y = LayerNormalization <epsilon = 0.1> (x, w, b)", W, B)
    assert_rewrites(before, after, Fused(FuseNormalizationBias()), feeds=FEEDS)


@pytest.mark.parametrize(
    ("body", "constants", "outputs", "reason"),
    [
        ("n = LayerNormalization(x, w)  y = Add(n, x)", (W,), "", "not of the shape"),
        ("n = LayerNormalization(x, w, b)  y = Add(n, b)", (W, B), "", None),
        ("n = LayerNormalization(x, w)  y = Add(n, b)", (W, B), ", float[N, L, 4] n", "others need"),
        ("n, m = LayerNormalization(x, w)  y = Add(n, b)", (W, B), ", float[N, L, 1] m", "others need"),
        ("n = LayerNormalization(x, w)  y = Add(n, n)", (W,), "", None),
    ],
)
def test_bias_left_alone(body: str, constants: tuple[str, ...], outputs: str, reason: str | None) -> None:
    assert_declines(model(body, *constants, outputs=outputs), FuseNormalizationBias(), reason=reason)


def test_scales_of_other_shapes() -> None:
    after = model("y = LayerNormalization <epsilon = 0.000001> (x, w)", W)
    assert_rewrites(model(steps(), W.replace("[4]", "[1, 1, 4]")), after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    after = after.replace("0.5, 1.5, -2, 3", "3, 3, 3, 3")
    assert_rewrites(model(steps(), "float[1] w = {3}"), after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    assert_declines(
        model(steps(), W.replace("[4]", "[1, 1, 1, 4]")).replace("L, 4] y", "L, 4, K] y"), FuseLayerNormalization()
    )
    long = "float[2, 1] w = {3, 4}"
    assert_declines(model(steps(), long), FuseLayerNormalization(), reason="not of the shape")


def test_without_scale() -> None:
    end = "r = Sqrt(a)  y = Div(d, r)"
    after = model("y = LayerNormalization <epsilon = 0.000001> (x, w)", "float[4] w = {1, 1, 1, 1}")
    assert_rewrites(model(steps(end=end)), after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    wide = model(steps(end=end)).replace("4]", "4000]")
    assert_declines(wide, FuseLayerNormalization(), reason="grow")


def test_two_axes() -> None:
    before = model(steps(), "float[2, 2] w = {1, 2, 3, 4}", "int64[2] last = {1, -1}").replace("[N, L, 4]", "[N, 2, 2]")
    before = before.replace("int64[1] last = {-1}, ", "")
    after = model("y = LayerNormalization <axis = -2, epsilon = 0.000001> (x, w)", "float[2, 2] w = {1, 2, 3, 4}")
    assert_rewrites(before, after.replace("[N, L, 4]", "[N, 2, 2]"), Fused(FuseLayerNormalization()))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("last = {-1}", "last = {1}", "not over the last axes"),
        ("L, 4] x", "L, K] x", "not over the last axes"),
        ("Mul(d, d)", "Mul(d, x)", None),
        ("Add(v, eps)", "Add(v, w)", None),
        ("Div(d, r)", "Div(x, r)", None),
        ("Sub(x, m)", "Add(x, m)", None),
        ("Sqrt(a)", "Sqrt(v)", None),
        ("eps = {1e-06}", "eps = {-1e-06}", None),
        ("float[N, L, 4] y", "float[N, L, 4] y, float[N, L, 4] d", "others need"),
        ("float[N, L, 4] y", "float[N, L, 4] y, float[N, L, 1] v", "others need"),
        ("float[N, L, 4] y", "float[N, L, 4] y, float[N, L, 1] m", "others need"),
        ("r = Sqrt(a)", "r = Sqrt(a)  z = Neg(q)", "others need"),
        ("ReduceMean(x, last)", "ReduceMean(x, first)", "other axes"),
    ],
)
def test_near_misses(old: str, new: str, reason: str | None) -> None:
    extra = ["int64[1] first = {1}"] if "first" in new else []
    text = model(steps(), W, *extra)
    assert old in text
    assert_declines(text.replace(old, new), FuseLayerNormalization(), reason=reason)


def test_double_stays() -> None:
    text = model(steps(), W.replace("float", "double"), dtype="double")
    assert_declines(text, FuseLayerNormalization(), reason="float32")


RMS = "q = Mul(x, x)  v = ReduceMean(q, last)  a = Add(v, eps)  r = Sqrt(a)  n = Div(x, r)  y = Mul(n, w)"


def test_rms_normalization() -> None:
    after = model("y = RMSNormalization <epsilon = 0.000001> (x, w)", W, opset=23, ir=10)
    for body in (RMS, RMS.replace("Mul(x, x)", "Pow(x, two)"), RMS.replace("Div(x, r)  y", "Div(x, r)  y")):
        before = model(body, W, opset=23, ir=10)
        assert_rewrites(before, after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    before = RMS.replace("n = Div(x, r)", "i = Reciprocal(r)  n = Mul(x, i)")
    assert_rewrites(model(before, W, opset=23, ir=10), after, Fused(FuseLayerNormalization()), feeds=FEEDS)
    assert_declines(model(RMS, W, opset=22, ir=10), FuseLayerNormalization())


def test_twice_the_root_is_another_formula() -> None:
    body = RMS.replace("n = Div(x, r)", "i = Reciprocal(r)  o = Mul(x, i)  n = Mul(o, i)")
    assert_declines(model(body, W, opset=23, ir=10), FuseLayerNormalization())
