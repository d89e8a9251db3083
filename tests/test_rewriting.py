"""The helper that rewrite tests stand on must itself notice what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.evaluation.tier import Tier
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from tests.rewriting import assert_declines, assert_rewrites, assert_same_graph, assert_same_outputs

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x) => (float[N,2] y) '
BEFORE = HEAD + "<float[2] w = {1.0, 2.0}> { t = Identity (x) y = Add (t, w) }"
AFTER = HEAD + "<float[2] other = {1.0, 2.0}> { y = Add (x, other) }"


@dataclass(frozen=True)
class RemoveIdentity(Pass):
    """Removes each Identity; the switches break it in one way each."""

    name: ClassVar[str] = "remove-identity-for-the-test"
    tier: ClassVar[Tier] = Tier.EXACT
    ask: bool = True
    also: str = ""

    def run(self, model: ir.Model, context: Context) -> PassResult:
        for node in list(model.graph):
            if node.op_type != "Identity":
                continue
            if node.outputs[0].is_graph_output():
                context.decline("identity", node.name or "", "its output is an output of the graph")
                continue
            if self.ask and not context.allow(Action("identity", (node.outputs[0].name or "",))):
                continue
            source = node.inputs[0]
            assert source is not None
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            model.graph.remove(node, safe=True)
        weights = model.graph.initializers.get("w")
        if self.also == "weights" and weights is not None:
            weights.const_value = ir.tensor(np.array([1, 3], np.float32), name="w")
        if self.also == "operator":
            model.graph[-1].op_type = "Sub"
        if self.also == "metadata":
            model.metadata_props["seen"] = "yes"
        return context.result()


def test_a_right_rewrite_passes_and_its_result_is_returned() -> None:
    result = assert_rewrites(BEFORE, AFTER, RemoveIdentity())
    assert [action.outputs for action in result.actions] == [("t",)]


@pytest.mark.parametrize(
    ("after", "rewrite", "message"),
    [
        (BEFORE, RemoveIdentity(), "not the graph expected"),
        (AFTER, RemoveIdentity(also="weights"), "not the graph expected"),
        (AFTER, RemoveIdentity(also="operator"), "not the graph expected"),
        (AFTER, RemoveIdentity(ask=False), "the pass says that it was not"),
        (AFTER.replace("{1.0, 2.0}", "{1.0, 3.0}"), RemoveIdentity(also="weights"), "not the same bits"),
        (AFTER.replace("Add", "Sub"), RemoveIdentity(also="operator"), "not the same bits"),
        (AFTER, RemoveIdentity(also="metadata"), "although no action was allowed"),
    ],
)
def test_a_wrong_rewrite_fails(after: str, rewrite: Pass, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_rewrites(BEFORE, after, rewrite)


def test_declining_wants_nothing_changed_and_the_reason() -> None:
    output = HEAD + "{ y = Identity (x) }"
    assert_declines(output, RemoveIdentity(), reason="an output of the graph")
    with pytest.raises(AssertionError, match="no reason says 'another'"):
        assert_declines(output, RemoveIdentity(), reason="another")
    with pytest.raises(AssertionError, match="to be left alone"):
        assert_declines(BEFORE, RemoveIdentity())
    with pytest.raises(AssertionError, match="to be left alone"):
        assert_declines(output, RemoveIdentity(also="metadata"))


SAME = HEAD + "<float[2] a = {1.0, 2.0}, float[2] b = {3.0, 4.0}> { p = Add (x, a) q = Sub (x, b) y = Mul (p, q) }"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (SAME, True),
        (SAME.replace("p = Add (x, a) q = Sub (x, b)", "q = Sub (x, b) p = Add (x, a)"), True),
        (SAME.replace("p = ", "r = ").replace("(p,", "(r,").replace(" a =", " c =").replace("x, a", "x, c"), True),
        (SAME.replace('"" : 17', '"ai.onnx" : 17'), True),
        (SAME.replace("Mul (p, q)", "Mul (q, p)"), False),
        (SAME.replace("{1.0, 2.0}", "{1.0, 2.5}"), False),
        (SAME.replace("float[2] a", "float[1,2] a"), False),
        (SAME.replace('"" : 17', '"" : 18'), False),
        (SAME.replace("float[N,2] y", "float[M,2] y"), False),
        (SAME.replace("y = Mul (p, q)", "dead = Neg (p) y = Mul (p, q)"), False),
        (SAME.replace("<float[2] a", "<float[1] unused = {1.0}, float[2] a"), False),
        (SAME.replace("Mul (p, q)", "Mul <k = 1> (p, q)"), False),
    ],
)
def test_what_is_the_same_graph(text: str, same: bool) -> None:
    if same:
        assert_same_graph(SAME, text)
    else:
        with pytest.raises(AssertionError, match="not the graph expected"):
            assert_same_graph(SAME, text)


BRANCHES = """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}>
{ p = Neg (x) y = If (c) <then_branch = t () => (float[2] a) { a = Add (p, w) },
                         else_branch = e () => (float[2] b) { b = Abs (x) }> }"""


def test_subgraphs_are_compared_with_what_they_capture() -> None:
    renamed = BRANCHES.replace("(float[2] a) { a =", "(float[2] q) { q =").replace("p = Neg", "s = Neg")
    assert_same_graph(BRANCHES, renamed.replace("(p, w)", "(s, w)"))
    for change in (("Add (p, w)", "Add (x, w)"), ("b = Abs", "b = Neg"), ("{1.0, 2.0}", "{1.0, 9.0}")):
        with pytest.raises(AssertionError):
            assert_same_graph(BRANCHES, BRANCHES.replace(*change))


def test_tiers_differ_in_what_they_let_pass() -> None:
    text = HEAD + "<float k = {%s}> { y = Mul (x, k) }"
    assert_same_outputs(text % "1.0", text % "1.00001", tier=Tier.NUMERIC)
    with pytest.raises(AssertionError, match="not the same bits"):
        assert_same_outputs(text % "1.0", text % "1.00001", tier=Tier.EXACT)
    with pytest.raises(AssertionError, match="y "):
        assert_same_outputs(text % "1.0", text % "1.01", tier=Tier.NUMERIC)
    assert_same_outputs(text % "1.0", text % "1.01", tier=Tier.LOSSY)
    with pytest.raises(AssertionError, match="dB kept"):
        assert_same_outputs(text % "1.0", text % "1.5", tier=Tier.LOSSY)
    with pytest.raises(AssertionError, match="NaN or infinity"):
        assert_same_outputs(text % "1.0", text % "nan", tier=Tier.LOSSY)


def test_a_dynamic_dimension_frozen_by_mistake_is_noticed() -> None:
    before = HEAD + "<int64[2] s = {-1, 2}> { y = Reshape (x, s) }"
    with pytest.raises(Exception, match="Reshape"):
        assert_same_outputs(before, before.replace("{-1, 2}", "{1, 2}"))


def test_a_model_that_runs_at_no_size_asks_for_feeds() -> None:
    text = HEAD + "<int64[2] s = {5, 2}> { y = Reshape (x, s) }"
    with pytest.raises(AssertionError, match="give feeds"):
        assert_same_outputs(text, text)
    assert_same_outputs(text, text, feeds=[{"x": np.ones((5, 2), np.float32)}])
