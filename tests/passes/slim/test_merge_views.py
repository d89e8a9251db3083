import re

import pytest

from onnxslim.passes.slim.merge_views import MergeViews
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeViews())
HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def text(nodes: str, constants: str = "", y: str = "float[P, Q] y", x: str = "float[B, N, 1, 12] x") -> str:
    nodes = re.sub(r"\b([mkls])\b", r"value_\1_with_a_name_as_long_as_exporters_give", nodes)
    return f"{HEADER} g ({x}) => ({y}) " + (f"<{constants}>" if constants else "") + f" {{ {nodes} }}"


def ints(name: str, *numbers: int) -> str:
    return f"int64[{len(numbers)}] {name} = {{{', '.join(map(str, numbers))}}}"


@pytest.mark.parametrize(
    ("nodes", "constants", "merged", "left", "rank"),
    [
        # the last target copies nothing: it stays
        (
            "m = Reshape(r, a) u = Reshape(m, b)",
            [ints("a", 0, 0, 12), ints("b", -1, 6)],
            "Reshape(r, b)",
            ints("b", -1, 6),
            2,
        ),
        ("m = Flatten(r) u = Reshape(m, b)", [ints("b", -1, 6)], "Reshape(r, b)", ints("b", -1, 6), 2),
        # it copies the same dims of x
        (
            "m = Reshape(r, a) u = Reshape(m, b)",
            [ints("a", 0, 0, 12), ints("b", 0, 0, 3, 4)],
            "Reshape(r, c)",
            ints("c", 0, 0, 3, 4),
            4,
        ),
        # 0 means the dim of what is between, which is not x's
        (
            "m = Reshape(r, a) u = Reshape(m, b)",
            [ints("a", -1, 12), ints("b", 0, 3, 4)],
            "Reshape(r, c)",
            ints("c", -1, 3, 4),
            3,
        ),
        (
            "m = Reshape(r, a) u = Reshape(m, b)",
            [ints("a", 12, -1, 1), ints("b", -1, 0)],
            "Reshape(r, c)",
            ints("c", 12, -1),
            2,
        ),
        ("m = Squeeze(r, a) u = Flatten <axis = 2> (m)", [ints("a", 2)], "Reshape(r, c)", ints("c", -1, 12), 2),
        ("m = Unsqueeze(r, a) u = Unsqueeze(m, a)", [ints("a", 0)], "Unsqueeze(r, c)", ints("c", 0, 1), 6),
        ("m = Unsqueeze(r, a) u = Squeeze(m, b)", [ints("a", 0, -1), ints("b", 0)], "Unsqueeze(r, c)", ints("c", 4), 5),
        (
            "m = Reshape(r, a) u = Squeeze(m, b)",
            [ints("a", 0, 0, 1, 1, 12), ints("b", 2, 3)],
            "Squeeze(r, c)",
            ints("c", 2),
            3,
        ),
    ],
)
def test_two_views_become_one(nodes: str, constants: list[str], merged: str, left: str, rank: int) -> None:
    y = f"float[{', '.join('PQRSTU'[:rank])}] y"
    before = text(f"r = Relu(x) {nodes} y = Exp(u)", ", ".join(constants), y)
    assert_rewrites(before, text(f"r = Relu(x) u = {merged} y = Exp(u)", left, y), RULE)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("m = Squeeze(r, a) u = Unsqueeze(m, a)", ints("a", 2)),
        ("m = Flatten <axis = 2> (r) u = Reshape(m, s)", "int64 three = {3}"),
        ("m = Unsqueeze(r, a) u = Squeeze(m)", ints("a", 2)),
        (
            "m = Unsqueeze(r, a) k = Unsqueeze(m, a) l = Unsqueeze(k, a) u = Squeeze(l, b)",
            f"{ints('a', 0)}, {ints('b', 0, 1, 2)}",
        ),
    ],
)
def test_views_that_cancel(nodes: str, constants: str) -> None:
    y = "float[P, Q, R, S] y"
    before = text(f"r = Relu(x) s = Shape(x) {nodes} y = Exp(u)", constants, y)
    if "Squeeze(m)" in nodes:  # which dims are 1 is not known
        assert_declines(before, RULE, reason="not known")
        return
    assert_rewrites(before, text("r = Relu(x) y = Exp(r)", "", y), RULE)


def test_what_cancels_may_have_other_users() -> None:
    y = "float[P, Q, R, S] y, float[P, Q, R] z"
    nodes = "r = Relu(x) m = Squeeze(r, a) {} z = Neg(m)"
    before = text(nodes.format("u = Unsqueeze(m, a) y = Exp(u)"), ints("a", 2), y)
    assert_rewrites(before, text(nodes.format("y = Exp(r)"), ints("a", 2), y), RULE)


def test_before_opset_13_axes_are_attributes() -> None:
    y = "float[P, Q, R, S, T, U] y"
    before = text("m = Unsqueeze <axes = [0]> (x) y = Unsqueeze <axes = [3]> (m)", y=y)
    after = text("y = Unsqueeze <axes = [0, 4]> (x)", y=y)
    assert_rewrites(before.replace("17", "11"), after.replace("17", "11"), RULE)


