"""What searches predicted against what they measured: shares, medians and a scatter plot as SVG, made by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tools.compress_runs import SEARCHES
from tools.slim_table import table

Row = dict[str, Any]
WITHIN_DB = 2.0
"""Of the measured error: as close as a prediction is to be."""
WITHIN_TIME = 0.1
"""Of the measured time."""
LARGEST_DB = 80.0
"""Noise below this is none: models that say the same."""
SIDE, LEFT, TOP, GAP = 300, 58, 34, 84
"""Pixels: side of a panel, the room left of it and above it, and between two panels."""


@dataclass(frozen=True)
class Point:
    """One model that was predicted and built.

    Attributes:
        model: Name in the zoo.
        tool: The search.
        label: What was chosen.
        error: SQNR in dB, predicted and measured; None where one of them is not finite.
        time: Time over the original's, predicted and measured; None where nothing was timed.
        size: Bytes, predicted and measured.
    """

    model: str
    tool: str
    label: str
    error: tuple[float, float] | None
    time: tuple[float, float] | None
    size: tuple[float, float]


def points(results: Row) -> list[Point]:
    """All trials of the searches in the results that were both predicted and measured."""
    found = []
    for model, row in results["models"].items():
        for tool in SEARCHES:
            front = (row["runs"].get(tool, {}).get("report") or {}).get("front") or {}
            for trial in front.get("trials", ()):
                before, after = trial.get("predicted"), trial.get("measured")
                if before and after:
                    label = ", ".join(f"{name}: {choice}" for name, choice in trial["choices"].items())
                    found.append(_point(model, tool, label, before, after))
    return found


def _point(model: str, tool: str, label: str, before: Row, after: Row) -> Point:
    # Infinite values come as texts, which `float` reads.
    noise = tuple(float(each["sqnr_db"]) for each in (before, after))
    speeds = tuple(float(each["speedup"] or math.nan) for each in (before, after))
    return Point(
        model,
        tool,
        label,
        (noise[0], noise[1]) if all(map(math.isfinite, noise)) and min(noise) < LARGEST_DB else None,
        (1 / speeds[0], 1 / speeds[1]) if all(map(math.isfinite, speeds)) else None,
        (float(before["bytes"]), float(after["bytes"])),
    )


def off_db(point: Point) -> float | None:
    """Predicted less measured, dB."""
    return None if point.error is None else point.error[0] - point.error[1]


def off_time(point: Point) -> float | None:
    """Predicted over measured time, less 1."""
    return None if point.time is None else point.time[0] / point.time[1] - 1


def off_size(point: Point) -> float:
    """Predicted over measured bytes, less 1."""
    return point.size[0] / point.size[1] - 1


def summary(found: Sequence[Point]) -> str:
    """The shares, and the medians by model."""
    rows = []
    for model in [*dict.fromkeys(point.model for point in found), ""]:
        chosen = [point for point in found if model in ("", point.model)]
        noise, time = _known(off_db, chosen), _known(off_time, chosen)
        sizes = [off_size(point) for point in chosen]
        cells = [model or "**all**", len(chosen)]
        cells += [_share(noise, WITHIN_DB), _middle(noise, "{:+.2f}"), _middle(map(abs, noise), "{:.2f}")]
        cells += [_share(time, WITHIN_TIME), _middle(time, "{:+.1%}"), _middle(map(abs, time), "{:.1%}")]
        rows.append([*cells, _middle(map(abs, sizes), "{:.1%}")])
    head = ["model", "models built", f"error within {WITHIN_DB:g} dB", "median, dB", "median of the size, dB"]
    head += [f"time within {WITHIN_TIME:.0%}", "median", "median of the size", "bytes: median of the size"]
    said = "\n\nPredicted less measured, of models that were predicted before they were built and measured."
    return table(head, rows) + said


def _known(of: Callable[[Point], float | None], chosen: Iterable[Point]) -> list[float]:
    return [value for value in map(of, chosen) if value is not None]


def _share(values: Sequence[float], limit: float) -> str:
    if not values:
        return "-"
    return f"{sum(abs(value) <= limit for value in values) / len(values):.0%} of {len(values)}"


def _middle(values: Iterable[float], form: str) -> str:
    listed = list(values)
    return form.format(statistics.median(listed)) if listed else "-"


STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 }
.frame { fill: none; stroke: #888 }
.grid { stroke: #8884; stroke-width: 1 }
.band { fill: #2a78; fill-opacity: .3 }
.same { stroke: #777; stroke-dasharray: 4 3 }
circle { fill: #06c; fill-opacity: .55; stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  circle { fill: #6bf }
  .band { fill: #4c98 }
}
"""


