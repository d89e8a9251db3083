"""The search: stages that stop where they should, the same twice, within the memory, and its measure of distance."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import models_zoo
from onnxslim.analysis import model_cost
from onnxslim.analysis.channels import find_channels
from onnxslim.evaluation import OutputNoise
from onnxslim.graph import load
from onnxslim.passes.prune import apply, building, measuring, oracle
from onnxslim.passes.prune.apply import Removal, constants_of
from onnxslim.passes.prune.measuring import Measurer
from onnxslim.passes.prune.prune_channels import PruneChannels
from onnxslim.passes.prune.search import Search
from onnxslim.passes.prune.state import State
from onnxslim.pipeline import Context
from onnxslim.samples import Metric, Sample
from tests.ops.channels.nets import Node, model, node
from tests.passes.prune.nets import feeds, loaded, samples

DIGITS = models_zoo.get("digits_cnn")
CALIBRATION = list(DIGITS.samples("calibration").first(48))
SELECTION = list(DIGITS.samples("selection").first(32))
SMALL = model(
    ["Conv x w -> a", "Relu a -> b", "Conv b v -> c", "Relu c -> d", "Conv d u -> y"],
    {"w": (16, 3, 1, 1), "v": (16, 16, 3, 3), "u": (2, 16, 1, 1)},
    inputs={"x": ["N", 3, 8, 8]},
)


def searching(whole: ir.Model, context: Context, **options: object) -> Search:
    instance = PruneChannels(**options)  # type: ignore[arg-type]
    return instance.search(whole, list(find_channels(whole).groups), context)


def macs(whole: ir.Model) -> int:
    found = model_cost(whole).total.macs
    assert found is not None
    return found


def pruned(whole: ir.Model, context: Context, **options: object) -> ir.Model:
    made = whole.clone()
    PruneChannels(**options).run(made, context)  # type: ignore[arg-type]
    return made


def test_stages_get_finer_where_the_score_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(DIGITS.path())
    tried: list[float] = []

    def score(self: Measurer, state: State) -> float:
        tried.append(macs(state.model) / macs(whole))
        return float(tried[-1] >= 0.5)

    monkeypatch.setattr(Measurer, "score", score)
    monkeypatch.setattr(measuring, "SCORING", 0.0)
    context = Context.of(samples=CALIBRATION, selection=SELECTION, metric=lambda run, given: 0.0, max_drop=0.5)
    made = pruned(whole, context, refit=False)
    left = macs(made) / macs(whole)
    assert min(tried) < 0.5 <= left < 0.58  # 0.6, from where 0.36 and 0.48 are too little
    assert left in tried
    assert tried[0] == 1
    below = [each for each in tried if each < 0.5]
    assert below[0] < below[1]


def test_a_score_that_falls_at_once_keeps_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SCORING", 0.0)
    scores = iter([1.0, 0.5, 0.5, 0.5, 0.5])
    context = Context.of(samples=CALIBRATION, selection=SELECTION, metric=lambda run, given: next(scores), max_drop=0.1)
    result = PruneChannels(refit=False).run(load(DIGITS.path()), context)
    assert not result.modified
    assert next(scores) == 0.5  # one for the original, then three stages
    assert [each.reason for each in result.declined if each.site == "model"] == [
        "no group can give up channels within the budget"
    ]


def test_what_the_metric_allows_is_measured_on_the_selection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SCORING", 0.0)
    seen: list[str] = []

    def accuracy(run: object, given: list[Sample]) -> float:
        seen.extend(sample.id for sample in given)
        return 1.0 if len(seen) <= 2 * len(SELECTION) else 0.0

    context = Context.of(samples=CALIBRATION, selection=SELECTION, metric=accuracy)
    made = pruned(load(DIGITS.path()), context)
    assert set(seen) == {sample.id for sample in SELECTION}
    assert macs(made) < 0.65 * macs(load(DIGITS.path()))


def test_without_samples_to_select_by_a_share_goes() -> None:
    whole = loaded(SMALL)
    context = Context.of(samples=samples(SMALL), metric=lambda run, given: 1.0)
    made = pruned(whole, context)
    assert {len(group) for group in find_channels(made).groups} == {12}  # 0.3 of 16, in steps of 4


@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"macs": 0.3}])
def test_the_same_twice(options: dict[str, float]) -> None:
    made = [pruned(load(DIGITS.path()), Context(samples=CALIBRATION, selection=SELECTION), **options) for _ in range(2)]
    one, other = ({name: value.const_value for name, value in each.graph.initializers.items()} for each in made)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        twin = other[name]
        assert tensor is not None
        assert twin is not None
        assert tensor.tobytes() == twin.tobytes(), name


def test_a_removal_that_is_given_comes_out_as_if_it_had_been_found() -> None:
    whole = loaded(SMALL)
    context = Context(samples=samples(SMALL))
    found = searching(whole, context, ratio=0.5).run()
    again = searching(whole, context, ratio=0.5).only(found.removal)
    assert {key: list(atoms) for key, atoms in again.removal.items()} == {
        key: list(atoms) for key, atoms in found.removal.items()
    }
    assert found.weights.keys() == again.weights.keys()
    for name, array in found.weights.items():
        np.testing.assert_array_equal(array, again.weights[name])
    nothing = searching(whole, context).only({})
    assert (nothing.removal, nothing.weights) == ({}, {})


def test_the_original_is_left_as_it_was() -> None:
    whole = loaded(SMALL)
    before = {name: constant.const_value for name, constant in constants_of(whole).items()}
    found = searching(whole, Context(samples=samples(SMALL)), macs=0.4).run()
    assert found.removal
    assert {name: constant.const_value for name, constant in constants_of(whole).items()} == before


def test_refitting_that_is_no_better_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, context = loaded(SMALL), Context(samples=samples(SMALL))
    mixed = searching(whole, context, ratio=0.5, refit=False).run()

    def ruin(original: ir.Model, made: ir.Model, *rest: object, **others: object) -> int:
        for value in constants_of(made).values():
            assert value.const_value is not None
            value.const_value = ir.Tensor(value.const_value.numpy() * 0, name=value.name)
        return 3

    monkeypatch.setattr(building, "refit", ruin)
    guarded = searching(whole, context, ratio=0.5).run()
    for name, array in mixed.weights.items():
        np.testing.assert_array_equal(array, guarded.weights[name])


def test_what_does_not_agree_with_the_oracle_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, context = loaded(SMALL), Context(samples=samples(SMALL))
    monkeypatch.setattr(oracle.Oracle, "agrees", lambda self, removal: "w[0]" not in removal)
    assert set(searching(whole, context, ratio=0.5).run().removal) == {"v[0]"}
    assert [(each.site, each.reason) for each in context.declined] == [
        ("w[0]", "the model without these channels does not compute what it should")
    ]
    monkeypatch.setattr(oracle.Oracle, "agrees", lambda self, removal: len(removal) == 1)
    assert not searching(whole, context, ratio=0.5).run().removal
    assert context.declined[-1].site == "model"


def test_the_oracle_itself_sees_a_wrong_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, context = loaded(SMALL), Context(samples=samples(SMALL))
    made = oracle.Oracle(whole, [sample.feed for sample in samples(SMALL)][:2], context)
    right = {"v[0]": [0, 5]}
    assert made.agrees(right)
    remove = apply.remove_channels

    def other(victim: ir.Model, channels: object, removal: Removal) -> None:
        remove(victim, channels, {key: [1 + atom for atom in atoms] for key, atoms in removal.items()})  # type: ignore[arg-type]

    monkeypatch.setattr(oracle, "remove_channels", other)
    assert not made.agrees(right)


def test_inputs_that_are_held_are_bounded_by_the_memory() -> None:
    read: list[int] = []

    class Counted:
        def __iter__(self):  # type: ignore[no-untyped-def]
            for i, sample in enumerate(samples(SMALL, 32, size=2)):
                read.append(i)
                yield sample

    nbytes = 2 * 3 * 8 * 8 * 4
    whole = loaded(SMALL)
    made = searching(whole, Context.of(samples=Counted(), selection=samples(SMALL, 32, size=2), memory=40 * nbytes))
    assert len(made.feeds) == 10
    assert read == list(range(11))  # the last is dropped
    assert len(made.judging) == 5
    least = searching(whole, Context.of(samples=samples(SMALL, 5), memory=1))
    assert (len(least.feeds), len(least.judging)) == (1, 1)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_few_samples_are_judged_by_some(count: int) -> None:
    made = searching(loaded(SMALL), Context(samples=samples(SMALL, count)))
    assert made.judging


def test_the_score_makes_groups_dearer_and_cheaper() -> None:
    def weights(metric: Metric | None) -> dict[str, float]:
        given = samples(SMALL, 6)
        made = searching(loaded(SMALL), Context.of(samples=given, selection=given, metric=metric), refit=False)
        return dict(made.measurer.measure(made.builder.start(made.keys)).weights)

    scores = iter([1.0, 0.0, 1.0])  # of the original, and of the model without half of each group
    plain, steered = weights(None), weights(lambda run, given: next(scores))
    (first, second) = plain
    assert steered[first] > 1.2 * plain[first]
    assert steered[second] < 0.8 * plain[second]


# -- how far models are apart ------------------------------------------------------------------------------------------


def scaled(proto: onnx.ModelProto, factor: float) -> ir.Model:
    made = loaded(proto)
    value = made.graph.initializers["v"]
    assert value.const_value is not None
    value.const_value = ir.Tensor((value.const_value.numpy() * factor).astype(np.float32), name="v")
    return made


LINEAR = model(["Conv x w -> a", "Conv a v -> y"], {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1)})


@pytest.mark.parametrize(("factor", "share"), [(1.0, 0.0), (0.9, 0.01), (0.1, 0.81), (-1.0, 1.0)])
def test_noise_is_a_share_of_what_varies(factor: float, share: float) -> None:
    given = feeds(samples(LINEAR, 4))
    # The variance is estimated from four samples of mean zero.
    assert OutputNoise(loaded(LINEAR), given, 1)(scaled(LINEAR, factor)) == pytest.approx(share, rel=0.1)


def test_noise_is_taken_before_a_softmax_and_added_up_over_outputs() -> None:
    nodes: list[str | Node] = ["MatMul x w -> a", "MatMul a v -> b", node("Softmax b -> p", axis=-1), "Abs b -> y"]
    proto = model(nodes, {"w": (5, 8), "v": (8, 4)}, inputs={"x": ["N", 5]}, outputs=("p", "y"))
    whole = loaded(proto)
    noise = OutputNoise(whole, feeds(samples(proto, 4)), 1)
    assert noise(scaled(proto, 0.9)) == pytest.approx(0.01 + 0.027, rel=0.2)  # the mean of |b| is no signal
    assert [value.name for value in whole.graph.outputs] == ["p", "y"]


def test_integers_are_judged_by_the_floats_that_decided_them() -> None:
    nodes: list[str | Node] = ["MatMul x w -> a", "MatMul a v -> b", node("ArgMax b -> y", axis=-1)]
    proto = model(nodes, {"w": (5, 8), "v": (8, 4)}, inputs={"x": ["N", 5]}, integers=("y",))
    noise = OutputNoise(loaded(proto), feeds(samples(proto, 4, size=50)), 1)
    assert noise(loaded(proto)) == 0
    assert noise(scaled(proto, 0.9)) == pytest.approx(0.01, rel=0.2)
    assert noise(scaled(proto, -1.0)) == 1


def test_an_output_of_another_shape_or_no_number_is_lost() -> None:
    given = feeds(samples(LINEAR, 2))
    noise = OutputNoise(loaded(LINEAR), given, 1)
    assert noise(scaled(LINEAR, float("nan"))) == 1
    assert noise(scaled(LINEAR, float("inf"))) == 1
    proto = model(["Conv x w -> a", "Conv a v -> y"], {"w": (8, 3, 1, 1), "v": (3, 8, 1, 1)})
    assert noise(loaded(proto)) == 1


def test_outputs_that_are_held_are_bounded() -> None:
    given = feeds(samples(LINEAR, 6))
    noise = OutputNoise(loaded(LINEAR), given, 1, memory=3 * 4 * 4 * 16 * 4)
    assert noise.count == 3
    assert noise(scaled(LINEAR, 0.9)) == pytest.approx(0.01, rel=0.1)
    assert OutputNoise(loaded(LINEAR), given, 1, memory=1).count == 1
