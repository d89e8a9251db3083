from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from onnxslim.evaluation import Fidelity, Parity, Reference, Tier, extents_of, leaves_of
from onnxslim.execution import Feed, open_session
from onnxslim.graph import load
from tests.execution.models import model

BOXES = "p = Neg(a) q = Neg(o) b = Sigmoid(p) k = Constant<value_float=640.0>() box = Mul(b, k)"
HEADS = {
    "[1, 4+C, N]": ("(float[1,4,50] a, float[1,6,50] o) => (float[1,10,50] y)", "y = Concat<axis=1>(box, cls)"),
    "[1, N, 4+C]": (
        "(float[1,4,50] a, float[1,6,50] o) => (float[1,50,10] y)",
        "c = Concat<axis=1>(box, cls) y = Transpose<perm=[0,2,1]>(c)",
    ),
    "cut from one": (
        "(float[1,4,50] a, float[1,6,50] o) => (float[1,6,50] y)",
        "s = Constant<value_ints=[4]>() e = Constant<value_ints=[10]>() d = Constant<value_ints=[1]>() "
        "c = Concat<axis=1>(p, q) all = Sigmoid(c) y = Slice(all, s, e, d)",
    ),
}


def feeds(names: dict[str, tuple[int, ...]], count: int = 12, offset: float = 0.0) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [
        {name: (rng.standard_normal(shape) + offset).astype(np.float32) for name, shape in names.items()}
        for _ in range(count)
    ]


def head(layout: str, scores: str = "cls = Sigmoid(q)") -> ir.Model:
    signature, join = HEADS[layout]
    return model(f"{signature} {{ {BOXES} {scores} {join} }}")


def compared(before: ir.Model, after: ir.Model, given: list[Feed]) -> Parity:
    return Reference(before, given, tier=Tier.LOSSY, evidence="samples").check(after)


def worst(parity: Parity) -> Fidelity:
    return min(parity.fidelity, key=lambda each: each.sqnr_db)


@pytest.mark.parametrize("layout", ["[1, 4+C, N]", "[1, N, 4+C]"])
def test_scores_are_judged_beside_boxes(layout: str) -> None:
    given = feeds({"a": (1, 4, 50), "o": (1, 6, 50)})
    constant = "z = Constant<value_float=0.0>() n = Mul(q, z) cls = Sigmoid(n)"
    parity = compared(head(layout), head(layout, constant), given)
    assert worst(parity).sqnr_db < 1
    assert worst(parity).before == "Sigmoid"
    # The boxes are as they were.
    assert max(each.sqnr_db for each in parity.fidelity) == np.inf
    assert compared(head(layout), head(layout), given).sqnr == np.inf


@pytest.mark.parametrize(("layout", "axis"), [("[1, 4+C, N]", 1), ("[1, N, 4+C]", 2)])
def test_the_entries_of_each_part_are_known(layout: str, axis: int) -> None:
    found = extents_of(head(layout), feeds({"a": (1, 4, 50), "o": (1, 6, 50)}, 1)[0], 1)
    assert found["y"].axis == axis
    assert [each.tolist() for each in found["y"].groups] == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]


@pytest.mark.parametrize("layout", ["[1, 4+C, N]", "[1, N, 4+C]"])
def test_rounding_behind_the_parts_is_seen(layout: str) -> None:
    # One grid for boxes and scores: every score becomes 0, and the logits before are as they were.
    signature, join = HEADS[layout]
    grid = "g = Constant<value_float=2.5>() z = Constant<value = uint8 {0}>() r = QuantizeLinear(w, g, z)"
    coarse = model(
        f"{signature} {{ {BOXES} cls = Sigmoid(q) {join.replace('y =', 'w =')} {grid} y = DequantizeLinear(r, g, z) }}"
    )
    parity = compared(head(layout), coarse, feeds({"a": (1, 4, 50), "o": (1, 6, 50)}))
    assert worst(parity).sqnr_db < 1
    assert worst(parity).entries.startswith("entries 4..9 of axis")


def test_what_is_cut_from_a_sigmoid_is_compared_before_it() -> None:
    made = head("cut from one")
    (leaf, whole) = leaves_of(made)
    assert (leaf.value.name, [node.op_type for node, _ in leaf.cuts], whole.part.path) == ("c", ["Slice"], ())
    given = feeds({"a": (1, 4, 50), "o": (1, 6, 50)}, offset=-20.0)  # saturated: all scores are 1
    signature, join = HEADS["cut from one"]
    nudged = join.replace("all = Sigmoid(c)", "f = Constant<value_float=1.1>() n = Mul(c, f) all = Sigmoid(n)")
    parity = compared(made, model(f"{signature} {{ {BOXES} {nudged} }}"), given)
    assert worst(parity).sqnr_db < 1  # a tenth of 20 is more than what varies
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert len(made.graph) == len(head("cut from one").graph)


