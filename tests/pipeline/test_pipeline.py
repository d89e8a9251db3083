"""The pipeline finds the guilty rewrite, takes back that one only, and never lets a wrong model through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.calibration import Statistics
from onnxslim.errors import CheckFailed, SetupError
from onnxslim.evaluation import Tier
from onnxslim.execution import open_session
from onnxslim.execution.target import TARGETS, host_target
from onnxslim.graph import parse, to_bytes
from onnxslim.graph.edit import constant_tensor
from onnxslim.passes.slim import RemoveIdentity
from onnxslim.pipeline import Action, Context, Pass, PassResult, Pipeline, RunConfig, Store
from onnxslim.samples import Sample

SEVEN_ADDS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] y)
<float one = {1}, float two = {2}>
{
    a = Add(x, one)
    b = Add(a, two)
    c = Add(b, one)
    d = Add(c, two)
    e = Add(d, one)
    f = Add(e, two)
    y = Add(f, one)
}
"""


@dataclass(frozen=True)
class SwapAddends(Pass):
    """Swaps the inputs of every Add, which is right; for the outputs named in ``wrong`` it makes a Sub of it."""

    name: ClassVar[str] = "swap-addends"
    tier: ClassVar[Tier] = Tier.NUMERIC
    wrong: tuple[str, ...] = ()
    crash: bool = False
    dangle: tuple[str, ...] = ()
    runs: list[int] = field(default_factory=list, compare=False)

    def run(self, model: ir.Model, context: Context) -> PassResult:
        self.runs.append(1)
        for node in model.graph:
            output = node.outputs[0].name or ""
            if node.op_type == "Add" and context.allow(Action("swap", (output,), "Add")):
                if self.crash:
                    raise ZeroDivisionError("a bug")
                first, second = node.inputs
                node.replace_input_with(0, second)
                node.replace_input_with(1, first)
                if output in self.wrong:
                    node.op_type = "Sub"
                if output in self.dangle:
                    node.replace_input_with(0, ir.Value(name="nowhere"))
        return context.result()


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return open_session(model).run({"x": x})["y"]


@pytest.mark.parametrize("wrong", [("a",), ("d",), ("y",), ("b", "f"), ("a", "b", "c", "d", "e", "f", "y")])
def test_guilty_rewrites_are_taken_back_and_the_others_stay(wrong: tuple[str, ...]) -> None:
    model = parse(SEVEN_ADDS)
    outcome = Pipeline([SwapAddends(wrong)]).run(model)
    assert {guilty.action.outputs[0] for guilty in outcome.guilty} == set(wrong)
    assert all(guilty.reason for guilty in outcome.guilty)
    swapped = {n.outputs[0].name for n in outcome.model.graph if constant_tensor(n.inputs[0]) is not None}
    assert swapped == set("abcdefy") - set(wrong)
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(run(outcome.model, x), run(model, x))


@pytest.mark.parametrize("dangle", [("a",), ("e", "y")])
def test_rewrites_that_break_the_graph_are_taken_back(dangle: tuple[str, ...]) -> None:
    outcome = Pipeline([SwapAddends(dangle=dangle)]).run(parse(SEVEN_ADDS))
    assert {guilty.action.outputs[0] for guilty in outcome.guilty} == set(dangle)
    assert "nowhere" in outcome.guilty[0].reason


def test_the_given_model_is_left_as_it_was() -> None:
    model = parse(SEVEN_ADDS)
    before = to_bytes(model)
    outcome = Pipeline([SwapAddends()]).run(model)
    assert outcome.modified
    assert to_bytes(model) == before
    assert to_bytes(outcome.model) != before


def test_without_verification_a_wrong_rewrite_stays_but_an_invalid_graph_raises() -> None:
    outcome = Pipeline([SwapAddends(("a",))], RunConfig(verify=False)).run(parse(SEVEN_ADDS))
    assert outcome.parity is None
    assert outcome.evidence == "none"
    with pytest.raises(CheckFailed, match="nowhere"):
        Pipeline([SwapAddends(dangle=("a",))], RunConfig(verify=False)).run(parse(SEVEN_ADDS))


def test_a_crashing_pass_is_named() -> None:
    with pytest.raises(CheckFailed, match=r"'swap-addends' crashed.*ZeroDivisionError: a bug"):
        Pipeline([SwapAddends(crash=True)]).run(parse(SEVEN_ADDS))


@dataclass(frozen=True)
class SilentlyWrong(Pass):
    """Changes the model and puts nothing on record that could be refused."""

    name: ClassVar[str] = "silently-wrong"

    def run(self, model: ir.Model, context: Context) -> PassResult:
        model.graph[0].op_type = "Sub"
        return PassResult(modified=True)


def test_a_wrong_pass_without_actions_yields_no_model() -> None:
    with pytest.raises(CheckFailed, match="no single rewrite is to blame"):
        Pipeline([SilentlyWrong()]).run(parse(SEVEN_ADDS))


def test_the_cost_of_a_bisection_is_logarithmic() -> None:
    instance = SwapAddends(("d",))
    Pipeline([instance]).run(parse(SEVEN_ADDS))
    # A failing run, the same again to have its actions, log2(7) halvings, a good run.
    assert len(instance.runs) <= 2 + 3 + 1


def test_samples_are_the_evidence_where_they_are_given() -> None:
    samples = [Sample(str(i), {"x": np.full((2, 3), i, np.float32)}) for i in range(3)]
    outcome = Pipeline([SwapAddends(("c",))], samples=samples).run(parse(SEVEN_ADDS))
    assert outcome.evidence == "samples"
    assert [guilty.action.outputs for guilty in outcome.guilty] == [("c",)]


