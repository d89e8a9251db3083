"""Fits that least squares makes too small are as long as what they are fitted to, and chance makes none longer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.calibration import collect
from onnxslim.execution import Run, open_session
from onnxslim.fitting import gains
from onnxslim.fitting.gains import MOST
from onnxslim.passes.sparse.fit import fit_alone, last
from onnxslim.passes.sparse.masks import Pattern
from onnxslim.passes.sparse.sweep import Wanted
from tests.passes.prune.nets import loaded
from tests.passes.sparse.test_fit import NETS, correlated, in_turn, weights


def slopes(x: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of what each output is now along what it was, on rows of inputs."""
    wanted, made = x @ before, x @ after
    return np.asarray((wanted * made).sum(axis=0) / np.square(wanted).sum(axis=0))


@pytest.mark.parametrize("wanted", [Wanted(0.3, Pattern()), Wanted(0.3, Pattern(), "int4")], ids=["zeros", "int4"])
def test_a_weight_alone_gives_outputs_as_long_as_before(wanted: Wanted) -> None:
    proto, shape = NETS["matmul"]
    model, given = loaded(proto), correlated(shape)
    weight = next(each for each in weights(model) if each.name == "w")
    assert weight.request is not None
    found = fit_alone(weight, wanted, collect(model, given, [weight.request])).array
    rows = np.concatenate([each.feed["x"] for each in given]).astype(np.float64)
    assert (found == 0).mean() > 0.29
    assert slopes(rows, weight.array, found).mean() == pytest.approx(1, abs=2e-3)
    assert np.quantile(slopes(rows, weight.array, found), 0.1) > 0.99


def test_inner_weights_in_turn_do_not_get_shorter_from_layer_to_layer_and_the_last_errs_least() -> None:
    proto, shape = NETS["gemm"]
    model, given = loaded(proto), correlated(shape)
    made, _ = in_turn(model, given, Wanted(0.3, Pattern()))
    assert (last(made, set(made.graph))) == {made.graph[-1]}
    found = {}
    for name in ("c", "y"):
        one, other = (np.concatenate([hidden(each, name)(s.feed)[name] for s in given]) for each in (model, made))
        one, other = one - one.mean(axis=0), other - other.mean(axis=0)
        assert np.square(one - other).sum() > 1e-3 * np.square(one).sum()  # there was something to lose
        found[name] = float(((one * other).sum(axis=0) / np.square(one).sum(axis=0)).mean())
    assert found["c"] == pytest.approx(1, abs=5e-3)
    assert found["y"] < 0.992


def hidden(model: ir.Model, name: str) -> Run:
    """Runs a model that gives one of its inner values."""
    made = model.clone()
    made.graph.outputs[:] = [value for node in made.graph for value in node.outputs if value.name == name]
    return open_session(made).run


def test_chance_makes_nothing_longer() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=(64, 400))
    made = y + 0.1 * generator.normal(size=y.shape)
    sums = [(a * b).sum(axis=0) for a, b in ((y, made), (y, y), (made, made))]
    assert gains(sums[0], sums[1], sums[2], 64).mean() == pytest.approx(1, abs=0.002)
    sums[0] *= 0.95
    assert 1.03 < gains(sums[0], sums[1], sums[2] * 0.95**2, 1 << 12).mean() < 1 / 0.95 + 0.002


def test_what_has_no_target_or_is_far_from_it_is_hardly_changed() -> None:
    zero, one = np.zeros(2), np.ones(2)
    assert gains(zero, zero, zero, 8).tolist() == [1, 1]
    assert gains(-one, one, one, 8).tolist() == [1, 1]
    assert gains(2 * one, one, 4 * one, 1 << 40).tolist() == pytest.approx([1 / MOST, 1 / MOST])
    assert gains(0.01 * one, one, 0.01 * one, 1 << 40).tolist() == [MOST, MOST]
