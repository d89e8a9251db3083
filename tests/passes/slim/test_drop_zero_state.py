from __future__ import annotations

import pytest

from onnxslim.passes.slim.drop_zero_state import DropZeroState
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(DropZeroState())
WEIGHTS = (
    "float[1, 6, 3] w = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}, "
)
WEIGHTS += "float[1, 6, 2] r = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.3}"
HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
PLAIN = (
    f"""{HEADER} g (float[T, N, 3] x) => (float[T, 1, N, 2] y) <{WEIGHTS}> {{ y = GRU <hidden_size = 2> (x, w, r) }}"""
)


def text(nodes: str, constants: str, last: str = "y = GRU <hidden_size = 2> (x, w, r, , , h)") -> str:
    return f"{HEADER} g (float[T, N, 3] x) => (float[T, 1, N, 2] y) <{WEIGHTS}, {constants}> {{ {nodes} {last} }}"


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            "s = Shape(x) n = Gather(s, i) d = Unsqueeze(n, z) c = Concat<axis = 0>(o, d, t) h = ConstantOfShape(c)",
            "int64 i = {1}, int64[1] z = {0}, int64[1] o = {1}, int64[1] t = {2}",
        ),
        (
            "s = Shape(x) n = Gather(s, i) c = Concat<axis = 0>(o, n, t) k = ConstantOfShape(c) h = Slice(k, z, o)",
            "int64[1] i = {1}, int64[1] z = {0}, int64[1] o = {1}, int64[1] t = {2}",
        ),
        (
            "s = Shape(x) n = Gather(s, i) c = Concat<axis = 0>(o, n, o) h = Expand(k, c)",
            "int64[1] i = {1}, int64[1] o = {1}, float[1, 1, 2] k = {0, -0.0}",
        ),
    ],
)
def test_a_state_of_zeros_goes(nodes: str, constants: str) -> None:
    assert_rewrites(text(nodes, constants), PLAIN, RULE)


def test_only_the_state_that_is_zeros_goes() -> None:
    sizes = WEIGHTS.replace("6, 3]", "8, 3]").replace("6, 2]", "8, 2]").replace("= {", "= {0, 0, 0, 0, 0.5, 0.5, ", 1)
    sizes = sizes.replace("r = {", "r = {0.25, 0.25, 0.5, 0.5, ")
    start = f"{HEADER} g (float[T, 1, 3] x, float[1, 1, 2] c) => (float[T, 1, 1, 2] y, float[1, 1, 2] e) <{sizes}"
    assert_rewrites(
        f"{start}, float[1, 1, 2] h = {{0, 0}}> {{ y, , e = LSTM <hidden_size = 2> (x, w, r, , , h, c) }}",
        f"{start}> {{ y, , e = LSTM <hidden_size = 2> (x, w, r, , , , c) }}",
        RULE,
    )


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            "s = Shape(x) n = Gather(s, i) c = Concat<axis = 0>(o, n, t) h = ConstantOfShape<value = float[1] {1}>(c)",
            "int64[1] i = {1}, int64[1] o = {1}, int64[1] t = {2}",
        ),
        (
            "s = Shape(x) n = Gather(s, i) c = Concat<axis = 0>(o, n, o) h = Expand(k, c)",
            "int64[1] i = {1}, int64[1] o = {1}, float[1, 1, 2] k = {0, 0.5}",
        ),
    ],
)
def test_another_state_stays(nodes: str, constants: str) -> None:
    assert_declines(text(nodes, constants), RULE, reason="not known to be zeros")
