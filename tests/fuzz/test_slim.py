"""Slimming is never wrong: random valid graphs, and bugs planted in rules, which these graphs must find."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from onnxslim.execution.feeds import Feed
from tests.fuzz.generate import FAMILIES, generate
from tests.fuzz.truth import no_farther_from_the_truth
from tools import fuzz_slim
from tools.fuzz_slim import Outcome, campaign, report, run

GRAPHS = 300


def test_nothing_that_slimming_promises_fails_on_random_graphs() -> None:
    outcome = run(range(GRAPHS))
    assert not outcome.found, report(outcome)
    assert outcome.skipped <= GRAPHS // 10
    assert len(outcome.fired) >= 15


def test_a_seed_gives_the_same_graph_everywhere() -> None:
    for seed in range(20):
        one, other = generate(seed), generate(seed)
        assert one.model.SerializeToString() == other.model.SerializeToString()
        for left, right in zip(one.feeds, other.feeds, strict=True):
            assert {k: v.tobytes() for k, v in left.items()} == {k: v.tobytes() for k, v in right.items()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_pattern_of_a_family_can_be_built(family: str) -> None:
    import random

    from tests.fuzz.builder import Builder, CannotAdd

    for pattern in set(FAMILIES[family]):
        built = 0
        for seed in range(60):
            b = Builder(random.Random(seed), 17)
            b.input("float32", [2, 4, 4, 4])
            b.input("float32", [3, 4])
            b.input("int64", [2, 3])
            b.input("bool", [2])
            b.input("float64", ["N", 1, 3])
            try:
                pattern(b)
            except CannotAdd:
                continue
            built += 1
        assert built >= 15, f"{pattern.__name__} was built {built} times of 60"


@pytest.mark.slow
def test_every_rule_fires_often_in_ten_thousand_graphs() -> None:
    from onnxslim.passes.slim.table import RULES

    outcome = campaign(0, 10_000, jobs=2)
    assert not outcome.found, report(outcome)
    rare = {rule.name: outcome.fired[rule.name] for rule in RULES if outcome.fired[rule.name] < 50}
    assert not rare


def run_or_die(seeds: Sequence[int], families: Sequence[str] = ()) -> Outcome:
    """Stands for ``run``; a process pool finds it by its name."""
    if 13 in seeds:
        os._exit(1)  # as a crash in C++ does, without its trace
    return Outcome(Counter(), 0, len(seeds), [], [])


def test_a_process_that_dies_is_a_counterexample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_slim, "run", run_or_die)
    outcome = campaign(0, 120, jobs=2)
    assert outcome.graphs == 120
    assert [(each.seed, each.kind) for each in outcome.found] == [(13, "died")]


def test_rounding_that_a_model_amplifies_is_told_from_a_wrong_rewrite() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]> g (float[2, 4] x) => (float[2, 4] y)
        <float[1] s = {1}, float epsilon = {%s}> { %s }"""
    steps = "m = ReduceMean <axes = [-1]> (x) d = Sub(x, m) e = Mul(d, d) v = ReduceMean <axes = [-1]> (e) "
    steps += "a = Add(v, epsilon) r = Sqrt(a) y = Div(d, r)"
    before, other = (onnx.parser.parse_model(text % (epsilon, steps)) for epsilon in ("0.00001", "0.00003"))
    fused = onnx.parser.parse_model(
        text.replace("float[1] s = {1}", "float[4] s = {1, 1, 1, 1}")
        % ("0.00001", "y = LayerNormalization <axis = -1> (x, s)")
    )
    rows = -65 + 1e-4 * np.random.default_rng(0).standard_normal((2, 4))  # nearly equal: their mean is rounded
    feeds: list[Feed] = [{"x": rows.astype(np.float32)}]
    assert no_farther_from_the_truth(before.SerializeToString(), fused.SerializeToString(), feeds)
    assert not no_farther_from_the_truth(before.SerializeToString(), other.SerializeToString(), feeds)
