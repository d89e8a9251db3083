from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import parser

from onnxslim.analysis import infer_shapes
from onnxslim.analysis.dims import symbol
from tests.analysis.backend_models import disagreements
from tests.analysis.test_shapes import HEAD, elements, infer, run

N, M = symbol("N"), symbol("M")


def check(text: str, feeds: list[tuple[dict[str, Any], dict[str, int]]], opset: int = 17) -> Any:
    """Facts of the model, after comparing them with runs on the feeds."""
    proto = parser.parse_model(HEAD.format(opset=opset, more="") + text)
    model = ir.from_proto(proto)
    facts = infer_shapes(model)
    assert facts.problems == ()
    for feed, bindings in feeds:
        assert list(disagreements(facts, model.graph.outputs, run(proto, feed), bindings)) == []
    return [facts.shape(value) for value in model.graph.outputs]


def feed(size: int, **more: Any) -> tuple[dict[str, Any], dict[str, int]]:
    return {"x": np.ones((size, 3), np.float32), **more}, {"N": size}


def test_if_knows_what_both_branches_agree_on() -> None:
    text = """
        g (float[N, 3] x, bool c) => (float[a, b] y, float[d, e] z) {
            y, z = If(c) <
                then_branch = t () => (p, q) { p = Relu(x)  q = Relu(x) },
                else_branch = f () => (r, s) { r = Concat<axis = 0>(x, x)  s = Neg(x) }
            >
        }"""
    y, z = check(text, [feed(2, c=np.array(True)), feed(2, c=np.array(False))])
    assert y[1] == 3
    assert y[0] not in (N, 2 * N)
    assert z == (N, 3)


def test_if_with_a_known_condition_is_its_branch() -> None:
    text = """
        g (float[N, 3] x) => (float[a] y) <int64 two = {2}> {
            s = Size(x)
            r = Shape(x)
            rank = Size(r)
            c = Equal(rank, two)
            y = If(c) <
                then_branch = t () => (p) { p = Concat<axis = 0>(x, x) },
                else_branch = f () => (q) { q = Neg(s) }
            >
        }"""
    (y,) = check(text, [])
    assert y == (2 * N, 3)


LOOP = """
    g (float[N, 3] x, int64 n, bool keep) => (float[a, b] y, float[c, d] z, float[e, f, h] w) {{
        y, z, w = Loop(n, keep, x, x) <
            body = b (int64 i, bool go, float[k, 3] p, float[l, 3] q) => (bool on, pp, qq, item) {{
            on = Identity(go)
            pp = Concat<axis = 0>(p, x)
            qq = Relu(q)
            item = {item}
        }}>
    }}"""


def test_loop_widens_what_an_iteration_changes() -> None:
    runs = [feed(2, n=np.array(n), keep=np.array(k)) for n, k in ((0, True), (3, True), (2, False))]
    y, z, w = check(LOOP.format(item="Relu(x)"), runs)
    assert y[1] == 3
    assert "?" in str(y[0])
    assert z == (N, 3)
    assert len(w) == 3


def test_loop_that_surely_runs_stacks_its_items() -> None:
    text = """
        g (float[N, 3] x) => (float[a, b, c] w, float[d, e] y) <int64 n = {4}, bool yes = {1}> {
            y, w = Loop(n, yes, x) <body = b (int64 i, bool go, float[l, 3] q) => (bool on, qq, item) {
                on = Identity(go)
                qq = Relu(q)
                item = Add(q, x)
            }>
        }"""
    w, y = check(text, [feed(1), feed(5)])
    assert w == (4, N, 3)
    assert y == (N, 3)


def test_values_carried_by_a_loop_are_not_frozen_at_their_first() -> None:
    text = """
        g (float[N, 3] x, int64 n) => (int64 last, float[a] y) <int64 one = {1}, bool yes = {1}, int64[1] zero = {0}> {
            last, same = Loop(n, yes, one, one) <
                body = b (int64 i, bool go, int64 p, int64 q) => (bool on, int64 pp, int64 qq) {
                on = Identity(go)
                pp = Add(p, one)
                qq = Identity(q)
            }>
            l = Unsqueeze(last, zero)
            y = ConstantOfShape(l)
            k = Unsqueeze(same, zero)
            z = ConstantOfShape(k)
        }"""
    check(text, [feed(2, n=np.array(n)) for n in (0, 1, 5)])
    values, facts = infer(text)
    assert facts.static_shape(values["y"]) is None
    assert facts.static_shape(values["z"]) == (1,)


