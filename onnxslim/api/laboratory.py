"""Where a search's offers and whole models are made and measured, and kept in its journal.

Errors are measured in any process. Times are measured here, while no trial runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from onnxslim.api.trial import Offers, OfferTask, TrialBench, TrialResult, TrialSetting, run_trial
from onnxslim.execution import Feed, rank_latency
from onnxslim.pipeline import Effects, Offer, Pass, Plan
from onnxslim.pipeline.keys import Keys
from onnxslim.pipeline.plan import plans_of_bytes, plans_to_bytes, stored_plan
from onnxslim.samples import feeds_of, typical
from onnxslim.search.engine import Engine, Failure
from onnxslim.search.journal import Journal
from onnxslim.search.lab import Bound, BuiltTrial, OfferRequest
from onnxslim.search.space import Axis, Point, Space

EVERY = 1 << 20
"""Offers that are recalled, at most."""
TIMED, ROUNDS = 4, 1.2
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
        self._answer: Any = bench.answer if setting is None else partial(run_trial, setting)
        self._keys = Keys()
        self._digests: dict[int, str] = {}
        self.recalled = 0
        self.notes: list[str] = []

    def work(self, space: Space, points: Sequence[Point], asked: Sequence[OfferRequest]) -> list[BuiltTrial]:
        """Makes what the journal does not know, all at the same time, and then times the models."""
        keys = [self._trial_key(space, point) for point in points]
        recalled = {key for key in keys if self.journal.get(key) is not None}
        new = [(key, point) for key, point in zip(keys, points, strict=True) if key not in recalled]
        unknown = [(each, left) for each in asked if (left := self._recall(each))]
        # Offers take longest: they begin first.
        tasks: list[OfferTask | Sequence[Pass]] = [
            OfferTask(each.axis.instance, tuple(each.axis.offers), left, each.bound) for each, left in unknown
        ]
        tasks += [space.passes_of(point) for _, point in new]
        answers = list(self.engine.map(self._answer, tasks))
        for (each, _), answer in zip(unknown, answers, strict=False):
            self._take(each.axis, Offers((), complete=True) if isinstance(answer, Failure) else answer)
            if isinstance(answer, Failure):
                self.notes.append(f"{each.axis.instance.name} offers nothing more: {answer.reason}")
        for (key, point), answer in zip(new, answers[len(unknown) :], strict=True):
            result = TrialResult(reason=answer.reason) if isinstance(answer, Failure) else answer
            self._keep_trial(key, self._choices(space, point), result)
        self._time(keys)
        self.recalled += len(recalled)
        return [self._built(key, recalled=key in recalled) for key in keys]

    # -- offers ----------------------------------------------------------------------------------------------------

    def _recall(self, asking: OfferRequest) -> int:
        """Adds the offers that the journal knows; how many more are to be made."""
        axis, left = asking.axis, asking.count
        while left and (entry := self.journal.get(self._offer_key(axis.instance, len(axis.offers)))) is not None:
            if entry.get("end"):
                axis.complete = True
                return 0
            axis.offers.append(self._offer_of(entry, axis.instance))
            left -= 1
        return left

    def _take(self, axis: Axis, found: Offers) -> None:
        """Adds what a pass offers, and keeps it."""
        for offer in found.offers:
            self._keep_offer(axis.instance, len(axis.offers), offer)
            axis.offers.append(offer)
        if found.complete:
            self.journal.put(self._offer_key(axis.instance, len(axis.offers)), "end of offers", {"end": True})
            axis.complete = True

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
        plan = plans_of_bytes(data)["decision"].plan(instance.plan_types, offered=True)
        options = {name: tuple(each) if isinstance(each, list) else each for name, each in entry["options"].items()}
        offer = Offer(entry["label"], plan.decided, Effects(**entry["effects"]), options)
        self._digests[id(offer)] = entry["decision"]
        return offer

    # -- trials ----------------------------------------------------------------------------------------------------

    def _trial_key(self, space: Space, point: Point) -> str:
        return self._keys.of(self.question, "trial", tuple(self._choices(space, point).items()))

    def _choices(self, space: Space, point: Point) -> dict[str, str]:
        """Name of a pass -> digest of the decision that is taken."""
        return {axis.instance.name: self._digests[id(offer)] for axis, offer in space.offers(point)}

    def known(self, space: Space) -> list[tuple[Point, BuiltTrial]]:
        """All whole models in the journal that have the same question."""
        for axis in space.axes:
            if not axis.complete:
                self._recall(OfferRequest(axis, EVERY, Bound(math.inf, None)))
        places = [
            {self._digests[id(offer)]: place for place, offer in enumerate(axis.offers, 1)} for axis in space.axes
        ]
        names = [axis.instance.name for axis in space.axes]
        found = []
        for entry in self.journal.entries("trial"):
            choices = entry.payload.get("choices", {})
            if entry.payload.get("question") != self.question or not choices.keys() <= set(names):
                continue
            point = tuple(
                known.get(choices[name], -1) if name in choices else 0
                for name, known in zip(names, places, strict=True)
            )
            timed = self.journal.get(f"{entry.key} time") is not None or not self.bench.task.config.timed
            if -1 not in point and timed:
                found.append((point, self._built(entry.key, recalled=True)))
        return found

    def _keep_trial(self, key: str, choices: dict[str, str], found: TrialResult) -> None:
        objects = [self.journal.store(each) for each in (found.model, found.plans)] if found.model else []
        payload = {
            "bytes": len(found.model),
            "sqnr_db": found.sqnr_db,
            "drop": found.drop,
            "drop_bound": found.drop_bound,
            "reason": found.reason,
            "seconds": found.seconds,
            "objects": objects,
            "question": self.question,
            "choices": choices,
        }
        self.journal.put(key, "trial", payload, objects)

    def _time(self, keys: Sequence[str]) -> None:
        """Times the trials that were not timed, interleaved with the original."""
        task = self.bench.task
        left = [key for key in keys if self.journal.get(f"{key} time") is None and self._entry(key)["objects"]]
        if not task.config.timed or not left or not self._feeds:
            return
        task.config.progress(f"time {len(left)} built")
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

    def _built(self, key: str, *, recalled: bool) -> BuiltTrial:
        entry, time = self._entry(key), self.journal.get(f"{key} time")
        return BuiltTrial(
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
