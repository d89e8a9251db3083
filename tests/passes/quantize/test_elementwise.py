"""What stands between the contractions becomes int8 kernels too, and keeps its numbers."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.execution import TARGETS, optimized_graph
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context
from tests.passes.quantize.test_static_int8 import kernels, quality, samples, with_weights

NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,16,8,8] x, float[16,16,3,3] a, float[16,16,3,3] b, float[16,16,1,1] last) => (float[N,M,H,W] y)
<float[1,16,1,1] per_channel, float half = {0.5}, float[4] scales = {1, 1, 2, 2}, int64[4] flat = {0, 16, 8, 8},
 int64[1] two = {2}, int64[1] six = {6}>
{
    c = Conv <pads = [1, 1, 1, 1]> (x, a)
    d = Conv <pads = [1, 1, 1, 1]> (x, b)
    %s
    e = Conv(z, last)
    y = Sin(e)
}
"""
WEIGHTS = {"a": (16, 16, 3, 3), "b": (16, 16, 3, 3), "last": (16, 16, 1, 1)}
BODIES = {
    "Add": ("z = Add(c, d)", {"QLinearAdd": 1}),
    "Add and Relu": ("s = Add(c, d) z = Relu(s)", {"QLinearAdd": 1, "Relu": 0}),
    "a constant summand": ("z = Add(c, half)", {"QLinearAdd": 1}),
    "Mul": ("z = Mul(c, d)", {"QLinearMul": 1}),
    "a constant factor": ("z = Mul(half, c)", {"QLinearMul": 1}),
    "SiLU": ("s = Sigmoid(c) z = Mul(c, s)", {"QLinearSigmoid": 1, "QLinearMul": 1}),
    "LeakyRelu": ("z = LeakyRelu <alpha = 0.1> (c)", {"QLinearLeakyRelu": 1}),
    "Softmax": ("z = Softmax <axis = 3> (c)", {"QLinearSoftmax": 1}),
    "HardSigmoid": ("z = HardSigmoid <alpha = 0.4, beta = 0.3> (c)", {"QLinearAdd": 1, "HardSigmoid": 0}),
    "a gate": ("s = HardSigmoid(c) z = Mul(d, s)", {"QLinearAdd": 1, "QLinearMul": 1, "HardSigmoid": 0}),
    "HardSwish": ("z = HardSwish(c)", {"QLinearAdd": 1, "QLinearMul": 1, "HardSwish": 0}),
    "HardSwish, twice": ("s = HardSwish(c) z = HardSwish(s)", {"QLinearAdd": 2, "QLinearMul": 2}),
    "Concat": ("s = Concat <axis = 3> (c, d) z = Relu(s)", {"QLinearConcat": 1, "Relu": 0}),
    "GlobalAveragePool": ("z = GlobalAveragePool(c)", {"QLinearGlobalAveragePool": 1}),
    "AveragePool": ("z = AveragePool <kernel_shape = [2, 2]> (c)", {"QLinearAveragePool": 1}),
    "MaxPool": ("z = MaxPool <kernel_shape = [2, 2]> (c)", {"NhwcMaxPool": 1, "MaxPool": 0}),
    "Resize": ('z = Resize <mode = "nearest"> (c, , scales)', {"Resize": 1}),
    "moves": ("s = Transpose <perm = [0, 1, 3, 2]> (c) t = Reshape(s, flat) z = Slice(t, two, six, two)", {"Slice": 1}),
}


@pytest.mark.parametrize("name", BODIES)
def test_it_runs_in_int8_and_keeps_its_outputs(name: str) -> None:
    body, wanted = BODIES[name]
    model = with_weights(NET % body, WEIGHTS)
    data = samples((2, 16, 8, 8))
    result = model.clone()
    QuantizeStatic(keep_slow=True).run(result, Context(samples=data))  # for this machine: elsewhere products saturate
    found = kernels(result)
    assert found["QLinearConv"] == 2 + ("d" in re.findall(r"\w+", body))
    # One Q for the input and one DQ before the Sin: nothing between leaves int8.
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1, found
    assert {kernel: found[kernel] for kernel in wanted} == wanted
    assert quality(model, result, data) > 20


def test_a_hard_sigmoid_read_in_float_is_what_it_was() -> None:
    """Its scale on the way in is another than on the way out, whoever reads it."""
    text = NET.replace("e = Conv(z, last)", "e = Exp(z)") % "z = HardSigmoid <alpha = 0.25, beta = 0.4> (c)"
    model = with_weights(text, WEIGHTS)
    data = samples((2, 16, 8, 8))
    result = model.clone()
    QuantizeStatic(keep_slow=True).run(result, Context(samples=data))
    assert "HardSigmoid" not in {node.op_type for node in result.graph}
    assert quality(model, result, data) > 30


def test_signed_activations_fuse_as_well() -> None:
    target = TARGETS["arm64"]
    model = with_weights(NET % "s = HardSwish(c) z = Add(s, d)", WEIGHTS)
    data = samples((2, 16, 8, 8))
    result = model.clone()
    QuantizeStatic(keep_slow=True).run(result, Context.of(samples=data, target=target.name))
    graph = optimized_graph(result, config=target.session_config).graph
    assert {"QLinearAdd", "QLinearMul", "QLinearConv"} <= {node.op_type for node in graph.node}
    assert quality(model, result, data) > 20


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("z = Resize <mode = \"linear\"> (c, , scales)", "Resize makes new numbers"),
        ("z = HardSigmoid <alpha = -0.2> (c)", "a HardSigmoid that falls"),
        ("s = Shape(c) t = Cast <to = 7> (s) u = Add(t, t) z = Add(c, d)", "not known to be float32"),
    ],
)  # fmt: skip
def test_what_has_no_int8_form_stays_float(body: str, reason: str) -> None:
    model = with_weights(NET % body, WEIGHTS)
    result = model.clone()
    outcome = QuantizeStatic(keep_slow=True).run(result, Context(samples=samples((2, 16, 8, 8))))
    assert any(reason in declined.reason for declined in outcome.declined)
    assert quality(model, result, samples((2, 16, 8, 8))) > 20


def test_symmetric_grids_are_centred_where_there_are_negative_values() -> None:
    model = with_weights(NET % "z = Add(c, d)", WEIGHTS)
    result = model.clone()
    QuantizeStatic(keep_slow=True, symmetric=True).run(result, Context(samples=samples((2, 16, 8, 8))))
    zeros = {
        int(value.const_value.numpy())
        for name, value in result.graph.initializers.items()
        if name.endswith("zero_point") and isinstance(value.const_value, ir.Tensor) and value.const_value.size == 1
    }
    assert zeros <= {0, 127, 128}
    assert np.isfinite(quality(model, result, samples((2, 16, 8, 8))))
