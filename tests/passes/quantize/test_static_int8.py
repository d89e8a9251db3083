"""What static quantization inserts becomes int8 kernels, and what it cannot do it leaves alone with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import InputError
from onnxslim.execution import TARGETS, open_session, optimized_graph
from onnxslim.graph import parse, to_bytes
from onnxslim.ops.int8 import CONTRACTIONS, Int8Kernel
from onnxslim.passes.quantize import group
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context, PassResult
from onnxslim.samples import Sample
from tests.nearness import sqnr_db


def with_weights(text: str, shapes: Mapping[str, tuple[int, ...]]) -> ir.Model:
    """The model of the text; inputs named in ``shapes`` become initializers with random weights."""
    model, generator = parse(text), np.random.default_rng(2)  # the same whichever tests ran before
    for name, shape in shapes.items():
        value = next(value for value in model.graph.inputs if value.name == name)
        model.graph.inputs.remove(value)
        fan = int(np.prod(shape[1:])) or 1
        value.const_value = ir.tensor((generator.normal(size=shape) / np.sqrt(fan)).astype(np.float32), name=name)
        model.graph.register_initializer(value)
    return model


def samples(shape: tuple[int, ...], count: int = 8) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [Sample(str(i), {"x": rng.normal(size=shape).astype(np.float32)}) for i in range(count)]


CNN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,16,8,8] x, float[32,16,3,3] w1, float[32] b1, float[64,32,1,1] w2, float[64,10] w3, float[10] b3)
    => (float[N,10] y)
{
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv(r1, w2)
    r2 = Relu(c2)
    p = GlobalAveragePool(r2)
    f = Flatten(p)
    y = Gemm(f, w3, b3)
}
"""
CNN_SHAPES = {"w1": (32, 16, 3, 3), "b1": (32,), "w2": (64, 32, 1, 1), "w3": (64, 10), "b3": (10,)}
IMAGES = samples((2, 16, 8, 8))


def quantized(
    model: ir.Model, data: list[Sample], instance: QuantizeStatic | None = None, target: str | None = None
) -> tuple[ir.Model, PassResult]:
    clone = model.clone()
    result = replace(instance or QuantizeStatic(), search=False).run(clone, Context.of(samples=data, target=target))
    return clone, result


def kernels(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in optimized_graph(model).graph.node)


def quality(original: ir.Model, candidate: ir.Model, data: list[Sample]) -> float:
    a, b = open_session(original), open_session(candidate)
    outputs = [(a.run(s.feed)["y"], b.run(s.feed)["y"]) for s in data]
    return sqnr_db(np.concatenate([o for o, _ in outputs]), np.concatenate([o for _, o in outputs]))


def test_a_cnn_runs_in_int8_kernels_and_keeps_its_outputs() -> None:
    model = with_weights(CNN, CNN_SHAPES)
    result_model, result = quantized(model, IMAGES)
    assert {action.outputs[0] for action in result.actions} == {"c1", "c2", "y"}
    found = kernels(result_model)
    assert found["QLinearConv"] == 2
    assert found["QGemm"] == 1
    assert found["Conv"] == found["FusedConv"] == found["Gemm"] == found["Relu"] == 0
    assert quality(model, result_model, IMAGES) > 25
    assert len(to_bytes(result_model)) < len(to_bytes(model)) / 2


def test_weights_are_int8_per_channel_and_the_float_ones_are_gone() -> None:
    result_model, _ = quantized(with_weights(CNN, CNN_SHAPES), IMAGES)
    tensors = {name: value.const_value for name, value in result_model.graph.initializers.items()}
    assert not set(CNN_SHAPES) & set(tensors)
    weight, scale = tensors["w1_quantized"], tensors["w1_quantized_scale"]
    assert weight is not None
    assert scale is not None
    assert weight.dtype == ir.DataType.INT8
    assert scale.shape == (32,)
    assert tensors["b1_quantized"].dtype == ir.DataType.INT32  # type: ignore[union-attr]


