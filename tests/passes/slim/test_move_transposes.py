from __future__ import annotations

import re

import pytest
from onnx import TensorProto, helper

from onnxslim.analysis import infer_shapes
from onnxslim.graph import load, parse
from onnxslim.graph.edit import Names
from onnxslim.passes.slim import Slim
from onnxslim.passes.slim.layout_cut import by_bytes, minimum_cut, total
from onnxslim.passes.slim.layout_region import RegionSearch
from onnxslim.passes.slim.move_transposes import MoveTransposes
from onnxslim.pipeline.context import Context
from onnxslim.rewriter.place import Place
from onnxslim.rewriter.scopes import scopes
from tests.fuzz.generate import generate
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

PASS = Fused(MoveTransposes())
IN, OUT = "<perm = [0, 2, 3, 1]>", "<perm = [0, 3, 1, 2]>"
"""From (batch, channels, ...) to (batch, ..., channels), and back."""
IMAGE = "(float[N, 3, H, W] x) => (float[N, 3, H, W] y)"


def text(nodes: str, ports: str = IMAGE, constants: str = "", opset: int = 17) -> str:
    """A model; names are as long as exporters make them, so that no file grows."""
    more = f"<{constants}>" if constants else ""
    nodes = re.sub(r"\b([a-h])\b(?!\s*[:(])", lambda found: named(found.group(1), ports + constants), nodes)
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g {ports} {more} {{ {nodes} }}'


def named(letter: str, given: str) -> str:
    return letter if re.search(rf"\b{letter}\b", given) else f"value_{letter}_with_a_name_as_long_as_exporters_give"


def between(nodes: str) -> str:
    """``nodes`` compute b from a, channels last, between two Transposes."""
    return f"a = Transpose {IN} (x) {nodes} y = Transpose {OUT} (b)"


@pytest.mark.parametrize(
    ("nodes", "constants", "after", "turned"),
    [
        ("b = Mul(a, v)", "float[3] v = {1, 2, 3}", "y = Mul(x, v)", "float[3, 1, 1] v = {1, 2, 3}"),
        (
            "b = Sub(v, a)",
            "float[1, 1, 2, 3] v = {1, 2, 3, 4, 5, 6}",
            "y = Sub(v, x)",
            "float[1, 3, 1, 2] v = {1, 4, 2, 5, 3, 6}",
        ),
        ("b = PRelu(a, v)", "float[1, 1, 3] v = {1, 2, 3}", "y = PRelu(x, v)", "float[3, 1, 1] v = {1, 2, 3}"),
        ("c = Relu(a) b = Add(c, a)", "", "c = Relu(x) y = Add(c, x)", ""),
        (
            "c = Neg(a) d = Concat <axis = -1> (a, c) e, b = Split <axis = 3> (d)",
            "",
            "c = Neg(x) d = Concat <axis = 1> (x, c) e, y = Split <axis = 1> (d)",
            "",
        ),
        ("b = Softmax <axis = 1> (a)", "", "y = Softmax <axis = 2> (x)", ""),
        (
            "c = ReduceMean <axes = [1, 2]> (a) b = Mul(a, c)",
            "",
            "c = ReduceMean <axes = [2, 3]> (x) y = Mul(x, c)",
            "",
        ),
        (
            "c = ReduceMax <axes = [1, 2], keepdims = 0> (a) d = Unsqueeze(c, i) b = Mul(a, d)",
            "int64[2] i = {1, 2}",
            "c = ReduceMax <axes = [2, 3], keepdims = 0> (x) d = Unsqueeze(c, i) y = Mul(x, d)",
            "int64[2] i = {2, 3}",
        ),
        (
            "q = QuantizeLinear(a, s, z) b = DequantizeLinear(q, s, z)",
            "float s = {0.1}, uint8 z = {128}",
            "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
            "float s = {0.1}, uint8 z = {128}",
        ),
        ("b = Clip(a, l)", "float l = {0}", "y = Clip(x, l)", "float l = {0}"),
    ],
)
def test_two_go_from_around_what_works_on_either_order(nodes: str, constants: str, after: str, turned: str) -> None:
    assert_rewrites(text(between(nodes), constants=constants), text(after, constants=turned), PASS)


