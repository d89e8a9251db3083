"""How far the original's own difference under onnxruntime's optimizations is followed, and how long comparing takes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.steps import stepped_outputs
from onnxslim.evaluation import Reference, Tier, compare
from onnxslim.execution import random_feeds, untried_feeds
from tests.execution.models import model


def normalization(power: str) -> ir.Model:
    return model(
        f"(float[N,4] x) => (float[N,4] y) <float p = {{{power}}}, float e = {{1}}, float[4] g = {{1,-2,3,1}}, "
        "float[4] b = {0,1,0,1}> { m = ReduceMean<axes=[-1]>(x) c = Sub(x, m) q = Pow(c, p) "
        "v = ReduceMean<axes=[-1]>(q) w = Add(v, e) s = Sqrt(w) n = Div(c, s) k = Mul(n, g) y = Add(k, b) }"
    )


def test_an_optimizer_that_is_wrong_does_not_hide_another_model() -> None:
    """onnxruntime 1.32 takes a cube for the square of a LayerNormalization."""
    cube = normalization("3")
    feeds = [{"x": np.random.default_rng(0).random((4, 4), np.float32)}]
    found = Reference(cube, feeds, tier=Tier.NUMERIC).check(normalization("2"))
    assert not found.passed
    assert any("own optimizations change the original's output 'y'" in note for note in found.notes)
    assert Reference(cube, feeds, tier=Tier.NUMERIC).check(cube.clone()).passed


def test_what_lies_behind_a_step() -> None:
    made = model(
        "(float[N,4] x, int64[N] i) => (float[N,4] a, float[N,4] b, float[M,4] c, float[N,4] d) <float[9,4] w = {"
        + ", ".join(["1"] * 36)
        + "}, int64 seven = {7}> { r = Round(x) a = Relu(r) b = Relu(x) s = Shape(x) f = Cast<to=1>(s) h = Floor(f) "
        "t = Cast<to=7>(h) c = Expand(b, t) e = Gather(w, i) l = Less(i, seven) z = Cast<to=1>(l) "
        "d = Mul(e, b) }"
    )
    assert stepped_outputs(made) == {"a"}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64, np.int32])
def test_pieces_are_compared_like_the_whole(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    a: np.ndarray = (generator.standard_normal((7, 5)) * 9).astype(dtype)
    b = a.copy()
    b[3, 2] += 1
    b[6, 4] += 2
    for broken in (False, True):
        if broken and np.dtype(dtype).kind == "f":
            b[5, 1] = np.nan
        whole = results(a, b)
        monkeypatch.setattr(compare, "CHUNK", 4)
        assert results(a, b) == whole
        monkeypatch.undo()
        assert compare.exact(a, b, "y", 0)[0] is not None


def results(a: np.ndarray, b: np.ndarray) -> list[object]:
    return [
        compare.exact(a, b, "y", 0),
        compare.numeric(a, b, "y", 0, own=0.0, scale=1.0),
        compare.max_error(a, b),
        compare.peak(a),
    ]


def test_feeds_that_take_too_long_are_left_out_and_counted() -> None:
    made = model("(float[N,3] x) => (float[N,3] y) { y = Softmax(x) }")
    found = Reference(made, untried_feeds(made), tier=Tier.NUMERIC, seconds=0.0).check(made.clone())
    assert found.passed
    assert found.feeds == 1
    assert any(note.startswith("2 of 3 random inputs were left out") for note in found.notes)
    assert Reference(made, untried_feeds(made), tier=Tier.NUMERIC).check(made.clone()).feeds == 3


def test_no_more_feeds_are_tried_than_asked_for() -> None:
    made = model("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    assert [feed["x"].shape for feed in random_feeds(made, enough=1)] == [(1, 3)]
