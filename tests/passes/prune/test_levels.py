"""Levels of pruning as offers of a search: measured, each on the one before, and the same when they go on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir
import pytest

import models_zoo
import onnxslim
from onnxslim.evaluation import Reference, Tier
from onnxslim.passes.prune.levels import SHARES
from onnxslim.passes.prune.prune_channels import PruneChannels
from onnxslim.pipeline import Context, Offer, Pipeline, RunConfig
from onnxslim.samples import feeds_of, split

DIGITS = models_zoo.get("digits_cnn")
PARTS = split(DIGITS.samples("calibration").first(32))


@pytest.fixture(scope="module")
def model() -> ir.Model:
    made = onnxslim.slim(DIGITS.path())
    assert made is not None
    return ir.from_proto(made)


def context() -> Context:
    return Context(RunConfig(bench=False), PARTS.calibration, PARTS.selection)


@pytest.fixture(scope="module")
def offers(model: ir.Model) -> list[Offer]:
    return list(itertools.islice(PruneChannels().offers(model, context()), 3))


def test_levels_remove_more_and_more_and_say_what_that_does(model: ir.Model, offers: list[Offer]) -> None:
    assert len(offers) == 3
    for one, other in itertools.pairwise(offers):
        assert other.effects.bytes < one.effects.bytes < 1
        assert other.effects.noise > one.effects.noise > 0
        for key, atoms in one.decision.removal.items():
            assert set(atoms) <= set(other.decision.removal[key])
    assert 0.9 * SHARES[0] < (offers[0].effects.bytes + offers[0].effects.time) / 2 < 1.05 * SHARES[0]


def test_an_offer_builds_what_was_measured(model: ir.Model, offers: list[Offer]) -> None:
    made = Pipeline(
        [PruneChannels().following(offers[-1])], RunConfig(bench=False), PARTS.calibration, PARTS.selection
    ).run(model)
    feeds = feeds_of(PARTS.selection, 64)
    found = Reference(model, feeds, tier=Tier.LOSSY, evidence="samples").check(made.model).worst_sqnr
    assert found == pytest.approx(-10 * math.log10(offers[-1].effects.noise), abs=1.0)
    assert made.acted("prune")
    assert made.steps[0].options["macs"] == offers[-1].options["macs"]


def test_levels_go_on_behind_what_is_known(model: ir.Model, offers: list[Offer]) -> None:
    (again,) = itertools.islice(PruneChannels().offers(model, context(), offers[:2]), 1)
    assert again.label == offers[2].label
    assert again.decision.removal == offers[2].decision.removal
    for name, array in again.decision.weights.items():
        np.testing.assert_array_equal(array, offers[2].decision.weights[name])


def test_a_pass_with_a_budget_of_its_own_offers_nothing(model: ir.Model) -> None:
    assert not list(PruneChannels(macs=0.5).offers(model, context()))
