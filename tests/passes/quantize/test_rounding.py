"""Weights rounded for what they multiply: the same graph, other integers, smaller errors of the outputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from models_zoo import get
from onnxslim.calibration import Gram
from onnxslim.calibration.stream import WORKSPACE
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import open_session
from onnxslim.graph import load
from onnxslim.linalg import compensate, output_errors
from onnxslim.ops.contraction import Contraction
from onnxslim.ops.unfold import Unfold
from onnxslim.passes.quantize.grid import weight_grid
from onnxslim.passes.quantize.rounding import Rounded, Rounding, round_for
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context, PassResult, Store
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import with_weights

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32,6,6] x, %s) => (%s) { %s }'
BODIES = {
    "Conv": ("float[16,32,3,3] w", (16, 32, 3, 3), "c = Conv <pads = [1, 0, 0, 1]> (x, w) y = Sin(c)"),
    "groups": ("float[16,8,3,3] w", (16, 8, 3, 3), "c = Conv <group = 4> (x, w) y = Sin(c)"),
    "depthwise": ("float[64,1,5,5] w", (64, 1, 5, 5), "c = Conv <group = 32> (x, w) y = Sin(c)"),
    "Gemm": ("float[72,16] w", (72, 16), "r = Reshape(x, rows) c = Gemm(r, w) y = Sin(c)"),
    "transposed": ("float[16,72] w", (16, 72), "r = Reshape(x, rows) c = Gemm <transB = 1> (r, w) y = Sin(c)"),
    "MatMul": ("float[36,32] w", (36, 32), "r = Reshape(x, table) c = MatMul(r, w) y = Sin(c)"),
    "1x1": ("float[16,32,1,1] w", (16, 32, 1, 1), "c = Conv(x, w) y = Sin(c)"),
}
COMPENSATED = QuantizeStatic(rounding="compensated", weights_only=True)


def correlated(count: int, seed: int, start: int = 0) -> list[Sample]:
    """Smooth images whose channels go together, not centred, as activations are."""
    mix = np.random.default_rng(7).normal(size=(32, 32)) / 6
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        x = np.einsum("ij,njhw->nihw", mix, rng.normal(size=(2, 32, 7, 7)))
        x = x[:, :, 1:, 1:] + x[:, :, :-1, 1:] + x[:, :, 1:, :-1] + x[:, :, :-1, :-1]
        found.append(Sample(str(start + number), {"x": np.maximum(x + 0.5, 0).astype(np.float32)}))
    return found


NOTHING = Sample("nothing", {"x": np.zeros((2, 32, 6, 6), np.float32)})
ALONE = [Sample(str(i), {"x": np.eye(32, 36, dtype=np.float32).reshape(1, 32, 6, 6)}) for i in range(2)]
CALIBRATION, UNSEEN = correlated(32, 1), correlated(32, 2, 100)


def net(name: str) -> ir.Model:
    inputs, shape, body = BODIES[name]
    for shaped, sizes in (("rows", (-1, 72)), ("table", (-1, 32, 36))):
        body = body.replace(
            f"r = Reshape(x, {shaped})",
            f"{shaped} = Constant <value_ints = [{', '.join(map(str, sizes))}]> () r = Reshape(x, {shaped})",
        )
    rank = 4 if len(shape) == 4 else 3 if name == "MatMul" else 2
    return with_weights(HEAD % (inputs, f"float[{','.join('ABCD'[:rank])}] y", body), {"w": shape})


def noise(model: ir.Model, other: ir.Model, data: Sequence[Sample], output: str = "c") -> float:
    """Squared error of a contraction's own output, as onnxruntime computes it."""
    sessions = []
    for each in (model, other):
        probe = each.clone()
        probe.graph.outputs.append(next(v for node in probe.graph for v in node.outputs if v.name == output))
        sessions.append(open_session(probe))
    a, b = sessions
    return sum(float(np.square(a.run(s.feed)[output] - b.run(s.feed)[output]).sum()) for s in data)


