"""Static int8 offers sets of nodes that were measured, and its decisions fit models that other passes changed."""

from __future__ import annotations

import math

import onnx_ir as ir
import pytest

from models_zoo import get
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import optimized_graph
from onnxslim.graph import load, to_bytes
from onnxslim.passes.prune.prune_channels import PruneChannels
from onnxslim.passes.quantize.offers import undominated
from onnxslim.passes.quantize.plan import Chosen, QuantizePlan
from onnxslim.passes.quantize.static_int8 import QuantizeStatic
from onnxslim.pipeline import Context
from onnxslim.pipeline.offer import Effects, Offer
from onnxslim.pipeline.plan import decode, encode
from onnxslim.samples import Sample, feeds_of
from onnxslim.samples.feeds import PROBED

PASS = QuantizeStatic()


class Case:
    """A real model, its samples, and what is offered for it where nothing may be timed."""

    def __init__(self, name: str) -> None:
        entry = get(name)
        self.model = load(entry.path())
        self.calibration: list[Sample] = list(entry.samples("calibration").first(32))
        self.selection: list[Sample] = list(entry.samples("selection").first(16))
        self.offers = list(PASS.offers(self.model, self.context()))

    def context(self) -> Context:
        return Context.of(samples=self.calibration, selection=self.selection, bench=False, target="x86-vnni")

    def reference(self, model: ir.Model) -> Reference:
        return Reference(model, feeds_of(self.selection, PROBED), tier=Tier.LOSSY, threads=1)

    def built(self, model: ir.Model, decision: QuantizePlan) -> ir.Model:
        result = model.clone()
        PASS.apply(result, decision, self.context())
        return result


@pytest.fixture(scope="module")
def digits() -> Case:
    return Case("digits_cnn")


def decibels(offer: Offer) -> float:
    return -10 * math.log10(offer.effects.noise)


def int8_kernels(model: ir.Model) -> int:
    return sum(node.op_type in ("QLinearConv", "QGemm") for node in optimized_graph(model).graph.node)


def test_each_offer_is_the_model_that_was_measured_the_mildest_first(digits: Case) -> None:
    offers, reference = digits.offers, digits.reference(digits.model)
    assert len(offers) > 1
    assert len({each.label for each in offers}) == len(offers)
    assert [each.effects.noise for each in offers] == sorted(each.effects.noise for each in offers)
    whole = len(to_bytes(digits.model))
    for offer in offers:
        result = digits.built(digits.model, offer.decision)
        assert int8_kernels(result) == len(offer.decision.chosen.groups)
        assert reference.check(result).worst_sqnr == pytest.approx(decibels(offer), abs=0.5)
        assert len(to_bytes(result)) / whole == pytest.approx(offer.effects.bytes, abs=0.02)
        assert 0 < offer.effects.time < 1


def test_without_a_clock_the_same_model_and_samples_give_the_same_offers(digits: Case) -> None:
    again = list(PASS.offers(digits.model.clone(), digits.context()))
    texts = []
    for offers in (digits.offers, again):
        arrays: list = []  # type: ignore[type-arg]
        trees = [(each.label, each.effects, encode(each.decision, arrays)) for each in offers]
        texts.append((trees, [array.tobytes() for array in arrays]))
    assert texts[0] == texts[1]


def test_a_decision_goes_into_a_file_and_holds_for_its_own_model(digits: Case) -> None:
    for offer in digits.offers:
        assert PASS.adapt(offer.decision, digits.model.clone(), digits.context()) is offer.decision
        arrays: list = []  # type: ignore[type-arg]
        tree = encode(offer.decision, arrays)
        read = decode(tree, arrays, {each.__name__: each for each in PASS.plan_types})
        assert PASS.adapt(read, digits.model, digits.context()) is read
        assert to_bytes(digits.built(digits.model, read)) == to_bytes(digits.built(digits.model, offer.decision))


def test_a_decision_is_adapted_to_a_pruned_model(digits: Case) -> None:
    pruned = digits.model.clone()
    removed = PruneChannels(macs=0.6).run(pruned, digits.context())
    assert removed.actions
    reference = digits.reference(pruned)
    for offer in digits.offers:
        context = digits.context()
        adapted = PASS.adapt(offer.decision, pruned, context)
        assert not context.declined
        assert [each.key for each in adapted.chosen.groups] == [each.key for each in offer.decision.chosen.groups]
        assert adapted.chosen.spans != offer.decision.chosen.spans
        result = digits.built(pruned, adapted)
        assert int8_kernels(result) == len(adapted.chosen.groups)
        assert reference.check(result).worst_sqnr > decibels(offer) - 6


def test_what_forms_no_kernel_any_more_is_left_out_with_a_reason(digits: Case) -> None:
    mild = digits.offers[-1]
    changed = digits.model.clone()
    key = mild.decision.chosen.groups[-1].key
    node = next(node for node in changed.graph if node.outputs[0].name == key)
    weight = node.inputs[1]
    assert weight is not None
    changed.graph.initializers.pop(weight.name or "")
    made = ir.node("Identity", [ir.val("source", const_value=weight.const_value)], name="computes")
    assert made.inputs[0] is not None
    changed.graph.register_initializer(made.inputs[0])
    node.prepend(made)
    made.outputs[0].name, made.outputs[0].type = "computed", weight.type
    node.replace_input_with(1, made.outputs[0])
    context = digits.context()
    adapted = PASS.adapt(mild.decision, changed, context)
    assert key not in {each.key for each in adapted.chosen.groups}
    # The Gemm before it had its Relu between two int8 nodes: without the second it forms no kernel.
    reasons = {each.reason.split(" of ")[0] for each in context.declined}
    assert reasons == {"it is no int8 candidate any more", "onnxruntime formed no QGemm"}
    result = digits.built(changed, adapted)
    assert 0 < int8_kernels(result) == len(adapted.chosen.groups)
    assert digits.reference(changed).check(result).worst_sqnr > decibels(mild) - 1


def test_what_another_one_beats_in_everything_is_not_offered() -> None:
    def option(*measures: float) -> tuple[Chosen, Effects]:
        return Chosen(), Effects(*measures)

    mild, fast, small = option(0.01, 0, 0.8, 0.7), option(0.03, 0, 0.6, 0.5), option(0.02, 0, 1.1, 0.4)
    worse, same, useless = option(0.04, 0, 0.6, 0.5), option(0.03, 0, 0.6, 0.5), option(0.01, 0, 1.0, 1.0)
    assert undominated([worse, fast, same, useless, small, mild]) == [mild, small, fast]
