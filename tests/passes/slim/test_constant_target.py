import numpy as np
import pytest

from onnxslim.execution.feeds import Feed
from onnxslim.passes.slim.constant_target import ConstantTarget, reshape_target
from onnxslim.passes.slim.plain_reshape import PlainReshape
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
DIMS = """
    s = Shape(x)
    b = Gather(s, zero)  n = Gather(s, one)
"""
CONSTANTS = "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] three = {3}, int64[1] rest = {-1}>"


def after(nodes: str, constants: str, x: str = "float[B, N, 12] x", y: str = "float[P, Q, R, S] y") -> str:
    # Constants of the chain stay until unused ones are removed.
    return f"{HEADER} g ({x}) => ({y}) {CONSTANTS[:-1]}, {constants}> {{ {nodes} }}"


def before(nodes: str, x: str = "float[B, N, 12] x", y: str = "float[P, Q, R, S] y", header: str = HEADER) -> str:
    return f"{header} g ({x}) => ({y}) {CONSTANTS} {{ {DIMS} {nodes} }}"


LEFT = "s = Shape(x) b = Gather(s, zero) n = Gather(s, one)"


@pytest.mark.parametrize(
    ("target", "constant", "nodes"),
    [
        ("b, n, four, three", "{0, 0, 4, 3}", LEFT),
        ("b, rest, four, three", "{0, -1, 4, 3}", LEFT),
        ("b, n, three, rest", "{0, 0, 3, -1}", LEFT),
    ],
)
def test_dims_that_are_copied(target: str, constant: str, nodes: str) -> None:
    assert_rewrites(
        before(f"t = Concat <axis = 0> ({target}) y = Reshape(x, t)"),
        after(f"{nodes} y = Reshape(x, t)", f"int64[4] t = {constant}"),
        ConstantTarget(),
    )


def test_one_dim_that_is_computed() -> None:
    assert_rewrites(
        before("m = Mul(b, n) t = Concat <axis = 0> (m, four, three) y = Reshape(x, t)", y="float[P, Q, R] y"),
        after(f"{LEFT} m = Mul(b, n) y = Reshape(x, t)", "int64[3] t = {-1, 4, 3}", y="float[P, Q, R] y"),
        ConstantTarget(),
    )


def test_a_target_of_several_reshapes_goes_at_once() -> None:
    outputs = "float[P, Q, R, S] y, float[P, Q, R, S] z"
    assert_rewrites(
        before("t = Concat <axis = 0> (b, n, four, three) y = Reshape(x, t) e = Exp(x) z = Reshape(e, t)", y=outputs),
        after(f"{LEFT} y = Reshape(x, t) e = Exp(x) z = Reshape(e, t)", "int64[4] t = {0, 0, 4, 3}", y=outputs),
        ConstantTarget(),
    )


def test_expand_to_the_own_dims() -> None:
    assert_rewrites(
        before("t = Concat <axis = 0> (three, b, n, rest4) y = Expand(x, t)".replace("rest4", "twelve")).replace(
            "int64[1] zero", "int64[1] twelve = {12}, int64[1] zero"
        ),
        after(f"{LEFT} y = Expand(x, t)", "int64[4] t = {3, 1, 1, 12}, int64[1] twelve = {12}"),
        ConstantTarget(),
    )


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("t = Concat <axis = 0> (n, b, four, three) y = Reshape(x, t)", "more than one dim"),
        ("m = Mul(n, four) t = Concat <axis = 0> (b, m, three) y = Reshape(x, t)", "beside one that may be zero"),
        ("t = Concat <axis = 0> (n, b, four, three) y = Expand(c, t)", "would widen it"),
        ("t = Concat <axis = 0> (b, n, four, three) r = Reshape(x, t) u = Cast <to = 1> (t) y = Add(r, u)", ""),
        ("t = Concat <axis = 0> (b, n, four, three) y = Reshape <allowzero = 1> (x, t)", "more than one dim"),
    ],
)
def test_left_alone(nodes: str, reason: str) -> None:
    text = before(nodes).replace("int64[1] zero", "float[1] c = {1}, int64[1] zero")
    rank = "P, Q, R" if "m, three" in nodes else "P, Q, R, S"
    text = text.replace("float[P, Q, R, S] y", f"float[{rank}] y")
    assert_declines(text, ConstantTarget(), reason=reason or "used elsewhere too")