def test_six_outputs_are_six_parts() -> None:
    names = "abcdef"
    body = " ".join(f"{n}0 = Sigmoid({n})" if n in "ace" else f"{n}0 = Mul({n}, k)" for n in names)
    text = (
        f"({', '.join(f'float[1,4,8] {n}' for n in names)}) => ({', '.join(f'float[1,4,8] {n}0' for n in names)}) "
        f"{{ k = Constant<value_float=640.0>() {body} }}"
    )
    parity = compared(
        model(text), model(text.replace("d0 = Mul(d, k)", "d0 = Mul(c, k)")), feeds(dict.fromkeys(names, (1, 4, 8)))
    )
    assert {each.output for each in parity.fidelity} == {f"{n}0" for n in names}
    assert worst(parity).output == "d0"
    assert sum(each.sqnr_db < 10 for each in parity.fidelity) == 1


def test_states_of_an_encoder_are_judged_beside_its_scores() -> None:
    text = (
        "(float[1,8] x, float[1,1,8] h) => (float[1,8] y, float[2,1,8] state) {{ y = Softmax(x) "
        "a = Constant<value_ints=[0]>() u = Unsqueeze(x, a) k = Constant<value_float={k}>() v = Mul(h, k) "
        "state = Concat<axis=0>(u, v) }}"
    )
    given = feeds({"x": (1, 8), "h": (1, 1, 8)})
    parity = compared(model(text.format(k=0.01)), model(text.format(k=0.0)), given)
    assert parity.sqnr is not None
    assert abs(parity.sqnr) < 1
    assert worst(parity).output == "state"


def test_a_map_with_an_empty_margin_is_one_part() -> None:
    text = (
        "(float[1,1,32,32] x, float[1,1,32,32] m) => (float[1,1,32,32] y) "
        "{{ k = Constant<value_float={k}>() z = Mul(x, m) r = Relu(z) y = Add(r, k) }}"
    )
    mask = np.full((1, 1, 32, 32), 1e-6, np.float32)
    mask[:, :, 16:] = 1
    given: list[Feed] = [{"x": feed["x"], "m": mask} for feed in feeds({"x": (1, 1, 32, 32)})]
    parity = compared(model(text.format(k=0.0)), model(text.format(k=0.001)), given)
    assert len(parity.fidelity) == 1
    assert parity.sqnr is not None
    assert parity.sqnr > 40  # a thousandth is nothing to the map, whatever it is to its margin


@pytest.mark.parametrize("offset", [1000.0, 30000.0])
def test_a_constant_offset_hides_no_noise(offset: float) -> None:
    text = (
        "(float[1,16] x) => (float[1,16] y) {{ k = Constant<value_float={k}>() c = Constant<value_float={c}>() "
        "t = Mul(x, k) y = Add(t, c) }}"
    )
    parity = compared(model(text.format(k=1.0, c=offset)), model(text.format(k=-1.0, c=offset)), feeds({"x": (1, 16)}))
    assert parity.sqnr is not None
    assert parity.sqnr < 0


def test_an_output_that_does_not_vary_is_judged_within_itself_and_said_so() -> None:
    text = "(float[1,16] x) => (float[1,16] y) {{ k = Constant<value_float={k}>() y = Mul(x, k) }}"
    given = feeds({"x": (1, 16)}, 1) * 4
    parity = compared(model(text.format(k=1.0)), model(text.format(k=1.1)), given)
    assert parity.sqnr == pytest.approx(20, abs=1)
    assert "is the same on every sample" in parity.notes[0]


def test_a_part_that_is_zero_cannot_be_judged_and_is_noted() -> None:
    text = "(float[1,16] x) => (float[1,16] y) {{ k = Constant<value_float={k}>() y = Mul(x, k) }}"
    parity = compared(model(text.format(k=0.0)), model(text.format(k=0.1)), feeds({"x": (1, 16)}))
    assert parity.sqnr is None
    assert "cannot be judged: it is zero on every sample" in parity.notes[0]


def test_a_selection_is_judged_by_the_floats_that_decided() -> None:
    text = (
        "(float[1,64] x, float[64,4] b) => (float[1,5] v, int64[1,5] i, float[5,4] box) "
        "{{ t = Constant<value_ints=[5]>() n = Constant<value_float={k}>() s = Mul(x, n) v, i = TopK(s, t) "
        "a = Constant<value_ints=[-1]>() "
        "j = Reshape(i, a) box = Gather<axis=0>(b, j) }}"
    )
    made = model(text.format(k=1.0))
    assert [leaf.value.name for leaf in leaves_of(made)] == ["s"]  # the boxes themselves are given
    parity = compared(made, model(text.format(k=1.01)), feeds({"x": (1, 64), "b": (64, 4)}))
    assert parity.sqnr == pytest.approx(40, abs=0.5)