def test_a_dim_that_grows_from_a_captured_one_is_not_taken_for_it() -> None:
    """The first state's length is the unknown length of ``i``; that of later ones is not."""
    text = """
        g (float[N, 3] x, int64 n) => (int64[a, b] y) <bool yes = {1}> {
            i = NonZero(x)
            y = Loop(n, yes, i) <body = b (int64 j, bool go, int64[2, l] p) => (bool on, pp) {
                on = Identity(go)
                pp = Concat<axis = 1>(p, i)
            }>
        }"""
    (y,) = check(text, [feed(2, n=np.array(n)) for n in (0, 1, 3)])
    values, facts = infer(text)
    assert y[0] == 2
    i, p = facts.shape(values["i"]), facts.shape(values["p"])
    assert i is not None
    assert p is not None
    assert len({i[1], p[1], facts.shape(values["y"])[1]}) == 3  # type: ignore[index]


def test_scan_knows_its_length() -> None:
    text = """
        g (float[N, 3] x, float[3] s) => (float[a] t, float[b, c] y) {
            t, y = Scan<num_scan_inputs = 1>(s, x) <body = b (float[3] p, float[3] item) => (q, out) {
                q = Add(p, item)
                out = Concat<axis = 0>(q, item)
            }>
        }""".replace("Scan<num_scan_inputs = 1>(s, x) <body", "Scan(s, x) <num_scan_inputs = 1, body")
    ones = np.ones(3, np.float32)
    t, y = check(text, [feed(1, s=ones), feed(4, s=ones)])
    assert t == (3,)
    assert y == (N, 6)


FUNCTION = """
    g (float[N, 3] x, float[M, 5] y) => (float[a, b] u, float[c, d] v, float[e, f] w) {
        u = local.twice<axis = 0>(x)
        v = local.twice<axis = 1>(y)
        w = local.twice<axis = 0>(x)
    }
    <domain: "local", opset_import: ["" : 17]>
    twice <axis> (p) => (r) {
        q = Concat<axis: int = @axis>(p, p)
        r = Relu(q)
    }"""


def test_functions_are_inferred_for_each_call() -> None:
    values, facts = infer(FUNCTION, more=', "local" : 1')
    assert facts.problems == ()
    assert facts.shape(values["u"]) == (2 * N, 3)
    assert facts.shape(values["v"]) == (M, 10)
    assert facts.shape(values["w"]) == (2 * N, 3)
    inside = facts.shape(values["q"])
    assert inside is not None
    assert all("?" in str(dim) for dim in inside)


def test_functions_that_call_each_other_a_hundred_deep_end() -> None:
    text = "g (float[N] x) => (float[a] y) { y = local.f99(x) }"
    for i in range(100):
        inner = f"local.f{i - 1}" if i else "Relu"
        text += '<domain: "local", opset_import: ["" : 17, "local" : 1]>'
        text += f" f{i} (p) => (r) {{ q = {inner}(p)  r = {inner}(q) }}"
    values, facts = infer(text, more=', "local" : 1')
    assert facts.shape(values["y"]) is None


def test_function_values_of_small_integers_reach_the_caller() -> None:
    text = """
        g (float[N, 3] x) => (float[a] y) {
            s = local.sizes(x)
            y = ConstantOfShape(s)
        }
        <domain: "local", opset_import: ["" : 17]> sizes (p) => (r) { q = Shape(p)  r = Add(q, q) }"""
    values, facts = infer(text, more=', "local" : 1')
    assert elements(facts, values["s"]) == [2 * N, 6]
    assert facts.shape(values["y"]) == (2 * N, 6)


def test_long_chains_and_deep_nests_end() -> None:
    names = ["x", *(f"v{i}" for i in range(20_000))]
    body = " ".join(f"{b} = Relu({a})" for a, b in pairwise(names))
    values, facts = infer(f"g (float[N, 3] x) => (float[a, b] {names[-1]}) {{ {body} }}")
    assert facts.shape(values[names[-1]]) == (N, 3)

    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N"]))
    condition = ir.Value(name="c", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    node = ir.node("Relu", [value])
    for _ in range(200):
        branches = [ir.Graph([], [node.outputs[0]], nodes=[node])]
        other = ir.node("Neg", [value])
        branches.append(ir.Graph([], [other.outputs[0]], nodes=[other]))
        node = ir.node("If", [condition], {"then_branch": branches[0], "else_branch": branches[1]})
    graph = ir.Graph([value, condition], [node.outputs[0]], nodes=[node], opset_imports={"": 17})
    facts = infer_shapes(ir.Model(graph, ir_version=8))
    assert facts.shape(node.outputs[0]) is None  # beyond the depth that is followed nothing is claimed
