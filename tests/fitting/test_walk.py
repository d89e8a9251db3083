"""The walk over the layers: each is fitted to the original on what the layers before it now make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxslim.execution import open_session
from onnxslim.fitting import Sides, fit_layers
from onnxslim.graph import parse
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.samples.feeds import FOLD

Feeds = list[dict[str, np.ndarray]]
NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,{inner}] x) => (float[N,2] y) <float a = {{0}}, float b = {{0}}, float c = {{0}}> {{
    h = Gemm(x, a, c)
    m = {between}(h)
    y = MatMul(m, b)
}}
"""


def net(inner: int, middle: int, between: str, seed: int) -> ir.Model:
    draw = np.random.default_rng(seed)
    model = parse(NET.format(inner=inner, between=between))
    for name, shape in {"a": (inner, middle), "b": (middle, 2), "c": (middle,)}.items():
        set_constant(model.graph.initializers[name], draw.normal(size=shape).astype(np.float32))
    return model


def disturbed(model: ir.Model, name: str) -> ir.Model:
    clone = model.clone()
    value = clone.graph.initializers[name]
    tensor = constant_tensor(value)
    assert tensor is not None
    noise = np.random.default_rng(9).normal(size=tensor.numpy().shape)
    set_constant(value, (tensor.numpy() + noise).astype(np.float32))
    return clone


def least_squares(sides: Sides, name: str, nodes: Sequence[ir.Node]) -> float:
    """Fits a weight without a penalty; the error on the samples that validate."""
    problem = sides.posed(nodes, None, 1 << 30)
    assert not isinstance(problem, str), problem
    found = problem.fitted.solved(1e-9, problem.weights)
    problem.put(found)
    sides.refresh(nodes)
    return problem.judging.error(found)


def fitted(
    original: ir.Model, model: ir.Model, names: Sequence[str], feeds: list[dict[str, np.ndarray]]
) -> list[float]:
    readers = {node.inputs[1].name: node for node in model.graph if len(node.inputs) > 1 and node.inputs[1] is not None}
    layers = [(name, [readers[name]]) for name in names]
    said: list[str] = []
    errors = fit_layers(
        original, model, layers, least_squares, feeds, what="fit", memory=1 << 28, threads=1, progress=said.append
    )
    assert said == [f"fit {count} of {len(names)} on {len(feeds)} samples" for count in range(1, len(names) + 1)]
    return errors


def outputs(model: ir.Model, feeds: Feeds) -> np.ndarray:
    run = open_session(model).run
    return np.concatenate([run(feed)["y"] for feed in feeds])


@given(inner=st.integers(1, 6), middle=st.integers(1, 6), between=st.sampled_from(["Identity", "Tanh", "Relu"]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_disturbed_layer_is_solved_exactly_by_its_own_inputs(inner: int, middle: int, between: str) -> None:
    """The inputs of the first layer are those of the original, so least squares finds its very weight."""
    original = net(inner, middle, between, 1)
    feeds = [{"x": np.random.default_rng(i).normal(size=(16, inner)).astype(np.float32)} for i in range(2 * FOLD)]
    model = disturbed(original, "a")
    fitted(original, model, ["a"], feeds)
    weight, wanted = (constant_tensor(each.graph.initializers["a"]) for each in (model, original))
    assert weight is not None
    assert wanted is not None
    np.testing.assert_allclose(weight.numpy(), wanted.numpy(), atol=1e-3)
    np.testing.assert_allclose(outputs(model, feeds), outputs(original, feeds), atol=1e-2)


def test_a_layer_makes_up_for_what_the_one_before_it_does() -> None:
    """The first layer stays wrong: the second is fitted to the original's outputs on what the first now makes."""
    original = net(4, 8, "Identity", 2)
    feeds = [{"x": np.random.default_rng(i).normal(size=(32, 4)).astype(np.float32)} for i in range(2 * FOLD)]
    model = disturbed(original, "a")
    before = float(np.square(outputs(model, feeds) - outputs(original, feeds)).sum())
    (error,) = fitted(original, model, ["b"], feeds)
    after = float(np.square(outputs(model, feeds) - outputs(original, feeds)).sum())
    # What a linear layer of 4 inputs and 8 outputs makes still spans its inputs and a constant: nothing is lost.
    assert error < 1e-4 * before
    assert after < 1e-4 * before


def test_two_layers_in_turn_leave_less_than_either_alone() -> None:
    original = net(5, 7, "Tanh", 3)
    feeds = [{"x": np.random.default_rng(i).normal(size=(64, 5)).astype(np.float32)} for i in range(2 * FOLD)]
    wanted, left = outputs(original, feeds), {}
    for names in (["a"], ["b"], ["a", "b"]):
        model = disturbed(disturbed(original, "b"), "a")
        fitted(original, model, names, feeds)
        left[len(names), names[0]] = float(np.square(outputs(model, feeds) - wanted).sum())
    assert left[2, "a"] < min(left[1, "a"], left[1, "b"])
    assert left[2, "a"] == pytest.approx(0, abs=1e-2)