def test_the_output_of_a_matmul_stays_float() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,5,32] x, float[32,24] w, float[24] b) => (float[N,5,24] y) {
        m = MatMul(x, w)
        a = Add(m, b)
        y = Tanh(a)
    }
    """
    data = samples((2, 5, 32))
    model = with_weights(text, {"w": (32, 24), "b": (24,)})
    result_model, _ = quantized(model, data)
    assert kernels(result_model)["MatMulIntegerToFloat"] == 1
    assert Counter(n.op_type for n in result_model.graph)["QuantizeLinear"] == 1
    assert quality(model, result_model, data) > 25


def test_float_readers_of_a_float_value_keep_it_and_readers_of_an_int8_one_share_it() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,32,8,8] x, float[32,32,3,3] w) => (float[N,32,8,8] y) {
        e = Exp(x)
        c = Conv <pads = [1, 1, 1, 1]> (e, w)
        s = Sigmoid(c)
        t = Tanh(c)
        u = Add(s, t)
        y = Add(u, e)
    }
    """
    model = with_weights(text, {"w": (32, 32, 3, 3)})
    result_model, _ = quantized(model, samples((1, 32, 8, 8)))
    producer = {v.name: n for n in result_model.graph for v in n.outputs}
    readers = {n.op_type: n.inputs for n in result_model.graph}
    assert producer["y"].inputs[1].name == "e"  # type: ignore[union-attr]
    assert readers["Sigmoid"][0] is readers["Tanh"][0]
    assert readers["Tanh"][0].producer().op_type == "DequantizeLinear"  # type: ignore[union-attr]
    assert kernels(result_model)["QLinearConv"] == 1


HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,32,8,8] x, float[32,1,3,3] deep, float[32,3,3,3] stem, float[32,32,1,1] plain, float[2048,16] flat)
    => (%s y)
{
    zero = Constant <value_ints = [0]> ()
    three = Constant <value_ints = [3]> ()
    one = Constant <value_ints = [1]> ()
    rgb = Slice(x, zero, three, one)
    %s
}
"""
REASONS = {
    "depthwise": ("c = Conv <group = 32> (x, deep) y = Sin(c)", "depthwise"),
    "the output is the model's": ("c = Conv(x, plain) y = Relu(c)", "its output is the model's"),
    "stem": ("c = Conv(rgb, stem) y = Sin(c)", "only 3 input channels"),
    "alpha": ("f = Flatten(x) y = Gemm <alpha = 0.5> (f, flat)", "alpha or beta"),
    "computed weight": ("w = Exp(plain) c = Conv(x, w) y = Sin(c)", "its weight is computed"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_is_left_alone_has_a_reason(name: str) -> None:
    body, reason = REASONS[name]
    text = HEAD % ("float[N,M]" if "Gemm" in body else "float[N,C,H,W]", body)
    weights = {"deep": (32, 1, 3, 3), "stem": (32, 3, 3, 3), "plain": (32, 32, 1, 1), "flat": (2048, 16)}
    model = with_weights(text, weights)
    before = to_bytes(model)
    result_model, result = quantized(model, samples((1, 32, 8, 8)))
    assert not result.modified
    assert any(reason in declined.reason for declined in result.declined), result.declined
    assert to_bytes(result_model) == before


def test_excluded_nodes_stay_float() -> None:
    model = with_weights(CNN, CNN_SHAPES)
    _, result = quantized(model, IMAGES, QuantizeStatic(exclude=("re:^c", "re:nothing")))
    assert [action.outputs for action in result.actions] == [("y",)]
    assert Counter(d.reason for d in result.declined)["excluded"] == 2
    with pytest.raises(InputError, match=r"names no node: 'conv1'.*use one of c1, c2"):
        quantized(model, IMAGES, QuantizeStatic(exclude=("conv1",)))
    with pytest.raises(InputError, match="no regular expression"):
        quantized(model, IMAGES, QuantizeStatic(exclude=("re:(",)))


def test_groups_that_form_no_kernel_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Conv whose group asks for no quantized output is a group that onnxruntime leaves unfused."""
    model = with_weights(CNN, CNN_SHAPES)
    conv = CONTRACTIONS["Conv"]
    loose = {**CONTRACTIONS, "Conv": Int8Kernel("QLinearConv", quantized_output=False, ranks=conv.ranks)}
    monkeypatch.setattr(group, "CONTRACTIONS", loose)
    result_model, result = quantized(model, IMAGES)
    assert [action.outputs for action in result.actions] == [("y",)]
    assert sum("formed no QLinearConv" in declined.reason for declined in result.declined) == 2
    assert kernels(result_model)["QGemm"] == 1


