from __future__ import annotations

import pytest

from onnxslim.passes.slim.fuse_reduce_transpose import FuseReduceTranspose
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites

RULE = Fused(FuseReduceTranspose())


def text(nodes: str, y: str, opset: int = 17, constants: str = "") -> str:
    more = f"<{constants}>" if constants else ""
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N, 3, M, 4] x) => ({y}) {more} {{ {nodes} }}'


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMean", "ReduceL2"])
def test_the_axes_of_what_is_transposed_are_reduced(op_type: str) -> None:
    assert_rewrites(
        text(
            f"t = Transpose <perm = [0, 2, 3, 1]> (x) y = {op_type} <axes = [1, 2], keepdims = 0> (t)", "float[N, 3] y"
        ),
        text(f"y = {op_type} <axes = [2, 3], keepdims = 0> (x)", "float[N, 3] y"),
        RULE,
    )


def test_axes_that_are_an_input() -> None:
    assert_rewrites(
        text(
            "t = Transpose <perm = [2, 0, 3, 1]> (x) y = ReduceSum <keepdims = 0> (t, a)",
            "float[N, 3] y",
            constants="int64[2] a = {0, -2}",
        ),
        text("y = ReduceSum <keepdims = 0> (x, b)", "float[N, 3] y", constants="int64[2] b = {2, 3}"),
        RULE,
    )


@pytest.mark.parametrize(
    ("nodes", "y", "reason"),
    [
        (
            "t = Transpose <perm = [1, 0, 2, 3]> (x) y = ReduceMax <axes = [2, 3], keepdims = 0> (t)",
            "float[3, N] y",
            "order",
        ),
        ("t = Transpose <perm = [0, 2, 3, 1]> (x) y = ReduceMax <axes = [1, 2]> (t)", "float[N, 1, 1, 3] y", "kept"),
        (
            "t = Transpose <perm = [0, 2, 3, 1]> (x) y = ReduceMax <axes = [1, 2], keepdims = 0> (t) z = Neg(t)",
            "float[N, 3] y, float[N, M, 4, 3] z",
            "another use",
        ),
    ],
)
def test_left_alone(nodes: str, y: str, reason: str) -> None:
    assert_declines(text(nodes, y), RULE, reason=reason)
