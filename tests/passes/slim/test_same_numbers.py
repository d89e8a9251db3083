import pytest

from onnxslim.passes.slim.same_numbers import SameNumbers
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(SameNumbers())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[B, N] x, float[B, N] z) => '
ONES = "<int64 zero = {0}, int64 one = {1}, int64[1] zeros = {0}, int64[1] ones = {1}, int64[1] two = {2}>"


def text(nodes: str, outputs: str = "int64[P] y", constants: str = ONES) -> str:
    return f"{HEAD}({outputs}) {constants} {{ {nodes} }}"


def test_the_shape_of_another_tensor_of_the_same_shape() -> None:
    before = text("s = Shape(x) e = Exp(x) t = Shape(e) a = Add(s, s) y = Mul(a, t)")
    assert_rewrites(before, text("s = Shape(x) a = Add(s, s) y = Mul(a, s)", constants=""), RULE)


def test_the_same_number_by_another_way() -> None:
    before = text(
        "s = Shape(x) a = Gather(s, zero) u = Unsqueeze(a, zeros) b = Slice(s, zeros, ones) c = Add(u, u) d = Neg(b)"
        "y = Mul(c, d)"
    )
    after = text(
        "s = Shape(x) a = Gather(s, zero) u = Unsqueeze(a, zeros) c = Add(u, u) d = Neg(u) y = Mul(c, d)",
        constants="<int64 zero = {0}, int64[1] zeros = {0}>",
    )
    assert_rewrites(before, after, RULE)


def test_sums_are_compared_as_polynomials() -> None:
    before = text(
        "s = Shape(x) a = Gather(s, zeros) b = Gather(s, ones) c = Add(a, b) d = Mul(c, two) e = Mul(a, two) "
        "f = Mul(b, two) h = Add(f, e) y = Concat <axis = 0> (d, h)"
    )
    after = text(
        "s = Shape(x) a = Gather(s, zeros) b = Gather(s, ones) c = Add(a, b) d = Mul(c, two) "
        "y = Concat <axis = 0> (d, d)",
        constants="<int64[1] zeros = {0}, int64[1] ones = {1}, int64[1] two = {2}>",
    )
    assert_rewrites(before, after, RULE)


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ("a = Shape <end = 1> (x) b = Shape <start = 1> (x) y = Concat <axis = 0> (a, b)", "int64[P] y", None),
        ("y = Shape(x) w = Shape(z)", "int64[P] y, int64[Q] w", "both values are outputs"),
        ("a = Shape(x) b = Cast <to = 6> (a) y = Neg(a) w = Neg(b)", "int64[P] y, int32[Q] w", None),
        ("a = Shape <end = 1> (x) b = Gather(a, zero) y = Neg(a) w = Neg(b)", "int64[P] y, int64 w", None),
    ],
)
def test_left_alone(nodes: str, outputs: str, reason: str | None) -> None:
    assert_declines(text(nodes, outputs), RULE, reason=reason)


def test_numbers_of_data_are_equal_only_to_themselves() -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (int64[2] x, int64[2] z) => (int64[2] y) '
    assert_declines(head + "{ a = Neg(x) b = Neg(z) c = Abs(a) d = Abs(b) y = Mul(c, d) }", RULE)


def test_an_output_keeps_its_name() -> None:
    before = text("s = Shape(x) t = Neg(s) y = Shape(z)", "int64[P] y, int64[P] t", "")
    assert_rewrites(before, text("y = Shape(x) t = Neg(y)", "int64[P] y, int64[P] t", ""), RULE)


def test_a_body_is_a_graph_of_its_own() -> None:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[B, N] x, bool c) => (int64[P] y) '
    body = (
        "w = If (c) <then_branch = t () => (int64[2] p) {{ {} }}, else_branch = e () => (int64[2] q) {{ q = Neg(s) }}>"
    )
    nodes = "a = Shape(x) b = Exp(x) d = Shape(b) p = Mul(a, d)"
    before = head + "{ s = Shape(x) " + body.format(nodes) + " y = Add(w, s) }"
    after = head + "{ s = Shape(x) " + body.format("a = Shape(x) p = Mul(a, a)") + " y = Add(w, s) }"
    assert_rewrites(before, after, RULE)
