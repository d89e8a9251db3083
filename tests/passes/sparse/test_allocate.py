from __future__ import annotations

import numpy as np
import pytest

from onnxslim.fitting import Noise
from onnxslim.graph.matcher import Matcher
from onnxslim.passes.sparse import allocate
from onnxslim.passes.sparse.allocate import MOST, by_cost, costs_of, uniform
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


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("factor", [1.0, 1e3, 1e9])
def test_all_together_are_the_share_and_the_dear_ones_lose_less(share: float, factor: float) -> None:
    found = weights_in()
    shares = by_cost(found, {"w": 1.0, "v": factor, "u": 1.0}, share)
    assert zeros_by(shares, found) == pytest.approx(share, abs=0.01)
    assert max(shares.values()) <= MOST
    if factor > 1:
        assert shares["v"] < shares["w"] == pytest.approx(shares["u"], abs=0.05)


def test_sampled_numbers_give_the_same_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    found, costs = weights_in(), {"w": 1.0, "v": 5.0, "u": 0.2}
    exact = by_cost(found, costs, 0.7)
    monkeypatch.setattr(allocate, "SAMPLED", 1000)
    assert by_cost(found, costs, 0.7) == pytest.approx(exact, abs=0.05)


def test_the_same_for_all_and_nothing_for_none() -> None:
    assert uniform(weights_in(), 0.3) == dict.fromkeys(("w", "v", "u"), 0.3)
    assert by_cost([], {}, 0.5) == {}


def test_what_hardly_reaches_the_outputs_costs_little_and_weights_are_put_back() -> None:
    made = loaded(PROTO)
    before = tensors(made)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    costs = costs_of(made, found, Noise(made, feeds(samples(PROTO, 4)), 1))
    assert tensors(made) == before
    assert 0 < costs["w"] < 1e-3 * costs["u"]
    assert 0 < costs["v"] < 1e-3 * costs["u"]
    shares = by_cost(found, costs, 0.6)
    assert shares["u"] < 0.1 < shares["w"]


def test_a_weight_that_is_sparse_already_is_measured_by_its_other_numbers() -> None:
    proto = model(["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"],
                  {"w": weights((32, 48), 0.7), "v": weights((48, 40), 0.6)}, inputs={"x": ["N", 32]})  # fmt: skip
    made = loaded(proto)
    found = list(weights_of(made, Matcher((), "protect"), Context()))
    costs = costs_of(made, found, Noise(made, feeds(samples(proto, 4)), 1))
    assert min(costs.values()) > 0
    assert zeros_by(by_cost(found, costs, 0.8), found) == pytest.approx(0.8, abs=0.01)
