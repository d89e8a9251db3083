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


def test_channels_that_were_scaled_on_purpose_are_compared_without_their_factors() -> None:
    """Through several values, as quantization scales a Conv and what follows it."""
    scaled = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2,4] x) => (float[2,4] y)
    <float[4] one = {0.1, 16.0, 6.0, 2.0}, float[4] shift = {0.2, 16.0, 4.0, 1.0}, float[4] two = {2.0, 2.0, 2.0, 2.0},
     float[4] half = {5.0, 0.0625, 0.25, 1.0}> {
        a = Mul(x, one)
        b = Add(a, shift)
        c = Mul(b, two)
        d = Mul(c, half)
        y = Relu(d)
    }"""
    found, odd = layer_errors(ir.from_onnx_text(BEFORE), ir.from_onnx_text(scaled), FEEDS)
    assert odd == 0
    assert [each.name for each in found if each.rescaled] == ["a", "b", "c"]
    assert min(each.sqnr_db for each in found) > 120


def test_a_factor_that_nothing_takes_back_is_an_error() -> None:
    found, _ = layer_errors(
        ir.from_onnx_text(BEFORE), ir.from_onnx_text(BEFORE.replace("half = {0.5}", "half = {0.25}")), FEEDS
    )
    errors = {each.name: each for each in found}
    assert not any(each.rescaled for each in found)
    assert errors["c"].sqnr_db == math.inf
    assert errors["d"].sqnr_db < 8


def test_what_stands_for_something_else_is_left_out() -> None:
    shifted = BEFORE.replace("float half", "float[4] six = {6.0, 6.0, 6.0, 6.0}, float half").replace(
        "c = Mul(b, two)\n    d = Mul(c, half)", "c = Add(b, six)\n    d = Sub(c, six)"
    )
    found, odd = errors(shifted)
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
