from __future__ import annotations

import numpy as np
import pytest

from onnxslim.execution.feeds import Feed
from onnxslim.graph import parse
from onnxslim.passes.slim import HoistInvariants, InlineLoop
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def looped(body: str, *, trips: str = "{3}", before: str = "", scan: bool = False, constants: str = "") -> str:
    """``s`` starts as x, is updated by ``body``, and is collected where ``scan``."""
    outputs = ("s, c", "t, k, u", "float[N] y, float[B, N] z", "y, z") if scan else ("s", "t, k", "float[N] y", "y")
    return f"""{HEADER} g (float[N] x, float[N] a) => ({outputs[2]}) <int64 m = {trips}, bool go = {{1}}{constants}> {{
        {before}
        {outputs[3]} = Loop (m, go, x) <body = b (int64 i, bool t, float[N] p) => ({outputs[1]}) {{ {body} }}>
    }}"""


def test_what_does_not_change_is_computed_before_the_loop() -> None:
    assert_rewrites(
        looped("h = Exp(a)  q = Add(h, a)  k = Add(p, q)"),
        looped("k = Add(p, q)", before="h = Exp(a)  q = Add(h, a)"),
        HoistInvariants(),
    )


def test_constants_move_along() -> None:
    assert_rewrites(
        looped("w = Constant <value = float[1] {2}> ()  q = Mul(a, w)  k = Add(p, q)"),
        looped("k = Add(p, q)", before="w = Constant <value = float[1] {2}> ()  q = Mul(a, w)"),
        HoistInvariants(),
    )


def test_where_the_body_may_never_run_only_what_cannot_fail_moves() -> None:
    count = "n = Shape(x)  l = ReduceMin <keepdims = 0> (n)  left = Sub(l, m)"
    assert_rewrites(
        unsure(looped("h = Tanh(a)  q = Add(h, w)  k = Add(p, q)", before=count, constants=", float[1] w = {1}")),
        unsure(looped("q = Add(h, w)  k = Add(p, q)", before=f"{count} h = Tanh(a)", constants=", float[1] w = {1}")),
        HoistInvariants(),
        feeds=_feeds(2, 3, 5),
    )


def unsure(text: str) -> str:
    """As often as x is longer than 3."""
    return text.replace("Loop (m, go", "Loop (left, go")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("r = RandomNormalLike(a)  z = Mul(r, p)  n = Sub(z, z) k = Add(p, n)", "random"),
        ("q = Tanh(p)  k = Add(p, q)", None),
        ("j = Cast <to = 1> (i)  k = Add(p, j)", None),
    ],
)
def test_what_changes_stays(body: str, reason: str | None) -> None:
    assert_declines(looped(body), HoistInvariants(), reason=reason)


def test_from_an_inner_loop_to_the_outermost_graph() -> None:
    inner = "k = Loop (m, go, p) <body = e (int64 j, bool v, float[N] o) => (v, w) { h = Exp(a)  w = Add(o, h) }>"
    moved = "k = Loop (m, go, p) <body = e (int64 j, bool v, float[N] o) => (v, w) { w = Add(o, h) }>"
    assert_rewrites(looped(inner), looped(moved, before="h = Exp(a)"), HoistInvariants())


def test_one_iteration_is_its_body() -> None:
    assert_rewrites(
        looped("j = Cast <to = 1> (i)  q = Add(a, j)  k = Mul(p, q)", trips="{1}"),
        f"""{HEADER} g (float[N] x, float[N] a) => (float[N] y) <int64 m = {{1}}, bool go = {{1}}, int64 i = {{0}}> {{
            j = Cast <to = 1> (i)  q = Add(a, j)  y = Mul(x, q) }}""",
        InlineLoop(),
    )


def test_what_one_iteration_collects_gets_a_dim() -> None:
    assert_rewrites(
        looped("k = Mul(p, a)  u = Neg(p)", trips="{1}", scan=True),
        f"""{HEADER} g (float[N] x, float[N] a) => (float[N] y, float[B, N] z)
            <int64 m = {{1}}, bool go = {{1}}, int64[1] ax = {{0}}> {{
                y = Mul(x, a)  u = Neg(x)  z = Unsqueeze(u, ax) }}""",
        InlineLoop(),
    )


def test_a_value_that_is_handed_on_stays_what_it_was() -> None:
    text = f"""{HEADER} g (float[N] x, float[N] a) => (float[N] y, float[N] z) <int64 m = {{1}}, bool go = {{1}}> {{
        y, z = Loop (m, go, x, a) <
            body = b (int64 i, bool t, float[N] p, float[N] r) => (t, k, r) {{ k = Add(p, r) }}> }}"""
    after = f"""{HEADER} g (float[N] x, float[N] a) => (float[N] y, float[N] z) <int64 m = {{1}}, bool go = {{1}}> {{
        y = Add(x, a)  z = Identity(a) }}"""
    assert_rewrites(text, after, InlineLoop())


@pytest.mark.parametrize("trips", ["{0}", "{-2}"])
def test_no_iteration_leaves_what_it_starts_from(trips: str) -> None:
    def model(nodes: str) -> str:
        return f"{HEADER} g (float[N] x, float[N] a) => (float[N] y) <int64 m = {trips}, bool go = {{1}}> {{ {nodes} }}"

    loop = "s = Loop (m, go, x) <body = b (int64 i, bool t, float[N] p) => (t, k) { k = Add(p, a) }>  y = Neg(s)"
    assert_rewrites(model(loop), model("y = Neg(x)"), InlineLoop())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (looped("k = Add(p, a)", trips="{2}"), "once or never"),
        (looped("k = Add(p, a)  u = Neg(p)", trips="{0}", scan=True), "collected is used"),
        (looped("k = Add(p, a)", trips="{0}"), "output of the graph"),
    ],
)
def test_left_alone(text: str, reason: str) -> None:
    assert_declines(text, InlineLoop(), reason=reason)


def _feeds(*sizes: int) -> list[Feed]:
    generator = np.random.default_rng(0)
    return [{name: generator.standard_normal(size).astype(np.float32) for name in ("x", "a")} for size in sizes]


def test_what_a_body_that_never_runs_captured_is_used_no_more() -> None:
    model = parse(f"""{HEADER} g (float[N] x) => (float[N] y) <int64 m = {{0}}, bool go = {{1}}> {{
        a = Exp(x)
        s = Loop (m, go, x) <body = b (int64 i, bool t, float[N] p) => (t, k) {{ k = Add(p, a) }}>
        y = Neg(s) }}""")
    InlineLoop().run(model, Context())
    exp = next(node for node in model.graph if node.op_type == "Exp")
    assert not exp.outputs[0].uses()
