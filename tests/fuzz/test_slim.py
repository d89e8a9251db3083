"""Slimming is never wrong: random valid graphs, and bugs planted in rules, which these graphs must find."""

from __future__ import annotations

import pytest

from tests.fuzz.generate import FAMILIES, generate
from tools.fuzz_slim import campaign, report, run

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
