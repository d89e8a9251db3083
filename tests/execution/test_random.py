from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import InputError
from onnxslim.execution import open_session, random_feeds, try_random_feeds
from tests.execution.models import model


def test_symbols_share_a_size_and_differ_in_some_feeds() -> None:
    made = model("(float[N,M] x, float[N,3] y) => (float[N,M] z) { z = Relu(x) }")
    shapes = [(f["x"].shape, f["y"].shape) for f in random_feeds(made)]
    assert all(x[0] == y[0] and y[1] == 3 for x, y in shapes)
    assert {x[0] for x, _ in shapes} == {x[1] for x, _ in shapes} == {1, 2, 7}
    assert any(x[0] != x[1] for x, _ in shapes)


def test_fixed_shapes_give_one_feed() -> None:
    assert [f["x"].shape for f in random_feeds(model("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))] == [(2, 3)]


def test_values_fit_their_dtypes() -> None:
    made = model(
        "(float[9,9] f, float16[9] h, bfloat16[9] b, int64[99] i, uint8[999] u, bool[99] t, string[9] s, "
        "complex64[9] c) => (float[9,9] y) { y = Relu(f) }"
    )
    (feed,) = random_feeds(made)
    kinds = {name: array.dtype.name for name, array in feed.items()}
    assert kinds == {
        "f": "float32", "h": "float16", "b": "bfloat16", "i": "int64",
        "u": "uint8", "t": "bool", "s": "object", "c": "complex64",
    }  # fmt: skip
    assert set(np.unique(feed["i"])) == set(range(10))
    assert feed["u"].max() > 200
    assert feed["f"].min() < 0 < feed["f"].max()
    assert all(isinstance(text, str) for text in feed["s"])


def test_the_seed_decides() -> None:
    made = model("(float[4] x) => (float[4] y) { y = Relu(x) }")
    first, again, other = (random_feeds(made, seed=s)[0]["x"] for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).all()


def test_sizes_that_the_model_refuses_are_dropped_with_a_reason() -> None:
    made = model("(float[N,4] x) => (float[M,4] y) { s = Constant<value_ints = [2,4]>() y = Reshape(x, s) }")
    tried = try_random_feeds(made)
    assert [f["x"].shape for f in tried.feeds] == [(2, 4)]
    assert len(tried.dropped) == 2
    assert tried.dropped[0].startswith("N=1: ")
    assert "Reshape" in tried.dropped[0]


def test_strided_nets_get_sizes_that_they_take() -> None:
    made = model(
        "(float[N,1,H,H] x) => (float[N,2,A,B] y) <float[1,1,1,1] w = {1}, float[4] r = {1, 1, 16, 16}> "
        "{ d = Conv<strides=[16,16], kernel_shape=[1,1]>(x, w) u = Resize(d, , r) y = Concat<axis=1>(u, x) }"
    )
    feeds = random_feeds(made)
    assert {f["x"].shape[0] for f in feeds} == {1}
    assert all(f["x"].shape[2] % 16 == 0 for f in feeds)
    for feed in feeds:
        open_session(made).run(feed)


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ("(seq(float[2]) x) => (float[2] y) { i = Constant<value_int=0>() y = SequenceAt(x, i) }", "no random data"),
        ("(float[100000,100000] x) => (float[100000,100000] y) { y = Relu(x) }", "at most"),
        (
            "(float[N,3] x) => (float[M,5] y) { s = Constant<value_ints=[5,5]>() y = Reshape(x, s) }",
            "none of the sizes",
        ),
    ],
)
def test_what_cannot_be_made_up_is_declined(graph: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        random_feeds(model(graph))


def test_unknown_rank_is_declined() -> None:
    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    made.graph.inputs[0].shape = None
    with pytest.raises(InputError, match=r"unknown rank.*samples"):
        random_feeds(made)


def test_initializers_listed_as_inputs_are_not_fed() -> None:
    made = model("(float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }")
    made.graph.inputs.append(made.graph.initializers["w"])
    assert [sorted(f) for f in random_feeds(made)] == [["x"]]


def test_minus_one_is_an_unknown_size() -> None:
    made = model("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    made.graph.inputs[0].shape = ir.Shape([-1, 3])
    assert [f["x"].shape for f in random_feeds(made)] == [(1, 3), (2, 3), (7, 3)]
