"""LSTMs become onnxruntime's int8 ones wherever they lie; those that cannot or must not stay float with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import models_zoo
from onnxslim.execution import host_target, open_session
from onnxslim.graph import load, parse, to_bytes
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.walk import nodes
from onnxslim.passes.quantize import lstm, quantize_lstm
from onnxslim.passes.quantize.lstm import families
from onnxslim.passes.quantize.quantize_lstm import LstmPlan, QuantizeLstm
from onnxslim.pipeline import Context, PassResult, Pipeline, RunConfig, get_pass
from onnxslim.pipeline.plan import decode, encode
from onnxslim.samples import Sample
from tests.nearness import sqnr_db

LENGTH, BATCH, INPUT, HIDDEN = 5, 2, 6, 4
LSTM = "LSTM <hidden_size = 4> (x, w, r)"
NET = """
<ir_version: 8, opset_import: ["" : %d]>
g (float[L,N,6] x%s) => (%s) { %s }
"""
Shapes = Mapping[str, tuple[int, ...]]


def weights(directions: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of an LSTM."""
    rows = 4 * HIDDEN
    return {
        "w": (directions, rows, INPUT),
        "r": (directions, rows, HIDDEN),
        "b": (directions, 2 * rows),
        "p": (directions, 3 * HIDDEN),
    }


def net(body: str, shapes: Shapes, outputs: str = "float y", inputs: str = "", opset: int = 14) -> ir.Model:
    """A model whose inputs in ``shapes`` are random weights."""
    given = "".join(f", float[{','.join(map(str, shape))}] {name}" for name, shape in shapes.items())
    model = parse(NET % (opset, given + inputs, outputs, body))
    rng = np.random.default_rng(5)
    for value in [value for value in model.graph.inputs if value.name in shapes]:
        model.graph.inputs.remove(value)
        array = rng.normal(size=shapes[value.name or ""]) / np.sqrt(HIDDEN)
        value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    return model


def data_of(model: ir.Model, count: int = 4, scale: float = 1.0) -> list[Sample]:
    """Random inputs; integers are lengths of sequences."""
    rng = np.random.default_rng(3)
    sizes = {"L": LENGTH, "N": BATCH}

    def array(value: ir.Value) -> np.ndarray:
        shape = [sizes.get(str(dim), dim if isinstance(dim, int) else 1) for dim in value.shape or ()]
        if value.dtype == ir.DataType.BOOL:
            return np.array(True)
        if value.dtype == ir.DataType.INT32:
            return rng.integers(1, LENGTH + 1, shape).astype(np.int32)
        return np.asarray(scale * rng.normal(size=shape)).astype(np.float32)

    wanted = [value for value in model.graph.inputs if not value.is_initializer()]
    return [Sample(str(i), {value.name or "": array(value) for value in wanted}) for i in range(count)]


def run(model: ir.Model, data: list[Sample] | None = None, **given: Any) -> tuple[ir.Model, PassResult]:
    """The model after the pass, which takes what it can within the error budget."""
    result = model.clone()
    options = {"samples": data_of(model) if data is None else data, "ops": "onnxruntime", "bench": False, **given}
    return result, QuantizeLstm(keep_slow=True).run(result, Context.of(**options))


def kinds(model: ir.Model) -> Counter[str]:
    return Counter(f"{node.domain}.{node.op_type}" for node in nodes(model) if "LSTM" in node.op_type)


def quality(original: ir.Model, candidate: ir.Model, data: list[Sample]) -> float:
    """dB of the worst output."""
    a, b = open_session(original), open_session(candidate)
    pairs = [(a.run(sample.feed), b.run(sample.feed)) for sample in data]
    return min(sqnr_db(*(np.stack([each[side][name] for each in pairs]) for side in (0, 1))) for name in pairs[0][0])


def reasons(result: PassResult) -> str:
    return "; ".join(each.reason for each in result.declined)


