from collections.abc import Iterable

import numpy as np
import pytest

from onnxslim.passes.slim.gather_one_hot import GatherOneHot
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

RULE = Fused(GatherOneHot())
COUNT = 40


def numbers(dtype: str, name: str, values: Iterable[float], shape: str) -> str:
    return f"{dtype}[{shape}] {name} = {{{', '.join(map(str, values))}}}"


# The parser packs small integers; real files hold 8 bytes for each, which the name stands for here.
LONG = "classes" + "_" * 8 * COUNT
CLASSES = numbers("int64", LONG, range(COUNT), f"{COUNT}")
ROWS = [number / 2 for number in range(2 * COUNT)]
W = numbers("float", "w", ROWS, f"{COUNT}, 2")
# Classes, what is one below and above, and what only a clip keeps in the table.
FEEDS = [{"x": np.array([[[0], [1], [39], [-1], [40]], [[99], [-9], [2**62], [-(2**62)], [1]]], np.int64)}]


def text(body: str, constants: str, opset: int = 17) -> str:
    head = f'<ir_version: 8, opset_import: ["" : {opset}]> g (int64[N, 5, 1] x) => (float[A, B, C] y)'
    return f"{head} <{constants}> {{ {body} }}"


@pytest.mark.parametrize("opset", [12, 13, 17])
@pytest.mark.parametrize("compare", [f"Equal(x, {LONG})", f"Equal({LONG}, x)"], ids=["right", "left"])
def test_rows_are_picked(compare: str, opset: int) -> None:
    before = text(f"e = {compare} c = Cast <to = 1> (e) p = MatMul(c, w) y = Sin(p)", f"{CLASSES}, {W}", opset)
    squeeze = "f = Squeeze(x, last)" if opset >= 13 else "f = Squeeze <axes = [-1]> (x)"
    last = "int64[1] last = {-1}, " if opset >= 13 else ""
    held = f"{last}int64 low = {{-1}}, int64 high = {{{COUNT}}}, {numbers('float', 'w', [*ROWS, 0, 0], '41, 2')}"
    after = text(f"{squeeze} i = Clip(f, low, high) p = Gather(w, i) y = Sin(p)", held, opset)
    after = after.replace("Gather(w, i)", "Gather <axis = 0> (w, i)")
    assert_rewrites(before, after, RULE, feeds=FEEDS)


@pytest.mark.parametrize(
    ("classes", "weights", "opset", "reason"),
    [
        (numbers("int64", LONG, range(1, COUNT + 1), "40"), W, 17, "0, 1, 2"),
        (CLASSES, W.replace("{0.0", "{inf"), 17, "NaN or infinity"),
        (CLASSES, W.replace("[40, 2]", "[1, 40, 2]"), 17, None),
        (CLASSES, W, 11, None),
    ],
    ids=["from 1", "infinite", "a stack", "old"],
)
def test_products_that_stay(classes: str, weights: str, opset: int, reason: str | None) -> None:
    body = f"e = Equal(x, {LONG}) c = Cast <to = 1> (e) p = MatMul(c, w) y = Sin(p)"
    assert_declines(text(body, f"{classes}, {weights}", opset), GatherOneHot(), reason=reason)
