import pytest

from onnxslim.passes.slim.merge_wheres import MergeWheres
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeWheres())
INPUTS = "bool[B, N] c, float[B, N] x, float[N] v, float[K, B, N] w"


def text(nodes: str, y: str = "float[P, Q] y", head: str = "") -> str:
    return f'<ir_version: 8, opset_import: ["" : 17]> g ({INPUTS}) => ({y}) {head} {{ {nodes} }}'


@pytest.mark.parametrize(
    ("nodes", "merged"),
    [
        ("n = Not(c) y = Where(n, x, v)", "y = Where(c, v, x)"),
        ("k = Where(c, v, x) y = Where(c, x, k)", "y = Where(c, x, x)"),
        ("k = Where(c, x, v) y = Where(c, k, x)", "y = Where(c, x, x)"),
        ("n = Not(c) k = Where(n, v, x) m = Where(c, s, k) y = Exp(m)", "m = Where(c, s, v) y = Exp(m)"),
        ("a = Where(c, s, x) b = Where(c, v, s) y = Where(c, a, b)", "y = Where(c, s, s)"),
    ],
)
def test_one_choice(nodes: str, merged: str) -> None:
    head = "<float s = {0}>" if "s," in nodes else ""
    assert_rewrites(text(nodes, head=head), text(merged, head=head), RULE)


@pytest.mark.parametrize(
    ("nodes", "y", "reason"),
    [
        ("k = Where(c, w, x) y = Where(c, x, k)", "float[P, Q, R] y", "may widen"),
        ("k = Where(c, v, x) z = Exp(k) y = Where(c, x, k)", "float[P, Q] y, float[P, Q] z", "another use"),
        ("n = Not(c) z = And(n, c) y = Where(n, x, v)", "float[P, Q] y, bool[P, Q] z", "another use"),
        ("n = Not(c) y = Where(n, x, v)", "float[P, Q] y, bool[P, Q] n", "an output"),
        ("d = Not(c) e = And(c, d) k = Where(e, v, x) y = Where(c, x, k)", "float[P, Q] y", None),
    ],
)
def test_left_alone(nodes: str, y: str, reason: str | None) -> None:
    if "w, x" in nodes:  # it is x that the outer keeps: w alone made three dims
        nodes = "k = Where(c, w, x) y = Where(c, x, k)"
        assert_rewrites(text(nodes.replace("w, x", "v, w"), y), text("y = Where(c, x, w)", y), RULE)
    assert_declines(text(nodes, y), RULE, reason=reason)
