"""What a search has tried, as a table: the models of which no other is smaller and faster, and the first that fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxslim.report.blocks import Align, Block, Cell, Fit, Heading, Line, Row, Tone, cells, data_table
from onnxslim.report.wording import decibels

if TYPE_CHECKING:
    from onnxslim.search import Figures, Front, Trial

SHOWN = 8
"""Trials in the table without --explain."""
_RIGHT = Align.RIGHT


def front_blocks(front: Front, *, explain: bool) -> Iterator[Block]:
    """What a search was for, and what it found.

    Args:
        front: Of the search.
        explain: Whether to show every trial, and what was predicted of it.
    """
    limits = "; ".join(front.limits.values())
    yield Line(f"search: {front.goal}, {limits}")
    told = [each for each in front.trials if explain or each.best or each.kept]
    shown = told if explain else told[:SHOWN]
    headings = [Heading(""), Heading("choices", fit=Fit.FOLD), *(Heading(each, _RIGHT) for each in _COLUMNS)]
    if explain:
        headings.append(Heading("why not", fit=Fit.FOLD))
    yield data_table(headings, [_row(each, explain=explain) for each in shown])
    if len(told) > len(shown):
        yield Line(f"and {len(told) - len(shown)} more: --explain shows them", Tone.FAINT)
    recalled = f", {front.recalled} of them by an earlier run" if front.recalled else ""
    yield Line(f"{len(front.trials)} models built{recalled}, {front.untried} more only predicted: {front.stopped}")


_COLUMNS = ("smaller", "faster", "worst part", "drop", "predicted: the same")


def _row(trial: Trial, *, explain: bool) -> Row:
    mark = Cell("kept", Tone.GOOD) if trial.kept else Cell("")
    found = trial.measured
    numbers = ["-"] * 4 if found is None else _numbers(found)
    predicted = "" if trial.predicted is None else " ".join(_numbers(trial.predicted)[:3])
    why = [trial.reason] if explain else []
    return cells(mark, trial.label, *numbers, predicted, *why)


def _numbers(figures: Figures) -> list[str]:
    return [
        f"{figures.size_ratio:.2f}x",
        "-" if figures.speedup is None else f"{figures.speedup:.2f}x",
        decibels(figures.sqnr_db),
        "-" if figures.drop is None else f"{figures.drop:+.4f}",
    ]
