from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import InputError
from onnxslim.evaluation import Parity, Reference, Tier, leaves_of
from onnxslim.execution import Feed, random_feeds
from onnxslim.graph import save
from tests.execution.models import matmul, model, weight_of

RELU = "(float[N,3] x) => (float[N,3] y) { y = Relu(x) }"


def check(before: str, after: str, tier: Tier, feeds: list[Feed] | None = None) -> Parity:
    made = model(before)
    return Reference(made, random_feeds(made) if feeds is None else feeds, tier=tier).check(model(after))


def kinds(parity: Parity) -> set[str]:
    return {difference.kind for difference in parity.differences}


def scaled(factor: float) -> str:
    return f"(float[N,3] x) => (float[N,3] y) {{ t = Relu(x) c = Constant<value_float = {factor}>() y = Mul(t, c) }}"


@pytest.mark.parametrize("tier", list(Tier))
def test_a_model_agrees_with_itself(tier: Tier) -> None:
    parity = check(RELU, RELU, tier)
    assert parity.passed
    assert (parity.feeds, parity.worst, parity.evidence) == (3, 0.0, "random inputs")


@pytest.mark.parametrize(
    ("factor", "tier", "passed"),
    [
        (1.0, Tier.EXACT, True),
        (1.000001, Tier.EXACT, False),
        (1.000001, Tier.NUMERIC, True),
        (1.00005, Tier.NUMERIC, True),
        (1.001, Tier.NUMERIC, False),
        (1.001, Tier.LOSSY, True),
    ],
)
def test_tiers_draw_their_lines(factor: float, tier: Tier, passed: bool) -> None:
    parity = check(RELU, scaled(factor), tier)
    assert parity.passed is passed
    assert kinds(parity) == (set() if passed else {"value"})


@pytest.mark.parametrize(("dtype", "factor", "passed"), [
    ("float16", 1.005, True), ("float16", 1.05, False), ("double", 1.0000001, False), ("double", 1.000000001, True),
])  # fmt: skip
def test_the_numeric_bound_scales_with_the_dtype(dtype: str, factor: float, passed: bool) -> None:
    code = {"float16": 10, "double": 11}[dtype]
    before = f"({dtype}[64] x) => ({dtype}[64] y) {{ y = Identity(x) }}"
    after = f"({dtype}[64] x) => ({dtype}[64] y) <double k = {{{factor}}}> {{ c = Cast<to={code}>(k) y = Mul(x, c) }}"
    assert check(before, after, Tier.NUMERIC).passed is passed


def test_what_passes_through_float16_is_judged_as_float16() -> None:
    before = "(float[64] x) => (float[64] y) { h = Cast<to=10>(x) y = Cast<to=1>(h) }"
    after = "(float[64] x) => (float[64] y) { y = Identity(x) }"
    assert check(before, after, Tier.NUMERIC).passed
    assert not check(after, before, Tier.NUMERIC).passed


