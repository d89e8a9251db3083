from __future__ import annotations

import pytest

from onnxslim.graph import parse
from onnxslim.passes.slim.sink_transposes import SinkTransposes
from onnxslim.pipeline.context import Context
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

RULE = Fused(SinkTransposes())
P = "<perm = [0, 2, 1]>"


def text(
    nodes: str, ports: str = "(float[N, 3, M] x, float[N, 3, M] z) => (float[N, M, 3] y)", constants: str = ""
) -> str:
    more = f"<{constants}>" if constants else ""
    return f'<ir_version: 8, opset_import: ["" : 17]> g {ports} {more} {{ {nodes} }}'


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Max", "Div"])
def test_two_that_are_turned_alike_are_turned_once(op_type: str) -> None:
    assert_rewrites(
        text(f"a = Transpose {P} (x) b = Transpose {P} (z) y = {op_type}(a, b)"),
        text(f"c = {op_type}(x, z) y = Transpose {P} (c)"),
        RULE,
    )


def test_shapes_that_broadcast() -> None:
    ports = "(float[N, 3, M] x, float[1, 3, 1] z) => (float[N, M, 3] y)"
    assert_rewrites(
        text(f"a = Transpose {P} (x) b = Transpose {P} (z) y = Sub(b, a)", ports),
        text(f"c = Sub(z, x) y = Transpose {P} (c)", ports),
        RULE,
    )


def test_two_that_cancel_go_from_around_what_is_between() -> None:
    ports = "(float[N, 3, M] x) => (float[N, 3, M] y)"
    assert_rewrites(
        text(f"a = Transpose {P} (x) b = Relu(a) c = Mul(b, two) y = Transpose {P} (c)", ports, "float two = {2}"),
        text("b = Relu(x) y = Mul(b, two)", ports, "float two = {2}"),
        RULE,
    )


def test_two_on_either_side_become_one() -> None:
    ports = "(float[N, 3, M] x) => (float[M, 3, N] y)"
    assert_rewrites(
        text("a = Transpose <perm = [1, 0, 2]> (x) b = Sigmoid(a) y = Transpose <perm = [2, 0, 1]> (b)", ports),
        text("b = Sigmoid(x) y = Transpose <perm = [2, 1, 0]> (b)", ports),
        RULE,
    )


@pytest.mark.parametrize(
    ("nodes", "ports", "reason"),
    [
        ("a = Transpose <perm = [0, 2, 1]> (x) y = Relu(a)", "(float[N, 3, M] x) => (float[N, M, 3] y)", None),
        (
            "a = Transpose <perm = [0, 2, 1]> (x) b = Transpose <perm = [1, 2, 0]> (z) y = Add(a, b)",
            "(float[3, 3, 3] x, float[3, 3, 3] z) => (float[3, 3, 3] y)",
            "permutations differ",
        ),
        (
            "a = Transpose <perm = [0, 2, 1]> (x) b = Transpose <perm = [0, 2, 1]> (z) y = Add(a, b) w = Neg(a)",
            "(float[N, 3, M] x, float[N, 3, M] z) => (float[N, M, 3] y, float[N, M, 3] w)",
            "another use",
        ),
        (
            "a = Transpose <perm = [0, 2, 1]> (x) b = Add(a, z) y = Transpose <perm = [0, 2, 1]> (b)",
            "(float[N, 3, M] x, float[3] z) => (float[N, 3, M] y)",
            None,
        ),
    ],
)
def test_left_alone(nodes: str, ports: str, reason: str | None) -> None:
    assert_declines(text(nodes, ports), RULE, reason=reason)


def test_a_vector_beside_what_is_turned_stays_where_it_is() -> None:
    before = text(
        f"a = Transpose {P} (x) b = Add(a, v) y = Transpose {P} (b)",
        "(float[N, 3, M] x) => (float[N, 3, M] y)",
        "float[3] v = {1, 2, 3}",
    )
    assert_declines(before, RULE, reason="no number")


def test_what_is_declined_leaves_no_user_behind() -> None:
    before = text(
        f"a = Transpose {P} (x) b = Add(a, two) c = Mul(b, v) y = Transpose {P} (c)",
        "(float[N, 3, M] x) => (float[N, 3, M] y)",
        "float two = {2}, float[3] v = {1, 2, 3}",
    )
    model = parse(before)
    RULE.run(model, Context())
    assert [len(value.uses()) for value in model.graph.initializers.values()] == [1, 1]


def test_smaller_ones_are_not_turned_together_where_the_result_is_larger() -> None:
    ports = "(float[N, 3, 1] x, float[1, 1, M] z) => (float[N, M, 3] y)"
    assert_declines(text(f"a = Transpose {P} (x) b = Transpose {P} (z) y = Add(a, b)", ports), RULE, reason="larger")