def run(
    model: ir.Model, instance: QuantizeStatic, data: Sequence[Sample] = CALIBRATION, memory: int = 1 << 30
) -> tuple[ir.Model, PassResult]:
    clone = model.clone()
    return clone, instance.run(clone, Context.of(samples=list(data), memory=memory))


def stored(model: ir.Model, name: str = "w_quantized") -> np.ndarray:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


@pytest.fixture(autouse=True)
def _small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.passes.quantize.weights_only.LEAST", 1)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("per_tensor", [False, True])
def test_outputs_of_onnxruntime_err_less_also_on_unseen_samples(name: str, per_tensor: bool) -> None:
    model = net(name)
    plain, _ = run(model, replace(COMPENSATED, rounding="nearest", per_tensor=per_tensor))
    swept, outcome = run(model, replace(COMPENSATED, per_tensor=per_tensor))
    assert not [each for each in outcome.declined if each.rule == "compensate"]
    assert "rounding errs" in outcome.actions[0].detail
    assert [node.op_type for node in swept.graph] == [node.op_type for node in plain.graph]
    assert np.array_equal(stored(swept, "w_quantized_scale"), stored(plain, "w_quantized_scale"))
    assert stored(swept).dtype == np.int8
    assert not np.array_equal(stored(swept), stored(plain))
    for data in (CALIBRATION, UNSEEN):
        assert noise(model, swept, data) < 0.7 * noise(model, plain, data)


def test_no_row_is_worse_than_the_nearest_and_at_four_bits_all_are_much_better() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(40, 40)) * np.exp(-np.arange(40) / 8)[:, np.newaxis] + 0.1 * np.eye(40)
    weight = rng.normal(size=(40, 24)).astype(np.float32)
    grams = []
    for _ in range(3):
        gram = Gram(Unfold(40))
        gram.add((rng.normal(size=(500, 40)) @ mix).astype(np.float32), 0)
        grams.append(gram.matrix)
    for bits in (4, 8):
        grid = weight_grid(weight, 1, bits=bits)
        rounded = round_for(
            weight, Contraction("Gemm", weight.shape, output_axis=1, input_axis=0), grid, (grams[0], grams[1])
        )
        assert rounded is not None
        assert np.abs(rounded.integers).max() <= grid.high
        deltas = [(weight - grid.dequantize(each)).T for each in (rounded.integers, grid.quantize(weight))]
        swept, plain = (output_errors(delta, grams[0][0] + grams[1][0]) for delta in deltas)
        assert (swept <= plain).all()
        unseen, nearest = (output_errors(delta, grams[2][0]).sum() for delta in deltas)
        assert unseen < nearest / 5
        assert rounded.gain == pytest.approx(10 * np.log10(nearest / unseen), abs=1)


def test_where_nothing_is_correlated_the_nearest_are_kept() -> None:
    weight = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    even = np.eye(6)[np.newaxis]
    assert round_for(weight, Contraction("Gemm", (8, 6), 0, 1), weight_grid(weight, 0), (even, even)) is None