def test_a_softmax_spelt_out_is_compared_before_it() -> None:
    spelt = (
        "(float[1,8] a) => (float[1,8] y) { x = Neg(a) m = ReduceMax<axes=[1]>(x) d = Sub(x, m) e = Exp(d) "
        "s = ReduceSum(e, k) y = Div(e, s) }"
    ).replace("{ x", "<int64[1] k = {1}> { x")
    fused = model("(float[1,8] a) => (float[1,8] y) { x = Neg(a) y = Softmax<axis=1>(x) }")
    assert [leaf.value.name for leaf in leaves_of(model(spelt))] == ["x", "y"]
    parity = compared(model(spelt), fused, feeds({"a": (1, 8)}))
    assert next((each.view, each.before, each.sqnr_db > 100) for each in parity.fidelity) == ("x", "Softmax", True)


def test_probabilities_behind_a_map_of_classes_are_judged() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]> g (float[1,3] a) => (int64[1] label, float[1,3] p) '
        "<int64[3] classes = {4, 5, 6}, int64[1] flat = {-1}, float k = {1.0}> { n = Neg(a) x = Mul(n, k) "
        "q = Softmax<axis=1>(x) i = ArgMax<axis=1, keepdims=0>(q) l = ai.onnx.ml.ArrayFeatureExtractor(classes, i) "
        "label = Reshape(l, flat) p = ai.onnx.ml.ZipMap<classlabels_int64s = [4, 5, 6]>(q) }"
    )
    made = onnx.parser.parse_model(text)
    scores = onnx.helper.make_map_type_proto(
        TensorProto.INT64, onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    made.graph.output[1].type.CopyFrom(onnx.helper.make_sequence_type_proto(scores))
    before, after = load(made), load(made)
    after.graph.initializers["k"].const_value = ir.tensor(np.float32(0.5), name="k")
    parity = compared(before, after, feeds({"a": (1, 3)}))
    assert parity.sqnr == pytest.approx(6, abs=1)  # the labels are the same


def test_labels_without_floats_count_what_differs() -> None:
    text = "(int64[1,64] x) => (int64[1,64] y) {{ c = Constant<value = int64 {{{c}}}>() y = Add(x, c) }}"
    rng = np.random.default_rng(0)
    given: list[Feed] = [{"x": rng.integers(0, 9, (1, 64))} for _ in range(4)]
    parity = compared(model(text.format(c=0)), model(text.format(c=1)), given)
    assert parity.sqnr == 0  # all of them
    assert compared(model(text.format(c=0)), model(text.format(c=0)), given).sqnr == np.inf


def test_sizes_may_vary_between_samples() -> None:
    text = (
        "(float[1,T,8] x) => (float[1,T,8] y) {{ k = Constant<value_float={k}>() c = Constant<value_float=100.0>() "
        "t = Mul(x, k) y = Add(t, c) }}"
    )
    rng = np.random.default_rng(0)
    given: list[Feed] = [{"x": rng.standard_normal((1, n, 8)).astype(np.float32)} for n in (3, 9, 5, 7)]
    assert compared(model(text.format(k=1.0)), model(text.format(k=0.9)), given).sqnr == pytest.approx(20, abs=1)


def test_a_part_is_found_by_name_where_the_way_to_it_is_another() -> None:
    signature, join = HEADS["[1, 4+C, N]"]
    after = model(f"{signature} {{ {BOXES} cls = Sigmoid(q) {join.replace('y =', 'w =')} z = Abs(w) y = Max(w, z) }}")
    given = feeds({"a": (1, 4, 50), "o": (1, 6, 50)})
    parity = compared(head("[1, 4+C, N]"), after, given)
    assert (parity.sqnr, parity.notes, len(parity.fidelity)) == (np.inf, (), 4)
    renamed = model(
        f"{signature} {{ b0 = Neg(a) b1 = Sigmoid(b0) k = Constant<value_float=640.0>() box = Mul(b1, k) "
        f"c0 = Neg(o) cls = Sigmoid(c0) {join.replace('y =', 'w =')} z = Abs(w) y = Max(w, z) }}"
    )
    parity = compared(head("[1, 4+C, N]"), renamed, given)
    assert (parity.sqnr, len(parity.fidelity)) == (np.inf, 2)
    assert "output 'y' is compared as a whole" in parity.notes[0]


def test_showing_parts_leaves_the_model_as_it_was() -> None:
    made = head("[1, 4+C, N]")
    session = open_session(made)
    compared(made, made, feeds({"a": (1, 4, 50), "o": (1, 6, 50)}))
    assert [port.name for port in open_session(made).outputs] == [port.name for port in session.outputs] == ["y"]