@dataclass(frozen=True)
class Panel:
    """One plot: measured across, predicted upwards, both on one scale.

    Attributes:
        title: Above it.
        unit: Of both axes.
        pairs: Predicted and measured, with what is shown of a point.
        low: Left and lower end.
        high: Right and upper end.
        ticks: Of both axes.
        band: From the measured value to the ends of what is close enough.
        log: Whether the scale is logarithmic.
    """

    title: str
    unit: str
    pairs: Sequence[tuple[float, float, str]]
    low: float
    high: float
    ticks: Sequence[float]
    band: Callable[[float], tuple[float, float]]
    log: bool = False

    def at(self, value: float) -> float:
        """Pixels from the lower end; what lies outside is drawn at the edge."""
        value = min(max(value, self.low), self.high)
        low, high, here = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return SIDE * (here - low) / (high - low)

    def draw(self, left: float) -> str:
        """Its elements, the panel's left edge at ``left`` pixels."""

        def x(value: float) -> str:
            return f"{left + self.at(value):.1f}"

        def y(value: float) -> str:
            return f"{TOP + SIDE - self.at(value):.1f}"

        steps = [self.low * (self.high / self.low) ** (n / 40) for n in range(41)] if self.log else []
        steps = steps or [self.low + (self.high - self.low) * n / 40 for n in range(41)]
        edge = [f"{x(each)},{y(self.band(each)[1])}" for each in steps]
        edge += [f"{x(each)},{y(self.band(each)[0])}" for each in reversed(steps)]
        bottom, middle = TOP + SIDE, TOP + SIDE / 2
        parts = [
            f'<text class="title" x="{left}" y="{TOP - 12}">{self.title}</text>',
            f'<polygon class="band" points="{" ".join(edge)}"/>',
        ]
        for tick in self.ticks:
            parts += [
                f'<line class="grid" x1="{x(tick)}" y1="{TOP}" x2="{x(tick)}" y2="{bottom}"/>',
                f'<line class="grid" x1="{left}" y1="{y(tick)}" x2="{left + SIDE}" y2="{y(tick)}"/>',
                f'<text x="{x(tick)}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>',
                f'<text x="{left - 7}" y="{float(y(tick)) + 4:.1f}" text-anchor="end">{tick:g}</text>',
            ]
        parts += [
            f'<line class="same" x1="{left}" y1="{bottom}" x2="{left + SIDE}" y2="{TOP}"/>',
            f'<rect class="frame" x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
            f'<text x="{left + SIDE / 2}" y="{bottom + 37}" text-anchor="middle">measured, {self.unit}</text>',
            f'<text transform="translate({left - 40} {middle}) rotate(-90)" text-anchor="middle">'
            f"predicted, {self.unit}</text>",
        ]
        for predicted, measured, label in self.pairs:
            parts.append(
                f'<circle cx="{x(measured)}" cy="{y(predicted)}" r="3.5"><title>{_safe(label)}</title></circle>'
            )
        return "\n".join(parts)


def draw(found: Sequence[Point]) -> str:
    """The plot: one panel for the error, one for the time. What is close enough lies within the bands."""
    noise = [(*each.error, f"{each.model}, {each.label}") for each in found if each.error]
    time = [(*each.time, f"{each.model}, {each.label}") for each in found if each.time]
    top = 10 * math.ceil(max((max(pair[:2]) for pair in noise), default=40) / 10)
    panels = [
        Panel(
            title=f"Error: {_share(_known(off_db, found), WITHIN_DB)} within {WITHIN_DB:g} dB",
            unit="SQNR of the worst part in dB",
            pairs=noise,
            low=0.0,
            high=min(float(top), LARGEST_DB),
            ticks=[float(each) for each in range(0, int(min(top, LARGEST_DB)) + 1, 10)],
            band=lambda value: (value - WITHIN_DB, value + WITHIN_DB),
        ),
        Panel(
            title=f"Time: {_share(_known(off_time, found), WITHIN_TIME)} within {WITHIN_TIME:.0%}",
            unit="time over the original's",
            pairs=time,
            low=0.1,
            high=2.0,
            ticks=[0.1, 0.2, 0.5, 1.0, 2.0],
            band=lambda value: (value * (1 - WITHIN_TIME), value * (1 + WITHIN_TIME)),
            log=True,
        ),
    ]
    width, height = LEFT + 2 * SIDE + GAP + 16, TOP + SIDE + 50
    drawn = "\n".join(panel.draw(LEFT + number * (SIDE + GAP)) for number, panel in enumerate(panels))
    said = "Predicted against measured error and time of whole models; a table of the medians stands beside it."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">\n'
        f"<title>{said}</title>\n<style>{STYLE}</style>\n{drawn}\n</svg>\n"
    )


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