FORMS: dict[str, tuple[int, int, str, str]] = {
    "bare": (7, 1, "", "x, w, r"),
    "no bias, one state": (14, 1, "", 'x, w, r, "", "", "", c'),
    "both ways, all inputs": (14, 2, ', direction = "bidirectional"', "x, w, r, b, l, h, c, p"),
    "reverse, lengths, layout 0": (22, 1, ', direction = "reverse", layout = 0', "x, w, r, b, l"),
    "peepholes and clip": (11, 1, ", clip = 0.5", 'x, w, r, b, "", "", "", p'),
    "coupled gates": (14, 1, ", input_forget = 1", "x, w, r, b"),
    "other activations": (
        14,
        1,
        ', activations = ["HardSigmoid", "Softsign", "Relu"], activation_alpha = [0.3], activation_beta = [0.4]',
        "x, w, r, b",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_its_inputs_its_attributes_and_its_outputs(form: str) -> None:
    opset, directions, attributes, inputs = FORMS[form]
    names = [each.strip() for each in inputs.replace('"', "").split(",")]
    fed = {"l": "int32[N] l", "h": f"float[{directions},N,4] h", "c": f"float[{directions},N,4] c"}
    model = net(
        f"y, z, v = LSTM <hidden_size = 4{attributes}> ({inputs})",
        {name: shape for name, shape in weights(directions).items() if name in names},
        "float y, float z, float v",
        "".join(f", {text}" for name, text in fed.items() if name in names),
        opset,
    )
    data = data_of(model)
    found, result = run(model, data)
    (node,) = found.graph
    assert (node.domain, node.op_type) == ("com.microsoft", "DynamicQuantizeLSTM")
    assert [each.outputs for each in result.actions] == [("y",)]
    before = next(iter(model.graph))
    kept = {name: attribute.value for name, attribute in before.attributes.items() if name != "layout"}
    assert {name: attribute.value for name, attribute in node.attributes.items()} == kept
    assert [x and x.name for x in node.inputs[3:8]] == [name or None for name in [*names[3:], *[""] * (8 - len(names))]]
    shapes = {at: tuple(constant_tensor(node.inputs[at]).shape.numpy()) for at in (1, 2, 8, 9, 10, 11)}  # type: ignore[union-attr]
    rows = (directions, 16)
    assert shapes == {1: (directions, 6, 16), 2: (directions, 4, 16), 8: rows, 9: rows, 10: rows, 11: rows}
    assert not {"w", "r"} & set(found.graph.initializers)
    assert found.opset_imports == {"": opset, "com.microsoft": 1}
    assert quality(model, found, data) > 30


def test_lstms_in_bodies_change_with_weights_around_and_with_constants_of_their_own() -> None:
    numbers = ", ".join(f"{x / 7 - 0.3:g}" for x in range(4))
    shapes = {"w": (1, 16, 6), "r": (1, 16, 4)}
    model = net(
        f"""
        n = Constant <value = int64 {{3}}> ()
        s = Sigmoid(x)
        y = If (k) <
            then_branch = t () => (float a) {{ a = {LSTM} }},
            else_branch = e () => (float a) {{ a = {LSTM.replace("(x", "(s")} }}
        >
        z = Loop (n, "", f) <
            body = b (int64 i, bool on, float[1,1,1] u) => (bool go, float[1,1,1] q) {{
                go = Identity(on)
                m = Constant <value = float[1,4,1] {{{numbers}}}> ()
                d, q = LSTM <hidden_size = 1> (u, m, m)
            }}
        >
        """,
        shapes,
        "float y, float[1,1,1] z",
        ", bool k, float[1,1,1] f",
    )
    data = data_of(model)
    for sample in data[::2]:
        sample.feed["k"] = np.array(False)
    found, result = run(model, data)
    assert kinds(found) == {"com.microsoft.DynamicQuantizeLSTM": 3}
    assert {each.outputs for each in result.actions} == {("y.then_branch/a", "y.else_branch/a"), ("z.body/d",)}
    held = {value.dtype for graph in found.graphs() for value in graph.initializers.values()}
    assert held == {ir.DataType.INT8, ir.DataType.FLOAT}
    assert sum(node.op_type == "Constant" for node in nodes(found)) == 1  # the number of turns
    assert quality(model, found, data) > 30


def test_what_no_sample_reaches_stays_float() -> None:
    shapes = {"w": (1, 16, 6), "r": (1, 16, 4), "w2": (1, 16, 6), "r2": (1, 16, 4)}
    other = LSTM.replace("w, r", "w2, r2")
    branches = f"then_branch = t () => (float a) {{ a = {LSTM} }}, else_branch = e () => (float a) {{ a = {other} }}"
    model = net(f"y = If (k) <{branches}>", shapes, inputs=", bool k")
    found, result = run(model)
    assert kinds(found) == {"com.microsoft.DynamicQuantizeLSTM": 1, ".LSTM": 1}
    assert [(each.site, each.reason) for each in result.declined] == [
        ("y.else_branch/LSTM a", "it moves no output on any sample, so that its error is not known")
    ]


def test_shared_weights_are_stored_once_and_stay_where_another_needs_them() -> None:
    shapes = {"w": (1, 16, 6), "r": (1, 16, 4), "v": (1, 16, 6)}
    text = f"y = {LSTM} q = Neg(x) z = {LSTM.replace('(x, w', '(q, v')} %s"
    model = net(text % "", shapes, "float y, float z")
    data = data_of(model)
    found, result = run(model, data)
    assert [each.outputs for each in result.actions] == [("y", "z")]
    integers = [value for value in found.graph.initializers.values() if value.dtype == ir.DataType.INT8]
    assert len(integers) == 4  # w, r, v and the zero points
    assert quality(model, found, data) > 30
    found, result = run(net(text % "u = Neg(r)", shapes, "float y, float z, float u"))
    assert not result.modified
    assert set(reasons(result).split("; ")) == {"its weights are used by Neg u too"}


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        ("y = LSTM <hidden_size = 4, layout = 1> (x, w, r)", 14, "layout 1"),
        ("v = Neg(w) y = LSTM <hidden_size = 4> (x, v, r)", 14, "W is computed"),
        ("y = LSTM <hidden_size = 4, odd = 1> (x, w, r)", 14, "no attribute 'odd'"),
        ('y = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r)', 14, "do not fit"),
        (f"y = {LSTM}", 6, "from opset 7 on"),
    ],
)
def test_forms_that_the_operator_lacks_stay(body: str, opset: int, reason: str) -> None:
    model = net(body, {"w": (1, 16, 6), "r": (1, 16, 4)}, opset=opset)
    found, result = run(model)
    assert kinds(found) == kinds(model)
    assert reason in reasons(result)