def test_users_that_would_differ() -> None:
    outputs = "float[P, Q, R, S] y, float[P, Q, R, S] z"
    text = before(
        "t = Concat <axis = 0> (b, four, three, one)  y = Reshape(w, t) k = Unsqueeze(w, four0) z = Reshape(k, t)",
        x="float[B, 12] w, float[B, N] x",
        y=outputs,
    ).replace("int64[1] zero", "int64[1] four0 = {0}, int64[1] zero")
    assert_declines(text, ConstantTarget(), reason="different targets")


def test_the_target_as_an_output_stays() -> None:
    text = before("t = Concat <axis = 0> (b, n, four, three) y = Reshape(x, t)", y="float[P, Q, R, S] y, int64[4] t")
    assert_declines(text, ConstantTarget())


def test_data_decide_the_target() -> None:
    text = f"{HEADER} g (float[B, 12] x, int64[2] t) => (float[P, Q] y) {{ u = Add(t, t) y = Reshape(x, u) }}"
    assert_declines(text, ConstantTarget(), reason="more than one dim")


def test_a_declared_shape_is_no_ground() -> None:
    # OnnxSlim trusted a declared rank: (16, 1, 8210) became (1, 131360).
    text = f"""{HEADER} g (float[B, 12] x, int64[K] t) => (float[1, "seqlen"] y)
        <int64[K] u> {{ u = Add(t, t) y = Reshape(x, u) }}"""
    assert_declines(text, ConstantTarget())


def test_elements() -> None:
    assert reshape_target([0, 3], None, copying=True) == [0, 3]
    assert reshape_target([0, 3], None, copying=False) == "a dim is zero"
    assert reshape_target([-1, 0], [4, 0], copying=True) == [-1, 0]


def test_allowzero_goes_where_no_dim_can_be_zero() -> None:
    nodes = "t = Concat <axis = 0> (b, n, four, three) y = Reshape{}(x, t)"
    assert_rewrites(before(nodes.format(" <allowzero = 1> ")), before(nodes.format("")), PlainReshape())


def test_allowzero_stays_where_a_dim_may_be_zero() -> None:
    nodes = "t = Concat <axis = 0> (n, b, four, three) y = Reshape <allowzero = 1> (x, t)"
    assert_declines(before(nodes), PlainReshape(), reason="may be zero")


@pytest.mark.parametrize(
    ("target", "constant", "y"),
    [
        ("t = Concat <axis = 0> (b, n, four, three)", "int64[4] t = {0, 0, 4, 3}", "float[P, Q, R, S] y"),
        ("m = Mul(b, n) t = Concat <axis = 0> (m, four, three)", "int64[3] t = {-1, 4, 3}", "float[P, Q, R] y"),
    ],
)
def test_empty_tensors_keep_their_shape(target: str, constant: str, y: str) -> None:
    shapes = [(0, 2, 12), (2, 0, 12), (0, 0, 12), (2, 3, 12)]
    if "Mul" in target:
        shapes.remove((2, 0, 12))  # the product is 0, which copies 2: the original fails
    feeds: list[Feed] = [{"x": np.zeros(shape, np.float32)} for shape in shapes]
    left = LEFT + (" m = Mul(b, n)" if "Mul" in target else "")
    assert_rewrites(
        before(f"{target} y = Reshape(x, t)", y=y),
        after(f"{left} y = Reshape(x, t)", constant, y=y),
        ConstantTarget(),
        feeds=feeds,
    )
