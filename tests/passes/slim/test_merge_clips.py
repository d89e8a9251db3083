import pytest

from onnxslim.passes.slim.merge_clips import MergeClips
from tests.passes.slim.tidy import TidyNumeric
from tests.rewriting import assert_declines, assert_rewrites

RULE = TidyNumeric(MergeClips())
BOUNDS = "float zero = {0}, float six = {6}, float one = {1}, float minus = {-1}, float nan = {NAN}, float nine = {9}"


def text(nodes: str, constants: str = BOUNDS.replace("float nan = {NAN}, ", ""), opset: int = 17) -> str:
    head = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N] x) => (float[N] y) '
    given = [c for c in constants.split(", ") if f" {c.split()[1]}" in nodes] if constants else []
    return head + (f"<{', '.join(given)}>" if given else "") + f" {{ e = Exp(x) s = Sub(e, x) {nodes} y = Sin(u) }}"


@pytest.mark.parametrize(
    ("nodes", "merged"),
    [
        ("m = Relu(s) u = Clip(m, zero, six)", "u = Clip(s, zero, six)"),
        ("m = Relu(s) u = Clip(m, one, six)", "u = Clip(s, one, six)"),
        ("m = Clip(s, zero, six) u = Relu(m)", "u = Clip(s, zero, six)"),
        ("m = Clip(s, one) u = Relu(m)", "u = Clip(s, one)"),
        ("m = Relu(s) u = Relu(m)", "u = Relu(s)"),
        ("m = Clip(s, minus, six) u = Clip(m, zero, nine)", "u = Clip(s, zero, six)"),
        ("m = Clip(s, , six) u = Clip(m, zero)", "u = Clip(s, zero, six)"),
        ("m = Clip(s, zero, six) u = Clip(m, minus, nine)", "u = Clip(s, zero, six)"),
    ],
)
def test_intervals_intersect(nodes: str, merged: str) -> None:
    assert_rewrites(text(nodes), text(merged), RULE)


def test_bounds_as_attributes_before_opset_11() -> None:
    nodes = "m = Clip <min = -1.0, max = 6.0> (s) u = Relu(m)"
    assert_rewrites(text(nodes, opset=10), text("u = Clip <min = 0.0, max = 6.0> (s)", opset=10), RULE)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("m = Clip(s, six, nine) u = Clip(m, minus, one)", "do not meet"),
        ("m = Clip(s, minus, one) n = Neg(m) r = Relu(m) u = Add(r, n)", "another use"),
        ("k = ReduceMin <keepdims = 0> (x) m = Clip(s, k, nine) u = Relu(m)", "not a constant"),
        ("m = Clip(s, nine, one) u = Relu(m)", "not a constant"),
    ],
)
def test_left_alone(nodes: str, reason: str) -> None:
    assert_declines(text(nodes), RULE, reason=reason)
