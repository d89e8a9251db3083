import pytest

from onnxslim.passes.slim.constant_where import ConstantWhere
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(ConstantWhere())
TEXT = (
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x, bool[N, 3] c) => (float[P, Q] y) <{}> '
    "{{ a = Exp(x) b = Neg(x) {} y = Sin(u) }}"
)


@pytest.mark.parametrize(
    ("condition", "side"), [("bool[1, 3] k = {1, 1, 1}", "a"), ("bool k = {0}", "b"), ("bool[3] k = {0, 0, 0}", "b")]
)
def test_one_side(condition: str, side: str) -> None:
    before = TEXT.format(condition, "u = Where(k, a, b)")
    other = "a = Exp(x)" if side == "a" else "b = Neg(x)"
    after = TEXT.format("", "").split("<> ")[0] + f"{{ {other} y = Sin({side}) }}"
    assert_rewrites(before, after, RULE)


@pytest.mark.parametrize(
    ("constants", "node", "reason"),
    [
        ("bool[3] k = {0, 1, 0}", "u = Where(k, a, b)", None),
        ("bool[5, 1, 1] k = {1, 1, 1, 1, 1}", "w = Where(k, a, b) u = ReduceSum <keepdims = 0> (w, z)", "widen"),
        ("bool k = {1}, float one = {1}", "u = Where(k, one, b)", "widen"),
        ("bool k = {1}", "u = Where(c, a, b)", None),
    ],
)
def test_left_alone(constants: str, node: str, reason: str | None) -> None:
    if "z)" in node:
        constants += ", int64[1] z = {0}"
    assert_declines(TEXT.format(constants, node), RULE, reason=reason)
