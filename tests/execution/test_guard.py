"""onnxruntime may crash on a model: it does so in a child, and the error says how."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import CannotRun, CheckFailed, Crashed, Hung, InputError, TooSlow
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import affordable, guard, isolated, open_isolated, open_session, optimized_graph, random_feeds
from onnxslim.graph import save, to_bytes
from onnxslim.isolation import shared_worker
from tests.execution.models import matmul, model


def crashing(seed: int = 0) -> ir.Model:
    """onnxruntime 1.32 crashes while it fuses these nodes; unoptimized, it runs them."""
    made = model(
        "(float16[T,B,16] x) => (float16[B,T,7] y) <float16[1] w = {1}> "
        "{ i = Identity(x) t = Transpose<perm=[1,0,2]>(i) y = MatMul(t, w) }"
    )
    weight = np.random.default_rng(seed).standard_normal((16, 7)).astype(np.float16)
    made.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    made.graph.initializers["w"].shape = ir.Shape([16, 7])
    return made


def test_a_crash_of_the_optimizer_is_an_error_for_every_kind_of_session() -> None:
    made = crashing()
    for open_it in (open_session, open_isolated, optimized_graph):
        with pytest.raises(Crashed, match=r"onnxruntime [\d.]+ crashed \(signal 11, SIGSEGV\) while optimizing"):
            open_it(made)
    (feed,) = random_feeds(made, enough=1)
    for open_it in (open_session, open_isolated):
        assert open_it(made, optimize=False).run(feed)["y"].shape == (1, 1, 7)


def test_what_crashes_optimized_is_compared_without_and_a_note_says_so() -> None:
    made = crashing()
    for tier in Tier:
        found = Reference(made, random_feeds(made), tier=tier).check(made.clone())
        assert found.passed
        assert found.feeds == 6
        assert any("only without optimizations: onnxruntime" in note for note in found.notes)
    assert not Reference(made, random_feeds(made), tier=Tier.NUMERIC).check(crashing(1)).passed


def test_a_candidate_that_crashes_is_no_candidate() -> None:
    before = model("(float16[T,B,16] x) => (float16[B,T,16] y) { y = Transpose<perm=[1,0,2]>(x) }")
    found = Reference(before, random_feeds(before), tier=Tier.EXACT).check(crashing())
    assert not found.passed
    assert "crashed (signal 11" in str(found.differences[0])


def test_an_isolated_session_is_like_any_other(tmp_path: Path) -> None:
    made = matmul()
    x = np.random.default_rng(1).standard_normal((3, 256)).astype(np.float32)
    save(made, tmp_path / "m.onnx")
    here = open_session(made)
    for form in (made, to_bytes(made), tmp_path / "m.onnx"):
        session = open_isolated(form)
        assert (session.inputs, session.outputs) == (here.inputs, here.outputs)
        np.testing.assert_array_equal(session.run({"x": x})["z"], here.run({"x": x})["z"])
    with pytest.raises(InputError, match="lacks input 'x'"):
        session.run({})
    with pytest.raises(InputError, match="no output 'q'"):
        session.run({"x": x}, ["q"])


def test_sessions_outlive_the_child_that_they_shared() -> None:
    session = open_isolated(model("(float[2] x) => (float[2] y) { y = Abs(x) }"))
    shared_worker().close()
    assert session.run({"x": np.array([-1, 2], np.float32)})["y"].tolist() == [1, 2]


def test_a_large_model_has_a_child_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SHIPPED", 1000)
    monkeypatch.setattr(isolated, "SHIPPED", 1000)
    x = np.ones((1, 256), np.float32)
    made = matmul()
    np.testing.assert_array_equal(open_isolated(made).run({"x": x})["z"], open_session(made).run({"x": x})["z"])


def test_a_run_without_end_or_with_too_much_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = model(
        "(float[1] x) => (float[1] y) { n = Constant<value_int=1000000000000>() t = Constant<value_int=1>() "
        "c = Cast<to=9>(t) y = Loop(n, c, x) <body = b (int64 i, bool k, float[1] v) => (bool k2, float[1] v2) "
        "{ k2 = Identity(k) v2 = Add(v, v) }> }"
    )
    with pytest.raises(Hung, match=r"did not finish within 0\.3 s while running the model"):
        open_isolated(endless, optimize=False, seconds=0.3).run({"x": np.ones(1, np.float32)})
    monkeypatch.setattr(guard, "MEMORY", 64 << 20)
    hungry = model("(float[1] x, int64[2] s) => (float[N,M] y) { y = Expand(x, s) }")
    feed = {"x": np.ones(1, np.float32), "s": np.array([100_000, 1000])}
    with pytest.raises(Crashed, match=r"needs more than 0\.067 GB of memory for running"):
        open_isolated(hungry).run(feed)
    with pytest.raises(CannotRun):
        Reference(hungry, [feed], tier=Tier.NUMERIC)


def test_an_error_of_a_node_is_what_it_was() -> None:
    made = model("(float[N,3] x) => (float[M,5] y) { s = Constant<value_ints=[5,5]>() y = Reshape(x, s) }")
    with pytest.raises(CheckFailed, match="failed while running"):
        open_isolated(made).run({"x": np.ones((1, 3), np.float32)})


def test_a_large_graph_that_takes_long_is_compared_on_samples_only(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = " ".join(f"x{i + 1} = Tanh(x{i})" for i in range(1500))
    made = model(f"(float[2] x0) => (float[2] x1500) {{ {chain} }}")
    feeds = random_feeds(made, enough=1)
    monkeypatch.setattr(affordable, "LARGE", 1000)
    monkeypatch.setattr(guard, "BYTES_A_SECOND", math.inf)
    monkeypatch.setattr(affordable, "OPENING_SECONDS", 0.0)
    with pytest.raises(TooSlow, match=r"the model has 1 graphs, which onnxruntime takes about 0 s to open"):
        Reference(made, feeds, tier=Tier.NUMERIC, patient=False)
    monkeypatch.setattr(affordable, "SUBGRAPH_SECONDS", 0.0)
    for tier in (Tier.NUMERIC, Tier.LOSSY):
        with pytest.raises(TooSlow, match=r"takes too long to open the model .*give samples, or --must-verify"):
            Reference(made, feeds, tier=tier, patient=False)
    assert Reference(made, feeds, tier=Tier.LOSSY, evidence="samples", patient=False).feeds
    assert Reference(made, feeds, tier=Tier.LOSSY).feeds


def test_a_small_graph_may_take_longer_and_a_candidate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affordable, "OPENING_SECONDS", 5e-4)  # enough for the graphs, not for opening any
    monkeypatch.setattr(guard, "BYTES_A_SECOND", math.inf)
    made = matmul()
    reference = Reference(made, random_feeds(made), tier=Tier.NUMERIC, patient=False)
    monkeypatch.setattr(affordable, "LARGE", 1)
    assert reference.check(made.clone()).passed


def test_a_run_of_a_large_graph_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = model(
        "(float[1] x) => (float[1] y) { n = Constant<value_int=1000000000000>() t = Constant<value_int=1>() "
        "c = Cast<to=9>(t) y = Loop(n, c, x) <body = b (int64 i, bool k, float[1] v) => (bool k2, float[1] v2) "
        "{ k2 = Identity(k) v2 = Add(v, v) }> }"
    )
    monkeypatch.setattr(affordable, "LARGE", 1)
    monkeypatch.setattr(affordable, "OPENING_SECONDS", 0.5)
    with pytest.raises(TooSlow, match=r"too long to run the model once .* at most 0\.5 s"):
        Reference(endless, [{"x": np.ones(1, np.float32)}], tier=Tier.NUMERIC, patient=False)
