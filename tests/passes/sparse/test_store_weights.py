"""Weights that stay float are stored in few bits: which forms, for which weights, and what the outputs keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import optimized_graph
from onnxslim.graph import load, to_bytes
from onnxslim.packing import PREFIX
from onnxslim.passes.sparse import form_search, store_weights
from onnxslim.passes.sparse.encode import Encode
from onnxslim.passes.sparse.forms import PricedForm, cheapest
from onnxslim.passes.sparse.store_weights import StoreWeights
from onnxslim.pipeline import Context, PassResult
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import with_weights

LAYERS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n,32] x, float a, float b, float c) => (float[n,8] y)
{
    h1 = MatMul(x, a)  r1 = Relu(h1)
    h2 = MatMul(r1, b)  r2 = Tanh(h2)
    y = MatMul(r2, c)
}
"""
LSTM = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[t,1,16] x, float w, float r) => (float[t,1,1,24] y)
{ y, h, c = LSTM <hidden_size = 24> (x, w, r) }
"""
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n,32] x, bool which, float a, float b) => (float[n,32] y)
{
    y = If (which) <
        then_branch = one () => (float[n,32] p) { p = MatMul(x, a) },
        else_branch = two () => (float[n,32] q) { q = MatMul(x, b) }>
}
"""
HEAVY: dict[str, tuple[str, dict[str, tuple[int, ...]], tuple[int, ...]]] = {
    "layers": (LAYERS, {"a": (32, 64), "b": (64, 64), "c": (64, 8)}, (5, 32)),
    "lstm": (LSTM, {"w": (1, 96, 16), "r": (1, 96, 24)}, (7, 1, 16)),
}


def data(shape: Sequence[int], count: int, seed: int = 0, **more: Any) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(str(i), {"x": rng.normal(size=shape).astype(np.float32), **more}) for i in range(count)]


def context(samples: list[Sample], **more: Any) -> Context:
    half = len(samples) // 2
    return Context.of(samples=samples[:half], selection=samples[half:], bench=False, **more)


def run(name: str, options: StoreWeights, **more: Any) -> tuple[ir.Model, ir.Model, PassResult, float]:
    """The model before and after, what was done, and dB on samples that nothing was chosen by."""
    text, shapes, shape = HEAVY[name]
    before = with_weights(text, shapes)
    after = before.clone()
    result = options.run(after, context(data(shape, 32), **more))
    feeds = [each.feed for each in data(shape, 16, seed=1)]
    return before, after, result, Reference(before, feeds, tier=Tier.LOSSY).check(after).worst_sqnr


def forms(result: PassResult) -> set[str]:
    return {action.detail.partition(":")[0] for action in result.actions}


@pytest.mark.parametrize("name", HEAVY)
def test_weights_become_few_bits_and_onnxruntime_makes_floats_of_them_once(name: str) -> None:
    before, after, result, db = run(name, StoreWeights(rest="small"))
    assert {action.site for action in result.actions} == set(HEAVY[name][1])
    assert forms(result) - {"int8"}, "noise of 30 dB leaves room for fewer bits than 8"
    assert db > store_weights.BUDGETS["small"].enough - 3
    assert {node.op_type for node in after.graph} - {node.op_type for node in before.graph} <= {"Cast", "Mul"}
    assert sum(node.name is not None and node.name.startswith(PREFIX) for node in after.graph) == len(result.actions)
    kinds = [node.op_type for node in optimized_graph(after).graph.node]
    assert "Mul" not in kinds
    assert "Cast" not in kinds


@pytest.mark.parametrize("name", HEAVY)
def test_packed_the_file_is_smaller_than_with_int8_and_computes_the_same(name: str) -> None:
    before, after, _, _ = run(name, StoreWeights())
    packed = after.clone()
    Encode(encoding="folded").run(packed, Context())
    assert len(to_bytes(packed)) <= len(to_bytes(after))
    assert len(to_bytes(packed)) < len(to_bytes(before)) / 2
    feeds = [each.feed for each in data(HEAVY[name][2], 4, seed=2)]
    assert Reference(after, feeds, tier=Tier.NUMERIC).check(packed).passed


