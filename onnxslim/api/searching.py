"""A search across passes within a verb: explore on the samples to choose by, then judge on those that chose nothing.

The report samples accept or reject. Trials are shown to them from the best on, and after one whose outputs or score do
not hold only milder ones are (fixed-sequence testing, see `onnxslim.search.fallback`); how many were shown is said.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnxslim.api.laboratory import Laboratory
from onnxslim.api.lossy import Lossy
from onnxslim.api.trial import TrialBench, TrialSetting, shared_config
from onnxslim.calibration import model_digest
from onnxslim.errors import CheckFailed, InputError
from onnxslim.graph import encode, load
from onnxslim.graph.atomic import atomic_write
from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline import Pass
from onnxslim.pipeline.config import MIN_SQNR as LEAST_SQNR
from onnxslim.pipeline.keys import Keys
from onnxslim.samples.identity import sample_set_hash
from onnxslim.search import Candidate
from onnxslim.search.config import MIN_SQNR, SearchConfig
from onnxslim.search.engine import Engine, InProcess, open_engine
from onnxslim.search.explore import Explorer
from onnxslim.search.front import Figures, Front
from onnxslim.search.goal import Goal, Limits
from onnxslim.search.journal import Journal
from onnxslim.search.space import Axis, Space
from onnxslim.search.tried import Tried
from onnxslim.version import versions

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.api.task import Task
    from onnxslim.calibration import Statistics

LOOKS = 4
"""Trials that are shown to the report samples, at most."""
FINISH = 0.25
"""Share of the time that is kept for judging the result, within `FINISH_SECONDS`."""
FINISH_SECONDS = (10.0, 60.0)
SENDABLE = 256 << 20
"""Bytes of a slimmed model that is sent to other processes."""
DOMINANT = 0.05
"""Share of a file from which on one tensor is named as what keeps it large."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search came to.

    Attributes:
        tried: The candidate that holds; else the last that was judged, with its rejection; None where there was none.
        front: All trials.
    """

    tried: Candidate | None
    front: Front


def searched(
    task: Task, base: Candidate, passes: Sequence[Pass], statistics: Sequence[Statistics], search: SearchConfig
) -> Searched:
    """The best result of passes on a slimmed model.

    Args:
        task: What the verb works on, with samples.
        base: The slimmed model.
        passes: Behind the lossless ones, in their order.
        statistics: What was measured before.
        search: How.

    Raises:
        CheckFailed: No result keeps ``max_size`` and ``min_speedup``, and the nearest is not wanted.
        InputError: The folder of the journal or the engine cannot be used.
    """
    started = time.perf_counter()
    data = encode(base.model).join() if _bytes_of(base.model) <= SENDABLE else b""
    if data:
        base = replace(base, model=load(data))  # what other processes see, to the bit
    lossy = Lossy(task, base, statistics, search.max_size, search.min_speedup)
    bench = TrialBench(lossy)
    setting = _setting(task, base, data, passes, statistics)
    with Journal(search.work) as journal, _engine(task, setting, search) as engine:
        shared = None if isinstance(engine, InProcess) else setting
        lab = Laboratory(bench, shared, journal, engine, _question(task, base, passes))
        reserve = min(max(FINISH * search.time, FINISH_SECONDS[0]), FINISH_SECONDS[1])
        explorer = Explorer(
            Space(
                [each for each in passes if not each.polishes],
                [Axis(each) for each in passes if type(each).offers is not Pass.offers],
            ),
            lab,
            Goal(search.goal),
            limits_of(task, search),
            started + search.time - reserve,
            task.config.watch,
        )
        explorer.run()
        kept, tried, looks = _judged(explorer, lossy, lab, search, passes)
        front = Front(
            trials=explorer.trials(kept),
            goal=search.goal,
            limits=explorer.limits.words(task.metric),
            stopped=explorer.stopped,
            untried=explorer.untried,
            looks=looks,
            recalled=lab.recalled,
        )
        if search.front is not None:
            _write_front(front, lab, search.front)
    return Searched(None if tried is None else _told(tried, front, (*lab.notes, *journal.notes)), front)


def limits_of(task: Task, search: SearchConfig) -> Limits:
    """What a trial must keep on the samples to choose by."""
    config = task.config
    scored = config.score is not None
    asked = config.min_sqnr
    least = MIN_SQNR if asked == LEAST_SQNR and not scored else asked
    return Limits(
        least,
        config.allowed_drop if scored else None,
        task.source.bytes or 1,
        search.max_size,
        search.min_speedup,
    )


def _judged(
    explorer: Explorer, lossy: Lossy, lab: Laboratory, search: SearchConfig, passes: Sequence[Pass]
) -> tuple[Tried | None, Candidate | None, int]:
    """The first trial that holds on the report samples, its candidate, and how many were judged."""
    limit, last, looks = math.inf, None, 0
    for each in explorer.ranked:
        assert each.measured is not None
        noise = 10 ** (-each.measured.sqnr_db / 10)
        if noise > limit or looks >= LOOKS:
            continue
        made = _candidate(explorer, each, lossy, lab, passes)
        looks += 1
        if made.rejection is None:
            return each, made, looks
        last = made
        if made.rejection.poor:
            limit = noise * (1 - 1e-9)
    if explorer.ranked or (search.max_size is None and search.min_speedup is None):
        return None, last, looks
    near = sorted(
        (each for each in explorer.tried if each.measured is not None and any(each.point)),
        key=lambda each: shortfall(each.measured, explorer.limits),
    )
    free = replace(lossy, max_size=None, min_speedup=None)
    for each in near[:LOOKS] if search.keep_nearest else ():
        if not _wrong(each, explorer.limits):
            made = _candidate(explorer, each, free, lab, passes)
            looks += 1
            if made.rejection is None:
                return each, made.because(f"it is the nearest to what was asked: {each.reason}"), looks
    raise CheckFailed(
        "no result keeps what was asked for",
        why=binding(explorer, next(iter(near), None), lab),
        mend="ask for less, give more --time, or --keep-nearest writes the nearest result",
    )


def _candidate(explorer: Explorer, tried: Tried, lossy: Lossy, lab: Laboratory, passes: Sequence[Pass]) -> Candidate:
    """A trial on the report samples: the plans that were measured are applied again.

    What polishes a result runs now; where the polished one does not hold, the trial is judged as it was measured.
    """
    lab.take_plans(tried.built.key)
    plain = explorer.space.passes_of(tried.point)
    polished = _with_polish(plain, passes)
    for some in [polished, plain] if len(polished) > len(plain) else [plain]:
        made = lossy.timed(lossy.judged(some), some)
        if made.rejection is None:
            break
    return made.because("")  # what a pass of the search left alone is no reason of the whole


def _with_polish(chosen: Sequence[Pass], passes: Sequence[Pass]) -> list[Pass]:
    """The chosen passes, and those that polish at their places among all."""
    order = [each.name for each in passes]
    polish = [each for each in passes if each.polishes]
    return sorted([*chosen, *polish], key=lambda each: order.index(each.name))


def shortfall(figures: Figures | None, limits: Limits) -> float:
    """Logarithm by which a model misses limits, added up; infinity where it was not measured."""
    if figures is None:
        return math.inf
    short = 0.0
    if limits.max_size is not None:
        short += max(0.0, math.log(figures.bytes / limits.max_size))
    if limits.min_speedup is not None:
        short += max(0.0, math.log(limits.min_speedup / max(figures.speedup or 1.0, 1e-9)))
    return short + (10.0 if limits.broken(figures).keys() & {"error", "metric"} else 0.0)


def _wrong(tried: Tried, limits: Limits) -> bool:
    """Whether the outputs or the score speak against a trial: such a one is never written."""
    return tried.measured is None or bool(limits.broken(tried.measured).keys() & {"error", "metric"})


def binding(explorer: Explorer, nearest: Tried | None, lab: Laboratory) -> str:
    """Which limit cannot be kept, and what stands in its way."""
    if nearest is None or nearest.measured is None:
        return "no model could be built: " + "; ".join(dict.fromkeys(each.reason for each in explorer.tried[1:]))
    broken = dict(explorer.limits.broken(nearest.measured))
    said = [f"{name}: {text}" for name, text in broken.items()]
    if "size" in broken:
        model = load(lab.model(nearest.built.key))
        name, share = _largest(model, nearest.measured.bytes)
        if share >= DOMINANT:
            said.append(f"{name} is {share:.0%} of what is left")
    return f"the nearest has {'; '.join(said)}"


def _largest(model: ir.Model, size: int) -> tuple[str, float]:
    """The constant that takes most bytes, and its share of the file."""
    sizes = {
        value.name or "": tensor.nbytes
        for value in model.graph.initializers.values()
        if (tensor := constant_tensor(value)) is not None
    }
    name = max(sizes, key=lambda each: sizes[each], default="")
    return name, sizes.get(name, 0) / max(size, 1)


def _setting(
    task: Task, base: Candidate, data: bytes, passes: Sequence[Pass], statistics: Sequence[Statistics]
) -> TrialSetting | None:
    """What other processes need; None where they cannot be given it."""
    config = task.config
    named = config.score is None or bool(task.metric)
    if not data or statistics or not named or not isinstance(config.samples, str | os.PathLike):
        return None
    setting = TrialSetting(data, shared_config(config, task.metric), tuple(passes), dict(base.halves))
    return setting


def _engine(task: Task, setting: TrialSetting | None, search: SearchConfig) -> Engine:
    if setting is not None:
        return open_engine(search.engine, workers=search.workers, memory=None)
    if search.engine is not None or (search.workers or 1) > 1:
        raise InputError(
            "the samples, the metric or the statistics live in this process alone",
            where="engine, workers",
            mend="name the samples by a path or module:function and the metric by its name, or leave the engine out",
        )
    return InProcess()


def _question(task: Task, base: Candidate, passes: Sequence[Pass]) -> str:
    """Hash of all that offers and trials depend on."""
    config = task.config
    made = versions()
    assert task.samples is not None
    labels = tuple(repr(sample.label) for sample in task.samples) if config.score is not None else ()
    return Keys().of(
        model_digest(base.model), tuple(passes), sample_set_hash(task.samples), labels, config.planned_under, made
    )


def _told(tried: Candidate, front: Front, more: Sequence[str]) -> Candidate:
    """The candidate with what a reader should know of the search."""
    notes = []
    if front.looks > 1:
        notes.append(f"{front.looks} results were judged on the held-out samples before one was kept")
    if front.interrupted:
        notes.append("the search was interrupted: the same command with the same --work goes on")
    return tried.noting(*notes, *more)


def _write_front(front: Front, lab: Laboratory, folder: str | os.PathLike[str]) -> None:
    os.makedirs(folder, exist_ok=True)
    for place, trial in enumerate(front.trials):
        if trial.best and trial.measured is not None and trial.choices:
            size, speed = trial.measured.size_ratio, trial.measured.speedup or 1.0
            name = f"{place:02}-{size:.2f}x-smaller-{speed:.2f}x-faster.onnx"
            atomic_write(os.path.join(folder, name), lab.model(trial.key))


def _bytes_of(model: ir.Model) -> int:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
