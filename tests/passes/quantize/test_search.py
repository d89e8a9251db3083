"""The search proposes by estimates that are right, and chooses by what it measures."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from models_zoo import get
from onnxslim.analysis import infer_shapes
from onnxslim.execution import open_session
from onnxslim.graph import load
from onnxslim.passes.quantize.cost import Int8Costs
from onnxslim.passes.quantize.group import OPERATORS, Int8Group, group_of
from onnxslim.passes.quantize.judge import Scored, best_of
from onnxslim.passes.quantize.select import Errors, choices, cut
from onnxslim.passes.quantize.simulate import Simulator
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.passes.quantize.tensors import Tensor, by_value, tensors_of
from onnxslim.pipeline import Context, Store
from tests.nearness import sqnr_db
from tests.passes.quantize.test_elementwise import NET, WEIGHTS
from tests.passes.quantize.test_static_int8 import samples, with_weights

BRANCHES = "s = Sigmoid(c) m = Mul(c, s) u = Add(m, d) z = Transpose <perm = [0, 1, 3, 2]> (u)"


def groups_in(body: str) -> list[Int8Group]:
    model = with_weights(NET % body, WEIGHTS)
    facts = infer_shapes(model)
    found = [group_of(node, facts) for node in model.graph if node.op_type in OPERATORS]
    return [group for group in found if isinstance(group, Int8Group)]


def total(
    groups: Sequence[Int8Group], tensors: Sequence[Tensor], costs: Int8Costs, penalty: Errors, keys: set[str]
) -> float:
    """What a choice costs, from the definition."""
    spent = sum(costs.in_int8[g.key] if g.key in keys else costs.in_float[g.key] for g in groups)
    producer = {g.output: g for g in groups if g.output is not None}
    chosen = [g for g in groups if g.key in keys]
    on_grid = {value for g in chosen for value in g.measured}
    for value in on_grid:
        made = producer.get(value)
        if made is None or made.key not in keys:
            spent += costs.quantize[value.name or ""]
        elif not all(any(use.node is g.node for g in chosen) for use in value.uses()):
            spent += costs.dequantize[value.name or ""]
    names = {value.name for value in on_grid}
    spent += sum(penalty.tensors[t.name] for t in tensors if names & set(t.values))
    return spent + sum(penalty.weights.get(key, 0.0) for key in keys)


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_the_best_of_all_choices(seed: int) -> None:
    groups = groups_in(BRANCHES)
    tensors = tensors_of(groups)
    rng = np.random.default_rng(seed)
    values = sorted({value.name or "" for group in groups for value in group.measured})

    def draw(names: Sequence[str], most: int) -> dict[str, float]:
        return {name: float(rng.integers(0, most)) for name in names}

    keys = [group.key for group in groups]
    costs = Int8Costs(draw(keys, 50), draw(keys, 40), draw(values, 15), draw(values, 15))
    penalty = Errors(draw([tensor.name for tensor in tensors], 12), draw(keys[:2], 5))
    found = cut(groups, tensors, costs, penalty)
    subsets = itertools.chain.from_iterable(itertools.combinations(keys, size) for size in range(len(keys) + 1))
    best = min(total(groups, tensors, costs, penalty, set(each)) for each in subsets)
    assert total(groups, tensors, costs, penalty, set(found.keys)) == pytest.approx(best)
    assert found.microseconds + penalty.of(groups, tensors, found.keys) == pytest.approx(best)


def test_more_weight_on_the_error_leaves_less_of_it() -> None:
    groups = groups_in(BRANCHES)
    tensors = tensors_of(groups)
    keys, names = [group.key for group in groups], [tensor.name for tensor in tensors]
    free = {value.name or "": 0.0 for group in groups for value in group.measured}
    costs = Int8Costs(dict.fromkeys(keys, 10.0), dict.fromkeys(keys, 1.0), free, free)
    errors = Errors({name: 10.0 ** -(2 + place) for place, name in enumerate(names)}, dict.fromkeys(keys, 1e-5))
    found = choices(groups, tensors, costs, errors)
    assert found[0].keys == frozenset(keys)
    assert [each.noise for each in found] == sorted((each.noise for each in found), reverse=True)
    assert [each.microseconds for each in found] == sorted(each.microseconds for each in found)
    assert len(found) > 2


def test_values_between_movers_share_a_grid() -> None:
    tensors = tensors_of(groups_in(BRANCHES))
    assert ("u", "z") in {tensor.values for tensor in tensors}
    gate = tensors_of(groups_in("s = HardSigmoid(c) t = Transpose <perm = [0, 1, 3, 2]> (s) z = Mul(d, t)"))
    assert next(tensor for tensor in gate if "t" in tensor.values).fixed == (0.0, 1.0)


def test_the_simulation_tells_the_noise_of_the_int8_model() -> None:
    model = with_weights(NET % BRANCHES, WEIGHTS)
    data = samples((2, 16, 8, 8))
    facts = infer_shapes(model)
    found = [group_of(node, facts) for node in model.graph if node.op_type in OPERATORS]
    groups = [each for each in found if isinstance(each, Int8Group)]
    tensors = tensors_of(groups)
    feeds = [sample.feed for sample in data]
    simulator = Simulator(model, groups, tensors, feeds, activation="uint8", bits=8, per_channel=True, threads=1)
    assert simulator.noise({}).power == 0
    assert 0 < simulator.weights.power < 1e-3
    result = model.clone()
    QuantizeStatic(keep_slow=True).run(result, Context(samples=data))
    spans = {}
    for tensor in tensors:
        name = tensor.values[0]
        value = result.graph.initializers[f"{name}_scale"].const_value
        zero = result.graph.initializers[f"{name}_zero_point"].const_value
        assert value is not None
        assert zero is not None
        scale, point = float(value.numpy()), int(zero.numpy())
        spans[tensor.name] = (-point * scale, (255 - point) * scale)
    assert by_value(tensors, spans).keys() >= {"u", "z"}
    expected = -10 * math.log10(simulator.noise(spans).power + simulator.weights.power)
    a, b = open_session(model), open_session(result)
    pairs = [(a.run(feed)["y"], b.run(feed)["y"]) for feed in feeds]
    measured = sqnr_db(np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs]))
    assert measured == pytest.approx(expected, abs=2)
    single = {tensor.name: simulator.noise({tensor.name: spans[tensor.name]}).power for tensor in tensors}
    assert sum(single.values()) == pytest.approx(simulator.noise(spans).power, rel=0.5)


def scored(speed: float, sqnr: float, score: float | None = None) -> Scored:
    return Scored(frozenset((f"{speed}",)), speed, sqnr, score)


def test_the_fastest_that_is_good_enough_is_chosen() -> None:
    fast, good, slow = scored(0.5, 12.0, 0.90), scored(0.6, 28.0, 0.95), scored(1.1, 45.0, 0.96)
    every = [fast, good, slow]
    assert best_of(every, floor=5, score=None, max_drop=0)[0] is good
    assert best_of([fast, slow], floor=5, score=None, max_drop=0)[0] is fast
    assert best_of(every, floor=5, score=0.96, max_drop=0.1)[0] is fast
    assert best_of(every, floor=5, score=0.96, max_drop=0.02)[0] is good
    small = dataclasses.replace(good, speed=0.61, size=0.3)
    assert best_of([good, small], floor=5, score=None, max_drop=0)[0] is small
    assert best_of([good, small], floor=5, score=0.96, max_drop=0.02)[0] is small
    for floor, score, reason in (
        (30, None, "keeps 30 dB of the outputs: the best keeps 28.0 dB"),
        (5, 0.97, "stays within 0.001 of the score 0.9700: 0.9500"),
    ):
        best, why = best_of(every, floor=floor, score=score, max_drop=0.001)
        assert best is None
        assert reason in why
    best, why = best_of([slow], floor=5, score=None, max_drop=0)
    assert best is None
    assert "nothing beats float: the fastest int8 form runs at 0.91x" in why


def test_a_real_model_is_searched_once_and_replayed_alike() -> None:
    """A pipeline that takes rewrites back runs the pass again: it must not come to another choice by the clock."""
    entry = get("digits_cnn")
    model = load(entry.path())
    calibration = list(entry.samples("calibration").first(16))
    selection = list(entry.samples("selection").first(16))
    store = Store()
    results = []
    for _ in range(2):
        clone = model.clone()
        context = Context(samples=calibration, selection=selection, store=store)  # as a pipeline does
        results.append(QuantizeStatic().run(clone, context))
    first, second = results
    assert first.actions == second.actions
    assert first.declined == second.declined
    # Every node that has an int8 kernel is decided, with a reason where it stays in float.
    assert len(first.actions) + len(first.declined) >= sum(node.op_type in ("Conv", "Gemm") for node in model.graph)
    assert all(declined.reason for declined in first.declined)


def test_a_model_too_large_to_build_candidates_of_is_chosen_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.passes.quantize.search.SEARCH_UP_TO", 100)
    model = with_weights(NET % "z = Add(c, d)", WEIGHTS)
    said: list[str] = []
    outcome = QuantizeStatic().run(model.clone(), Context.of(samples=samples((2, 16, 8, 8)), progress=said.append))
    assert {action.site.split()[0] for action in outcome.actions} == {"Conv"}
    assert not any("candidates" in text for text in said)


def test_operators_without_a_kernel_are_named() -> None:
    body = "t = ConvTranspose(c, up) z = Relu(t)"
    model = with_weights(
        NET.replace("float[16,16,1,1] last", "float[16,16,1,1] last, float[16,16,1,1] up") % body,
        {**WEIGHTS, "up": (16, 16, 1, 1)},
    )
    outcome = QuantizeStatic(keep_slow=True).run(model, Context(samples=samples((2, 16, 8, 8))))
    assert "onnxruntime makes no int8 kernel of ConvTranspose and Q/DQ pairs" in {
        each.reason for each in outcome.declined
    }


def test_a_node_that_raising_the_opset_takes_apart_is_left_alone() -> None:
    """Before opset 13 a Softmax over axis 1 is one over all that follows: it becomes three nodes."""
    text = NET.replace('["" : 17]', '["" : 11]') % "z = Softmax <axis = 1> (c)"
    model = with_weights(text, WEIGHTS)
    data = samples((2, 16, 8, 8))
    result = model.clone()
    outcome = QuantizeStatic(keep_slow=True).run(result, Context(samples=data))
    assert {action.site.split()[0] for action in outcome.actions} == {"model", "Conv"}
    a, b = (open_session(each) for each in (model, result))
    pairs = [(a.run(each.feed)["y"], b.run(each.feed)["y"]) for each in data]
    assert sqnr_db(np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])) > 20


def test_where_nothing_was_built_no_speed_is_made_up() -> None:
    assert best_of([], floor=5.0, score=None, max_drop=0.01) == (None, "onnxruntime forms no int8 kernel here")
