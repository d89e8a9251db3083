"""Passes that keep what is computed: their result, and why it is not all that was asked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim import execution
from onnxslim.api.output import size_of, weigh
from onnxslim.api.source import Source
from onnxslim.api.task import Task
from onnxslim.api.widening import widened
from onnxslim.errors import CannotRun, TooSlow
from onnxslim.evaluation.measurement import Constraints, Measurement
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.affordable import opening_seconds
from onnxslim.pipeline import Pass
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import COMPARED
from onnxslim.search import Candidate

if TYPE_CHECKING:
    import onnx_ir as ir


def lossless(task: Task, source: Source, passes: Sequence[Pass]) -> Candidate:
    """Runs lossless passes; what comes of them is never larger than what came in, unless the verb may make it so."""
    config, verb = task.config, task.verb
    outcome = task.pipeline(passes, task.samples).run(source.model)
    unverified = outcome.unverified
    notes: tuple[str, ...] = ()
    if config.verify and not outcome.modified and not unverified:  # there was nothing to compare
        patient = config.must_verify or task.samples is not None
        unverified, notes = _obstacle(source.model, config.threads, patient=patient)
    if unverified:
        notes = (f"the outputs were not compared: {unverified}", *notes)
    done = verb.done if not verb.own or any(map(outcome.acted, verb.own)) else "slimmed"
    made = Candidate.of(outcome, weigh(outcome.model) if outcome.modified else None, done)
    made = replace(made, unverified=unverified, notes=notes)
    if not outcome.modified:
        reverted = "every rewrite was reverted, because a check failed with it"
        reason = reverted if outcome.guilty else "no rewrite applies"
    else:
        limits = Constraints(most_bytes=None if verb.may_grow else source.bytes)
        rejection = limits.reject(Measurement(bytes=made.found.bytes))
        reason = "" if rejection is None else rejection.reason
    if not reason:
        return made
    if config.prepare is not None:
        return replace(made, model=source.model, encoded=None).noting(f"beyond the edits asked for: {reason}")
    return replace(made, model=source.model, encoded=None, untouched=True, decision="unchanged", reason=reason)


def compared(task: Task, made: Candidate) -> Candidate:
    """The candidate with what its outputs lost by another float type, where it was converted to one.

    Raises:
        CheckFailed: They lost too much.
    """
    converted = task.converted
    if converted is None:
        return made
    task.config.progress(f"compare outputs with those before the conversion to {converted.dtype}")
    feeds = None if task.samples is None else feeds_of(task.samples, COMPARED)
    try:
        parity = converted.check(made.model, feeds)
    except CannotRun as error:
        if made.unverified:
            return made  # a note says why already
        note = f"the conversion to {converted.dtype} was not compared with the original: {error}"
        return replace(made, unverified=str(error)).noting(note)
    note = f"the outputs were compared with those before the conversion, on inputs that suit {converted.dtype}"
    return replace(made, found=replace(made.found, parity=parity), evidence=parity.evidence).noting(note)


def widened_for_lossy(task: Task, made: Candidate, passes: Sequence[Pass]) -> Candidate:
    """A lossless result for lossy passes to begin with: weights in half precision behind a Cast are constants."""
    model, halves = widened(made.model, task.pipeline(passes, task.samples).run)
    if not halves:
        return made
    note = f"{len(halves)} weights of half precision behind a Cast are constants; those that stay floats are stored so"
    return replace(made, model=model, halves=halves).noting(note)


def finished(task: Task, made: Candidate, passes: Sequence[Pass]) -> Candidate:
    """What the lossless passes behind the lossy ones make of a lossless result, where that is smaller."""
    behind = list(itertools.takewhile(lambda p: p.tier is not Tier.LOSSY, reversed(passes)))[::-1]
    if not behind:
        return made
    base = replace(task.source, model=made.model, bytes=size_of(made.encoded) if made.encoded else task.source.bytes)
    after = lossless(task, base, behind)
    joined = replace(made, steps=made.steps + after.steps, guilty=made.guilty + after.guilty)
    if after.untouched:
        return joined
    return replace(joined, model=after.model, encoded=after.encoded, untouched=False)


def _obstacle(model: ir.Model, threads: int, *, patient: bool) -> tuple[str, tuple[str, ...]]:
    """Why onnxruntime cannot open the model, and what else to say of it; empty where it can."""
    config = execution.lean_config(model)
    try:
        most = math.inf if patient else opening_seconds(model)
        execution.try_opening(model, threads=threads, config=config, most=most)
    except TooSlow as error:
        return str(error), ()
    except CannotRun as error:
        try:
            execution.try_opening(model, threads=threads, optimize=False, config=config)
        except CannotRun:
            return str(error), ()
        return "", (f"onnxruntime opens the model only without optimizations: {error.why or error.what}",)
    return "", ()