def test_an_old_opset_is_lifted_only_where_something_is_quantized() -> None:
    old = CNN.replace('["" : 17]', '["" : 11]')
    result_model, result = quantized(with_weights(old, CNN_SHAPES), IMAGES)
    assert result_model.opset_imports[""] == 13
    assert result.actions[0].rule == "lift-opset"
    assert kernels(result_model)["QLinearConv"] == 2
    untouched, result = quantized(with_weights(old, CNN_SHAPES), IMAGES, QuantizeStatic(exclude=("re:",)))
    assert not result.modified
    assert untouched.opset_imports[""] == 11


def test_large_biases_do_not_overflow() -> None:
    model = with_weights(CNN, CNN_SHAPES)
    tiny = np.full((32, 16, 3, 3), 1e-9, np.float32)
    model.graph.initializers["w1"].const_value = ir.tensor(tiny, name="w1")
    model.graph.initializers["b1"].const_value = ir.tensor(np.linspace(-3, 9, 32, dtype=np.float32), name="b1")
    result_model, _ = quantized(model, IMAGES)
    assert quality(model, result_model, IMAGES) > 20


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_types_follow_the_target(name: str) -> None:
    target = TARGETS[name]
    model = with_weights(CNN, CNN_SHAPES)
    clone = model.clone()
    QuantizeStatic(search=False).run(clone, Context.of(samples=IMAGES, target=name))
    zero = clone.graph.initializers["x_zero_point"].const_value
    weight = clone.graph.initializers["w1_quantized"].const_value
    assert zero is not None
    assert weight is not None
    assert zero.dtype.name.lower() == target.activation
    assert np.abs(weight.numpy()).max() == (63 if target.reduce_range else 127)
    assert quality(model, clone, IMAGES) > 20


@pytest.mark.parametrize("ranges", ["min-max", "percentile", "mse", "entropy"])
def test_every_choice_of_ranges_gives_a_usable_model(ranges: str) -> None:
    model = with_weights(CNN, CNN_SHAPES)
    result_model, _ = quantized(model, IMAGES, QuantizeStatic(ranges=ranges))  # type: ignore[arg-type]
    assert quality(model, result_model, IMAGES) > 15


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w1", "b1"])
def test_weights_that_are_no_numbers_stay_float(bad: float, name: str) -> None:
    model = with_weights(CNN, CNN_SHAPES)
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    array = tensor.numpy().copy()
    array.reshape(-1)[3] = bad
    model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    _, result = quantized(model, IMAGES)
    assert any(d.site == "Conv c1" and "NaN or infinity" in d.reason for d in result.declined), result.declined


def test_samples_are_needed() -> None:
    with pytest.raises(InputError, match="needs samples"):
        QuantizeStatic().run(with_weights(CNN, CNN_SHAPES), Context())


def test_quantizing_twice_changes_nothing_more() -> None:
    once, _ = quantized(with_weights(CNN, CNN_SHAPES), IMAGES)
    twice, result = quantized(once, IMAGES)
    assert not result.modified
    assert to_bytes(twice) == to_bytes(once)


def test_it_is_deterministic() -> None:
    model = with_weights(CNN, CNN_SHAPES)
    assert to_bytes(quantized(model, IMAGES)[0]) == to_bytes(quantized(model, IMAGES)[0])


