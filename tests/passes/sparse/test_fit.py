"""Weights that are fitted: alone by what they are multiplied by, and in turn by what the original made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.calibration import collect
from onnxslim.graph.edit import set_constant
from onnxslim.graph.matcher import Matcher
from onnxslim.passes.sparse.fit import Fitted, fit_alone, fit_in_turn
from onnxslim.passes.sparse.masks import Pattern
from onnxslim.passes.sparse.sweep import Wanted
from onnxslim.passes.sparse.weights import Weight, weights_of
from onnxslim.pipeline import Context
from onnxslim.samples import Sample
from tests.ops.channels.nets import Node, model, node
from tests.ops.channels.nets import Weight as Numbers
from tests.passes.prune.nets import decibels, feeds, loaded

HALF = Wanted(0.6, Pattern())


def correlated(shape: tuple[int, ...], count: int = 32, seed: int = 3) -> list[Sample]:
    """Inputs whose features, on axis 1, are mixed of a few, and not centred."""
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(shape[1] // 3 + 1, shape[1]))
    generator = np.random.default_rng(seed)
    made = []
    for place in range(count):
        few = generator.normal(0.4, 1, (shape[0], *shape[2:], len(mix)))
        x = few @ mix + 0.2 * generator.normal(size=(*few.shape[:-1], shape[1]))
        made.append(Sample(f"{place:03d}", {"x": np.moveaxis(x, -1, 1).astype(np.float32)}))
    return made


NETS: Mapping[str, tuple[onnx.ModelProto, tuple[int, ...]]] = {
    "gemm": (
        model(
            [node("Gemm x w k -> a", transB=1), "Relu a -> b", "Gemm b v l -> c", "Relu c -> d", "Gemm d u m -> y"],
            {"w": (48, 32), "k": (48,), "v": (48, 40), "l": (40,), "u": (40, 30), "m": (30,)},
            inputs={"x": ["N", 32]},
        ),
        (16, 32),
    ),
    "matmul": (
        model(
            ["MatMul x w -> p", "Add p k -> a", "Relu a -> b", "MatMul b v -> y"],
            {"w": (32, 48), "k": (48,), "v": (48, 40)},
            inputs={"x": ["N", 32]},
        ),
        (16, 32),
    ),
    "conv": (
        model(
            [node("Conv x w k -> a", pads=[1, 1, 1, 1]), "Relu a -> b", node("Conv b v l -> y", group=2)],
            {"w": (16, 8, 3, 3), "k": (16,), "v": (16, 8, 3, 3), "l": (16,)},
            inputs={"x": ["N", 8, 6, 6]},
        ),
        (1, 8, 6, 6),
    ),
}


def weights(made: ir.Model) -> list[Weight]:
    return list(weights_of(made, Matcher((), "protect"), Context()))


def alone(original: ir.Model, given: list[Sample], wanted: Wanted, *, compensate: bool = True) -> ir.Model:
    made = original.clone()
    found = weights(made)
    statistics = collect(made, given, [each.request for each in found if each.request is not None])
    for weight in found:
        set_constant(weight.value, fit_alone(weight, wanted, statistics, compensate=compensate).array)
    return made


def in_turn(original: ir.Model, given: list[Sample], wanted: Wanted) -> tuple[ir.Model, Mapping[str, Fitted]]:
    made = original.clone()
    asked = [(each, wanted) for each in weights(made)]
    found, reasons = fit_in_turn(original, made, asked, feeds(given), memory=1 << 28, threads=1)
    assert not reasons
    return made, found


@pytest.mark.parametrize("wanted", [HALF, Wanted(0.0, Pattern(), "int4"), Wanted(0.5, Pattern.parse("2:4"))], ids=str)
@pytest.mark.parametrize("net", NETS)
def test_in_turn_is_better_than_alone_and_alone_than_magnitude(net: str, wanted: Wanted) -> None:
    proto, shape = NETS[net]
    original, given, unseen = loaded(proto), correlated(shape), correlated(shape, 16, seed=9)
    plain = decibels(original, alone(original, given, wanted, compensate=False), unseen)
    swept = decibels(original, alone(original, given, wanted), unseen)
    turned = decibels(original, in_turn(original, given, wanted)[0], unseen)
    assert plain + 0.3 < swept
    assert swept + 0.3 < turned


SHARED = model(
    ["Gemm x w k -> a", "Relu a -> b", "Gemm b v l -> c", "Relu c -> d", "Gemm d v l -> e", "Add c e -> y"],
    {"w": (32, 40), "k": (40,), "v": (40, 40), "l": (40,)},
    inputs={"x": ["N", 32]},
)


def test_a_weight_that_two_nodes_read_is_fitted_by_what_both_read() -> None:
    original, given, unseen = loaded(SHARED), correlated((16, 32)), correlated((16, 32), 16, seed=9)
    plain = decibels(original, alone(original, given, HALF, compensate=False), unseen)
    swept = decibels(original, alone(original, given, HALF), unseen)
    made, found = in_turn(original, given, HALF)
    assert found.keys() == {"w", "v"}
    assert plain + 0.3 < swept
    assert swept + 0.3 < decibels(original, made, unseen)


@pytest.mark.parametrize("net", NETS)
def test_the_model_holds_what_was_found_its_biases_too(net: str) -> None:
    proto, shape = NETS[net]
    original = loaded(proto)
    made, found = in_turn(original, correlated(shape), HALF)
    assert found.keys() == {"w", "v", "u"} & set(original.graph.initializers)
    for name, each in found.items():
        value = made.graph.initializers[name]
        assert value.const_value is not None
        assert np.array_equal(value.const_value.numpy(), each.array)
        assert 0.6 <= (each.array == 0).mean() + 0.0005 < 0.62
    biases = {each.bias[0]: each.bias[1] for each in found.values() if each.bias is not None}
    assert biases.keys() == {"k", "l", "m"} & set(original.graph.initializers)
    for name, array in biases.items():
        before, after = (graph.initializers[name].const_value for graph in (original.graph, made.graph))
        assert before is not None
        assert after is not None
        assert np.array_equal(after.numpy(), array)
        assert not np.allclose(before.numpy(), array, atol=1e-3)


def test_nothing_asked_for_changes_nothing_that_matters() -> None:
    proto, shape = NETS["gemm"]
    original, given = loaded(proto), correlated(shape)
    made, _ = in_turn(original, given, Wanted(0.0, Pattern()))
    assert decibels(original, made, correlated(shape, 8, seed=9)) > 80


def test_inputs_that_are_always_zero_leave_the_least_weights() -> None:
    proto, shape = NETS["gemm"]
    original = loaded(proto)
    given = [Sample(each.id, {"x": np.zeros_like(each.feed["x"])}) for each in correlated(shape)]
    _, found = in_turn(original, given, HALF)
    before = original.graph.initializers["w"].const_value
    assert before is not None
    gone = found["w"].array == 0
    assert np.abs(before.numpy())[gone].max() < np.abs(before.numpy())[~gone].min()


def test_what_is_not_finite_is_not_fitted() -> None:
    proto, shape = NETS["gemm"]
    original, made = loaded(proto), loaded(proto)
    given = correlated(shape)
    given[5].feed["x"][0, 0] = np.inf
    asked: list[tuple[Weight | str, Wanted]] = [(each, HALF) for each in weights(made)]
    found, reasons = fit_in_turn(original, made, asked, feeds(given), memory=1 << 28, threads=1)  # type: ignore[arg-type]
    assert reasons == dict.fromkeys(("w", "v", "u"), "what it reads or makes is not finite")
    assert all(np.isfinite(each.array).all() for each in found.values())


def typed(nodes: list[str | Node], numbers: Mapping[str, Numbers]) -> onnx.ModelProto:
    return model(nodes, numbers, inputs={"x": ["N", 32]})


def test_samples_with_nothing_in_them_are_not_fitted_on() -> None:
    proto, shape = NETS["gemm"]
    original, given = loaded(proto), correlated(shape)
    for place in (0, *range(3, len(given), 4)):
        given[place] = Sample(given[place].id, {"x": given[place].feed["x"][:0]})
    assert decibels(original, in_turn(original, given, HALF)[0], correlated(shape, 8, seed=9)) > 10


def test_a_weight_that_two_nodes_read_is_fitted_to_what_both_read_if_they_read_it_alike() -> None:
    found = weights(loaded(typed(["MatMul x w -> a", "MatMul a w -> y"], {"w": (32, 32)})))
    assert [(each.posed, len(each.nodes)) for each in found] == [(True, 2)]
    assert found[0].request is not None
    assert found[0].request.values == ("a", "x")
    found = weights(loaded(typed(["MatMul x w -> a", "Gemm a w -> y"], {"w": (32, 32)})))
    assert [(each.posed, each.request, len(each.nodes)) for each in found] == [(False, None, 2)]
