import itertools

import numpy as np
import pytest

from onnxslim.passes.slim.merge_slices import MergeSlices, merge
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeSlices())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 9, 9] x) => '
ONES = "int64[1] one = {1}, int64[1] two = {2}, int64[1] minus = {-1}, int64[1] five = {5}, int64[1] nine = {99}"
LONG = "value_between_the_two_slices_with_a_name_as_exporters_give"


def text(nodes: str, constants: str = ONES, y: str = "float[P, Q, R] y") -> str:
    return f"{HEAD}({y}) <{constants}> {{ {nodes.replace('m', LONG)} }}".replace(f"{LONG}inus", "minus")


@pytest.mark.parametrize(
    ("nodes", "constants", "merged"),
    [
        (
            "m = Slice(x, one, five, one) y = Slice(m, minus, nine, two)",
            "int64[2] s = {1, -1}, int64[2] e = {5, 99}, int64[2] a = {1, 2}",
            "Slice(x, s, e, a)",
        ),
        (
            "m = Slice(x, one, five, two, two) y = Slice(m, one, nine, one)",
            "int64[2] s = {1, 1}, int64[2] e = {99, 5}, int64[2] a = {1, 2}, int64[2] t = {1, 2}",
            "Slice(x, s, e, a, t)",
        ),
        (
            "m = Slice(x, one, five, one) y = Slice(m, two, nine, one)",
            "int64[1] s = {3}, int64[1] five = {5}, int64[1] one = {1}",
            "Slice(x, s, five, one)",
        ),
    ],
)
def test_two_become_one(nodes: str, constants: str, merged: str) -> None:
    assert_rewrites(text(nodes), text(f"y = {merged}", constants), RULE)


def test_bounds_as_attributes_before_opset_10() -> None:
    before = text(
        "m = Slice <axes = [1], starts = [1], ends = [5]> (x) y = Slice <axes = [0], starts = [0], ends = [-1]> (m)"
    )
    after = text("y = Slice <axes = [0, 1], starts = [0, 1], ends = [-1, 5]> (x)")
    assert_rewrites(
        before.replace("17", "9").replace(f"<{ONES}>", ""), after.replace("17", "9").replace(f"<{ONES}>", ""), RULE
    )


@pytest.mark.parametrize(
    ("nodes", "y", "reason"),
    [
        ("m = Slice(x, one, five, one) y = Slice(m, minus, nine, one)", "", "same axis"),
        ("m = Slice(x, one, nine, one, two) y = Slice(m, one, nine, one)", "", "same axis"),
        ("m = Slice(x, one, five, one) y = Slice(m, one, nine, two) z = Exp(m)", ", float[S, T, U] z", "another use"),
        ("m = Slice(x, one, five, one) k = Shape(x) n = Slice(k, one, two) y = Slice(m, one, n, two)", "", None),
        (
            "k = Shape(x) n = Slice(k, minus, one, one2, minus) m = Slice(x, one, nine, one) y = Slice(m, one, d, two)",
            "",
            "not known",
        ),
    ],
)
def test_left_alone(nodes: str, y: str, reason: str | None) -> None:
    if "Shape" in nodes and reason is None:  # what is known of a shape is as good as a constant
        after = text("y = Slice(x, s, e, a)", "int64[2] s = {1, 1}, int64[2] e = {5, 9}, int64[2] a = {1, 2}")
        assert_rewrites(text(nodes), after, RULE)
        return
    if reason == "not known":
        nodes = "m = Slice(x, one, nine, one) y = Slice(m, one, d, two)"
        source = text(nodes).replace("float[N, 9, 9] x", "float[N, 9, 9] x, int64[1] d")
        assert_declines(source, RULE, reason=reason)
        return
    assert_declines(text(nodes, y=f"float[P, Q, R] y{y}"), RULE, reason=reason)


def test_every_pair_of_cuts_along_one_axis() -> None:
    for size, a, b, c, d in itertools.product(range(5), range(6), range(6), range(6), range(6)):
        x = np.arange(size)
        found = merge([(0, a, b, 1)], [(0, c, d, 1)])
        assert found is not None
        assert np.array_equal(x[found[0][1] : found[0][2]], x[a:b][c:d])