def test_what_only_fits_the_samples_is_found_out() -> None:
    """Independent features, fewer rows than these: the sweep alone would make unseen rows worse."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 100, 200))
    first, second, unseen = np.einsum("srf,srg->sfg", x, x)
    weight = rng.normal(size=(64, 200)).astype(np.float32)
    grid = weight_grid(weight, 0)
    plain = output_errors(weight - grid.dequantize(grid.quantize(weight)), unseen).sum()
    alone = compensate(weight, first + second, lambda v, _: np.rint(v / grid.scale) * grid.scale)
    assert output_errors(weight - alone, unseen).sum() > 1.2 * plain
    rounded = round_for(weight, Contraction("Gemm", (64, 200), 0, 1), grid, (first[np.newaxis], second[np.newaxis]))
    kept = grid.quantize(weight) if rounded is None else rounded.integers
    assert output_errors(weight - grid.dequantize(kept), unseen).sum() < 1.1 * plain


def test_channels_whose_scale_a_bias_raised_are_rounded_to_the_nearest() -> None:
    node = net("transposed").graph[2]
    weight = np.random.default_rng(0).normal(size=(16, 72)).astype(np.float32)
    grid = weight_grid(weight, 0)
    others = np.full(weight.shape, 5, np.int8)
    rounding = Rounding({("w", 0): Rounded(grid, others, 1.0)})
    raised = weight_grid(weight, 0, floor=np.where(np.arange(16) == 3, 1.0, 0.0))
    found = rounding.integers(node, weight, raised)
    assert np.array_equal(found[3], raised.quantize(weight)[3])
    assert (np.delete(found, 3, axis=0) == 5).all()
    whole = Rounding({("w", 0): Rounded(weight_grid(weight, None), others, 1.0)})
    assert (whole.integers(node, weight, weight_grid(weight, None)) == 5).all()
    assert np.array_equal(whole.integers(node, weight, weight_grid(weight, None, floor=np.array(1.0))), np.rint(weight))


def test_the_bias_takes_back_what_the_integers_that_were_chosen_do() -> None:
    model = net("groups")
    instance = QuantizeStatic(rounding="compensated", keep_slow=True, operators=("Conv",))
    result, outcome = run(model, instance)
    assert "rounding errs" in outcome.actions[0].detail
    swept = stored(result).astype(np.float64) * stored(result, "w_quantized_scale").reshape(-1, 1, 1, 1)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    mean = np.mean([s.feed["x"].mean(axis=(0, 2, 3), dtype=np.float64) for s in CALIBRATION], axis=0)
    per_input = (swept - tensor.numpy()).sum(axis=(2, 3))
    shift = (per_input * np.repeat(mean.reshape(4, 8), 4, axis=0)).sum(axis=1)
    step = stored(result, "c_quantized_1_scale").astype(np.float64)
    error = np.abs(stored(result, "c_quantized_1") * step + shift)
    assert (error < step).all()
    assert np.abs(shift).max() > 10 * step.max()


SHARED = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,32,6,6] x, float[16,32,1,1] w)
    => (float[N,16,6,6] y) {
    s = Sigmoid(x) c = Conv(x, w) d = Conv(s, w) y = Add(c, d)
}"""


def test_a_weight_of_two_readers_is_stored_once_and_rounded_for_both() -> None:
    model = with_weights(SHARED, {"w": (16, 32, 1, 1)})
    plain, _ = run(model, replace(COMPENSATED, rounding="nearest"))
    # So little memory that the two Gram matrices are measured one after the other.
    (swept, _), (tight, outcome) = run(model, COMPENSATED), run(model, COMPENSATED, memory=WORKSPACE + 300_000)
    assert not [each for each in outcome.declined if each.rule == "compensate"]
    assert list(swept.graph.initializers) == list(plain.graph.initializers)
    assert np.array_equal(stored(swept), stored(tight))
    c, d = ([noise(model, each, UNSEEN, output) for each in (swept, plain)] for output in "cd")
    assert c[0] + d[0] < 0.7 * (c[1] + d[1])


def test_a_weight_of_which_one_reader_tells_nothing_is_rounded_to_the_nearest() -> None:
    text = SHARED.replace("s = Sigmoid(x)", "n = Neg(x) s = Relu(n)")  # zero: the samples are not negative
    for body in (text, text.replace("c = Conv(x, w) d = Conv(s, w)", "d = Conv(s, w) c = Conv(x, w)")):
        model = with_weights(body, {"w": (16, 32, 1, 1)})
        plain, _ = run(model, replace(COMPENSATED, rounding="nearest"))
        result, outcome = run(model, COMPENSATED)
        reasons = [each.reason for each in outcome.declined if each.rule == "compensate"]
        assert reasons == ["what its weight multiplies is zero on half of the samples"] * 2
        assert np.array_equal(stored(result), stored(plain))


