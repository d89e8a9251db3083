import numpy as np
import pytest

from onnxslim.passes.slim.fuse_hard_swish import FuseHardSigmoid, FuseHardSwish
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

X = np.array([[np.nan, np.inf, -np.inf, -3, 3, 0, -0.0, 2.9999, -2.9999, 100, -1e4, 1e-30, 1.5]], np.float32)
FEEDS = [{"x": X}, {"x": np.zeros((0, 3), np.float32)}]


def model(body: str, *, opset: int = 12, dtype: str = "float", constants: str = "") -> str:
    numbers = (("three", 3), ("six", 6), ("zero", 0), ("one", 1), ("half", 0.5), ("sixth", 1 / 6), ("five", 5))
    used = ", ".join(
        f"{dtype} {name} = {{{number}}}" for name, number in numbers if f" {name}" in body.replace("(", " ")
    )
    both = ", ".join(part for part in (used, constants) if part)
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({dtype}[N, M] x) => ({dtype}[N, M] y)
        {f"<{both}>" if both else ""} {{ {body} }}"""


SWISH = [
    "a = Add(x, three)  b = Clip(a, zero, six)  c = Mul(x, b)  y = Div(c, six)",
    "a = Add(three, x)  b = Clip(a, zero, six)  c = Mul(b, x)  y = Mul(sixth, c)",
    "a = Add(x, three)  b = Clip(a, zero, six)  c = Div(b, six)  y = Mul(x, c)",
    "a = Add(x, three)  b = Clip(a, zero, six)  c = Div(x, six)  y = Mul(c, b)",
    "s = Div(x, six)  a = Add(s, half)  b = Clip(a, zero, one)  y = Mul(x, b)",
]


@pytest.mark.parametrize("body", SWISH)
def test_steps_become_hard_swish_or_hard_sigmoid(body: str) -> None:
    assert_rewrites(model(body, opset=14), model("y = HardSwish(x)", opset=14), Fused(FuseHardSwish()), feeds=FEEDS)
    after = model(f"h = HardSigmoid <alpha = {1 / 6}> (x)  y = Mul(x, h)")
    assert_rewrites(model(body), after, Fused(FuseHardSwish()), feeds=FEEDS)


def test_hard_sigmoid_times_x() -> None:
    before = f"h = HardSigmoid <alpha = {1 / 6}> (x)  y = Mul(h, x)"
    assert_rewrites(model(before, opset=22), model("y = HardSwish(x)", opset=22), Fused(FuseHardSwish()), feeds=FEEDS)
    assert_declines(model(before, opset=13), FuseHardSwish())
    assert_declines(model(before.replace("> (x)", ", beta = 0.4> (x)"), opset=14), FuseHardSwish())


def test_clip_with_attributes() -> None:
    before = "a = Add(x, three)  b = Clip <min = 0., max = 6.> (a)  c = Mul(x, b)  y = Div(c, six)"
    after = f"h = HardSigmoid <alpha = {1 / 6}> (x)  y = Mul(x, h)"
    assert_rewrites(model(before, opset=9), model(after, opset=9), Fused(FuseHardSwish()), feeds=FEEDS)


@pytest.mark.parametrize(
    ("before", "alpha", "beta"),
    [
        ("a = Add(x, three)  b = Clip(a, zero, six)  y = Div(b, six)", 1 / 6, 0.5),
        ("a = Mul(x, five)  b = Add(a, half)  y = Clip(b, zero, one)", 5, 0.5),
        ("a = Sub(half, x)  y = Clip(a, zero, one)", -1, 0.5),
        ("n = Neg(x)  a = Clip(n, zero, six)  y = Mul(a, sixth)", -1 / 6, 0),
        ("a = Add(x, three)  b = Clip(a, three, five)  c = Sub(b, three)  y = Mul(c, half)", 0.5, 0),
    ],
)
def test_steps_become_hard_sigmoid(before: str, alpha: float, beta: float) -> None:
    after = model(f"y = HardSigmoid <alpha = {float(alpha)}, beta = {float(beta)}> (x)").replace(", beta = 0.5", "")
    assert_rewrites(model(before), after, Fused(FuseHardSigmoid()), feeds=FEEDS)


def test_constants_of_rank_one() -> None:
    """PaddlePaddle's exporter writes them so; beside a scalar they would make a vector of it."""
    constants = "float[1] t = {3}, float[1] s = {6}"
    body = "a = Add(x, t)  b = Clip(a, zero, six)  c = Mul(x, b)  y = Div(c, s)"
    before = model(body, opset=14, constants=constants)
    assert_rewrites(before, model("y = HardSwish(x)", opset=14), Fused(FuseHardSwish()))
    assert_declines(before.replace("[N, M] x", " x").replace("[N, M] y", "[1] y"), FuseHardSwish())


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("a = Add(x, three)  b = Clip(a, zero, five)  c = Mul(x, b)  y = Div(c, six)", 14),
        ("a = Add(x, three)  b = Clip(a, one, six)  c = Mul(x, b)  y = Div(c, six)", 14),
        ("a = Add(x, three)  b = Clip(a, zero)  c = Mul(x, b)  y = Div(c, six)", 14),
        ("a = Add(x, three)  b = Clip(a, zero, six)  c = Mul(x, b)  y = Mul(c, b)", 14),
        ("z = Sigmoid(x)  a = Add(x, three)  b = Clip(a, zero, six)  c = Mul(z, b)  y = Div(c, six)", 14),
    ],
)
def test_near_misses(body: str, opset: int) -> None:
    assert_declines(model(body, opset=opset), FuseHardSwish())


def test_double_has_no_kernel() -> None:
    assert_declines(model(SWISH[0], opset=14, dtype="double"), FuseHardSwish(), reason="float32")
    body = "a = Add(x, three)  b = Clip(a, zero, six)  y = Div(b, six)"
    assert_declines(model(body, opset=14, dtype="double"), FuseHardSigmoid(), reason="float32")


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_step_that_is_an_output(name: str) -> None:
    text = model(SWISH[0], opset=14).replace("(float[N, M] y)", f"(float[N, M] y, float[N, M] {name})")
    assert_declines(text, FuseHardSwish())


def test_a_step_that_a_branch_needs() -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 14]> g (float[N] x, bool k) => (float[N] y, float[N] z)
        <float three = {{3}}, float six = {{6}}, float zero = {{0}}> {{
        {SWISH[0]}
        z = If (k) < then_branch = t () => (float[N] p) {{ p = Neg(b) }},
                     else_branch = e () => (float[N] q) {{ q = Abs(x) }} >
    }}"""
    assert_declines(text, FuseHardSwish())


def test_an_overridable_number() -> None:
    text = model(SWISH[0], opset=14).replace("(float[N, M] x)", "(float[N, M] x, float six)")
    assert_declines(text, FuseHardSwish())


def test_large_shifts_stay() -> None:
    """``x + 1e6 - 1e6`` rounds x to 1/16, and so does not the operator."""
    body = "a = Add(x, big)  b = Sub(a, big)  y = Clip(b, zero, one)"
    assert_declines(model(body, constants="float big = {1000000.0}"), FuseHardSigmoid())
