from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation import OutputNoise
from onnxslim.graph.matcher import Matcher
from onnxslim.passes.sparse.allocate import Curve, by_curves, curves_of, probes, uniform
from onnxslim.passes.sparse.masks import Pattern
from onnxslim.passes.sparse.sweep import Wanted
from onnxslim.passes.sparse.weights import Weight, weights_of
from onnxslim.pipeline import Context
from tests.ops.channels.nets import model
from tests.packing.arrays import weights
from tests.passes.prune.nets import feeds, loaded, samples
from tests.passes.sparse.nets import tensors

PROTO = model(
    ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> c", "Mul c tiny -> d", "MatMul x u -> e", "Add d e -> y"],
    {"w": (32, 48), "v": (48, 40), "u": (32, 40), "tiny": np.float32(1e-3)},
    inputs={"x": ["N", 32]},
)


def weights_in(proto: object = PROTO) -> list[Weight]:
    return list(weights_of(loaded(proto), Matcher((), "protect"), Context()))  # type: ignore[arg-type]


def zeros_by(shares: dict[str, float], found: list[Weight]) -> float:
    return sum(shares[each.name] * each.array.size for each in found) / sum(each.array.size for each in found)


def sizes_of(found: list[Weight]) -> dict[str, int]:
    return {each.name: each.array.size for each in found}


def curves_in(made: ir.Model, found: list[Weight], share: float, compensate: bool = True) -> dict[str, Curve]:
    given = samples(PROTO, 16)
    return curves_of(
        made,
        found,
        {each: Wanted(each, Pattern()) for each in probes(share)},
        OutputNoise(made, feeds(given)[:4], 1),
        given,
        compensate=compensate,
        memory=1 << 28,
        threads=1,
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("dearer", [0.0, 2.0, 20.0])
def test_all_together_are_the_share_and_the_dear_ones_lose_less(share: float, dearer: float) -> None:
    found = weights_in()
    curves = {"w": Curve(-9, 6), "v": Curve(-9 + dearer, 6), "u": Curve(-9, 6)}
    shares = by_curves(sizes_of(found), curves, share)
    assert zeros_by(shares, found) == pytest.approx(share, abs=0.01)
    assert max(shares.values()) <= probes(share)[1]
    if dearer:
        assert shares["v"] < shares["w"] == pytest.approx(shares["u"], abs=0.05)


def test_the_last_number_that_goes_costs_the_same_everywhere() -> None:
    curves, sizes = {"a": Curve(-8, 5), "b": Curve(-10, 9), "c": Curve(-7.5, 4)}, {"a": 1000, "b": 4000, "c": 500}
    shares = by_curves(sizes, curves, 0.6)
    prices = [np.exp(curve.at + curve.rise * shares[name]) * curve.rise / sizes[name] for name, curve in curves.items()]
    assert max(prices) == pytest.approx(min(prices), rel=1e-6)


def test_a_curve_goes_through_its_points_and_never_falls() -> None:
    curve = Curve.through([(0.35, 1e-4), (0.75, 1e-2)])
    assert np.exp(curve.at + curve.rise * np.array([0.35, 0.75])) == pytest.approx([1e-4, 1e-2])
    assert Curve.through([(0.35, 1e-2), (0.75, 1e-3)]).rise > 0


def test_the_same_for_all_and_nothing_for_none() -> None:
    assert uniform(weights_in(), 0.3) == dict.fromkeys(("w", "v", "u"), 0.3)
    assert by_curves({}, {}, 0.5) == {}


def test_what_hardly_reaches_the_outputs_costs_little_and_weights_are_put_back() -> None:
    made = loaded(PROTO)
    before = tensors(made)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    curves = curves_in(made, found, 0.6)
    assert tensors(made) == before
    assert max(curves["w"].at, curves["v"].at) < curves["u"].at - np.log(1e3)
    shares = by_curves(sizes_of(found), curves, 0.6)
    assert shares["u"] < 0.1 < shares["w"]


def test_what_others_make_up_for_costs_less() -> None:
    made = loaded(PROTO)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    with_, without = (curves_in(made, found, 0.5, compensate) for compensate in (True, False))
    assert with_["v"].at + 0.5 * with_["v"].rise < without["v"].at + 0.5 * without["v"].rise


def test_a_weight_that_is_sparse_already_can_lose_the_rest_of_its_share() -> None:
    proto = model(["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"],
                  {"w": weights((32, 48), 0.7), "v": weights((48, 40), 0.6)}, inputs={"x": ["N", 32]})  # fmt: skip
    made = loaded(proto)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    shares = by_curves(sizes_of(found), curves_in(made, found, 0.8), 0.8)
    assert zeros_by(shares, found) == pytest.approx(0.8, abs=0.01)
    assert min(shares.values()) > 0.6
