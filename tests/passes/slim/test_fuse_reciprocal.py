import numpy as np
import pytest

from onnxslim.passes.slim.fuse_reciprocal import FuseReciprocal
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

X = np.array([[0.5, 2, 3], [1e30, 1e-20, 1e-30], [np.inf, 1, np.nan]], np.float32)
FEEDS = [{"x": X, "z": X[:, ::-1].copy()}, {"x": np.zeros((0, 3), np.float32), "z": np.zeros((0, 3), np.float32)}]


def model(body: str, *, dtype: str = "float", outputs: str = "", opset: int = 17, constants: str = "") -> str:
    one = f"{dtype} one = {{1.0}}" if "one" in body else ""
    given = ", ".join(c for c in (one, constants) if c)
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({dtype}[N, M] x, {dtype}[N, M] z)
        => ({dtype}[N, M] y{outputs}) {f"<{given}>" if given else ""} {{ {body} }}"""


ROOT = "s = Sqrt(z)  r = Reciprocal(s)  y = Mul(x, r)"


@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ROOT, "s = Sqrt(z)  y = Div(x, s)"),
        ("s = Sqrt(z)  r = Div(one, s)  y = Mul(r, x)", "s = Sqrt(z)  y = Div(x, s)"),
        (
            "m = ReduceMean <axes = [-1]> (z)  s = Sqrt(m)  r = Reciprocal(s)  y = Mul(r, x)",
            "m = ReduceMean <axes = [-1]> (z)  s = Sqrt(m)  y = Div(x, s)",
        ),
        ("r = Reciprocal(z)  y = Mul(x, r)", "y = Div(x, z)"),
    ],
)
def test_divides(before: str, after: str, dtype: str) -> None:
    feeds = [{name: a.astype(np.float32 if dtype == "float" else np.float64) for name, a in f.items()} for f in FEEDS]
    assert_rewrites(model(before, dtype=dtype), model(after, dtype=dtype), Fused(FuseReciprocal()), feeds=feeds)


def test_rank_is_that_of_the_product() -> None:
    """``1 / s`` may have more dimensions than s, where the 1 has: then it is not the reciprocal alone."""
    text = model("s = Sqrt(z)  r = Div(u, s)  y = Mul(x, r)", constants="float[1, 1, 1] u = {1}")
    assert_declines(text.replace("M] y)", "M, K] y)"), FuseReciprocal())


@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        ("m = ReduceMean <axes = [-1]> (z)  r = Reciprocal(m)  y = Mul(r, x)", "", "no root"),
        (ROOT + "  w = Mul(z, r)", ", float[N, M] w", "others need"),
        (ROOT, ", float[N, M] r", "others need"),
        ("s = Sqrt(z)  r = Reciprocal(s)  y = Mul(r, r)", "", None),
        ("s = Sqrt(z)  r = Div(x, s)  y = Mul(x, r)", "", None),
        ("s = Sqrt(z)  r = Reciprocal(s)  y = Div(x, r)", "", None),
    ],
)
def test_left_alone(body: str, outputs: str, reason: str | None) -> None:
    assert_declines(model(body, outputs=outputs), FuseReciprocal(), reason=reason)