@dataclass(frozen=True)
class Halve(Pass):
    """A lossy pass: scales the last constant."""

    name: ClassVar[str] = "halve"
    tier: ClassVar[Tier] = Tier.LOSSY

    def run(self, model: ir.Model, context: Context) -> PassResult:
        if context.allow(Action("halve", ("one",))):
            model.graph.initializers["one"].const_value = ir.tensor(np.array(0.99, np.float32), name="one")
        return context.result()


def test_tiers_are_checked_one_by_one_and_the_whole_at_the_loosest() -> None:
    outcome = Pipeline([SwapAddends(("b",)), Halve()]).run(parse(SEVEN_ADDS))
    assert [step.name for step in outcome.steps] == ["swap-addends", "halve"]
    assert [guilty.action.outputs for guilty in outcome.guilty] == [("b",)]
    assert outcome.parity is not None
    assert outcome.parity.tier is Tier.LOSSY


def test_refused_actions_and_limits() -> None:
    context = Context(refused=frozenset({"swap|a|Add"}), limit=2)
    result = SwapAddends().run(parse(SEVEN_ADDS), context)
    assert [action.outputs for action in result.actions] == [("b",), ("c",)]
    assert result.declined[0].reason == "a check failed with this rewrite"


def test_what_onnxruntime_cannot_run_is_rewritten_unverified_and_said_so() -> None:
    text = SEVEN_ADDS.replace('["" : 17]', '["" : 17, "custom.domain" : 1]').replace(
        "y = Add(f, one)", "h = custom.domain.Strange(f) y = Add(h, one)"
    )
    outcome = Pipeline([SwapAddends()]).run(parse(text))
    assert outcome.modified
    assert outcome.parity is None
    assert outcome.evidence == "none"
    assert "Strange" in outcome.unverified


@pytest.mark.parametrize("error", [MemoryError("8 GiB"), RuntimeError("[ONNXRuntimeError] : std::bad_alloc")])
def test_memory_that_runs_out_in_a_pass_is_no_bug(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: object) -> PassResult:
        raise error

    monkeypatch.setattr(SwapAddends, "run", run)
    with pytest.raises(SetupError, match=r"out of memory \(the pass 'swap-addends'\).*--memory") as caught:
        Pipeline([SwapAddends()]).run(parse(SEVEN_ADDS))
    assert caught.value.exit_code == 3


def test_a_model_that_needs_more_memory_than_there_is_goes_unverified() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y)
        <int64[2] s = {100000000, 1000000}> { t = Identity(x)  e = Expand(t, s)  y = ReduceMax <keepdims = 0> (e) }"""
    outcome = Pipeline([RemoveIdentity()]).run(parse(text))
    assert outcome.modified
    assert "GB of memory" in outcome.unverified


TWO_OUTPUTS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] first, float[N,3] second)
<float one = {1}, float two = {2}>
{
    first = Add(x, one)
    second = Add(x, two)
}
"""


def asked_twice(first: Context, second: Context, change: Callable[[ir.Model], None] = lambda _: None) -> bool:
    """Whether the second question is answered without computing again."""
    model, asked = parse(TWO_OUTPUTS), list[int]()
    first = replace(first, store=Store())
    second = replace(second, store=first.store)
    first.recall("it", model, lambda: asked.append(1), "options")
    change(model)
    second.recall("it", model, lambda: asked.append(2), "options")
    return asked == [1]


def set_weight_of_the_second_output(model: ir.Model) -> None:
    model.graph.initializers["two"].const_value = ir.tensor(np.array(3, np.float32), name="two")


def rename_node(model: ir.Model) -> None:
    model.graph[1].name = "other"


def rename_value(model: ir.Model) -> None:
    model.graph[1].outputs[0].name = "other"


def swap_outputs(model: ir.Model) -> None:
    first, second = model.graph.outputs
    model.graph.outputs.clear()
    model.graph.outputs.extend([second, first])


@pytest.mark.parametrize("change", [set_weight_of_the_second_output, rename_node, rename_value, swap_outputs])
def test_what_is_recalled_is_of_the_very_same_model(change: Callable[[ir.Model], None]) -> None:
    context = Context(samples=[Sample("a", {})])
    assert asked_twice(context, replace(context, limit=1))
    assert not asked_twice(context, context, change)


def test_what_is_recalled_is_of_the_very_same_conditions() -> None:
    base = Context(samples=[Sample("a", {})])
    others: dict[str, object] = {
        "samples": [Sample("a", {})],
        "selection": [Sample("b", {})],
        "statistics": (Statistics("given", 0, ()),),
        "refused": frozenset({"an action"}),
        "original": parse(TWO_OUTPUTS),
    }
    free = {"config", "limit", "store", "actions", "declined", "declined_beyond", "stages", "scratch"}
    assert {each.name for each in fields(Context)} - free == others.keys()
    for name, other in others.items():
        assert not asked_twice(base, replace(base, **{name: other})), name  # type: ignore[arg-type]
    settings: dict[str, object] = {
        "metric": lambda run, samples: 1.0,
        "max_drop": 0.5,
        "min_sqnr": 1.0,
        "bench": False,
        "target": next(name for name in TARGETS if name != host_target().name),
        "ops": "onnxruntime",
        "memory": 1,
        "threads": 7,
    }
    for name, other in settings.items():
        config = replace(base.config, **{name: other})  # type: ignore[arg-type]
        assert not asked_twice(base, replace(base, config=config)), name
    quiet = replace(base.config, progress=print, record=True, external_data=True)
    assert asked_twice(base, replace(base, config=quiet))