def test_int8_alone_where_that_is_asked_for() -> None:
    _, _, result, db = run("layers", StoreWeights(rest="int8"))
    assert forms(result) == {"int8"}
    assert db > 37


def test_floats_stay_where_that_is_asked_for() -> None:
    before, after, result, _ = run("layers", StoreWeights(rest="float"))
    assert not result.modified
    assert to_bytes(after) == to_bytes(before)


def test_what_the_user_demands_of_the_outputs_decides_the_bits() -> None:
    few, most = (run("layers", StoreWeights(), min_sqnr=db) for db in (5.0, 55.0))
    assert most[3] > 55
    assert "float16" in forms(most[2])
    assert len(to_bytes(few[1])) < len(to_bytes(most[1]))


def test_where_nothing_is_good_enough_nothing_is_stored() -> None:
    before, after, result, _ = run("layers", StoreWeights(), min_sqnr=200.0)
    assert to_bytes(after) == to_bytes(before)
    assert any("do not allow it in fewer bits" in each.reason for each in result.declined)


def test_a_score_that_falls_keeps_weights_in_more_bits() -> None:
    text, shapes, shape = HEAVY["layers"]
    model = with_weights(text, shapes)
    samples = data(shape, 32)
    feeds = [each.feed for each in samples[16:]]
    reference = Reference(model, feeds, tier=Tier.LOSSY)

    def metric(run: Any, some: Any) -> float:
        """Falls as soon as outputs are less than 38 dB."""
        before = load(to_bytes(model))
        found = [run(each.feed)["y"] for each in some]
        wanted = [open_it(before)(each.feed)["y"] for each in some]
        noise = sum(float(np.square(a - b).sum()) for a, b in zip(found, wanted, strict=True))
        signal = sum(float(np.square(b).sum()) for b in wanted)
        return 1.0 if noise <= 10**-3.8 * signal else 0.0

    after = model.clone()
    result = StoreWeights().run(after, context(samples, metric=metric, max_drop=0.01))
    assert result.modified
    assert reference.check(after).worst_sqnr > 37


def open_it(model: ir.Model) -> Any:
    from onnxslim.execution import open_session

    return open_session(model).run


def test_a_branch_that_no_sample_takes_keeps_eight_bits() -> None:
    model = with_weights(BRANCHES, {"a": (32, 32), "b": (32, 32)})
    after = model.clone()
    result = StoreWeights(rest="small").run(after, context(data((5, 32), 32, which=np.array(True))))
    by_name = {action.site: action.detail.partition(":")[0] for action in result.actions}
    assert by_name["b"] == "int8"
    assert by_name["a"] != "int8"
    assert any(each.site == "b" and "no sample shows" in each.reason for each in result.declined)
    for which in (True, False):
        feeds = [each.feed for each in data((5, 32), 4, seed=3, which=np.array(which))]
        assert Reference(model, feeds, tier=Tier.LOSSY).check(after).worst_sqnr > 27


def test_without_samples_weights_become_int8() -> None:
    text, shapes, shape = HEAVY["layers"]
    model = with_weights(text, shapes)
    after = model.clone()
    result = StoreWeights().run(after, Context())
    assert forms(result) == {"int8"}
    feeds = [each.feed for each in data(shape, 4)]
    assert Reference(model, feeds, tier=Tier.LOSSY).check(after).worst_sqnr > 38


def test_a_plan_holds_for_every_copy() -> None:
    text, shapes, shape = HEAVY["layers"]
    model = with_weights(text, shapes)
    given = context(data(shape, 32))
    plan = StoreWeights().plan(model, given)
    one, other = load(to_bytes(model)), load(to_bytes(model))
    for each in (one, other):
        StoreWeights().apply(each, plan, Context())
    assert to_bytes(one) == to_bytes(other)