@pytest.mark.parametrize(
    ("after", "kind", "said"),
    [
        ("(float[N,3] x) => (float[N,3] z) { z = Relu(x) }", "missing output", "named 'z' after"),
        ("(float[N,3] x) => (float[N,3] y, float[N,3] z) { y = Relu(x) z = Abs(x) }", "extra output", "new"),
        ("(float[N,3] a) => (float[N,3] y) { y = Relu(a) }", "inputs", "named 'a' after"),
        ("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }", "declared shape", r"\[N, 3\] before, \[2, 3\] after"),
        ("(float[M,3] x) => (float[M,3] y) { y = Relu(x) }", "declared shape", r"\[N, 3\] before, \[M, 3\] after"),
        ("(float[N,3] x) => (double[N,3] y) { t = Relu(x) y = Cast<to=11>(t) }", "declared type", "double"),
        ("(float[N,3] x) => (float[N,3] y) { y = Foo(x) }", "load", "Foo"),
        ("(float[N,3] x) => (float[N,3] y) { s = Constant<value_ints=[1,3]>() y = Reshape(x, s) }", "run", "Reshape"),
        ("(float[N,3] x) => (float[N,3] y) { t = Relu(x) y = Log(t) }", "NaN/Inf", "-inf after"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tier", list(Tier))
def test_every_kind_of_damage_is_found(after: str, kind: str, said: str, tier: Tier) -> None:
    parity = check(RELU, after, tier)
    assert not parity.passed
    found = [d for d in parity.differences if d.kind == kind]
    if tier is Tier.EXACT and kind == "NaN/Inf":
        assert "value" in kinds(parity)
    else:
        assert found
        import re

        assert any(re.search(said, str(d)) for d in found)


def test_order_of_outputs_counts() -> None:
    before = "(float[3] x) => (float[3] a, float[3] b) { a = Relu(x) b = Relu(x) }"
    after = "(float[3] x) => (float[3] b, float[3] a) { a = Relu(x) b = Relu(x) }"
    assert kinds(check(before, after, Tier.EXACT)) == {"output order"}


def test_an_output_size_may_become_known_if_runs_bear_it_out() -> None:
    body = "{ s = Constant<value_ints=[-1,3]>() y = Expand(x, e) z = Reshape(y, s) }"
    head = "(float[N,3] x, int64[2] e)"
    before, after = (f"{head} => (float[{d}] z) {body}" for d in ("A,B", "A,3"))
    feeds = [{"x": np.ones((1, 3), np.float32), "e": np.array([2, 3])}]
    assert check(before, after, Tier.EXACT, feeds).passed
    wrong = f"{head} => (float[4,3] z) {body}"
    assert kinds(check(before, wrong, Tier.EXACT, feeds)) == {"declared shape"}


def test_new_nans_fail_even_the_lossy_tier() -> None:
    before = "(float[N,3] x) => (float[N,3] y) { a = Abs(x) y = Sqrt(a) }"
    after = "(float[N,3] x) => (float[N,3] y) { y = Sqrt(x) }"
    assert kinds(check(before, after, Tier.LOSSY)) == {"NaN/Inf"}
    assert kinds(check(before, after, Tier.NUMERIC)) == {"NaN/Inf"}


def test_random_outputs_are_left_out_and_said_so() -> None:
    graph = "(float[N,3] x) => (float[N,3] r, float[N,3] y) { r = RandomNormalLike(x) y = Relu(x) }"
    parity = check(graph, graph, Tier.EXACT)
    assert parity.passed
    assert any("'r' is not compared" in note for note in parity.notes)
    broken = graph.replace("Relu", "Abs")
    assert {d.output for d in check(graph, broken, Tier.EXACT).differences} == {"y"}


def test_sequences_are_compared_element_by_element() -> None:
    before = "(float[3] x) => (seq(float[3]) y) { a = Abs(x) y = SequenceConstruct(x, a) }"
    after = "(float[3] x) => (seq(float[3]) y) { a = Relu(x) y = SequenceConstruct(x, a) }"
    longer = "(float[3] x) => (seq(float[3]) y) { a = Abs(x) y = SequenceConstruct(x, a, x) }"
    for tier in (Tier.EXACT, Tier.NUMERIC):
        assert check(before, before, tier).passed
        assert {d.output for d in check(before, after, tier).differences} == {"y[1]"}
        assert not check(before, longer, tier).passed


def test_feeds_that_the_original_refuses_are_dropped() -> None:
    made = model("(float[N,3] x) => (float[M,6] y) { s = Constant<value_ints=[-1,6]>() y = Reshape(x, s) }")
    feeds: list[Feed] = [{"x": np.ones((n, 3), np.float32)} for n in (1, 2)]
    parity = Reference(made, feeds, tier=Tier.EXACT).check(made)
    assert (parity.passed, parity.feeds, len(parity.dropped)) == (True, 1, 1)
    assert "Reshape" in parity.dropped[0]
    with pytest.raises(InputError, match=r"none of the feeds.*Reshape"):
        Reference(made, feeds[:1], tier=Tier.EXACT)


ARGMAX = "(float[N,4] x) => (int64[N,1] y) {{ s = Mul(x, x) t = Add(s, x) y = {op} }}"


@pytest.mark.parametrize("op", ["ArgMax<axis=1{last}>(t)", "ArgMin<axis=1{last}>(t)"])
def test_a_flip_at_a_tie_is_explained_and_any_other_is_not(op: str) -> None:
    before, after = (ARGMAX.format(op=op.format(last=last)) for last in ("", ", select_last_index=1"))
    ties: list[Feed] = [{"x": np.ones((2, 4), np.float32)}]
    parity = check(before, after, Tier.NUMERIC, ties)
    assert parity.passed
    assert parity.notes == (f"2 of 2 elements of 'y' flipped at ties of its {op[:6]}",)
    wrong = before.replace(op[:6], "ArgMin" if op[:6] == "ArgMax" else "ArgMax")
    clear: list[Feed] = [{"x": np.arange(8, dtype=np.float32).reshape(2, 4)}]
    assert kinds(check(before, wrong, Tier.NUMERIC, clear)) == {"value"}


def test_flips_of_topk_and_casts_and_comparisons() -> None:
    tie: list[Feed] = [{"x": np.array([[3, 1, 1, 2.0]], np.float32)}]
    topk = "(float[N,4] x) => (int64[N,3] i) {{ k = Constant<value_ints=[3]>() {x} v, i = TopK({y}, k) }}"
    nudge = "c = Constant<value_floats=[0.0, 0.0, 0.000001, 0.0]>() z = Add(x, c)"
    assert check(topk.format(x="", y="x"), topk.format(x=nudge, y="z"), Tier.NUMERIC, tie).passed
    wrong = nudge.replace("0.000001", "1.5")
    assert not check(topk.format(x="", y="x"), topk.format(x=wrong, y="z"), Tier.NUMERIC, tie).passed
    for op, kind in (("Cast<to=7>({y})", "int64"), ("Greater({y}, o)", "bool")):
        graph = f"(float[N,4] x) => ({kind}[N,4] i) {{{{ o = Constant<value_float=1.0>() {{x}} i = {op} }}}}"
        moved = nudge.replace("0.000001", "-0.000001") if kind == "int64" else nudge
        assert check(graph.format(x="", y="x"), graph.format(x=moved, y="z"), Tier.NUMERIC, tie).passed
        assert not check(graph.format(x="", y="x"), graph.format(x=wrong, y="z"), Tier.NUMERIC, tie).passed


def test_checking_flips_leaves_the_original_as_it_was() -> None:
    made = model(ARGMAX.format(op="ArgMax<axis=1>(t)"))
    feed: Feed = {"x": np.ones((2, 4), np.float32)}
    reference = Reference(made, [feed, feed], tier=Tier.NUMERIC)
    parity = reference.check(model(ARGMAX.format(op="ArgMax<axis=1, select_last_index=1>(t)")))
    assert parity.passed
    assert [v.name for v in made.graph.outputs] == ["y"]
    assert not any(v.is_graph_output() for node in made.graph for v in node.outputs if v.name != "y")


SOFTMAX = "(float[N,5] x) => (float[N,5] y) {{ c = Constant<value_float={c}>() t = Mul(x, c) s = Softmax(t) {tail} }}"


def test_sqnr_is_taken_before_a_softmax() -> None:
    before, after = (SOFTMAX.format(c=c, tail="y = Identity(s)") for c in (1000.0, 1010.0))
    assert [leaf.value.name for leaf in leaves_of(model(before))] == ["t", "y"]
    parity = check(before, after, Tier.LOSSY)
    (fidelity, whole) = parity.fidelity
    assert (fidelity.output, fidelity.view, whole.view) == ("y", "t", "y")
    assert parity.sqnr == pytest.approx(40.0, abs=0.2)
    assert parity.sqnr == fidelity.sqnr_db < whole.sqnr_db
    assert fidelity.top1 == 1.0


def test_logits_are_found_behind_quantization() -> None:
    tail = "q = QuantizeLinear(s, c) d = DequantizeLinear(q, c) y = Transpose<perm=[1,0]>(d)"
    assert [leaf.value.name for leaf in leaves_of(model(SOFTMAX.format(c=1.0, tail=tail)))] == ["t", "y"]
    assert [leaf.value.name for leaf in leaves_of(model(RELU))] == ["y"]


def test_samples_are_a_claim_and_random_inputs_are_labelled() -> None:
    made = model(RELU)
    feeds = random_feeds(made)
    assert "3 random inputs" in str(Reference(made, feeds, tier=Tier.LOSSY).check(made))
    assert "3 samples" in str(Reference(made, feeds, tier=Tier.LOSSY, evidence="samples").check(made))


def test_outputs_beyond_the_memory_are_computed_again() -> None:
    made = model(RELU)
    feeds = random_feeds(made)
    reference = Reference(made, feeds, tier=Tier.NUMERIC, memory=0)
    assert reference.check(made).passed
    assert not reference.check(model(scaled(1.01))).passed


def test_a_file_is_judged_as_it_lies(tmp_path: Path) -> None:
    made = matmul()
    save(made, tmp_path / "m.onnx", external_data=True)
    reference = Reference(made, random_feeds(made), tier=Tier.EXACT)
    assert reference.check(tmp_path / "m.onnx").passed
    wrong = matmul()
    wrong.graph.initializers["w"].const_value = ir.tensor(weight_of(made) * np.float32(1.01), name="w")
    save(wrong, tmp_path / "wrong.onnx")
    assert kinds(reference.check(tmp_path / "wrong.onnx")) == {"value"}
    (tmp_path / "broken.onnx").write_bytes((tmp_path / "wrong.onnx").read_bytes()[:1000])
    assert kinds(reference.check(tmp_path / "broken.onnx")) == {"load"}


def test_a_rounding_order_is_within_the_originals_own_difference() -> None:
    before = "(float[16,512] x) => (float[16] y) { y = ReduceSum<keepdims=0>(x, a) }".replace(
        "{ y", "{ a = Constant<value_ints=[1]>() y"
    )
    after = (
        "(float[16,512] x) => (float[16] y) { a = Constant<value_ints=[1]>() n = Constant<value_ints=[16,-1,8]>() "
        "r = Reshape(x, n) b = Constant<value_ints=[2]>() p = ReduceSum<keepdims=0>(r, b) "
        "y = ReduceSum<keepdims=0>(p, a) }"
    )
    assert check(before, after, Tier.NUMERIC).passed
    assert not check(before, after, Tier.EXACT).passed
