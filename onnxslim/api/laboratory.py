"""Where a search's offers and whole models are made and measured, and kept in its journal.

Errors are measured in any process. Times are measured here, while no trial runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from onnxslim.api.trial import TrialBench, TrialResult, TrialSetting, run_trial
from onnxslim.execution import Feed, rank_latency
from onnxslim.pipeline import Context, Effects, Offer, Pass, Plan
from onnxslim.pipeline.keys import Keys
from onnxslim.pipeline.plan import plans_of_bytes, plans_to_bytes, stored_plan
from onnxslim.samples import feeds_of, typical
from onnxslim.search.engine import Engine, Failure
from onnxslim.search.explore import Built
from onnxslim.search.journal import Journal
from onnxslim.search.space import Axis, Point, Space

TIMED, ROUNDS = 4, 2.0
"""Samples that trials are timed with, and seconds for each of them."""


class Laboratory:
    """Makes offers and trials of one slimmed model.

    Args:
        bench: Of this process.
        setting: The same for other processes; None where the samples or the metric cannot be sent there.
        journal: Keeps all that is measured.
        engine: Runs trials.
        question: Hash of all that results depend on: model, passes, samples, conditions, versions.
    """

    def __init__(
        self, bench: TrialBench, setting: TrialSetting | None, journal: Journal, engine: Engine, question: str
    ) -> None:
        self.bench, self.journal, self.engine, self.question = bench, journal, engine, question
        self._build = bench.build if setting is None else partial(run_trial, setting)
        self._keys = Keys()
        self._digests: dict[int, str] = {}
        self.recalled = 0

    # -- offers ----------------------------------------------------------------------------------------------------

    def offers(self, axis: Axis) -> Iterator[Offer]:
        """What the pass of an axis offers: what the journal knows, then what the pass goes on with."""
        instance = axis.instance
        known: list[Offer] = []
        while (entry := self.journal.get(self._offer_key(instance, len(known)))) is not None:
            if entry.get("end"):
                yield from known[len(axis.offers) :]
                return
            offer = self._offer_of(entry, instance)
            known.append(offer)
            yield offer
        for offer in instance.offers(self.bench.lossy.base.model, self._context, tuple(known)):
            self._keep_offer(instance, len(known), offer)
            known.append(offer)
            yield offer
        self.journal.put(self._offer_key(instance, len(known)), "end of offers", {"end": True})

    @cached_property
    def _context(self) -> Context:
        lossy, parts = self.bench.lossy, self.bench.parts
        task = lossy.task
        selection = parts.selection if len(parts.selection) else None
        base = lossy.base.model
        return Context(task.config, parts.calibration, selection, lossy.statistics, store=task.store, original=base)

    def _offer_key(self, instance: Pass, place: int) -> str:
        return self._keys.of(self.question, "offer", instance, place)

    def _keep_offer(self, instance: Pass, place: int, offer: Offer) -> None:
        data = plans_to_bytes({"decision": stored_plan(Plan(offer.decision))})
        digest = self.journal.store(data)
        self._digests[id(offer)] = digest
        payload = {
            "label": offer.label,
            "effects": asdict(offer.effects),
            "options": dict(offer.options),
            "decision": digest,
        }
        self.journal.put(self._offer_key(instance, place), "offer", payload, (digest,))

    def _offer_of(self, entry: dict[str, Any], instance: Pass) -> Offer:
        data = self.journal.load(entry["decision"])
        plan = plans_of_bytes(data)["decision"].plan(instance.plan_types)
        options = {name: tuple(each) if isinstance(each, list) else each for name, each in entry["options"].items()}
        offer = Offer(entry["label"], plan.decided, Effects(**entry["effects"]), options)
        self._digests[id(offer)] = entry["decision"]
        return offer

    # -- trials ----------------------------------------------------------------------------------------------------

    def build(self, space: Space, points: Sequence[Point]) -> list[Built]:
        """Builds and measures whole models, those that the journal does not know; their times come last."""
        keys = [self._trial_key(space, point) for point in points]
        recalled = {key for key in keys if self.journal.get(key) is not None}
        new = [(key, point) for key, point in zip(keys, points, strict=True) if key not in recalled]
        answers = self.engine.map(self._build, [space.passes_of(point) for _, point in new])
        for (key, _), answer in zip(new, answers, strict=True):
            found = TrialResult(reason=answer.reason) if isinstance(answer, Failure) else answer
            self._keep_trial(key, found)
        self._time(keys)
        self.recalled += len(recalled)
        return [self._built(key, recalled=key in recalled) for key in keys]

    def _trial_key(self, space: Space, point: Point) -> str:
        taken = [(axis.instance.name, self._digests[id(offer)]) for axis, offer in space.offers(point)]
        return self._keys.of(self.question, "trial", tuple(taken))

    def _keep_trial(self, key: str, found: TrialResult) -> None:
        objects = [self.journal.store(each) for each in (found.model, found.plans)] if found.model else []
        payload = {
            "bytes": len(found.model),
            "sqnr_db": found.sqnr_db,
            "drop": found.drop,
            "drop_bound": found.drop_bound,
            "reason": found.reason,
            "seconds": found.seconds,
            "objects": objects,
        }
        self.journal.put(key, "trial", payload, objects)

    def _time(self, keys: Sequence[str]) -> None:
        """Times the trials that were not timed, interleaved with the original."""
        task = self.bench.task
        left = [key for key in keys if self.journal.get(f"{key} time") is None and self._entry(key)["objects"]]
        if not task.config.timed or not left or not self._feeds:
            return
        task.config.progress(f"measure the time of {len(left)} models")
        models = [self.model(key) for key in left]
        shares = rank_latency(
            [task.source.model, *models], self._feeds, seconds=ROUNDS * len(left), threads=task.config.threads
        )
        for key, share in zip(left, shares[1:], strict=True):
            self.journal.put(f"{key} time", "time", {"speedup": 1 / share})

    @cached_property
    def _feeds(self) -> list[Feed]:
        feeds = feeds_of(self.bench.samples, 2 * TIMED, self.bench.task.config.memory // 8)
        return typical(feeds, TIMED) if feeds else []

    def _built(self, key: str, *, recalled: bool) -> Built:
        entry, time = self._entry(key), self.journal.get(f"{key} time")
        return Built(
            key,
            entry["bytes"],
            float(entry["sqnr_db"]),
            entry["drop"],
            entry["drop_bound"],
            None if time is None else time["speedup"],
            entry["reason"],
            entry["seconds"],
            recalled,
        )

    def _entry(self, key: str) -> dict[str, Any]:
        entry = self.journal.get(key)
        assert entry is not None, "it was just put there"
        return entry

    def model(self, key: str) -> bytes:
        """The file of a trial."""
        return self.journal.load(self._entry(key)["objects"][0])

    def take_plans(self, key: str) -> None:
        """Lets passes here apply what was planned for a trial, wherever that was."""
        self.bench.task.store.add(plans_of_bytes(self.journal.load(self._entry(key)["objects"][1])))