def test_a_weight_of_contractions_in_different_groups_is_rounded_to_the_nearest() -> None:
    text = SHARED.replace("c = Conv(x, w)", "h, k = Split <axis = 1> (x) c = Conv(h, w)")
    text = text.replace("d = Conv(s, w)", "d = Conv <group = 2> (s, w)").replace("16,32,1,1", "16,16,1,1")
    model = with_weights(text, {"w": (16, 16, 1, 1)})
    plain, _ = run(model, replace(COMPENSATED, rounding="nearest"))
    result, outcome = run(model, COMPENSATED)
    reasons = [each.reason for each in outcome.declined if each.rule == "compensate"]
    assert reasons == ["contractions of different groups read its weight"] * 2
    assert np.array_equal(stored(result), stored(plain))


@pytest.mark.parametrize(
    ("name", "data", "memory", "reason"),
    [
        ("Conv", CALIBRATION[:1], 1 << 30, "one sample cannot tell what is better"),
        ("Conv", [NOTHING, *CALIBRATION[:1]], 1 << 30, "is zero on half of the samples"),
        ("Conv", CALIBRATION, WORKSPACE + 1000, "needs .* bytes, 500 of the memory budget are free"),
        ("1x1", ALONE, 1 << 30, "is no better on the other half"),
    ],
)
def test_what_cannot_be_compensated_is_rounded_to_the_nearest_with_a_reason(
    name: str, data: list[Sample], memory: int, reason: str
) -> None:
    model = net(name)
    plain, _ = run(model, replace(COMPENSATED, rounding="nearest"))
    result, outcome = run(model, COMPENSATED, data, memory)
    (said,) = [each.reason for each in outcome.declined if each.rule == "compensate"]
    assert re.search(reason, said), said
    assert np.array_equal(stored(result), stored(plain))


def test_a_depthwise_channel_that_is_always_zero_leaves_the_others_compensated() -> None:
    model = net("depthwise")
    mask = (np.arange(32) != 2).astype(np.float32).reshape(-1, 1, 1)
    data = [Sample(s.id, {"x": s.feed["x"] * mask}) for s in CALIBRATION]
    plain, _ = run(model, replace(COMPENSATED, rounding="nearest"))
    swept, _ = run(model, COMPENSATED, data)
    differs = (stored(swept) != stored(plain)).reshape(32, -1).any(axis=1)
    assert not differs[2]
    assert differs.sum() > 24


def test_a_replay_measures_nothing_again() -> None:
    model, said = net("Conv"), list[str]()
    store = Store()
    COMPENSATED.run(model.clone(), Context.of(samples=CALIBRATION, store=store, progress=said.append))
    assert said[0] == "measure what 1 weights multiply, and round them for it"
    first = len(said)
    COMPENSATED.run(model.clone(), Context.of(samples=CALIBRATION, store=store, progress=said.append))
    assert len(said) == first


@pytest.mark.parametrize(("weights_only", "gain"), [(False, -0.3), (True, 1.0)])
def test_a_real_model_keeps_its_graph_and_its_outputs(weights_only: bool, gain: float) -> None:
    entry = get("digits_cnn")
    model = load(entry.path())
    data = list(entry.samples("calibration").first(64))
    reference = Reference(model, [s.feed for s in entry.samples("report").first(100)], tier=Tier.LOSSY, threads=1)
    plain, swept = (
        run(model, QuantizeStatic(search=False, rounding=each, weights_only=weights_only), data)[0]
        for each in ("nearest", "compensated")
    )
    assert Counter(n.op_type for n in swept.graph) == Counter(n.op_type for n in plain.graph)
    assert {n: v.shape for n, v in swept.graph.initializers.items()} == {
        n: v.shape for n, v in plain.graph.initializers.items()
    }
    before, after = (min(f.sqnr_db for f in reference.check(each).fidelity) for each in (plain, swept))
    assert after > before + gain