@pytest.mark.parametrize(
    ("nodes", "constants", "ports", "after", "turned"),
    [
        (
            "b = Pad(a, p)",
            "int64[8] p = {0, 1, 2, 0, 0, 3, 4, 5}",
            "(float[N, 3, 4, 6] x) => (float[N, 8, 8, 12] y)",
            "y = Pad(x, p)",
            "int64[8] p = {0, 0, 1, 2, 0, 5, 3, 4}",
        ),
        (
            "b = Slice(a, s, e, i)",
            "int64[1] s = {1}, int64[1] e = {3}, int64[1] i = {-1}",
            "(float[N, 3, 4, 6] x) => (float[N, 2, 4, 6] y)",
            "y = Slice(x, s, e, i)",
            "int64[1] s = {1}, int64[1] e = {3}, int64[1] i = {1}",
        ),
        (
            "b = Slice(a, s, e)",
            "int64[2] s = {0, 1}, int64[2] e = {9, 3}",
            "(float[N, 3, 4, 6] x) => (float[N, 3, 2, 6] y)",
            "y = Slice(x, s, e, i)",
            "int64[2] s = {0, 1}, int64[2] e = {9, 3}, int64[2] i = {0, 2}",
        ),
        (
            'b = Resize <mode = "linear"> (a, , s)',
            "float[4] s = {1, 2, 2, 1}",
            "(float[N, 3, 4, 6] x) => (float[N, 3, 8, 12] y)",
            'y = Resize <mode = "linear"> (x, , s)',
            "float[4] s = {1, 1, 2, 2}",
        ),
        (
            "b = Tile(a, r)",
            "int64[4] r = {1, 2, 1, 3}",
            "(float[N, 3, 4, 6] x) => (float[N, 9, 8, 6] y)",
            "y = Tile(x, r)",
            "int64[4] r = {1, 3, 2, 1}",
        ),
    ],
)
def test_parameters_follow_the_axes(nodes: str, constants: str, ports: str, after: str, turned: str) -> None:
    assert_rewrites(text(between(nodes), ports, constants), text(after, ports, turned), PASS)


def test_axes_are_an_attribute_or_an_input_as_the_opset_has_it() -> None:
    for opset, axes, constants in ((18, "(a, i)", "int64[1] i = {-1}"), (13, "<axes = [-1]> (a)", "")):
        before = text(between(f"c = ReduceMin {axes} b = Sub(a, c)"), constants=constants, opset=opset)
        after = text(
            "c = ReduceMin(x, i) y = Sub(x, c)" if opset == 18 else "c = ReduceMin <axes = [1]> (x) y = Sub(x, c)",
            constants="int64[1] i = {1}" if opset == 18 else "",
            opset=opset,
        )
        assert_rewrites(before, after, PASS)


def test_rank_three_and_five() -> None:
    ports = "(float[N, 3, T] x) => (float[N, 3, T] y)"
    nodes = "a = Transpose <perm = [0, 2, 1]> (x) b = Add(a, v) y = Transpose <perm = [0, 2, 1]> (b)"
    vector = "float[3] v = {1, 2, 3}"
    assert_rewrites(text(nodes, ports, vector), text("y = Add(x, v)", ports, "float[3, 1] v = {1, 2, 3}"), PASS)
    ports = "(float[N, 3, D, H, W] x) => (float[N, 3, D, H, W] y)"
    nodes = "a = Transpose <perm = [0, 2, 3, 4, 1]> (x) b = Add(a, v) y = Transpose <perm = [0, 4, 1, 2, 3]> (b)"
    assert_rewrites(text(nodes, ports, vector), text("y = Add(x, v)", ports, "float[3, 1, 1, 1] v = {1, 2, 3}"), PASS)