@pytest.mark.parametrize(
    ("nodes", "constants", "y", "reason"),
    [
        (
            "m = Reshape(x, a) y = Reshape(m, b) z = Exp(m)",
            f"{ints('a', 0, 0, 12)}, {ints('b', -1, 6)}",
            "float[P, Q] y, float[P, Q, R] z",
            "another use",
        ),
        (
            "o = Reshape(x, a) y = Reshape(o, b)",
            f"{ints('a', 0, 0, 12)}, {ints('b', -1, 6)}",
            "float[P, Q] y, float[P, Q, R] o",
            "another use",
        ),
        ("m = Flatten <axis = 2> (x) y = Reshape(m, t)", "", "float[P, Q, R] y", "more than one dim"),
        ("m = Squeeze(x, a) y = Reshape(m, t)", ints("a", 2), "float[P, Q, R] y", "more than one dim"),
        ("m = Squeeze(x, a) y = Unsqueeze(m, a)", ints("a", 2), "float[P, Q, R, S] y", "joins an input"),
    ],
)
def test_left_alone(nodes: str, constants: str, y: str, reason: str) -> None:
    x = "float[B, N, 1, 12] x" + (", int64[3] t" if "t)" in nodes else "")
    assert_declines(text(nodes, constants, y, x), RULE, reason=reason)


def test_dims_that_cannot_be_written_without_risk() -> None:
    # (B, N, 4, 3) -> (B, 4N, 3): -1 beside B fails where B = 0, which the two Unsqueeze-like views may not
    nodes = "m = Reshape(x, a) s = Reshape(m, b)  y = Flatten <axis = 1> (s)"
    constants = f"{ints('a', 0, 0, 3, 4)}, {ints('b', 0, 0, 2, 6)}"
    merged = "m = Reshape(x, b) y = Flatten <axis = 1> (m)"
    after = text(merged, ints("b", 0, 0, 2, 6), "float[P, Q] y")
    result = assert_rewrites(text(nodes, constants, "float[P, Q] y"), after, RULE)
    assert "may be zero" in " ".join(declined.reason for declined in result.declined)


def test_a_shape_of_zero_elements() -> None:
    x, y = "float[B, 0, 3] x", "float[P, Q] y"
    before = text("m = Unsqueeze(x, a) y = Flatten <axis = 3> (m)", ints("a", 1), y, x)
    assert_declines(before, RULE, reason="a dim is zero")


@pytest.mark.parametrize(
    ("nodes", "merged", "y"),
    [
        (
            "m = Unsqueeze(x, three) y = Transpose<perm = [0, 3, 1, 2]>(m)",
            "y = Unsqueeze(x, one)",
            "float[N, 1, 5, 6] y",
        ),
        ("m = Transpose<perm = [1, 2, 0]>(w) y = Squeeze(m, two)", "y = Squeeze(w, zero)", "float[5, N] y"),
    ],
)
def test_a_transpose_that_only_moves_ones_is_a_view(nodes: str, merged: str, y: str) -> None:
    def model(body: str) -> str:
        used = [n for n in ("zero", "one", "two", "three") if re.search(rf"\b{n}\b", body)]
        constants = ", ".join(f"int64[1] {n} = {{{('zero', 'one', 'two', 'three').index(n)}}}" for n in used)
        source = "float[1, 5, N] w" if "w" in re.findall(r"\w+", body) else "float[N, 5, 6] x"
        return f"{HEADER} g ({source}) => ({y}) <{constants}> {{ {body} }}"

    assert_rewrites(model(nodes), model(merged), RULE)


def test_a_transpose_that_moves_more_than_ones_is_none() -> None:
    body = "m = Unsqueeze(x, three) y = Transpose<perm = [0, 3, 2, 1]>(m)"
    model = f"{HEADER} g (float[N, 5, 6] x) => (float[N, 1, 6, 5] y) <int64[1] three = {{3}}> {{ {body} }}"
    assert_declines(model, RULE)


def test_the_mask_of_an_attention_stays_as_onnxruntime_looks_for_it() -> None:
    """(batch, length) -> (batch, 1, 1, length) in two steps, then the mask's arithmetic."""
    steps = "m = Unsqueeze(x, one) k = Unsqueeze(m, two) "
    constants = f"{ints('one', 1)}, {ints('two', 2)}, float big = {{1}}"
    y, x = "float[B, 1, 1, L] y", "int64[B, L] x"
    mask = text(f"{steps} l = Cast <to = 1> (k) y = Sub(big, l)", constants, y, x)
    assert_declines(mask, RULE, reason="attention")
    assert_rewrites(
        text(f"{steps} l = Cast <to = 1> (k) y = Mul(big, l)", constants, y, x),
        text(
            "k = Unsqueeze(x, axes) l = Cast <to = 1> (k) y = Mul(big, l)",
            f"{ints('axes', 1, 2)}, float big = {{1}}",
            y,
            x,
        ),
        RULE,
    )
