import numpy as np
import pytest

from onnxslim.passes.slim.fuse_square_root import FuseSquareRoot
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

FEEDS = [{"x": np.array([[0.5, -2, 3], [1e18, 1e-20, 1e-30], [np.inf, -0.0, np.nan], [1e30, 0, 1]], np.float32)}]


def model(body: str, *, dtype: str = "float", outputs: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : 13]> g ({dtype}[N, M] x) => ({dtype}[N, M] y{outputs})
        <{dtype} two = {{2.0}}, {dtype} minus = {{-2.0}}> {{
        z = Neg(x)  u = Pow(x, two)  w = Mul(u, minus)  {body}  y = Add(o, w) }}"""


@pytest.mark.parametrize("square", ["p = Pow(s, two)", "p = Mul(s, s)"])
@pytest.mark.parametrize(
    "a", ["a = Add(u, u)", "b = Mul(z, z)  a = Add(b, u)", "a = Abs(z)", "a = Exp(x)", "b = Mul(u, two)  a = Max(b, w)"]
)
def test_root_squared(a: str, square: str) -> None:
    before, after = model(f"{a}  s = Sqrt(a)  {square}  o = Neg(p)"), model(f"{a}  o = Neg(a)")
    if "Max" in a:
        assert_declines(before, FuseSquareRoot(), reason="negative")
    elif "z" in a:
        assert_rewrites(before, after, Fused(FuseSquareRoot()), feeds=FEEDS)
    else:
        after = after.replace("z = Neg(x)  ", "")
        assert_rewrites(before.replace("z = Neg(x)  ", ""), after, Fused(FuseSquareRoot()), feeds=FEEDS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("s = Sqrt(x)  o = Pow(s, two)", "negative"),
        ("a = Mul(x, z)  s = Sqrt(a)  o = Pow(s, two)", "negative"),
        ("s = Sqrt(w)  o = Mul(s, s)", "negative"),
        ("s = Sqrt(u)  o = Mul(s, x)", None),
        ("s = Sqrt(u)  o = Pow(s, minus)", None),
    ],
)
def test_left_alone(body: str, reason: str | None) -> None:
    assert_declines(model(body), FuseSquareRoot(), reason=reason)