def test_other_types_odd_numbers_and_weights_of_a_caller_stay() -> None:
    model = net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)})
    value = model.graph.initializers["w"]
    array = constant_tensor(value).numpy()  # type: ignore[union-attr]
    for made, reason in (
        (array.astype(np.float16), "W is float16"),
        (array.astype(np.float64), "W is double"),
        (np.where(array == array.max(), np.nan, array), "W holds NaN"),
    ):
        value.const_value = ir.tensor(made, name="w")
        assert families(model)[0] == []
        assert reason in families(model)[1][0][1]
    value.const_value = ir.tensor(array, name="w")
    assert len(families(model)[0]) == 1
    model.graph.inputs.append(value)
    assert "may be replaced by a caller" in families(model)[1][0][1]


def test_an_lstm_in_a_function_stays() -> None:
    model = parse("""
        <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[L,N,6] x, float[1,16,6] w, float[1,16,4] r) => (float y) { y = own.f(x, w, r) }
        <domain: "own", opset_import: ["" : 17]>
        f (x, w, r) => (y) { y = LSTM <hidden_size = 4> (x, w, r) }
    """)
    found, result = run(model)
    assert kinds(found) == {".LSTM": 1}
    assert "in a function" in reasons(result)


def test_standard_operators_are_the_default_and_the_reason_names_the_option() -> None:
    model = net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)})
    found, result = run(model, ops="standard")
    assert to_bytes(found) == to_bytes(model)
    assert [each.reason for each in result.declined] == ["--ops onnxruntime would run 160 weights in int8"]


def test_without_timing_small_layers_stay() -> None:
    model = net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)})
    result = QuantizeLstm().run(model, Context.of(samples=data_of(model), ops="onnxruntime", bench=False))
    assert [each.reason for each in result.declined] == ["4 hidden units are too few for int8 to be faster by rule"]


def test_the_noisiest_goes_where_all_together_cost_too_much() -> None:
    shapes = {"w": (1, 16, 6), "r": (1, 16, 4), "v": (1, 16, 6), "q": (1, 16, 4), "e": (6,)}
    model = net(f"y = {LSTM} h = Mul(x, e) z = LSTM <hidden_size = 4> (h, v, q)", shapes, "float y, float z")
    model.graph.initializers["e"].const_value = ir.tensor(np.array([1, 1, 1, 1, 1, 300], np.float32), name="e")
    column = constant_tensor(model.graph.initializers["v"]).numpy().copy()  # type: ignore[union-attr]
    column[:, :, 5] = 0  # it reads nothing of the large numbers, and they take all of the grid
    model.graph.initializers["v"].const_value = ir.tensor(column, name="v")
    data = data_of(model)
    found, result = run(model, data)
    assert [each.outputs for each in result.actions] == [("y",)]
    assert "must keep 30.0" in reasons(result)
    assert quality(model, found, data) > 30


