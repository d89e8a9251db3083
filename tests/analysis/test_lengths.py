"""Which nodes decide, by their values, how long something else is."""

from __future__ import annotations

import pytest

from onnxslim.analysis.lengths import length_deciders
from onnxslim.graph import parse

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[t,8] x, float[8,8] w) => (float[k,8] y) %s'
SHAPES = """{
    a = MatMul(x, w)
    s = Shape(a)
    y = Reshape(a, s)
}"""
NONZERO = """<int64[1] flat = {-1}, float zero = {0}> {
    a = MatMul(x, w)
    g = Greater(a, zero)
    i = NonZero(g)
    k = Reshape(i, flat)
    y = Gather(x, k)
}"""
LOOP = """{
    a = MatMul(x, w)
    m = ReduceMax <keepdims = 0> (a)
    n = Cast <to = 7> (m)
    true = Constant <value = bool {1}> ()
    b = MatMul(x, w)
    y = Loop(n, true, b) <body = inner (int64 i, bool go, float[k,8] c) => (bool go_on, float[l,8] d) {
        go_on = Identity(go)
        d = Concat <axis = 0> (c, c)
    }>
}"""
BODY = """{
    a = MatMul(x, w)
    m = ReduceMax <keepdims = 0> (a)
    true = Constant <value = bool {1}> ()
    n = Constant <value = int64 {9}> ()
    y = Loop(n, true, x) <body = inner (int64 i, bool go, float[k,8] c) => (bool go_on, float[l,8] d) {
        f = Cast <to = 1> (i)
        go_on = Less(f, m)
        d = Concat <axis = 0> (c, c)
    }>
}"""


@pytest.mark.parametrize(
    ("body", "deciding", "free"),
    [
        (SHAPES, set(), {"a", "s", "y"}),
        (NONZERO, {"a", "g"}, {"k", "y"}),
        (LOOP, {"a", "m", "n"}, {"b", "y"}),
        (BODY, {"a", "m"}, {"y"}),
    ],
)
def test_what_a_length_is_computed_from_decides_it(body: str, deciding: set[str], free: set[str]) -> None:
    found = {value.name for node in length_deciders(parse(HEAD % body)) for value in node.outputs}
    assert deciding <= found
    assert not free & found


def test_all_that_an_unknown_operator_reads_may_decide() -> None:
    text = (HEAD % "{ a = MatMul(x, w) b = custom.Op(a) y = Relu(b) }").replace('["" : 17]', '["" : 17, "custom" : 1]')
    assert {node.op_type for node in length_deciders(parse(text))} == {"MatMul"}
