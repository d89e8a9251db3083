from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.analysis import dims
from onnxslim.analysis.dims import Dim, Symbols, TooComplex, evaluate, symbol

N, M, K = symbol("N"), symbol("M"), symbol("K")

OPERATIONS: dict[str, tuple[Callable[[Any, Any], Dim], Callable[[int, int], int]]] = {
    "add": (dims.add, lambda a, b: a + b),
    "mul": (dims.mul, lambda a, b: a * b),
    "floordiv": (dims.floordiv, lambda a, b: a // b),
    "ceildiv": (dims.ceildiv, lambda a, b: -(-a // b)),
    "mod": (dims.mod, lambda a, b: a % b),
    "max": (dims.maximum, max),
    "min": (dims.minimum, min),
}
LEAVES = st.sampled_from([N, M, K]) | st.integers(-9, 9)
TREES = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from(sorted(OPERATIONS)), inner, inner), max_leaves=8)
SIZES = st.fixed_dictionaries({"N": st.integers(0, 40), "M": st.integers(0, 40), "K": st.integers(0, 40)})


def build(tree: Any, sizes: dict[str, int]) -> tuple[Dim, int] | None:
    if not isinstance(tree, tuple):
        number = evaluate(tree, sizes)
        assert number is not None
        return tree, number
    name, left, right = tree
    a, b = build(left, sizes), build(right, sizes)
    if a is None or b is None or (name in ("floordiv", "ceildiv", "mod") and (b[1] == 0 or b[0] == 0)):
        return None
    symbolic, plain = OPERATIONS[name]
    return symbolic(a[0], b[0]), plain(a[1], b[1])


@settings(max_examples=500, deadline=None)
@given(TREES, SIZES)
def test_expressions_have_the_value_and_the_bounds_of_what_they_stand_for(tree: Any, sizes: dict[str, int]) -> None:
    try:
        built = build(tree, sizes)
    except TooComplex:
        return
    if built is None:
        return
    expression, number = built
    assert evaluate(expression, sizes) == number
    assert dims.lower(expression) <= number <= dims.upper(expression)
    try:
        halved = dims.substitute(expression, {"N": 2 * symbol("H")})
    except ZeroDivisionError:  # a divisor such as N mod 2, which is 0 for every even N
        return
    if sizes["N"] % 2 == 0:
        assert evaluate(halved, {**sizes, "H": sizes["N"] // 2}) == number


@settings(max_examples=200, deadline=None)
@given(TREES, TREES, SIZES)
def test_claims_of_difference_and_division_hold(left: Any, right: Any, sizes: dict[str, int]) -> None:
    try:
        a, b = build(left, sizes), build(right, sizes)
        if a is None or b is None:
            return
        differ, quotient, rounded = dims.differ(a[0], b[0]), dims.divide(a[0], b[0]), dims.truncdiv(a[0], b[0])
    except TooComplex:
        return
    assert not (differ and a[1] == b[1])
    if b[1] != 0:
        truncated = abs(a[1]) // abs(b[1]) * (1 if (a[1] < 0) == (b[1] < 0) else -1)
        assert quotient is None or evaluate(quotient, sizes) == truncated == a[1] / b[1]
        assert rounded is None or evaluate(rounded, sizes) == truncated


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((N + M) * (N - M), N * N - M * M),
        (dims.floordiv(4 * N + 6, 2), 2 * N + 3),
        (dims.floordiv(dims.floordiv(N + 1, 2) + 1, 2), dims.floordiv(N + 3, 4)),
        (dims.floordiv(6 * N + 4, 4), N + dims.floordiv(N + 2, 2)),
        (dims.mod(N + 8, 4), dims.mod(N, 4)),
        (dims.ceildiv(N, 32), dims.floordiv(N + 31, 32)),
        (dims.maximum(N + 1, M + 1), dims.maximum(M, N) + 1),
        (dims.minimum(N, 5) + dims.maximum(N, 5), N + 5),
        (dims.maximum(N + 2, 1), N + 2),
        (dims.divide(N * M * 12, 4 * M), 3 * N),
        (dims.divide(N * N - M * M, N + M), N - M),
        (dims.broadcast(N, 1), N),
        (dims.broadcast(N, 7), 7),
        (dims.broadcast(dims.broadcast(N, M), K), dims.broadcast(M, dims.broadcast(K, N))),
    ],
)
def test_equal_expressions_have_one_form(left: Dim, right: Dim) -> None:
    assert left == right
    assert hash(left) == hash(right)
    assert str(left) == str(right)


def test_different_symbols_stay_different() -> None:
    assert N != M
    assert dims.broadcast(N, M) not in (N, M)
    assert evaluate(dims.broadcast(N, M), {"N": 1, "M": 5}) == 5
    assert evaluate(dims.broadcast(N, M), {"N": 0, "M": 1}) == 0
    assert not dims.differ(N, M)
    assert symbol("N + M") != N + M
    assert str(symbol("N + M") * 2) == "2*{N + M}"


@pytest.mark.parametrize(
    "grow",
    [
        lambda dim, i: dims.mul(dim, dim),
        lambda dim, i: dims.mul(dim, symbol(f"a{i}") + 1),
        lambda dim, i: dims.floordiv(dims.mul(dim, symbol(f"a{i}")), symbol(f"b{i}")),
        lambda dim, i: dims.mul(dim, 1000),
    ],
    ids=["degree", "terms", "nesting", "coefficient"],
)
def test_what_grows_without_end_is_refused(grow: Callable[[Dim, int], Dim]) -> None:
    def repeat() -> None:
        dim: Dim = N
        for i in range(200):
            dim = grow(dim, i)

    with pytest.raises(TooComplex):
        repeat()


def test_anonymous_symbols_are_never_equal_and_have_no_declared_name() -> None:
    symbols = Symbols()
    declared = [dims.from_declared(ir.SymbolicDim(name), symbols) for name in (None, None, "?", "?", "-1", "-1", "")]
    declared.append(dims.from_declared(-1, symbols))
    assert len(set(declared)) == len(declared)
    assert dims.to_declared(declared[0]) == ir.SymbolicDim(None)
    assert dims.to_declared(declared[0] + N) == ir.SymbolicDim(None)
    assert dims.lower(symbols.data()) == float("-inf")


@pytest.mark.parametrize("name", ["N", "batch size", "p2o.DynamicDimension.0", "a}b\\}", "N + 1", "floor(N, 2)"])
def test_declared_names_survive(name: str) -> None:
    dim = dims.from_declared(ir.SymbolicDim(name), Symbols())
    assert dims.to_declared(dim) == ir.SymbolicDim(name)
    assert evaluate(dim + 1, {name: 4}) == 5
    assert dim not in (N + 1, dims.floordiv(N, 2))


def test_division_by_zero_has_no_value() -> None:
    assert evaluate(dims.floordiv(N, M), {"N": 4, "M": 0}) is None
    assert dims.divide(N, 0) is None
    assert dims.truncdiv(N, 0) is None
