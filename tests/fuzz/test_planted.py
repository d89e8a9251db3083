"""Bugs planted in rules: the property must find each within so many graphs, or it proves nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.ops.contraction import Contraction
from onnxslim.passes.slim.table import RULES
from onnxslim.rewriter.place import Place, Replacement
from onnxslim.rewriter.rule import Rule
from tests.fuzz.check import check
from tests.fuzz.generate import generate

Wrong = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Plant:
    """A function of a module of ``onnxslim.passes.slim``, and how to make it wrong."""

    where: str
    wrong: Wrong
    families: tuple[str, ...] = ()
    graphs: int = 150


def _other_epsilon(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda scale, shift, mean, var, epsilon: right(scale, shift, mean, var, epsilon + 0.1)


def _same_shape_for_expand(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, *rest: 0 if node.op_type == "Expand" else right(node, *rest)


def _turned(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, inputs, *rest, **options: right(
        node, inputs[::-1] if node.op_type in ("Concat", "Sub", "Div") else inputs, *rest, **options
    )


def _no_attributes(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: None if right(*arguments, **options) is None else ()


def _other_branch(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*arguments: Any) -> bool | None:
        answer: bool | None = right(*arguments)
        return None if answer is None else not answer

    return wrong


def _other_order(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda p, q: right(q, p)


def _always(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: True


def _last_cut_wins(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda inner, outer: sorted({cut[0]: cut for cut in (*inner, *outer)}.values())


def _as_a_conv(right: Callable[..., Any]) -> Callable[..., Any]:
    def planted(weights: np.ndarray, a: np.ndarray, geometry: Contraction) -> Any:
        out, into = geometry.input_axis, geometry.output_axis
        return right(weights, a, replace(geometry, output_axis=out, input_axis=into))

    return planted


QUICK = {
    "folding turns operands round": Plant("region.evaluate", _turned, ("shapes", "arithmetic")),
    "normalization with another epsilon": Plant("fuse_conv_batchnorm.scale_and_shift", _other_epsilon, ("linear",)),
    "duplicates whatever their attributes": Plant("common_subexpressions.attributes_key", _no_attributes, ("layout",)),
    "permutations in the other order": Plant("merge_transposes.composed", _other_order, ("layout",)),
    "an Expand always does nothing": Plant("remove_identity.forwarded_input", _same_shape_for_expand, ("layout",)),
    "an If takes the other branch": Plant("inline_if.truth", _other_branch, ("control",)),
}
MORE = {
    "a slice forgets the one before": Plant("merge_slices.merge", _last_cut_wins, ("layout",), 400),
    "any Cast holds what another does": Plant("merge_casts.holds", _always, ("layout",), 800),
    "a ConvTranspose's weights as a Conv's": Plant("fuse_conv_batchnorm.scaled_weights", _as_a_conv, ("linear",), 400),
    "any state is zeros": Plant("drop_zero_state.only_zeros", _always, ("linear",), 400),
    "any factor makes a Gelu": Plant("fuse_gelu.takes_erf", _always, ("arithmetic",), 1500),
}


def caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """The number of the first graph that shows the bug; None where none does."""
    module, name = plant.where.rsplit(".", 1)
    target = importlib.import_module(f"onnxslim.passes.slim.{module}")
    monkeypatch.setattr(target, name, plant.wrong(getattr(target, name)))
    return _first_wrong(plant.families, plant.graphs)


def _first_wrong(families: tuple[str, ...], graphs: int) -> int | None:
    for seed in range(graphs):
        case = generate(seed, families)
        if check(case.model, case.feeds).wrong:
            return seed
    return None


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_planted_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(QUICK[name], monkeypatch) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MORE))
def test_another_planted_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught(MORE[name], monkeypatch) is not None


def spoiled(rewrite: Callable[..., Any]) -> Callable[..., Any]:
    """The rule with every constant that it makes a little off, or else with a turned list, another axis or number."""

    def wrong(self: Rule, node: ir.Node, place: Place) -> Replacement | str | None:
        answer: Replacement | str | None = rewrite(self, node, place)
        if not isinstance(answer, Replacement):
            return answer
        used = {x for new in answer.nodes for x in new.inputs} | set(answer.outputs)
        for value, made in list(place.made.items()):
            array = made if isinstance(made, np.ndarray) else made.numpy()
            if value in used and array.size and array.dtype.kind in "fiu":
                tensor = ir.Tensor((array + 1).astype(array.dtype))
                value.const_value = tensor
                place.made[value] = tensor
                return answer
        for new in answer.nodes:
            if _spoil(new):
                return answer
        if not answer.nodes and isinstance(answer.outputs[0], ir.Value):  # nothing remains: so let something remain
            extra = ir.node("Neg" if node.op_type != "Not" else "Not", [answer.outputs[0]])
            return Replacement((extra,), (extra.outputs[0], *answer.outputs[1:]))
        return answer

    return wrong


def _spoil(node: ir.Node) -> bool:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.INTS and len(set(attribute.as_ints())) > 1:
            ints = attribute.as_ints()
            node.attributes[name] = ir.AttrInt64s(name, [*ints[1:], ints[0]])
            return True
        if attribute.type == ir.AttributeType.FLOAT:
            node.attributes[name] = ir.AttrFloat32(name, attribute.as_float() + 0.5)
            return True
        if attribute.type == ir.AttributeType.INT and name in ("axis", "to", "transA", "transB", "keepdims"):
            node.attributes[name] = ir.AttrInt64(name, 11 if name == "to" else 1 - attribute.as_int())
            return True
    if node.op_type in ("GRU", "LSTM", "RNN"):
        node.attributes["clip"] = ir.AttrFloat32("clip", 0.01)
        return True
    inputs = [x for x in node.inputs if x is not None]
    if len(inputs) == 2 and node.op_type in ("Add", "Mul", "Sub", "Div", "MatMul", "Concat", "Pow"):
        node.replace_input_with(1, inputs[0])
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_every_rule_is_caught_when_its_result_is_a_little_off(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(rule), "rewrite", spoiled(type(rule).rewrite))
    assert _first_wrong((), 3000) is not None
