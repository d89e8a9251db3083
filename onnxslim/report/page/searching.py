"""What a search has tried: all whole models by size and speed, and what was predicted of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.page.charts import Dot, scatter
from onnxslim.report.page.parts import Chapter, Drawing, Entry, known, number, ratio_db, sheet
from onnxslim.report.page.svg import Svg
from onnxslim.report.wording import decibels, size

if TYPE_CHECKING:
    from onnxslim.search import Figures, Front, Trial

MOST = 200
"""Trials that the table lists."""


def front_chapter(front: Front) -> Chapter:
    """Every trial: which ones hold, which was kept, and what was predicted of it."""
    measured = [each for each in front.trials if each.measured is not None]
    both = [each for each in measured if each.predicted is not None]
    drawings = [_candidates(front.trials, measured), *([_predicted(both)] if both else ())]
    return Chapter("front", "What the search tried", _lead(front), tuple(drawings), tuple(_lines(front)))


def _candidates(trials: Sequence[Trial], measured: Sequence[Trial]) -> Drawing:
    """All of them; those that could not be built are only in the table."""
    dots = [
        Dot(each.measured.size_ratio, each.measured.speedup or 1.0, _kind(each), _tip(each))
        for each in measured
        if each.measured is not None
    ]
    plot = scatter(
        "Size and speed of every candidate",
        [ORIGINAL, *dots],
        "times smaller",
        "times as fast",
        legend="Each point is a whole model that was built and measured; up and to the right is better. Ringed: kept. "
        "Filled: allowed, and no allowed candidate is both smaller and faster. Hollow: allowed. Cross: breaks a limit. "
        "Square: the original.",
    )
    note = (
        "Hover over a point, or move to it with Tab, to see its choices. To get another candidate, run the same "
        "command with the options in the last column; they are given for the best ones."
    )
    rest = len(trials) - MOST
    total = (f"{rest:,} more", *[""] * (len(COLUMNS) - 1)) if rest > 0 else ()
    table = known(sheet("All candidates", COLUMNS, map(_row, _ordered(trials)[:MOST]), total))
    return Drawing(plot.title, (plot,) if dots else (), table, f"{note} {_timing(measured)}", folded=False)


def _predicted(trials: Sequence[Trial]) -> Drawing:
    """What was predicted of candidates before they were built, beside what was measured."""
    plots = list[Svg]()
    for name, key in (("times smaller", "size_ratio"), ("times as fast", "speedup"), ("SQNR in dB", "sqnr_db")):
        dots = list(_predictions(trials, key))
        if dots:
            title = f"{name}: predicted and measured"
            plots.append(scatter(title, dots, f"{name}, predicted", "measured", diagonal=True))
    rows: list[Sequence[Entry | str]] = [
        (each.label, *(_entry(side, key) for key in KEYS for side in (each.predicted, each.measured)))
        for each in trials[:MOST]
    ]
    names = ("times smaller", "times as fast", "SQNR dB")
    columns = ("candidate", *(f"{name}, {side}" for name in names for side in ("predicted", "measured")))
    note = "Candidates are predicted first; only promising ones are built. On the dashed line a prediction is right."
    title = "Predicted and measured"
    return Drawing(title, tuple(plots), sheet(title, columns, rows), note)


COLUMNS = (
    "candidate",
    "result",
    "times smaller",
    "file size",
    "times as fast",
    "SQNR dB",
    "score drop",
    "drop at most",
    "options that choose it",
)
KEYS = ("size_ratio", "speedup", "sqnr_db")
ORIGINAL = Dot(1.0, 1.0, "original", "the original model: 1.00x smaller, 1.00x as fast")
GOALS = {
    "balanced": "the best product of size and speed",
    "smallest": "the smallest file",
    "fastest": "the highest speed",
}


def _lead(front: Front) -> str:
    """What it looked for, and how it ended."""
    count = len(front.trials)
    ended = f" The search ended: {front.stopped}." if front.stopped else ""
    built = f"{count:,} candidate{'s were' if count != 1 else ' was'} built"
    limits = "; ".join(f"{name}: {limit}" for name, limit in front.limits.items())
    within = f" within these limits: {limits}" if limits else ""
    return f"The search looked for {GOALS.get(front.goal, front.goal)}{within}. {built}.{ended}"


def _lines(front: Front) -> Iterator[str]:
    if front.untried:
        yield f"{front.untried:,} more combinations were predicted and not built."
    if front.recalled:
        yield f"{front.recalled:,} candidates come from the journal of an earlier run."
    if front.looks:
        yield (
            f"{front.looks:,} candidate{'s were' if front.looks != 1 else ' was'} judged on held-out samples before "
            "one was kept."
        )


def _timing(measured: Sequence[Trial]) -> str:
    """What the speeds of a search are worth."""
    if any(each.measured is not None and each.measured.speedup is None for each in measured):
        return "A candidate whose speed was not measured is drawn at 1."
    return "The search measures briefly; what the verdict says was measured again, at length."


def _ordered(trials: Sequence[Trial]) -> list[Trial]:
    """The kept one first, then the best, those that are allowed, those that break a limit, and the ones not built."""
    return sorted(trials, key=lambda each: (not each.kept, bool(each.reason), not each.best, each.measured is None))


def _row(trial: Trial) -> tuple[Entry, ...]:
    found = trial.measured
    kept = ": ".join(filter(None, ("kept", trial.reason)))
    state = kept if trial.kept else trial.reason or ("allowed, best" if trial.best else "allowed")
    tone = "bad" if trial.reason else "good" if trial.kept else ""
    return (
        Entry(trial.label),
        Entry(state, tone=tone),
        number(_of(found, "size_ratio")),
        Entry("-") if found is None else Entry(size(found.bytes), found.bytes),
        number(_of(found, "speedup")),
        ratio_db(_of(found, "sqnr_db")),
        number(_of(found, "drop"), "{:.4f}"),
        number(_of(found, "drop_bound"), "{:.4f}"),
        Entry(trial.command or "-", tone="code"),
    )


def _of(found: Figures | None, key: str) -> float | None:
    value: float | None = getattr(found, key, None)
    return value


def _predictions(trials: Sequence[Trial], key: str) -> Iterator[Dot]:
    for each in trials:
        predicted, measured = (getattr(side, key, None) for side in (each.predicted, each.measured))
        if predicted is not None and measured is not None and math.isfinite(predicted) and math.isfinite(measured):
            text = f"{each.label}: predicted {predicted:.3g}, measured {measured:.3g}"
            yield Dot(predicted, measured, "kept" if each.kept else "out" if each.reason else "holds", text)


def _kind(trial: Trial) -> str:
    return "kept" if trial.kept else "out" if trial.reason else "best" if trial.best else "holds"


def _tip(trial: Trial) -> str:
    assert trial.measured is not None, "only what was measured is drawn"
    state = "kept" if trial.kept else f"breaks a limit: {trial.reason}" if trial.reason else "within all limits"
    return f"{trial.label}; {state}; {_said(trial.measured)}" + (f"; {trial.command}" if trial.command else "")


def _entry(figures: Figures | None, key: str) -> Entry:
    value = _of(figures, key)
    return ratio_db(value) if key == "sqnr_db" else number(value)


def _said(found: Figures) -> str:
    speed = "" if found.speedup is None else f"{found.speedup:.2f}x as fast, "
    drop = "" if found.drop is None else f", score drop {found.drop:.4f}"
    quality = "same outputs" if found.sqnr_db == math.inf else f"SQNR {decibels(found.sqnr_db)}"
    return f"{found.size_ratio:.2f}x smaller, {speed}{quality}{drop}"
