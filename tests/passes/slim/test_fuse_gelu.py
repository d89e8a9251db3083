import numpy as np
import pytest

from onnxslim.passes.slim.fuse_gelu import FuseGelu, FuseMish
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

X = np.array([[np.nan, np.inf, -np.inf, -3, 3, 0, -0.0, 0.7, -0.7, 100, -1e4, 1e-30, 1.5]], np.float32)
FEEDS = [{"x": X}, {"x": np.zeros((0, 3), np.float32)}, {"x": np.linspace(-9, 9, 4001, dtype=np.float32)[None]}]
NUMBERS = {
    "root": 1.4142135623730951,
    "rootinv": 0.7071067690849304,
    "one": 1.0,
    "half": 0.5,
    "two": 2.0,
    "three": 3.0,
    "cube": 0.044715,
    "scale": 0.7978845608028654,
}


def model(body: str, *, opset: int = 20, dtype: str = "float", outputs: str = "") -> str:
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = ", ".join(f"{dtype} {name} = {{{number}}}" for name, number in NUMBERS.items() if name in words)
    return f"""<ir_version: 9, opset_import: ["" : {opset}]> g ({dtype}[N, M] x) => ({dtype}[N, M] y{outputs})
        {f"<{used}>" if used else ""} {{ {body} }}"""


ERF = "a = Div(x, root)  e = Erf(a)  b = Add(e, one)  c = Mul(x, b)  y = Mul(c, half)"


@pytest.mark.parametrize(
    "body",
    [
        ERF,
        "a = Mul(rootinv, x)  e = Erf(a)  b = Add(one, e)  c = Mul(half, x)  y = Mul(c, b)",
        "a = Div(x, root)  e = Erf(a)  b = Add(e, one)  c = Mul(b, half)  y = Mul(x, c)",
        "a = Div(x, root)  e = Erf(a)  b = Mul(e, half)  c = Add(b, half)  y = Mul(c, x)",
        "a = Div(x, root)  e = Erf(a)  b = Add(e, one)  c = Mul(x, b)  y = Div(c, two)",
        "a = Mul(x, rootinv)  e = Erf(a)  h = Mul(x, half)  c = Mul(h, e)  i = Mul(half, x)  y = Add(i, c)",
    ],
)
def test_erf(body: str) -> None:
    assert_rewrites(model(body), model("y = Gelu(x)"), Fused(FuseGelu()), feeds=FEEDS)
    assert_declines(model(body, opset=19), FuseGelu())


@pytest.mark.parametrize(
    "body",
    [
        "p = Pow(x, three)  q = Mul(p, cube)  s = Add(x, q)  a = Mul(s, scale)  t = Tanh(a)  b = Add(t, one)"
        "  c = Mul(x, b)  y = Mul(c, half)",
        "p = Mul(cube, x)  q = Mul(x, p)  r = Mul(x, q)  s = Add(x, r)  a = Mul(scale, s)  t = Tanh(a)"
        "  b = Add(one, t)  c = Mul(half, b)  y = Mul(x, c)",
        "p = Mul(x, x)  q = Mul(p, cube)  r = Add(one, q)  s = Mul(x, r)  a = Mul(scale, s)  t = Tanh(a)"
        "  b = Add(one, t)  c = Mul(half, x)  y = Mul(c, b)",
        "p = Pow(x, two)  q = Mul(p, cube)  r = Add(one, q)  u = Mul(x, scale)  a = Mul(u, r)  t = Tanh(a)"
        "  b = Add(one, t)  c = Mul(half, x)  y = Mul(c, b)",
    ],
)
def test_tanh(body: str) -> None:
    assert_rewrites(model(body), model('y = Gelu <approximate = "tanh"> (x)'), Fused(FuseGelu()), feeds=FEEDS)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Div(x, root)", "Div(x, two)", "not as Gelu has it"),
        ("Div(x, root)", "Abs(x)", "not as Gelu has it"),
        ("Mul(c, half)", "Mul(c, one)", None),
        ("Add(e, one)", "Add(e, two)", None),
        ("Add(e, one)", "Sub(e, one)", None),
        ("Mul(x, b)", "Mul(a, b)", None),
        ("Erf", "Sin", None),
    ],
)
def test_near_misses(old: str, new: str, reason: str | None) -> None:
    assert_declines(model(ERF.replace(old, new)), FuseGelu(), reason=reason)


def test_a_cube_of_another_size() -> None:
    body = (
        "p = Pow(x, three)  q = Mul(p, half)  s = Add(x, q)  a = Mul(s, scale)  t = Tanh(a)  b = Add(t, one)"
        "  c = Mul(x, b)  y = Mul(c, half)"
    )
    assert_declines(model(body), FuseGelu(), reason="not as Gelu has it")


def test_a_type_without_a_kernel() -> None:
    assert_declines(model(ERF, dtype="double"), FuseGelu(), reason="float32")


@pytest.mark.parametrize("name", ["e", "b", "c"])
def test_a_step_that_is_an_output(name: str) -> None:
    assert_declines(model(ERF, outputs=f", float[N, M] {name}"), FuseGelu())


MISH = "s = Softplus(x)  t = Tanh(s)  y = Mul(x, t)"


def test_mish() -> None:
    for body in (MISH, MISH.replace("Mul(x, t)", "Mul(t, x)")):
        for opset in (18, 22):
            after = model("y = Mish(x)", opset=opset)
            assert_rewrites(model(body, opset=opset), after, Fused(FuseMish()), feeds=FEEDS)


def test_no_mish() -> None:
    assert_declines(model(MISH, opset=17), FuseMish())
    assert_declines(model(MISH.replace("Softplus(x)", "Softsign(x)")), FuseMish())
    assert_declines(model("z = Neg(x) " + MISH.replace("Softplus(x)", "Softplus(z)")), FuseMish())
    assert_declines(model(MISH, outputs=", float[N, M] s"), FuseMish(), reason="others need")
    assert_declines(model(MISH, dtype="double", opset=18), FuseMish(), reason="float32")
