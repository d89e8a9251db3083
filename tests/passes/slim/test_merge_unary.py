import pytest

from onnxslim.passes.slim.merge_unary import MergeUnary
from tests.passes.slim.tidy import TidyNumeric
from tests.rewriting import assert_declines, assert_rewrites

RULE = TidyNumeric(MergeUnary())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => '


@pytest.mark.parametrize(
    ("nodes", "merged"),
    [
        ("a = Neg(r) b = Neg(a)", "b = Identity(r)"),
        ("a = Neg(r) b = Neg(a) z = Exp(a)", ""),
        ("a = Abs(r) b = Abs(a)", "b = Abs(r)"),
        ("a = Floor(r) b = Floor(a)", "b = Floor(r)"),
        ("a = Round(r) b = Round(a)", "b = Round(r)"),
        ("a = Sign(r) b = Sign(a)", "b = Sign(r)"),
        ("a = Neg(r) b = Abs(a)", "b = Abs(r)"),
    ],
)
def test_one_or_none(nodes: str, merged: str) -> None:
    if "Exp" in nodes:  # what is between may have other uses where nothing remains
        before = f"{HEAD}(float[N] y, float[N] z) {{ r = Sin(x) {nodes} y = Cos(b) }}"
        after = f"{HEAD}(float[N] y, float[N] z) {{ r = Sin(x) a = Neg(r) z = Exp(a) y = Cos(r) }}"
    else:
        before = f"{HEAD}(float[N] y) {{ r = Sin(x) {nodes} y = Cos(b) }}"
        last = "y = Cos(r)" if "Identity" in merged else f"{merged} y = Cos(b)"
        after = f"{HEAD}(float[N] y) {{ r = Sin(x) {last} }}"
    assert_rewrites(before, after, RULE)


def test_not_not() -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (bool[N] x, bool[N] z) => (bool[N] y) '
    before = head + "{ o = Or(x, z) a = Not(o) b = Not(a) y = And(b, x) }"
    assert_rewrites(before, head + "{ o = Or(x, z) y = And(o, x) }", RULE)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("a = Neg(x) y = Neg(a)", "joins an input"),
        ("a = Floor(x) y = Ceil(a)", None),
        ("a = Abs(x) y = Neg(a)", None),
        ("r = Exp(x) a = Neg(r) b = Abs(a) y = Add(a, b)", "another use"),
    ],
)
def test_left_alone(nodes: str, reason: str | None) -> None:
    assert_declines(f"{HEAD}(float[N] y) {{ {nodes} }}", RULE, reason=reason)
