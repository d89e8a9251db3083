"""What static int8 offers to a search across passes: the measured candidates that no other one beats in everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.calibration import model_digest
from onnxslim.pipeline import Context
from onnxslim.pipeline.offer import Effects, Offer

from .adapt import reach_of
from .judge import Scored
from .plan import Chosen, Migrated, QuantizePlan
from .search import Int8Search


def offers_of(search: Int8Search, model: ir.Model, migrated: Migrated, context: Context) -> Iterator[Offer]:
    """The candidates that are worth a choice, the one with the least noise first.

    Args:
        search: Of the model with its scales migrated.
        model: As the pass was given it; adapting a decision to it gives the decision itself.
        migrated: Scales that migrate before.
        context: Of the pass.
    """
    found, score = search.candidates()
    if not found:
        return
    values = dict.fromkeys(name for chosen, _ in found for name in chosen.spans)
    reach = reach_of(search.model, values, context)
    digest = model_digest(model)
    options = [(chosen, _effects(each, score)) for chosen, each in found if each.sqnr > -float("inf")]
    labels: dict[str, int] = {}
    for chosen, effects in undominated(options):
        label = f"{len(chosen.groups)} of {len(search.groups)} nodes in int8"
        labels[label] = labels.get(label, 0) + 1
        if labels[label] > 1:
            label = f"{label}, other ones ({labels[label]})"
        yield Offer(label, QuantizePlan(migrated, replace(chosen, reach=reach), digest), effects)


def _effects(each: Scored, score: float | None) -> Effects:
    # What a candidate gains on a few samples is luck: no other pass may spend it.
    drop = 0.0 if score is None or each.score is None else max(score - each.score, 0.0)
    return Effects(10 ** (-each.sqnr / 10), drop, each.speed, each.bytes)


def undominated(options: Sequence[tuple[Chosen, Effects]]) -> list[tuple[Chosen, Effects]]:
    """Those that no other one, and not the model as it is, beats or equals in everything; the least noise first."""
    kept: list[tuple[Chosen, Effects]] = []
    ordered = sorted(options, key=lambda each: (_measures(each[1]), len(each[0].groups)))
    for chosen, effects in ordered:
        # What comes before has no more noise; what is equal in everything comes once.
        better = [Effects(), *(other for _, other in kept)]
        if not any(_covers(other, effects) for other in better):
            kept.append((chosen, effects))
    return kept


def _measures(effects: Effects) -> tuple[float, ...]:
    return effects.noise, effects.drop, effects.time, effects.bytes


def _covers(one: Effects, other: Effects) -> bool:
    return all(a <= b for a, b in zip(_measures(one), _measures(other), strict=True))