def test_one_stays_where_fewest_bytes_are_moved() -> None:
    """Before the Cast, of bytes; what is squeezed in between has other axes."""
    ports = "(uint8[N, H, W, 3] x) => (float[N, 3, H, W] y)"
    assert_rewrites(
        text(f"a = Cast <to = 1> (x) b = Mul(a, v) y = Transpose {OUT} (b)", ports, "float[3] v = {1, 2, 3}"),
        text(f"t = Transpose {OUT} (x) a = Cast <to = 1> (t) y = Mul(a, v)", ports, "float[3, 1, 1] v = {1, 2, 3}"),
        Fused(MoveTransposes(spare=64)),
    )


def test_through_dims_that_are_added_and_removed() -> None:
    """As Keras' Conv1D: rank 3 outside, rank 4 around the Conv."""
    ports = "(float[N, T, 3] x) => (float[N, T, 2] y)"
    weights = "float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}, int64[1] i = {1}, int64[1] k = {2}, float[3] v = {1, 2, 3}"
    before = (
        "a = Transpose <perm = [0, 2, 1]> (x) aa = Relu(a) b = Transpose <perm = [0, 2, 1]> (aa) c = Mul(b, v)"
        f"d = Unsqueeze(c, i) e = Transpose {OUT} (d) f = Conv(e, w) h = Squeeze(f, k) "
        "y = Transpose <perm = [0, 2, 1]> (h)"
    )
    model = parse(text(before, ports, weights))
    result = MoveTransposes().run(model, Context())
    assert result.modified
    assert sum(node.op_type == "Transpose" for node in model.graph) == 2


def test_beside_a_conv_vectors_become_its_weights() -> None:
    """The Transpose stays, below what the Conv takes in."""
    ports = "(float[N, 3, H, W] x) => (float[N, H, W, 2] y)"
    weights = "float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}"
    assert_rewrites(
        text(
            f"a = Conv(x, w) b = Transpose {IN} (a) c = Mul(b, s) d = Add(c, t) y = Relu(d)",
            ports,
            f"{weights}, float[2] s = {{2, 4}}, float[2] t = {{1, -1}}",
        ),
        text(
            f"a = Conv(x, w, t) b = Relu(a) y = Transpose {IN} (b)",
            ports,
            "float[2, 3, 1, 1] w = {2, 4, 6, 16, 20, 24}, float[2] t = {1, -1}",
        ),
        Slim(),
    )


def test_a_residual_net_keeps_none_inside() -> None:
    block = f"""a{{0}} = Transpose {OUT} (b{{0}}) c{{0}} = Conv(a{{0}}, w) d{{0}} = Transpose {IN} (c{{0}})
        e{{0}} = Mul(d{{0}}, s) f{{0}} = Add(e{{0}}, t) g{{0}} = Add(f{{0}}, b{{0}}) b{{1}} = Relu(g{{0}}) """
    nodes = "".join(block.replace("{0}", str(i)).replace("{1}", str(i + 1)) for i in range(4))
    model = parse(
        text(
            nodes.replace("b0", "x") + "y = Identity(b4)",
            "(float[N, H, W, 2] x) => (float[N, H, W, 2] y)",
            "float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {2, 4}, float[2] t = {1, -1}",
        )
    )
    Slim().run(model, Context())
    kinds = [node.op_type for node in model.graph]
    assert (kinds.count("Transpose"), kinds.count("Mul"), kinds.count("Add")) == (2, 4, 8)


def test_shapes_are_read_of_the_other_order() -> None:
    ports = "(float[N, 3, H, W] x) => (float[N, 3, H, W] y, int64[4] s)"
    assert_rewrites(
        text(between("b = Relu(a) s = Shape(b)"), ports),
        text("y = Relu(x) z = Shape(y) s = Gather <axis = 0> (z, o)", ports, "int64[4] o = {0, 2, 3, 1}"),
        PASS,
    )


def test_outputs_and_subgraphs_get_what_they_had() -> None:
    ports = "(float[N, 3, H, W] x, bool q) => (float[N, 3, H, W] y, float[N, H, W, 3] b, float[N, H, W, 3] z)"
    nodes = (
        between("m = Neg(a) b = Relu(m)")
        + """ z = If (q) <
        then_branch = t () => (float[N, H, W, 3] u) { u = Neg(m) },
        else_branch = e () => (float[N, H, W, 3] v) { v = Identity(m) }>"""
    )
    model = parse(text(nodes, ports))
    MoveTransposes().run(model, Context())
    assert sum(node.op_type == "Transpose" for node in model.graph) <= 2


