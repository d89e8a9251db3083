"""The pass: which weights it takes, what becomes of them, and what onnxruntime makes of that when it loads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.errors import InputError
from onnxslim.execution import optimized_graph
from onnxslim.graph import load, to_bytes
from onnxslim.passes.sparse.sparsify import Sparsify
from onnxslim.pipeline import Context, PassResult
from onnxslim.samples import Sample
from tests.ops.channels.nets import Node, feeds, model, node
from tests.ops.channels.nets import Weight as Numbers
from tests.packing.arrays import weights
from tests.passes.prune.nets import decibels, loaded, samples
from tests.passes.sparse.nets import assert_same_but_smaller, digits, encoded, nodes_of, operators, outputs
from tests.passes.sparse.test_fit import NETS, correlated
from tests.rewriting import assert_declines

Proto = onnx.ModelProto
ROWS: dict[str, list[str | int]] = {"x": ["N", 40]}
PIXELS: dict[str, list[str | int]] = {"x": [1, 8, 6, 6]}
Case = tuple[list[str | Node], Mapping[str, Numbers], Mapping[str, list[str | int]]]
LAYERS: dict[str, Case] = {
    "conv": (["Conv x w -> y"], {"w": (16, 8, 3, 3)}, PIXELS),
    "grouped": ([node("Conv x w k -> y", group=2)], {"w": (32, 4, 3, 3), "k": (32,)}, PIXELS),
    "depthwise": ([node("Conv x w -> y", group=8)], {"w": (128, 1, 3, 3)}, PIXELS),
    "one axis": (["Conv x w -> y"], {"w": (64, 8, 3)}, {"x": [1, 8, 12]}),
    "transposed": (["ConvTranspose x w -> y"], {"w": (8, 16, 3, 3)}, PIXELS),
    "transposed, grouped": ([node("ConvTranspose x w -> y", group=2)], {"w": (8, 16, 3, 3)}, PIXELS),
    "gemm": (["Gemm x w k -> y"], {"w": (40, 30), "k": (30,)}, ROWS),
    "gemm transB": ([node("Gemm x w k -> y", transB=1)], {"w": (30, 40), "k": (30,)}, ROWS),
    "gemm transA": ([node("Gemm x w -> y", transA=1)], {"w": (40, 30)}, {"x": [40, 4]}),
    "gemm scaled": ([node("Gemm x w k -> y", alpha=0.5)], {"w": (40, 30), "k": (30,)}, ROWS),
    "matmul": (["MatMul x w -> y"], {"w": (40, 30)}, {"x": ["N", 3, 40]}),
    "matmul left": (["MatMul w x -> y"], {"w": (30, 40)}, {"x": [1, 40, 24]}),
    "matmul batch": (["MatMul x w -> y"], {"w": (3, 40, 30)}, {"x": [3, 5, 40]}),
    "tied": (["MatMul x w -> a", "MatMul a w -> y"], {"w": (40, 40)}, ROWS),
    "lstm": (
        [node("LSTM x w r -> s", hidden_size=20), "Relu s -> y"],
        {"w": (1, 80, 40), "r": (1, 80, 20)},
        {"x": [4, 1, 40]},
    ),
    "gru": (
        [node("GRU x w r -> s", hidden_size=20, direction="bidirectional"), "Relu s -> y"],
        {"w": (2, 60, 40), "r": (2, 60, 20)},
        {"x": [4, 1, 40]},
    ),
}  # fmt: skip


def sparsified(proto: Proto, given: list[Sample] | None = None, **options: Any) -> tuple[Proto, PassResult]:
    made = loaded(proto)
    result = Sparsify(**options).run(made, Context(samples=given))
    found = onnx.ModelProto.FromString(to_bytes(made))
    onnx.checker.check_model(found)
    return found, result


def arrays(proto: Proto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def cast(proto: Proto) -> dict[str, np.ndarray]:
    """The weights that onnxruntime has once it has loaded the model, optimized as it comes."""
    found = optimized_graph(proto, weights=True)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}


@pytest.mark.parametrize("layer", LAYERS)
def test_half_of_every_layer_goes_and_nothing_else_changes(layer: str) -> None:
    nodes, numbers, inputs = LAYERS[layer]
    proto = model(nodes, numbers, inputs=inputs)
    given = samples(proto, 16)
    after, result = sparsified(proto, given, sparsity=0.5, allocation="uniform")
    names = {name for name in ("w", "r") if name in numbers}
    assert {each.site for each in result.actions} == names
    assert {each.detail for each in result.actions} == {"50% zeros"}
    before, now = arrays(proto), arrays(after)
    for name in names:
        assert now[name].shape == before[name].shape
        assert (now[name] == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert list(after.graph.node) == list(proto.graph.node)
    magnitude, _ = sparsified(proto, given, sparsity=0.5, allocation="uniform", by="magnitude")
    unseen = samples(proto, 24)[16:]
    quality = [decibels(loaded(proto), loaded(each), unseen) for each in (after, magnitude)]
    assert quality[0] > 4
    assert quality[0] > quality[1] - 1.6  # white inputs tell nothing, but mislead little


@pytest.mark.parametrize("values", ["float16", "int8", "int4", "codebook"])
@pytest.mark.parametrize(
    "layer", ["conv", "grouped", "transposed", "gemm transB", "matmul left", "matmul batch", "gru"]
)
def test_few_values_are_folded_when_they_are_loaded(layer: str, values: str) -> None:
    nodes, numbers, inputs = LAYERS[layer]
    proto = model(nodes, numbers, inputs=inputs)
    entries = {"entries": 8} if values == "codebook" else {}
    after, result = sparsified(proto, samples(proto, 12), values=values, **entries)
    names = {name for name in ("w", "r") if name in numbers}
    assert {each.site for each in result.actions} == names
    assert all(values in each.detail for each in result.actions)
    kinds = {"float16": ["Cast"], "int8": ["Cast", "Mul"], "int4": ["Cast", "Mul"], "codebook": ["Mul"]}[values]
    made = [each.op_type for each in after.graph.node]
    assert sorted(made) == sorted([*kinds * len(names), *(each.op_type for each in proto.graph.node)])
    assert not {"Cast", "Mul", "DequantizeLinear"} & set(operators(after))
    held = arrays(after)
    for name in names:
        if values == "float16":
            assert held[f"{name}_half"].dtype == np.float16
        elif values == "codebook":
            assert (
                len(np.unique(held[f"{name}_codes"]))
                <= 8 * (2 if layer in ("gru", "grouped", "matmul batch") else 1) * 2
            )
        else:
            assert held[f"{name}_quantized"].dtype == np.int8
            assert np.abs(held[f"{name}_quantized"]).max() <= (127 if values == "int8" else 7)
    floor = {"float16": 55, "int8": 35, "int4": 10, "codebook": 6}[values]
    assert decibels(loaded(proto), loaded(after), samples(proto, 20)[12:]) > floor


@pytest.mark.parametrize("values", ["float16", "int8", "int4", "codebook"])
def test_what_is_loaded_is_codes_times_scales_bit_for_bit(values: str) -> None:
    proto = model(["Identity w -> v", "MatMul x v -> y"], {"w": (40, 30)}, inputs=ROWS)
    after, _ = sparsified(model(["MatMul x w -> y"], {"w": (40, 30)}, inputs=ROWS), values=values)
    held = arrays(after)
    if values == "float16":
        wanted = held["w_half"].astype(np.float32)
    else:
        codes = held["w_codes" if values == "codebook" else "w_quantized"]
        wanted = codes.astype(np.float32) * held["w_scale"]
    assert any(each.shape == (40, 30) and np.array_equal(each, wanted) for each in cast(after).values())
    assert wanted.dtype == arrays(proto)["w"].dtype


@pytest.mark.parametrize("values", ["float", "int8", "codebook"])
def test_tables_that_are_looked_up(values: str) -> None:
    proto = model([node("Gather w i -> y", axis=0)], {"w": (100, 24)}, inputs={"i": ["N"]}, integers=["i"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    after, result = sparsified(proto, sparsity=0.6, values=values)
    assert [each.site for each in result.actions] == ["w"]
    assert not {"Cast", "Mul"} & set(operators(after))
    (found,) = outputs(after, [{"i": np.arange(100)}])
    assert (found == 0).mean() == pytest.approx(0.6, abs=0.01)
    before = arrays(proto)["w"]
    assert np.abs(before)[found == 0].max() <= np.abs(before)[found != 0].min()


@pytest.mark.parametrize("pattern", ["2:4", "1:4"])
def test_runs_of_channels_in_every_layout(pattern: str) -> None:
    keep, of = map(int, pattern.split(":"))
    for layer, axis in (
        ("conv", 1),
        ("gemm", 0),
        ("gemm transB", 1),
        ("matmul", 0),
        ("matmul left", 1),
        ("transposed", 0),
    ):
        nodes, numbers, inputs = LAYERS[layer]
        proto = model(nodes, numbers, inputs=inputs)
        after, _ = sparsified(proto, samples(proto, 12), pattern=pattern)
        stays = np.moveaxis(arrays(after)["w"], axis, -1) != 0
        assert (stays.reshape(*stays.shape[:-1], -1, of).sum(axis=-1) == keep).all(), layer


@pytest.mark.parametrize("values", ["float", "float16"])
@pytest.mark.parametrize("pattern", ["4x1", "3x2", "1x4"])
@pytest.mark.parametrize("net", ["gemm", "matmul", "conv"])
def test_blocks_are_zero_as_a_whole_however_their_outputs_were_fitted(net: str, pattern: str, values: str) -> None:
    proto, shape = NETS[net]
    after, result = sparsified(proto, correlated(shape), sparsity=0.5, pattern=pattern, values=values)
    height, width = map(int, pattern.split("x"))
    held = arrays(after)
    assert result.actions
    for name in (each.site for each in result.actions):
        array = held[name if values == "float" else f"{name}_half"]
        outputs_first = array.T if array.ndim == 2 and not (net == "gemm" and name == "w") else array
        groups = 2 if net == "conv" and name == "v" else 1
        for group in np.split(outputs_first, groups):
            for top in range(0, len(group), height):
                for left in range(0, group.shape[1], width):
                    zero = group[top : top + height, left : left + width] == 0
                    assert (zero.all(axis=(0, 1)) | ~zero.any(axis=(0, 1))).all(), name


def test_all_weights_together_have_the_share_and_dear_ones_fewer() -> None:
    proto = digits(0.0)
    given = samples(proto, 12)
    after, result = sparsified(proto, given, sparsity=0.7, by="magnitude")
    before, now = arrays(proto), arrays(after)
    names = [each.site for each in result.actions]
    assert len(names) > 2
    total = sum(before[name].size for name in names)
    zeros = {name: float((now[name] == 0).mean()) for name in names}
    assert sum(zeros[name] * before[name].size for name in names) / total == pytest.approx(0.7, abs=0.01)
    assert max(zeros.values()) - min(zeros.values()) > 0.1
    uniform, _ = sparsified(proto, given, sparsity=0.7, by="magnitude", allocation="uniform")
    unseen = samples(proto, 20)[12:]
    assert decibels(loaded(proto), loaded(after), unseen) > decibels(loaded(proto), loaded(uniform), unseen)
    smaller, _ = encoded(after)
    assert_same_but_smaller(after, smaller)


@pytest.mark.parametrize("by", ["compensated", "activation", "magnitude"])
def test_what_is_known_of_the_inputs_makes_it_better(by: str) -> None:
    proto, shape = NETS["gemm"]
    given, unseen = correlated(shape), correlated(shape, 8, seed=9)
    found = {}
    for each in ("magnitude", by):
        after, _ = sparsified(proto, given, sparsity=0.6, by=each, allocation="uniform")
        found[each] = decibels(loaded(proto), loaded(after), unseen)
    assert by == "magnitude" or found[by] > found["magnitude"] + (1.5 if by == "compensated" else 0)
    after, _ = sparsified(proto, given, sparsity=0.6, by="magnitude", allocation="uniform")
    alone, _ = sparsified(proto, None, sparsity=0.6, by=by, allocation="uniform")
    assert after.SerializeToString() == alone.SerializeToString()


def test_few_values_leave_zeros_where_they_are() -> None:
    for values in ("int8", "int4", "codebook"):
        proto = model(["MatMul x w -> y"], {"w": weights((40, 30), 0.7)}, inputs=ROWS)
        after, _ = sparsified(proto, samples(proto, 16), values=values)
        held = arrays(after)
        codes = held["w_codes" if values == "codebook" else "w_quantized"]
        assert not codes[arrays(proto)["w"] == 0].any()


def two(share_of: Mapping[str, float] | None = None) -> Proto:
    return model(
        [node("MatMul x w -> a", name="first"), "Relu a -> b", node("MatMul b v -> y", name="second")],
        {"w": (40, 30), "v": (30, 40)},
        inputs=ROWS,
    )


def test_what_is_protected_or_refused_stays() -> None:
    before = arrays(two())
    after, result = sparsified(two(), samples(two(), 12), sparsity=0.5, protect=("first",))
    assert [each.site for each in result.actions] == ["v"]
    assert ("w", "protected: MatMul first") in [(each.site, each.reason) for each in result.declined]
    assert np.array_equal(arrays(after)["w"], before["w"])
    made = loaded(two())
    key = result.actions[0].key
    result = Sparsify(sparsity=0.5).run(made, Context(samples=samples(two(), 12), refused=frozenset({key})))
    assert [each.site for each in result.actions] == ["w"]
    now = arrays(onnx.ModelProto.FromString(to_bytes(made)))
    assert np.array_equal(now["v"], before["v"])
    assert (now["w"] == 0).mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(InputError, match="did you mean 'first'"):
        sparsified(two(), sparsity=0.5, protect=("frist",))


@pytest.mark.parametrize("limit", [0, 1])
def test_no_more_weights_than_are_allowed(limit: int) -> None:
    made = loaded(two())
    result = Sparsify(sparsity=0.5, values="int8").run(made, Context(samples=samples(two(), 12), limit=limit))
    assert len(result.actions) == limit
    now = onnx.ModelProto.FromString(to_bytes(made))
    assert sum(each.op_type == "Mul" for each in now.graph.node) == limit
    assert limit or now == onnx.ModelProto.FromString(to_bytes(loaded(two())))


def test_weights_that_stay_are_told_with_the_reason() -> None:
    numbers: dict[str, Numbers] = {
        "w": (40, 40),
        "n": np.full((40, 40), np.nan, np.float32),
        "o": (40, 40),
        "m": (40, 40),
        "s": (5, 5),
    }
    nodes = ["MatMul x w -> a", "MatMul a n -> b", "MatMul b o -> c", "Mul m o -> d", "Add c d -> y"]
    proto = model(nodes, numbers, inputs={"x": [40, 40]})
    proto.graph.output.append(helper.make_tensor_value_info("o", TensorProto.FLOAT, [40, 40]))
    after, result = sparsified(proto, sparsity=0.5)
    assert [each.site for each in result.actions] == ["w"]
    reasons = {each.site: each.reason.rsplit(":", 1)[0] for each in result.declined}
    assert reasons == {
        "n": "its weights are not finite",
        "o": "it is an output",
        "m": "what it is to the operator is not known",
    }
    assert all(arrays(after)[name].tobytes() == arrays(proto)[name].tobytes() for name in ("n", "o", "m"))


def test_float16_takes_what_fits() -> None:
    large = np.asarray(weights((40, 30), 0.0)).copy()
    large[3, 4] = 7e4
    proto = model(["MatMul x w -> a", "MatMul a v -> y"], {"w": large, "v": (30, 40)}, inputs=ROWS)
    after, result = sparsified(proto, values="float16")
    assert [each.site for each in result.actions] == ["v"]
    assert ("w", "float16 ends at 65,504") in [(each.site, each.reason) for each in result.declined]
    assert np.isfinite(outputs(after, feeds(proto))[0]).all()


def branch(name: str, weight: str, *inside: onnx.TensorProto) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 40])
    return helper.make_graph([node(f"MatMul x {weight} -> {name}")], name, [], [output], inside)


@pytest.mark.parametrize("values", ["float", "float16", "int8", "codebook"])
def test_weights_in_branches_and_around_them(values: str) -> None:
    inner = numpy_helper.from_array(weights((40, 40), 0.0, seed=1), "inner")
    choice = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("t", "outer"), else_branch=branch("e", "inner", inner)
    )
    proto = model([choice], {"outer": (40, 40)}, inputs=ROWS)
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    after, result = sparsified(proto, sparsity=0.3, values=values)
    assert {each.site for each in result.actions} == {"outer", "inner"}
    assert not {"Cast", "Mul"} & {each.op_type for each in nodes_of(optimized_graph(after).graph)}
    for feed in feeds(proto)[:1]:
        for flag in (True, False):
            given = [{**feed, "c": np.array(flag)}]
            (wanted,), (found,) = outputs(proto, given), outputs(after, given)
            assert 0.02 < np.linalg.norm(wanted - found) / np.linalg.norm(wanted) < 0.35


def test_of_two_weights_with_one_name_one_stays() -> None:
    one, other = (numpy_helper.from_array(weights((40, 40), 0.0, seed=seed), "w") for seed in (1, 2))
    choice = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("t", "w", one), else_branch=branch("e", "w", other)
    )
    proto = model([choice], {}, inputs=ROWS)
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    after, result = sparsified(proto, sparsity=0.5)
    assert len(result.actions) == 1
    assert [each.reason.split(":")[0] for each in result.declined] == ["a weight of another branch has its name"]
    feed = feeds(proto)[0]
    errors = []
    for flag in (True, False):
        (wanted,), (found,) = (outputs(each, [{**feed, "c": np.array(flag)}]) for each in (proto, after))
        errors.append(np.linalg.norm(wanted - found) / np.linalg.norm(wanted))
    assert min(errors) == 0
    assert 0 < max(errors) < 0.6


@pytest.mark.parametrize("pattern", ["9999999999x1", "1x9999999999", "1:99999999999999999999", "4x99999"])
def test_patterns_larger_than_any_weight(pattern: str) -> None:
    proto, shape = NETS["gemm"]
    share = {} if ":" in pattern else {"sparsity": 0.5}
    for given in (correlated(shape), None):
        after, _ = sparsified(proto, given, pattern=pattern, **share)
        for name in "wvu":
            zero = arrays(after)[name] == 0
            if ":" in pattern:
                assert not zero.any()
            elif pattern == "9999999999x1":  # whole columns
                assert (zero.all(axis=int(name != "w")) == zero.any(axis=int(name != "w"))).all()


def test_a_share_that_is_written_with_few_digits_is_that_of_the_pattern() -> None:
    proto = model(["MatMul x w -> y"], {"w": (42, 30)}, inputs={"x": ["N", 42]})
    after, _ = sparsified(proto, pattern="1:3", sparsity=0.667)
    assert (arrays(after)["w"] == 0).mean() == pytest.approx(2 / 3)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "above": ({"sparsity": 1.0}, "0.8"),
    "below": ({"sparsity": -0.1}, "0.8"),
    "no number": ({"sparsity": float("nan")}, "0.8"),
    "pattern": ({"pattern": "4:2"}, "2:4"),
    "pattern and share": ({"pattern": "2:4", "sparsity": 0.7}, "leave --sparsity out"),
    "blocks without a share": ({"pattern": "4x1"}, "--sparsity"),
    "blocks of few values": ({"pattern": "4x1", "values": "int8"}, "--sparsity"),
    "entries of no codebook": ({"entries": 8, "sparsity": 0.5}, "codebook"),
    "one entry": ({"entries": 1, "values": "codebook"}, "2 to 256"),
    "too many entries": ({"entries": 257, "values": "codebook"}, "2 to 256"),
}


@pytest.mark.parametrize("name", WRONG)
def test_options_that_cannot_be_met(name: str) -> None:
    options, mend = WRONG[name]
    with pytest.raises(InputError) as found:
        Sparsify(**options).run(loaded(two()), Context())
    assert mend in found.value.mend


def test_nothing_is_done_where_nothing_was_asked_for() -> None:
    for options in ({}, {"sparsity": 0.0}, {"sparsity": 0.0, "pattern": "4x1"}):
        result = assert_declines(loaded(two()), Sparsify(**options))
        assert [each.reason for each in result.declined] == ["no zeros and no few values were asked for"]


def search(allowed: float, *, max_drop: float = 0.01, selection: bool = True) -> tuple[Proto, PassResult]:
    """With a metric that falls from 1 where more than a share of the weights is zero."""
    proto, shape = NETS["gemm"]
    given = correlated(shape, 16)
    made = loaded(proto)
    wanted = outputs(proto, [each.feed for each in given])

    def metric(run: Any, some: Any) -> float:
        noise = signal = 0.0
        for sample, right in zip(some, wanted, strict=True):
            noise += float(np.square(run(sample.feed)["y"] - right).sum())
            signal += float(np.square(right).sum())
        return 1.0 - noise / signal / allowed * 0.01

    context = Context.of(samples=given, selection=given if selection else None, metric=metric, max_drop=max_drop)
    result = Sparsify().run(made, context)
    return onnx.ModelProto.FromString(to_bytes(made)), result


def test_the_metric_decides_how_many_zeros() -> None:
    shares = []
    for allowed in (0.01, 0.1):
        after, result = search(allowed)
        assert len(result.actions) == 3
        held = [arrays(after)[name] for name in ("w", "v", "u")]
        shares.append(sum(int((each == 0).sum()) for each in held) / sum(each.size for each in held))
    assert 0.15 < shares[0] < shares[1] - 0.1
    after, result = search(1e-9)
    assert not result.modified
    assert "no share of zeros keeps the metric" in [each.reason for each in result.declined]
    _, result = search(0.1, selection=False)
    assert [each.reason for each in result.declined] == ["there are too few samples to choose by the metric"]


def test_the_same_comes_out_twice() -> None:
    proto, shape = NETS["conv"]
    made = [sparsified(proto, correlated(shape, 12), sparsity=0.6, values="int4")[0] for _ in range(2)]
    assert made[0].SerializeToString() == made[1].SerializeToString()
    assert load(made[0].SerializeToString()).graph.name == proto.graph.name


def test_small_weights_get_as_few_values_as_cost_little() -> None:
    proto = model(["MatMul x w -> a", "MatMul a v -> y"], {"w": (40, 64), "v": (64, 12)}, inputs=ROWS)
    outlier = arrays(proto)["v"].copy()
    outlier[0] *= 30  # four bits are too few for the other numbers, eight are not
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(outlier, "v"))
    after, result = sparsified(proto, samples(proto, 20), values="int4")
    found = arrays(after)
    assert np.abs(found["w_quantized"]).max() <= 7 < np.abs(found["v_quantized"]).max()
    told = {each.site: each.detail.split(", ")[-1] for each in result.actions}
    assert told == {"w": "int4", "v": "int8"}
    unmeasured, result = sparsified(proto, None, values="int4", by="magnitude")
    assert set(arrays(unmeasured)) >= {"w_quantized", "v"}
    assert any("fewer than 1,024 numbers" in each.reason for each in result.declined)


def test_small_weights_keep_their_numbers_where_zeros_are_asked_for() -> None:
    proto = model(["MatMul x w -> a", "MatMul a v -> y"], {"w": (40, 64), "v": (64, 12)}, inputs=ROWS)
    after, result = sparsified(proto, samples(proto, 20), values="int4", sparsity=0.5)
    assert [each.site for each in result.actions] == ["w"]
    assert np.array_equal(arrays(after)["v"], arrays(proto)["v"])


def test_a_weight_of_few_numbers_a_row_is_left_alone() -> None:
    proto = model(["MatMul x w -> a", "MatMul v a -> y"], {"w": (40, 64), "v": (300, 1)}, inputs={"x": [1, 40]})
    _, result = sparsified(proto, samples(proto, 20), values="int8")
    assert [each.site for each in result.actions] == ["w"]  # scales would take what the codes save