def test_the_budget_is_spent_where_it_saves_most() -> None:
    large = [PricedForm("float", 4000.0, 0.0), PricedForm("int8", 1000.0, 1e-6), PricedForm("int4", 500.0, 1e-3)]
    small = [PricedForm("float", 40.0, 0.0), PricedForm("int8", 10.0, 1e-6), PricedForm("int4", 5.0, 1e-3)]
    assert cheapest({"large": large, "small": small}, 1.1e-3) == {"large": "int4", "small": "int8"}
    assert cheapest({"large": large, "small": small}, 1.0) == {"large": "int4", "small": "int4"}
    assert cheapest({"large": large, "small": small}, 0.0) == {"large": "float", "small": "float"}


@pytest.mark.parametrize(("db", "noise"), [(20.0, 0.01), (math.inf, 0.0)])
def test_power(db: float, noise: float) -> None:
    assert form_search.power(db) == pytest.approx(noise)


@pytest.mark.parametrize("length", [64, 128])
@pytest.mark.parametrize("which", [True, False])
def test_branches_whose_constants_share_names_keep_their_own(length: int, which: bool) -> None:
    rng = np.random.default_rng(0)

    def branch(columns: int) -> onnx.GraphProto:
        arrays = {"t": rng.normal(size=(1100, columns)), "w": rng.normal(size=(32, columns))}
        nodes = [helper.make_node("Gather", ["t", "i"], ["e"]), helper.make_node("MatMul", ["x", "w"], ["m"])]
        nodes.append(helper.make_node("Add", ["e", "m"], ["sum"]))
        constants = [onnx.numpy_helper.from_array(each.astype(np.float32), name) for name, each in arrays.items()]
        return helper.make_graph(nodes, "b", [], [value("sum", TensorProto.FLOAT, ["n", None])], constants)

    def value(name: str, dtype: int, dims: list[str | int | None]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, dims)

    node = helper.make_node("If", ["which"], ["y"], then_branch=branch(64), else_branch=branch(length))
    ins = [value("i", TensorProto.INT64, ["n"]), value("x", TensorProto.FLOAT, ["n", 32])]
    graph = helper.make_graph(
        [node], "g", [*ins, value("which", TensorProto.BOOL, [])], [value("y", TensorProto.FLOAT, ["n", None])]
    )
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    after = model.clone()
    places = np.array([0, 7, 1099])
    result = StoreWeights().run(after, context(data((3, 32), 16, which=np.array(which), i=places)))
    assert {action.site for action in result.actions} == {"t", "w"}
    for each in (True, False):
        feeds = [one.feed for one in data((3, 32), 4, seed=3, which=np.array(each), i=places)]
        assert Reference(model, feeds, tier=Tier.LOSSY).check(after).worst_sqnr > 27


def test_halves_of_one_sample_each_judge_nothing() -> None:
    """One output of its own magnitude, seen once: a single number does not vary."""
    text, shapes, _ = HEAVY["layers"]
    after = with_weights(text, shapes)
    tensor = after.graph.initializers["c"].const_value
    assert tensor is not None
    after.graph.initializers["c"].const_value = ir.tensor(tensor.numpy() * np.array([1] * 7 + [100], np.float32))
    result = StoreWeights().run(after, context(data((1, 32), 4)))
    assert {action.site for action in result.actions} == {"a", "b", "c"}


def test_a_table_of_which_a_part_is_read_in_order_is_stored() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,n,32] x, int64[1] n, float p) => (float[1,n,32] y) <int64[1] none = {0}, int64[1] one = {1}>
        { s = Slice(p, none, n, one)  y = Add(x, s) }"""
    model = with_weights(text, {"p": (1, 64, 32)})
    rng = np.random.default_rng(0)
    samples = [Sample(str(i), {"x": rng.normal(size=(1, 9, 32)), "n": np.array([9])}) for i in range(16)]
    samples = [Sample(each.id, each.feed | {"x": each.feed["x"].astype(np.float32)}) for each in samples]
    after = model.clone()
    assert forms(StoreWeights(rest="int8").run(after, context(samples))) == {"int8"}
    assert Reference(model, [each.feed for each in samples], tier=Tier.LOSSY).check(after).worst_sqnr > 35