def test_two_outputs_of_the_same_numbers_stay_two() -> None:
    ports = "(float[N, 3, H, W] x) => (float[N, 3, H, W] y, float[N, 3, H, W] z)"
    nodes = between("c = Abs(a) b = Neg(c)") + f" z = Transpose {OUT} (b)"
    assert_rewrites(text(nodes, ports), text("c = Abs(x) y = Neg(c) z = Identity(y)", ports), PASS)


@pytest.mark.parametrize(
    ("nodes", "ports", "constants", "reason"),
    [
        (f"a = Transpose {IN} (x) b = Relu(a)", "(float[N, 3, H, W] x) => (float[N, H, W, 3] b)", "", "nowhere"),
        (between("b = Add(a, v)"), "(float[N, 3, H, W] x, float[3] v) => (float[N, 3, H, W] y)", "", "fewer dims"),
        (between("b = Softmax <axis = 1> (a)"), IMAGE, "", "from one on"),
        (
            between("b = Pad(a, p)"),
            "(float[N, 3, H, W] x, int64[8] p) => (float[A, B, C, D] y)",
            "",
            "computed at run time",
        ),
    ],
)
def test_declined(nodes: str, ports: str, constants: str, reason: str) -> None:
    opset = 11 if "Softmax" in nodes else 17
    assert_declines(text(nodes, ports, constants, opset), PASS, reason=reason)


def test_a_shared_vector_is_not_doubled_where_the_file_would_grow() -> None:
    big = ", ".join(["1"] * 300)
    nodes = between("b = Add(a, v)") + " z = Add(k, v)"
    ports = "(float[N, 300, 1, W] x, float[300] k) => (float[N, 300, 1, W] y, float[300] z)"
    assert_declines(text(nodes, ports, f"float[300] v = {{{big}}}"), PASS, reason="would grow")


def test_the_cut_is_as_cheap_as_the_best_of_all_placements() -> None:
    """On random graphs with few operators, all of which are tried out."""
    compared = 0
    for seed in range(40):
        model = load(generate(seed, ["regions"]).model.SerializeToString())
        facts = infer_shapes(model)
        (scope, *_) = scopes(model)
        search = RegionSearch(Place(model, scope, facts, Names.of(model)), frozenset())
        order = {node: index for index, node in enumerate(scope.graph)}
        for node in scope.graph:
            region = search.region(node) if node.op_type == "Transpose" else None
            if region is None or not region.transposes or not 2 <= len(region.sides) <= 9:
                continue
            search.connect(region, order)
            side_of = {v: search.members[v].side for net in region.nets.values() for v in net.values}
            size = dict.fromkeys(region.sides, 8)
            cut = total(region, minimum_cut(region, side_of, size, by_bytes), side_of, size)
            nodes = list(region.sides)
            best = min(
                total(region, {n: bits >> i & 1 for i, n in enumerate(nodes)}, side_of, size)
                for bits in range(2 ** len(nodes))
            )
            assert cut == best
            compared += 1
    assert compared >= 10


def chain(count: int) -> bytes:
    """Transposes with something between that each can pass."""
    nodes, value = [], "x"
    for index in range(count):
        perm = [0, 2, 1]
        made = f"v{index}"
        if index % 2:
            nodes.append(helper.make_node("Sin", [value], [made]))
        else:
            nodes.append(helper.make_node("Transpose", [value], [made], perm=perm))
        value = made
    nodes.append(helper.make_node("Neg", [value], ["y"]))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return data


def test_work_grows_with_the_graph_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often an operator is looked at."""
    import onnxslim.passes.slim.layout_region as module
    from onnxslim.ops import layout

    calls = [0]
    original = layout.turned

    def counted(*arguments: object, **options: object) -> object:
        calls[0] += 1
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "turned", counted)
    for count in (200, 800):
        calls[0] = 0
        model = load(chain(count))
        MoveTransposes().run(model, Context())
        assert calls[0] <= 2 * count
        assert sum(node.op_type == "Transpose" for node in model.graph) <= 1
