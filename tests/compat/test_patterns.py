from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

import onnxslim
from onnxslim import InputError
from onnxslim.compat.patterns import unregister_fusion_pattern
from onnxslim.pipeline import Action, Context, Pass, PassResult
from tests.compat.models import net, ops

NEGATED = """<ir_version: 8, opset_import: ["" : 17]>
g (float["n"] x) => (float["n"] y) { a = Neg (x) b = Exp (a) y = Abs (b) }"""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for name in ("FusionAbsExp", "drop-abs", "Matcher"):
        unregister_fusion_pattern(name)


class FusionAbsExp:
    """Abs o Exp -> Exp, as a matcher of OnnxSlim's kind."""

    name = "FusionAbsExp"
    wrong = False

    def __init__(self, priority: int | None = None) -> None:
        self.priority = priority

    def match(self, node: Any) -> bool:
        self.abs = node
        return node.op == "Abs" and bool(node.inputs[0].inputs) and node.i().op == "Exp"

    def rewrite(self, opset: int = 11) -> dict[str, dict[str, Any]]:
        exp = self.abs.i()
        inputs, outputs = list(exp.inputs), list(self.abs.outputs)
        exp.inputs.clear(), self.abs.outputs.clear()
        op = "Sin" if self.wrong else "Exp"
        return {outputs[0].name: {"op": op, "inputs": inputs, "outputs": outputs, "name": "mine", "domain": None}}


def test_a_matcher_registered_directly() -> None:
    onnxslim.register_fusion_pattern(FusionAbsExp(1))
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    assert ops(slimmed) == ["Neg", "Exp"]


def test_a_matcher_registered_by_a_decorator_with_opsets() -> None:
    decorated = onnxslim.register_fusion_pattern(priority=1, max_opset=16)(FusionAbsExp)
    assert decorated is FusionAbsExp
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    assert "Abs" in ops(slimmed)
    onnxslim.register_fusion_pattern(FusionAbsExp)
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    assert "Abs" not in ops(slimmed)


@pytest.mark.parametrize("skip", [["FusionAbsExp"], "FusionAbsExp", True])
def test_a_registered_pattern_may_be_skipped(skip: Any) -> None:
    onnxslim.register_fusion_pattern(FusionAbsExp(1))
    slimmed = onnxslim.slim(net(NEGATED), skip_fusion_patterns=skip)
    assert slimmed is not None
    assert "Abs" in ops(slimmed)


def test_a_wrong_matcher_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusionAbsExp, "wrong", True)
    onnxslim.register_fusion_pattern(FusionAbsExp(1))
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    assert ops(slimmed) == ["Neg", "Exp", "Abs"]


def test_a_model_without_a_match_is_not_touched() -> None:
    onnxslim.register_fusion_pattern(FusionAbsExp(1))
    model = net()
    model.metadata_props.add(key="k", value="v")
    slimmed = onnxslim.slim(model)
    assert slimmed is not None
    assert [entry.key for entry in slimmed.metadata_props] == ["k"]


class DropAbs(Pass):
    """A pass of this project's kind."""

    name = "drop-abs"

    def run(self, model: ir.Model, context: Context) -> PassResult:
        for node in list(model.graph):
            below = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
            if (
                node.op_type == "Abs"
                and below is not None
                and below.op_type == "Exp"
                and context.allow(Action(self.name, (node.outputs[0].name or "",)))
            ):
                node.op_type = "Identity"
        return context.result()


def test_a_pass_may_be_registered() -> None:
    onnxslim.register_fusion_pattern(DropAbs)
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    assert ops(slimmed) == ["Neg", "Exp"]


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(InputError, match="match"):
        onnxslim.register_fusion_pattern(object())


def test_a_matcher_that_raises_is_named() -> None:
    class Matcher(FusionAbsExp):
        name = "Matcher"

        def match(self, node: Any) -> bool:
            return bool(node.feeds)

    onnxslim.register_fusion_pattern(Matcher(1))
    with pytest.raises(onnxslim.OnnxSlimError, match=r"Matcher.*feeds"):
        onnxslim.slim(net(NEGATED))


def test_fused_outputs_are_right() -> None:
    onnxslim.register_fusion_pattern(FusionAbsExp(1))
    slimmed = onnxslim.slim(net(NEGATED))
    assert slimmed is not None
    (y,) = ReferenceEvaluator(slimmed).run(None, {"x": np.array([0.0, 1.0], np.float32)})
    np.testing.assert_allclose(np.asarray(y), np.exp([0.0, -1.0]), rtol=1e-6)
