from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from onnxslim.fitting import Noise
from onnxslim.graph.matcher import Matcher
from onnxslim.passes.sparse.allocate import FLATTEST, MOST, Curve, by_curves, curves_of, probes, uniform
from onnxslim.passes.sparse.masks import Pattern
from onnxslim.passes.sparse.sweep import Wanted
from onnxslim.passes.sparse.weights import Weight, weights_of
from onnxslim.pipeline import Context
from tests.ops.channels.nets import model
from tests.passes.prune.nets import feeds, loaded, samples
from tests.passes.sparse.nets import tensors

PROTO = model(
    ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> c", "Mul c tiny -> d", "MatMul x u -> e", "Add d e -> y"],
    {"w": (32, 48), "v": (48, 40), "u": (32, 40), "tiny": np.float32(1e-2)},
    inputs={"x": ["N", 32]},
)
SIZES = {"w": 1536, "v": 1920, "u": 1280}


def weights_in(proto: onnx.ModelProto = PROTO) -> list[Weight]:
    return list(weights_of(loaded(proto), Matcher((), "protect"), Context()))


def total(shares: dict[str, float]) -> float:
    return sum(shares[name] * size for name, size in SIZES.items()) / sum(SIZES.values())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("dear", [1.0, 1e3, 1e9])
def test_all_together_are_the_share_and_the_dear_ones_lose_less(share: float, dear: float) -> None:
    costs = {"w": 1.0, "v": dear, "u": 1.0}
    curves = {name: Curve.through([(0.4, 1e-4 * cost), (0.8, 1e-2 * cost)]) for name, cost in costs.items()}
    shares = by_curves(SIZES, curves, share)
    assert total(shares) == pytest.approx(share, abs=0.01)
    assert 0 <= min(shares.values()) <= max(shares.values()) <= MOST
    if dear > 1:
        assert shares["v"] < min(shares["w"], shares["u"])
    else:  # of as many numbers as there are more, more go until one costs as much
        assert shares["v"] >= shares["w"] >= shares["u"]


def test_the_last_number_costs_the_same_everywhere() -> None:
    measured = {"w": (1e-4, 1e-2), "v": (1e-3, 1e-2), "u": (1e-5, 1e-3)}
    curves = {name: Curve.through([(0.4, low), (0.8, high)]) for name, (low, high) in measured.items()}
    shares = by_curves(SIZES, curves, 0.7)
    assert all(0 < each < MOST for each in shares.values())
    prices = [
        math.exp(curves[name].at + curves[name].rise * shares[name]) * curves[name].rise / size
        for name, size in SIZES.items()
    ]
    assert prices == pytest.approx([prices[0]] * 3, rel=1e-6)


def test_a_curve_goes_through_its_points_and_never_falls() -> None:
    curve = Curve.through([(0.4, 1e-4), (0.8, 1e-2)])
    assert [math.exp(curve.at + curve.rise * each) for each in (0.4, 0.8)] == pytest.approx([1e-4, 1e-2])
    assert Curve.through([(0.4, 1e-2), (0.8, 1e-3)]).rise == FLATTEST
    assert math.isfinite(Curve.through([(0.4, 0.0), (0.8, 0.0)]).at)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_weights_are_measured_below_and_above_the_share(share: float) -> None:
    low, high = probes(share)
    assert 0 < low < share < high < 1


def test_the_same_for_all() -> None:
    assert uniform(weights_in(), 0.3) == dict.fromkeys(("w", "v", "u"), 0.3)


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_what_hardly_reaches_the_outputs_loses_more_and_weights_are_put_back(compensate: bool, known: bool) -> None:
    made = loaded(PROTO)
    before, given = tensors(made), samples(PROTO, 8)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    curves = curves_of(
        made,
        found,
        {each: Wanted(each, Pattern()) for each in probes(0.6)},
        Noise(made, feeds(given), 1),
        given if known else None,
        compensate=compensate,
        memory=1 << 28,
        threads=1,
    )
    assert tensors(made) == before
    assert curves.keys() == SIZES.keys()
    shares = by_curves(SIZES, curves, 0.6)
    assert total(shares) == pytest.approx(0.6, abs=0.01)
    assert shares["u"] < 0.3 < min(shares["w"], shares["v"])
