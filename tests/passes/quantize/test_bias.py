"""Rounded weights do not move the mean of an output."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from onnxslim.execution import open_session
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context
from onnxslim.samples import Sample
from tests.passes.quantize.test_static_int8 import with_weights

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32,6,6] x, %s) => (float[%s] y) { %s }'
BODIES = {
    "Conv": ("float[16,32,1,1] w, float[16] b", "N,16,6,6", "c = Conv(x, w, b) y = Sin(c)"),
    "no bias": ("float[16,32,1,1] w", "N,16,6,6", "c = Conv(x, w) y = Sin(c)"),
    "groups": ("float[16,8,1,1] w, float[16] b", "N,16,6,6", "c = Conv <group = 4> (x, w, b) y = Sin(c)"),
    "Gemm": ("float[1152,16] w, float[16] b", "N,16", "f = Flatten(x) c = Gemm(f, w, b) y = Sin(c)"),
    "transposed": (
        "float[16,1152] w, float[16] b",
        "N,16",
        "f = Flatten(x) c = Gemm <transB = 1> (f, w, b) y = Sin(c)",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_mean_of_every_channel_is_kept(name: str) -> None:
    inputs, shape, body = BODIES[name]
    shapes = {
        part.split("] ")[1].strip(): tuple(int(size) for size in part.split("[")[1].split("]")[0].split(","))
        for part in inputs.split(", ")
    }
    model = with_weights((HEAD % (inputs, shape, body)).replace("y = Sin(c)", "y = Mul(c, c)"), shapes)
    # Far from zero, so that an error of the weights is an error of the mean; 7 bits, so that there is one.
    rng = np.random.default_rng(0)
    data = [Sample(str(i), {"x": rng.normal(5, 0.3, (2, 32, 6, 6)).astype(np.float32)}) for i in range(16)]
    plain = QuantizeStatic(keep_slow=True, operators=("Conv", "Gemm"))
    moved = []
    for correct in (False, True):
        result = model.clone()
        dataclasses.replace(plain, correct_bias=correct).run(result, Context.of(samples=data, target="x86-avx2"))
        a, b = open_session(model), open_session(result)
        roots = [(np.sqrt(a.run(s.feed)["y"]), np.sqrt(b.run(s.feed)["y"])) for s in data]
        axes = (0, *range(2, roots[0][0].ndim))
        moved.append(np.abs(np.mean([(y - x).mean(axis=axes) for x, y in roots], axis=0)).mean())
    without, corrected = moved
    assert corrected < 0.5 * without
