from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation.inner import layer_errors

BEFORE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,4] x) => (float[2,4] y)
<float[4] one = {1.0, 2.0, 3.0, 4.0}, float[4] two = {2.0, 2.0, 2.0, 2.0}, float half = {0.5}> {
    a = Mul(x, one)
    b = Add(a, two)
    c = Mul(b, two)
    d = Mul(c, half)
    y = Relu(d)
}"""
GENERATOR = np.random.default_rng(5)
FEEDS = [{"x": GENERATOR.normal(size=(2, 4)).astype(np.float32)} for _ in range(4)]


def errors(after: str, memory: int = 1 << 20) -> tuple[dict[str, float], int]:
    found, odd = layer_errors(ir.from_onnx_text(BEFORE), ir.from_onnx_text(after), FEEDS, memory=memory)
    return {each.name: each.sqnr_db for each in found}, odd


def test_noise_shows_from_where_it_begins() -> None:
    found, odd = errors(BEFORE.replace("float[4] two = {2.0, 2.0, 2.0, 2.0}", "float[4] two = {2.0, 2.02, 2.0, 2.0}"))
    assert odd == 0
    assert found["a"] == math.inf
    assert list(found) == ["a", "b", "c", "d", "y"]
    assert 20 < found["c"] < 60
    assert errors(BEFORE, memory=1)[0] == dict.fromkeys("abcdy", math.inf)


def test_what_stands_for_something_else_is_left_out() -> None:
    scaled = BEFORE.replace(
        "{2.0, 2.0, 2.0, 2.0}, float half = {0.5}",
        "{2.0, 2.0, 2.0, 2.0}, float[4] three = {3.0, 3.0, 3.0, 3.0}, float half = {0.3333333333}",
    ).replace("c = Mul(b, two)", "c = Mul(b, three)")
    found, odd = errors(scaled)
    assert "c" not in found
    assert odd == 1
    folded = BEFORE.replace("    b = Add(a, two)\n", "").replace("Mul(b, two)", "Mul(a, two)")
    found, odd = errors(folded)
    assert "a" not in found
    assert odd == 1


def test_models_without_common_values_have_no_errors() -> None:
    other = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,4] x) => (float[2,4] z) { z = Relu(x) }"""
    assert errors(other) == ({}, 0)


@pytest.mark.parametrize("shape", ["float[4,2]"])
def test_another_shape_is_left_out(shape: str) -> None:
    turned = BEFORE.replace("y = Relu(d)", "t = Relu(d)\n    y = Transpose<perm=[1,0]>(t)").replace(
        "=> (float[2,4] y)", f"=> ({shape} y)"
    )
    found, odd = errors(turned)
    assert "y" not in found
    assert odd == 1
