"""The pass as a whole: options, replays, all kinds of models, and what is kept of the digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import models_zoo
import onnxslim
from onnxslim.analysis import model_cost
from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.errors import InputError
from onnxslim.execution import open_session
from onnxslim.graph import load, problems, save
from onnxslim.passes.prune import apply, prune_channels
from onnxslim.passes.prune.apply import Removal, constants_of
from onnxslim.passes.prune.prune_channels import PruneChannels
from onnxslim.passes.prune.search import Search
from onnxslim.passes.prune.state import Found
from onnxslim.pipeline import Action, Context, Pipeline, Store
from onnxslim.samples import Sample
from tests.ops.channels.nets import Node, Weight, model, node
from tests.passes.prune.nets import decibels, loaded, samples
from tests.rewriting import assert_declines

DIGITS = models_zoo.get("digits_cnn")
IMAGE: dict[str, list[str | int]] = {"x": ["N", 3, 8, 8]}
SMALL = model(
    ["Conv x w -> a", "Relu a -> b", "Conv b v -> c", "Relu c -> d", "Conv d u -> y"],
    {"w": (16, 3, 1, 1), "v": (16, 16, 3, 3), "u": (2, 16, 1, 1)},
    inputs=IMAGE,
)


def sizes(made: ir.Model) -> dict[str, int]:
    """Channels by the first weight of their group."""
    return {group.weights[0].value.name or "": len(group) for group in find_channels(made).groups}


def pruned(proto: onnx.ModelProto, given: Sequence[Sample] | None = None, **options: Any) -> ir.Model:
    """What the pass makes; it is sound, and its inputs and outputs are those of before."""
    made, given = loaded(proto), given or samples(proto)
    result = PruneChannels(**options).run(made, Context(samples=given))
    assert result.modified
    assert problems(made) == []
    before, after = open_session(loaded(proto)), open_session(made)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for sample in given[:2]:
        for one, other in zip(before.run(sample.feed).values(), after.run(sample.feed).values(), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return made


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5, "macs": 0.5}, "ratio and macs exclude each other; fix: give one of them"),
        ({"macs": 0.5, "speedup": 2.0}, "macs and speedup exclude each other; fix: give one of them"),
        (
            {"ratio": 0.3, "macs": 0.5, "speedup": 2.0},
            "ratio, macs and speedup exclude each other; fix: give one of them",
        ),
        ({"ratio": 0.0}, "ratio is 0; fix: give a share between 0 and 1"),
        ({"ratio": 1.0}, "ratio is 1; fix: give a share between 0 and 1"),
        ({"macs": 1.5}, "macs is 1.5; fix: give a share between 0 and 1"),
        ({"macs": -0.5}, "macs is -0.5; fix: give a share between 0 and 1"),
        ({"speedup": 1.0}, "speedup is 1; fix: give more than 1, such as 1.5"),
        ({"round_to": 0}, "round_to is 0; fix: give 1 or more"),
        ({"min_channels": 0}, "min_channels is 0; fix: give 1 or more"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        PruneChannels(**options).run(loaded(SMALL), Context(samples=samples(SMALL)))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_samples_are_needed() -> None:
    with pytest.raises(InputError, match="pruning needs samples; fix: give --samples, or samples= in Python"):
        PruneChannels().run(loaded(SMALL), Context())


def test_a_speed_cannot_be_reached_unmeasured() -> None:
    with pytest.raises(InputError, match="speedup needs measurements, which are switched off"):
        PruneChannels(speedup=1.5).run(loaded(SMALL), Context.of(samples=samples(SMALL), bench=False))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, 12),
        ({"ratio": 0.5}, 8),
        ({"ratio": 0.9}, 4),
        ({"ratio": 0.9, "min_channels": 6}, 8),
        ({"ratio": 0.3, "round_to": 1}, 11),
        ({"ratio": 0.9, "round_to": 1, "min_channels": 1}, 2),
        ({"ratio": 0.5, "round_to": 8}, 8),
        ({"ratio": 0.5, "importance": "activation"}, 8),
        ({"ratio": 0.5, "importance": "magnitude"}, 8),
        ({"ratio": 0.5, "refit": False}, 8),
    ],
)
def test_how_much_goes(options: dict[str, Any], left: int) -> None:
    assert sizes(pruned(SMALL, **options)) == {"w": left, "v": left}


@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"macs": 0.4}])
@pytest.mark.parametrize("empty", [range(3), range(2, 24, 4), range(3, 24, 4)])
def test_samples_with_nothing_in_them_change_nothing(options: dict[str, float], empty: range) -> None:
    proto = model(
        ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"], {"w": (6, 32), "v": (32, 5)}, inputs={"x": ["N", "S", 6]}
    )
    given = samples(proto, 24)
    for place in empty:  # among them the first ones, and all that would judge a fit
        given[place] = Sample(given[place].id, {"x": np.empty((0, 4, 6), np.float32)})
    made = loaded(proto)
    context = Context(samples=given)
    PruneChannels(**options).run(made, context)  # type: ignore[arg-type]
    assert sizes(made)["w"] < 20
    full = [each for place, each in enumerate(given) if place not in empty]
    alone = loaded(proto)
    PruneChannels(**options).run(alone, Context(samples=full))  # type: ignore[arg-type]
    assert decibels(loaded(proto), made, full) == pytest.approx(decibels(loaded(proto), alone, full), abs=1.5)


def test_macs_are_shared_out_between_the_groups() -> None:
    made = pruned(SMALL, macs=0.3)
    before, after = (model_cost(each).total.macs for each in (loaded(SMALL), made))
    assert before is not None
    assert after is not None
    assert 0.15 < after / before <= 0.303
    assert all(size % 4 == 0 for size in sizes(made).values())


def test_a_budget_that_is_not_reached_is_told_of() -> None:
    result = PruneChannels(macs=0.01).run(loaded(SMALL), Context(samples=samples(SMALL)))
    assert result.actions
    (told,) = [each for each in result.declined if each.site == "the budget is not reached"]
    assert "of the MACs are left, and no group has more channels to give" in told.reason
    met = PruneChannels(macs=0.3).run(loaded(SMALL), Context(samples=samples(SMALL)))
    assert not [each for each in met.declined if each.site == "the budget is not reached"]


def test_protected_nodes_keep_their_channels() -> None:
    for protect in (("c",), ("re:^[cd]$",)):
        assert sizes(pruned(SMALL, ratio=0.5, protect=protect)) == {"w": 8, "v": 16}
    with pytest.raises(InputError, match="--protect names no node: 'cc'"):
        pruned(SMALL, protect=("cc",))
    found = assert_declines(SMALL, PruneChannels(protect=("re:.",)), reason="protected", samples=samples(SMALL))
    assert any(each.reason == "no channels can be removed" for each in found.declined)


def test_what_stays_is_told_by_operator() -> None:
    result = PruneChannels().run(loaded(SMALL), Context(samples=samples(SMALL)))
    assert [(each.site, each.reason) for each in result.declined] == [
        ("graph", "an output of the model keeps its shape: 2 rows of weights stay")
    ]
    assert [(each.rule, each.site, each.detail) for each in result.actions] == [
        ("prune", "w[0]", "4 of 16 channels"),
        ("prune", "v[0]", "4 of 16 channels"),
    ]


# -- replays -----------------------------------------------------------------------------------------------------------


def test_a_replay_with_fewer_actions_prunes_fewer_groups_and_searches_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = 0
    run = Search.run

    def counted(self: Search) -> Found:
        nonlocal ran
        ran += 1
        return run(self)

    monkeypatch.setattr(Search, "run", counted)
    store = Store()
    given = samples(SMALL)
    found = {}
    for limit in (2, 1, 0, 1, None):
        made = loaded(SMALL)
        result = PruneChannels(ratio=0.5).run(made, Context(samples=given, limit=limit, store=store))
        found[limit] = sizes(made)
        assert result.modified == (limit != 0)
        assert len(result.actions) == (2 if limit is None else limit)
    assert found == {2: {"w": 8, "v": 8}, None: {"w": 8, "v": 8}, 1: {"w": 8, "v": 16}, 0: {"w": 16, "v": 16}}
    assert ran == 1


def test_a_refused_group_keeps_its_channels_and_the_others_are_fitted_to_that() -> None:
    made = loaded(SMALL)
    refused = frozenset({Action("prune", ("w[0]",), "w[0]").key})
    result = PruneChannels(ratio=0.5).run(made, Context(samples=samples(SMALL), refused=refused))
    assert sizes(made) == {"w": 16, "v": 8}
    assert ("w[0]", "a check failed with this rewrite") in [(each.site, each.reason) for each in result.declined]


def test_the_pipeline_takes_back_the_guilty_group(monkeypatch: pytest.MonkeyPatch) -> None:
    remove = apply.remove_channels

    def wrecking(victim: ir.Model, channels: Channels, removal: Removal) -> None:
        remove(victim, channels, removal)
        if "v[0]" in removal:
            array = np.full((2, 8, 1, 1), np.nan, np.float32)
            victim.graph.initializers["u"].const_value = ir.Tensor(array, name="u")

    monkeypatch.setattr(prune_channels, "remove_channels", wrecking)
    monkeypatch.setattr(prune_channels, "set_constant", lambda value, array: None)  # so that the wreck stays
    outcome = Pipeline([PruneChannels(ratio=0.5, refit=False)], samples=samples(SMALL)).run(loaded(SMALL))
    assert [each.action.site for each in outcome.guilty] == ["v[0]"]
    assert sizes(outcome.model) == {"w": 8, "v": 16}
    assert outcome.modified


def test_models_that_differ_in_a_later_output_only_are_searched_each() -> None:
    def made(factor: float) -> ir.Model:
        proto = two_outputs()
        tensor = next(each for each in proto.graph.initializer if each.name == "t")
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), "t"))
        return loaded(proto)

    store = Store()
    context = Context(samples=samples(two_outputs()), store=store)
    for factor in (1.0, 2.0):
        PruneChannels(ratio=0.5).run(made(factor), context)
    assert len(store) == 2


# -- kinds of models ---------------------------------------------------------------------------------------------------


def two_outputs() -> onnx.ModelProto:
    nodes: list[str | Node] = ["Conv x w -> a", "Relu a -> b", "Conv b v -> y", "Conv b t -> z"]
    weights: dict[str, Weight] = {"w": (16, 3, 1, 1), "v": (4, 16, 1, 1), "t": (4, 16, 3, 3)}
    return model(nodes, weights, inputs=IMAGE, outputs=("y", "z"))


def test_both_outputs_count() -> None:
    made = pruned(two_outputs(), ratio=0.3)
    assert sizes(made) == {"w": 12}
    assert decibels(loaded(two_outputs()), made, samples(two_outputs())) > 8


def branching() -> onnx.ModelProto:
    """Convolutions before, within and after an If."""

    def body(name: str, weight: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node(f"Conv a {weight} -> {name}")], name, [], [out])

    nodes: list[str | Node] = [
        "Conv x w -> a",
        node("ReduceSum x -> total", keepdims=0),
        "Greater total zero -> positive",
        helper.make_node("If", ["positive"], ["b"], then_branch=body("one", "v"), else_branch=body("other", "t")),
        "Relu b -> c",
        "Conv c u -> d",
        "Relu d -> e",
        "Conv e s -> y",
    ]
    weights: dict[str, Weight] = {
        "w": (16, 3, 1, 1), "v": (16, 16, 1, 1), "t": (16, 16, 1, 1), "u": (16, 16, 1, 1), "s": (2, 16, 1, 1),
        "zero": np.float32(0),
    }  # fmt: skip
    return model(nodes, weights, inputs=IMAGE)


@pytest.mark.parametrize("refit", [False, True])
def test_constants_that_are_outputs_too_keep_their_numbers(refit: bool) -> None:
    proto = model(
        ["MatMul x w -> a", "Relu a -> b", "Gemm b v c -> d", "Relu d -> e", "MatMul e u -> y"],
        {"w": (8, 16), "v": (16, 4), "c": (4,), "u": (4, 2)},
        inputs={"x": ["N", 8]},
    )
    for name, dims in (("c", (4,)), ("u", (4, 2))):
        proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    given = samples(proto, 32, size=16)
    before, after = (open_session(each).run(given[0].feed) for each in (proto, pruned(proto, given, refit=refit)))
    for name in ("c", "u"):
        np.testing.assert_array_equal(after[name], before[name])


def test_channels_go_within_and_around_an_if() -> None:
    made = pruned(branching(), ratio=0.3)
    assert [len(group) for group in find_channels(made).groups] == [12, 12, 12]
    plain = pruned(branching(), ratio=0.3, refit=False)
    assert decibels(loaded(branching()), made, samples(branching())) > decibels(
        loaded(branching()), plain, samples(branching())
    )


def test_weights_in_files(tmp_path: Path) -> None:
    nodes: list[str | Node] = ["Conv x w -> a", "Relu a -> b", "Conv b v -> y"]
    proto, written = (model(nodes, {"w": (32, 3, 3, 3), "v": (4, 32, 3, 3)}, inputs=IMAGE) for _ in range(2))
    path = tmp_path / "model.onnx"
    onnx.save(written, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    made = load(path)
    context = Context(samples=samples(proto))
    assert PruneChannels(ratio=0.5).run(made, context).modified
    assert not [each for each in context.declined if each.rule == "refit"]
    assert sizes(made) == {"w": 16}
    save(made, tmp_path / "pruned.onnx")
    assert decibels(pruned(proto, ratio=0.5), load(tmp_path / "pruned.onnx"), samples(proto)) > 80


def halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """In half floats."""
    made: onnx.ModelProto = onnx.ModelProto.FromString(proto.SerializeToString())
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return made


def test_half_floats() -> None:
    proto = halved(SMALL)
    made = pruned(proto, ratio=0.3)
    assert sizes(made) == {"w": 12, "v": 12}
    whole = pruned(SMALL, ratio=0.3)
    found, wanted = decibels(loaded(proto), made, samples(proto)), decibels(loaded(SMALL), whole, samples(SMALL))
    assert found == pytest.approx(wanted, abs=1.5)
    for value in constants_of(made).values():
        assert value.const_value is not None
        assert value.const_value.dtype == ir.DataType.FLOAT16


def test_a_quantized_model_is_pruned_by_its_stored_weights() -> None:
    given = list(DIGITS.samples("calibration").first(24))
    quantized = onnxslim.quantize(DIGITS.path(), samples=given, bench=False, verify=False, target="x86-vnni").model
    assert any(each.op_type == "DequantizeLinear" for each in quantized.graph)
    proto = ir.to_proto(quantized)
    before = sizes(loaded(proto))
    made = loaded(proto)
    context = Context(samples=given)
    assert PruneChannels(ratio=0.3).run(made, context).modified
    assert not [each.reason for each in context.declined if "does not compute" in each.reason]
    after = sizes(made)
    assert before
    assert all(after[name] < count for name, count in before.items())
    assert problems(made) == []
    open_session(made).run(given[0].feed)


def in_constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    made: onnx.ModelProto = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in reversed(made.graph.initializer):
        made.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del made.graph.initializer[:]
    return made


def test_weights_in_constant_nodes_give_the_same_model() -> None:
    one, other = pruned(SMALL, ratio=0.5), pruned(in_constants(SMALL), samples(SMALL), ratio=0.5)
    assert list(sizes(other).values()) == [8, 8]
    assert decibels(one, other, samples(SMALL)) > 90


def test_a_model_with_nothing_to_remove_stays() -> None:
    proto = model(["Conv x w -> y"], {"w": (16, 3, 1, 1)}, inputs=IMAGE)
    assert_declines(proto, PruneChannels(), reason="no channels can be removed", samples=samples(proto))
    small = model(["Conv x w -> a", "Conv a v -> y"], {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)}, inputs=IMAGE)
    reason = "no group has more channels than it must keep: min_channels is 4, round_to is 4"
    assert_declines(small, PruneChannels(), reason=reason, samples=samples(small))
    assert_declines(small, PruneChannels(macs=0.1), reason=reason, samples=samples(small))


def test_samples_of_different_sizes() -> None:
    proto = model(
        ["Conv x w -> a", "Relu a -> b", "Conv b v -> c", "GlobalAveragePool c -> y"],
        {"w": (16, 3, 3, 3), "v": (4, 16, 3, 3)},
        inputs={"x": ["N", 3, "H", "W"]},
    )
    generator = np.random.default_rng(0)
    given = [
        Sample(str(i), {"x": generator.normal(size=(1 + i % 3, 3, 6 + i % 5, 9 - i % 4)).astype(np.float32)})
        for i in range(16)
    ]
    for options in ({"ratio": 0.5}, {"macs": 0.5}):
        assert sizes(pruned(proto, given, **options)) == {"w": 8}


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"macs": 0.4}])
def test_few_samples_prune_but_do_not_refit(
    count: int, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> int:
        raise AssertionError("refitted")

    monkeypatch.setattr("onnxslim.passes.prune.building.refit", never)
    made = pruned(SMALL, samples(SMALL, count), **options)
    assert max(sizes(made).values()) < 16


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e18, 1e25, 1e36, 1e-40])
def test_values_whose_squares_are_out_of_range(scale: float) -> None:
    given = [
        Sample(each.id, {name: (array * scale).astype(np.float32) for name, array in each.feed.items()})
        for each in samples(SMALL, 16)
    ]
    assert sizes(pruned(SMALL, given, ratio=0.5)) == {"w": 8, "v": 8}


def test_a_model_whose_sizes_are_unknown() -> None:
    nodes: list[str | Node] = ["Conv x w -> a", "Relu a -> b", "Conv b v -> y"]
    proto = model(nodes, {"w": (16, 3, 1, 1), "v": (4, 16, 1, 1)}, inputs={"x": ["N", 3, "H", "W"]})
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    assert sizes(pruned(proto, ratio=0.5)) == {"w": 8}
    assert sizes(pruned(proto, macs=0.5)) == {"w": 8}


# -- digits ------------------------------------------------------------------------------------------------------------


def test_a_quarter_of_the_macs_keeps_the_digits_apart() -> None:
    whole = load(DIGITS.path())
    slimmed = onnxslim.slim(DIGITS.path())
    assert slimmed is not None
    made = loaded(slimmed)
    given = list(DIGITS.samples("calibration").first(96))
    context = Context(samples=given, selection=list(DIGITS.samples("selection").first(32)))
    assert PruneChannels(macs=0.25).run(made, context).modified
    before, after = (model_cost(each).total.macs for each in (whole, made))
    assert before is not None
    assert after is not None
    assert 0.2 < after / before <= 0.2525
    assert all(size % 4 == 0 for size in sizes(made).values())
    assert DIGITS.score(open_session(made).run) >= 0.98  # on 719 images that nothing has seen
