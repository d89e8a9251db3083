"""What a search has tried: all whole models by size and speed, and what was predicted of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.page.charts import Dot, scatter
from onnxslim.report.page.parts import Chapter, Drawing, Entry, number, sheet
from onnxslim.report.page.svg import Svg
from onnxslim.report.wording import size

if TYPE_CHECKING:
    from onnxslim.search import Figures, Front, Trial

MOST = 200
"""Trials that the table lists."""


def front_chapter(front: Front) -> Chapter:
    """Every trial: which ones hold, which was kept, and what was predicted of it."""
    measured = [each for each in front.trials if each.measured is not None]
    lines = [f"Limit: {name}: {limit}." for name, limit in front.limits.items()]
    if front.stopped:
        lines.append(f"The search ended: {front.stopped}.")
    if front.untried:
        lines.append(f"More combinations that were predicted and not built: {front.untried:,}.")
    if front.recalled:
        lines.append(f"Trials from the journal of an earlier run: {front.recalled:,}.")
    if front.looks:
        lines.append(f"Candidates that were judged on the report samples: {front.looks:,}.")
    drawings = []
    if measured:
        dots = [
            Dot(each.measured.size_ratio, each.measured.speedup or 1.0, _kind(each), _tip(each))
            for each in measured
            if each.measured
        ]
        drawings.append(
            Drawing(
                "Size and speed of every candidate",
                (
                    scatter(
                        "Times smaller and times as fast of every candidate", dots, "times smaller", "times as fast"
                    ),
                ),
                sheet("All candidates", COLUMNS, map(_row, front.trials[:MOST])),
                "Filled: no candidate that holds is both smaller and faster. Ring: the one that was kept. Hollow: it "
                "holds. Cross: a limit broke. Hover over a point or tab to it for its choices.",
            )
        )
    if both := [each for each in measured if each.predicted is not None]:
        plots, rows = list[Svg](), list[Sequence[Entry | str]]()
        for name, key in (("times smaller", "size_ratio"), ("times as fast", "speedup"), ("SQNR in dB", "sqnr_db")):
            dots = list(_predictions(both, key))
            if dots:
                plots.append(
                    scatter(f"{name}: predicted and measured", dots, f"{name}, predicted", "measured", diagonal=True)
                )
        for each in both:
            if each.predicted is not None and each.measured is not None:
                p, m = each.predicted, each.measured
                rows.append((each.label, *(number(getattr(side, key)) for key in KEYS for side in (p, m))))
        columns = (
            "candidate",
            *(f"{name} {side}" for name in ("size", "speed", "dB") for side in ("predicted", "measured")),
        )
        drawings.append(Drawing("Predicted and measured", tuple(plots), sheet("Predicted and measured", columns, rows)))
    return Chapter("front", "What the search tried", f"Goal: {front.goal}.", tuple(drawings), tuple(lines))


COLUMNS = ("candidate", "result", "times smaller", "bytes", "times as fast", "SQNR dB", "drop", "bound", "command")
KEYS = ("size_ratio", "speedup", "sqnr_db")


def _row(trial: Trial) -> tuple[Entry, ...]:
    found = trial.measured
    state = "kept" if trial.kept else trial.reason or ("holds, best" if trial.best else "holds")
    tone = "good" if trial.kept else "bad" if trial.reason else ""
    return (
        Entry(trial.label),
        Entry(state, tone=tone),
        number(_of(found, "size_ratio")),
        Entry("-") if found is None else Entry(size(found.bytes), found.bytes),
        number(_of(found, "speedup")),
        number(_of(found, "sqnr_db"), "{:.1f}"),
        number(_of(found, "drop"), "{:.4f}"),
        number(_of(found, "drop_bound"), "{:.4f}"),
        Entry(trial.command or "-", tone="code"),
    )


def _of(found: Figures | None, key: str) -> float | None:
    value: float | None = getattr(found, key, None)
    return value


def _predictions(trials: list[Trial], key: str) -> Iterator[Dot]:
    for each in trials:
        predicted, measured = (getattr(side, key, None) for side in (each.predicted, each.measured))
        if predicted is not None and measured is not None:
            text = f"{each.label}: predicted {predicted:.3g}, measured {measured:.3g}"
            yield Dot(predicted, measured, "kept" if each.kept else "out" if each.reason else "holds", text)


def _kind(trial: Trial) -> str:
    return "kept" if trial.kept else "out" if trial.reason else "best" if trial.best else "holds"


def _tip(trial: Trial) -> str:
    assert trial.measured is not None, "only what was measured is drawn"
    state = "kept" if trial.kept else f"does not hold: {trial.reason}" if trial.reason else "holds"
    return f"{trial.label}; {state}; {_said(trial.measured)}" + (f"; {trial.command}" if trial.command else "")


def _said(found: Figures) -> str:
    speed = "" if found.speedup is None else f"{found.speedup:.2f}x as fast, "
    drop = "" if found.drop is None else f", drop {found.drop:.4f}"
    return f"{found.size_ratio:.2f}x smaller, {speed}{found.sqnr_db:.1f} dB{drop}"