def test_a_metric_rejects_what_the_outputs_would_allow() -> None:
    model = net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)})
    data = data_of(model)
    wanted = [open_session(model).run(sample.feed)["y"] for sample in data]

    def same(run: Any, samples: Any) -> float:
        pairs = zip(samples, wanted, strict=True)
        return float(np.mean([np.allclose(run(sample.feed)["y"], y, atol=1e-5) for sample, y in pairs]))

    _, result = run(model, data, metric=same)
    assert "the score is 0, and must be 0.99" in reasons(result)


def test_lengths_that_it_decides_do_not_change() -> None:
    body = f"t = {LSTM} k = Constant <value = float {{0.0}}> () o = Greater(t, k) y = NonZero(o)"
    model = net(body, {"w": (1, 16, 6), "r": (1, 16, 4)}, "int64 y")
    found, result = run(model, data_of(model, 32))
    assert kinds(found) == {".LSTM": 1}
    assert "decide a length" in reasons(result)


def test_the_plan_is_names_and_holds_for_a_clone() -> None:
    model = net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)})
    context = Context.of(samples=data_of(model), ops="onnxruntime", bench=False, target="x86-avx2")
    plan = QuantizeLstm(keep_slow=True).plan(model, context)
    arrays: list[np.ndarray] = []
    read = decode(encode(plan, arrays), arrays, {"LstmPlan": LstmPlan})
    assert read == plan
    assert (plan.families, plan.bits) == ((("y",),), 7)
    copy = model.clone()
    QuantizeLstm().apply(copy, read, Context())
    integers = next(iter(copy.graph)).inputs[1]
    assert np.abs(constant_tensor(integers).numpy()).max() == 63  # type: ignore[union-attr]
    refused = frozenset(each.key for each in QuantizeLstm().apply(model.clone(), read, Context()).actions)
    assert run(model, refused=refused)[1].declined[0].reason == "a check failed with this rewrite"


def test_a_real_net_with_its_shapes_its_work_and_its_outputs() -> None:
    entry = models_zoo.get("silero_vad_16k_op15")
    data = list(entry.samples("calibration").first(12))
    slim = Pipeline([get_pass("slim")()]).run(load(entry.path())).model
    config = RunConfig(ops="onnxruntime", bench=False)
    outcome = Pipeline([QuantizeLstm(keep_slow=True)], config, data, data).run(slim)
    if host_target().reduce_range:  # 7 bits, or products that saturate: the outputs do not allow it, and it says so
        assert kinds(outcome.model) == {".LSTM": 1}
        (reason,) = [each.reason for step in outcome.steps for each in step.result.declined]
        assert "with it the worst part keeps" in reason
        return
    assert kinds(outcome.model) == {"com.microsoft.DynamicQuantizeLSTM": 1}
    assert len(to_bytes(outcome.model)) < 0.7 * len(to_bytes(slim))
    assert quality(slim, outcome.model, data) > 30


@pytest.mark.parametrize(("times", "kept"), [([0.9, 1.2], ["y"]), ([0.9, 0.8, 0.7], ["y", "z"]), ([1, 1, 1], [])])
def test_what_is_measured_to_be_slower_stays_float(
    times: list[float], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"w": (1, 16, 6), "r": (1, 16, 4), "v": (1, 16, 6), "q": (1, 16, 4)}
    model = net(f"y = {LSTM} z = LSTM <hidden_size = 4> (x, v, q)", shapes, "float y, float z")
    left = list(times)

    def timed(models: list[ir.Model], *_: Any, **__: Any) -> list[float]:
        return [1.0, *(left.pop(0) for _ in models[1:])]

    monkeypatch.setattr(quantize_lstm, "rank_latency", timed)
    result = QuantizeLstm().run(model, Context.of(samples=data_of(model), ops="onnxruntime"))
    assert [each.outputs[0] for each in result.actions] == kept
    assert left == []
    assert all("int8 is no faster" in each.reason for each in result.declined)
    assert len(result.declined) == 2 - len(kept)


def test_what_onnxruntime_does_not_run_in_int8_stays_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstm, "DYNAMIC_LSTM", "NoLstm")
    _, result = run(net(f"y = {LSTM}", {"w": (1, 16, 6), "r": (1, 16, 4)}))
    assert not result.modified
    assert "onnxruntime does not run it in int8" in reasons(result)
