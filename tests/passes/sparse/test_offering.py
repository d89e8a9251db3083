"""What few bits offer to a search holds when it is built, and goes on holding for the model of other passes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from onnxslim.evaluation import Reference, Tier
from onnxslim.graph import to_bytes
from onnxslim.passes.sparse.encode import Encode
from onnxslim.passes.sparse.offering import StoreChoice
from onnxslim.passes.sparse.store_weights import StorePlan, StoreWeights
from onnxslim.pipeline import Action, Context
from onnxslim.pipeline.plan import Plan, stored_plan
from tests.passes.quantize.test_static_int8 import CNN, CNN_SHAPES, IMAGES, kernels, quantized, with_weights
from tests.passes.sparse.test_store_weights import HEAVY, context, data


def test_offers_hold_when_they_are_built() -> None:
    text, shapes, shape = HEAVY["layers"]
    model, given = with_weights(text, shapes), context(data(shape, 32))
    offers = list(StoreWeights().offers(model, given))
    assert offers[0].label == "weights in int8"
    assert len({each.label for each in offers}) == len(offers) > 5
    noise, size = ([getattr(each.effects, name) for each in offers] for name in ("noise", "bytes"))
    assert all(one < other for one, other in itertools.pairwise(noise[1:]))
    assert all(one > other for one, other in itertools.pairwise(size[1:]))
    feeds = [each.feed for each in data(shape, 16, seed=1)]
    reference = Reference(model, feeds, tier=Tier.LOSSY)
    whole = len(to_bytes(model))
    for offer in offers[::2]:
        built = model.clone()
        StoreWeights().apply(built, StoreWeights().adapt(offer.decision, model, given), Context())
        db = reference.check(built).worst_sqnr
        assert db == pytest.approx(-10 * math.log10(offer.effects.noise), abs=2)
        Encode(encoding="folded").run(built, Context())
        assert len(to_bytes(built)) / whole == pytest.approx(offer.effects.bytes, rel=0.15)


def test_nothing_is_offered_where_nothing_can_be_measured_or_floats_are_wanted() -> None:
    text, shapes, shape = HEAVY["layers"]
    model, given = with_weights(text, shapes), context(data(shape, 8))
    assert not list(StoreWeights().offers(model, Context()))
    assert not list(StoreWeights(rest="float").offers(model, given))
    assert len(list(StoreWeights(rest="int8").offers(model, given))) == 1


def test_a_weight_that_became_an_int8_kernels_keeps_its_bits() -> None:
    original = with_weights(CNN, CNN_SHAPES)
    model, _ = quantized(original, IMAGES)
    choice = StoreChoice({"w1": "int5", "w2": "codebook", "gone": "int4"})
    plan = StoreWeights().adapt(choice, model, Context.of(samples=IMAGES, original=original))
    assert plan.forms == {"w1_quantized": "5 bits", "w2_quantized": "4 bits"}
    assert {len(np.unique(each)) for each in plan.kernels.values()} <= {16, 32}
    read = stored_plan(Plan(plan)).plan(StoreWeights.plan_types).decided
    assert isinstance(read, StorePlan)
    before = kernels(model)
    assert StoreWeights().apply(model, read, Context()).modified
    assert kernels(model) == before
    refused = frozenset({Action("store", ("w1_quantized",)).key})
    plan = StoreWeights().adapt(choice, quantized(original, IMAGES)[0], Context.of(samples=IMAGES, refused=refused))
    assert plan.forms == {"w2_quantized": "4 bits"}


def test_the_same_bits_are_fitted_to_another_model() -> None:
    text, shapes, shape = HEAVY["layers"]
    model = with_weights(text, shapes)
    other = with_weights(text, {"a": (32, 48), "b": (48, 64), "c": (64, 8)})
    plan = StoreWeights().adapt(
        StoreChoice({"a": "int6", "b": "codebook", "c": "float"}), other, context(data(shape, 8))
    )
    assert plan.forms == {"a": "int6", "b": "codebook"}
    assert plan.weights["a"].array.shape == (32, 48)
    assert len(to_bytes(model)) > len(to_bytes(other))