def test_a_shared_weight_is_quantized_once() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,32] x, float[32,32] w) => (float[N,32] y) { a = MatMul(x, w) t = Tanh(a) y = MatMul(t, w) }
    """
    data = samples((4, 32))
    model = with_weights(text, {"w": (32, 32)})
    result_model, result = quantized(model, data)
    assert len(result.actions) == 2
    assert sum(n.op_type == "DequantizeLinear" and n.inputs[0].is_initializer() for n in result_model.graph) == 1  # type: ignore[union-attr]
    assert kernels(result_model)["MatMulIntegerToFloat"] == 2
    assert quality(model, result_model, data) > 20


@pytest.mark.parametrize("shape", [(4, 48), (4, 1), (1, 48), (48,), (1,), ()])
@pytest.mark.parametrize("transposed", [0, 1])
def test_the_c_of_a_gemm_may_have_any_shape(shape: tuple[int, ...], transposed: int) -> None:
    """Each output channel has a scale of its own, so that a C that is the same for all of them must be spread."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4,64] x, float w, float c) => (float[4,48] y) {{ y = Gemm <transB = {transposed}> (x, w, c) }}
    """
    model = with_weights(text, {"w": (48, 64) if transposed else (64, 48), "c": shape})
    bias = 10 * np.random.default_rng(2).normal(size=shape)  # louder than the product
    model.graph.initializers["c"].const_value = ir.tensor(np.asarray(bias, np.float32), name="c")
    data = samples((4, 64))
    for options in (QuantizeStatic(), QuantizeStatic(per_tensor=True), QuantizeStatic(rounding="compensated")):
        result, _ = quantized(model, data, options)
        assert kernels(result)["QGemm"] == 1
        assert quality(model, result, data) > 35


def test_a_column_as_c_of_a_gemm_does_not_make_the_model_larger() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[99,16] x, float w, float c) => (float[99,48] y) %s'
    model = with_weights(text % "{ y = Gemm(x, w, c) }", {"w": (16, 48), "c": (99, 1)})
    _, outcome = quantized(model, samples((99, 16)))
    assert [each.reason for each in outcome.declined] == [
        "its bias of 99 rows would become a matrix of 99 x 48 numbers"
    ]


STATIC = {
    "rank 3": ("1,14,32", "p = MatMul(x, w1) q = Add(p, b1)"),
    "rank 4": ("2,3,4,32", "p = MatMul(x, w1) q = Add(p, b1)"),
    "bias first": ("1,14,32", "p = MatMul(x, w1) q = Add(b1, p)"),
    "dynamic": ("N,S,32", "p = MatMul(x, w1) q = Add(p, b1)"),
}


@pytest.mark.parametrize("name", STATIC)
def test_a_matmul_with_a_bias_runs_in_int8_whether_its_sizes_are_known_or_not(name: str) -> None:
    """Where they are, onnxruntime makes Reshape, Gemm, Reshape of it, which is int8 only with an int32 bias."""
    shape, body = STATIC[name]
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[{shape}] x, float w1, float b1, float w2) => (float[{shape}] y)
    {{ {body} r = Relu(q) s = MatMul(r, w2) y = Add(s, x) }}
    """
    model = with_weights(text, {"w1": (32, 64), "b1": (64,), "w2": (64, 32)})
    sizes = tuple(int(size) for size in shape.replace("N", "2").replace("S", "5").split(","))
    data = samples(sizes)
    for options in (QuantizeStatic(), QuantizeStatic(per_tensor=True)):
        result, _ = quantized(model, data, options)
        found = kernels(result)
        assert found["QGemm"] == (0 if name == "dynamic" else 1)
        assert found["QGemm"] + found["MatMulIntegerToFloat"] == 2
        assert found["Gemm"] + found["FusedGemm"] + found["DequantizeLinear"] == 0
        assert quality(model, result, data) > 30


def test_equal_scales_and_zero_points_are_there_once() -> None:
    model, _ = quantized(with_weights(CNN, CNN_SHAPES), IMAGES)
    pairs = [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    read = [value for node in pairs for value in node.inputs[1:]]
    tensors = {value: value.const_value for value in read if value is not None}
    assert len(tensors) < len(read)
    assert len({(each.dtype, tuple(each.shape), each.tobytes()) for each in tensors.values() if each}) == len(tensors)
