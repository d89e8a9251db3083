"""The charts of a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim.report.page.svg import Svg, axes, element, group, scale, share
from onnxslim.report.wording import decibels, three

if TYPE_CHECKING:
    from onnxslim.execution import Latency

HEIGHT = 280.0
LEFT, BOTTOM = 44, 40
LEAST_TOP = 1.25
"""To which the axes of ratios reach at least."""
ROW = 42.0
"""Pixels of a bar and of the label above it."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a scatter plot. ``kind`` is its shape: ``kept``, ``best``, ``holds``, ``out`` or ``original``."""

    x: float
    y: float
    kind: str
    text: str


def scatter(
    title: str, dots: Sequence[Dot], x_label: str, y_label: str, *, diagonal: bool = False, legend: str = ""
) -> Svg:
    """Points that can be reached by keyboard; the best ones are joined.

    Args:
        title: What is shown.
        dots: One at least.
        x_label: Of the horizontal axis.
        y_label: Of the vertical one.
        diagonal: Whether both axes have one scale, and a line where they agree.
        legend: How to read it.
    """
    # Speeds of 1.00 and 1.01 must not lie a page apart.
    x, y = (scale([*(getattr(dot, axis) for dot in dots), LEAST_TOP], least=1.0) for axis in "xy")
    if diagonal:
        x = y = scale([value for dot in dots for value in (dot.x, dot.y)])
    body = axes(x, y, HEIGHT, x_label, y_label)
    if diagonal:
        body.append(element("line", x1="0%", y1=HEIGHT, x2="100%", y2=0, class_="same"))
    else:
        best = sorted((dot for dot in dots if dot.kind in ("best", "kept")), key=lambda dot: dot.x)
        body += [
            element(
                "line",
                x1=share(x(a.x)),
                y1=HEIGHT * (1 - y(a.y)),
                x2=share(x(b.x)),
                y2=HEIGHT * (1 - y(b.y)),
                class_="front",
            )
            for a, b in itertools.pairwise(best)
        ]
    for dot in sorted(dots, key=lambda dot: dot.kind == "kept"):
        inner = [element("title", dot.text), *_mark(dot.kind)]
        # A nested drawing is placed by shares and drawn by pixels.
        moved = element("svg", x=share(x(dot.x)), y=HEIGHT * (1 - y(dot.y)), overflow="visible")[:-2] + ">"
        body.append(
            moved
            + group(inner, class_=f"dot {dot.kind}", tabindex=0, role="img", aria_label=dot.text, data_tip=dot.text)
            + "</svg>"
        )
    return Svg(title, "".join(body), HEIGHT, left=LEFT, bottom=BOTTOM, names=True, legend=legend)


def _mark(kind: str) -> list[str]:
    """A shape around the origin: a square, a cross, a circle, a filled circle, or one in a ring with a word."""
    if kind == "original":
        return [element("rect", x=-6, y=-6, width=12, height=12)]
    if kind == "out":
        return [element("path", d="M-5-5L5 5M-5 5L5-5"), element("circle", r=9, class_="reach")]
    if kind == "kept":
        return [
            element("circle", r=11, class_="ring"),
            element("circle", r=6),
            element("text", "kept", x=0, y=-17, class_="middle mark"),
        ]
    return [element("circle", r=6)]


def latencies(latency: Latency) -> Svg:
    """For each process the times of both models: median, middle half, and from 5 % to 95 %."""
    sides = [
        (name, [getattr(each, key) for each in latency.spreads])
        for name, key in (("before", "a_ms"), ("after", "b_ms"))
    ]
    x = scale([value for _, rows in sides for row in rows for value in row], least=0.0)
    step, body, y = 11.0, list[str](), 0.0
    height = sum(24 + step * len(rows) + 8 for _, rows in sides)
    body += axes(x, None, height, "milliseconds of one run")
    for name, rows in sides:
        median = latency.a_ms if name == "before" else latency.b_ms
        body.append(element("text", f"{name}: median {three(median)} ms", x=0, y=y + 14, class_="label"))
        y += 24
        for row in rows:
            low, first, middle, third, high = map(x, row)
            body.append(element("line", x1=share(low), x2=share(high), y1=y + 4, y2=y + 4, class_=f"span {name}"))
            width = max(third - first, 0.002)
            body.append(element("rect", x=share(first), y=y, width=share(width), height=8, rx=2, class_=f"fill {name}"))
            body.append(element("circle", cx=share(middle), cy=y + 4, r=3.5, class_=f"center {name}"))
            y += step
        y += 8
    title = (
        f"Time of one run; each row is one of {latency.processes} processes. Dot: median. Bar: middle half of "
        "the runs. Line: 5 % to 95 % of them"
    )
    return Svg(title, "".join(body), height, bottom=BOTTOM)


def ratio(latency: Latency) -> Svg:
    """The speedup with its interval, the speedup in each process, and what counts as no difference."""
    low, middle, high = 1 / latency.high, 1 / latency.ratio, 1 / latency.low
    each = [1 / spread.ratio for spread in latency.spreads]
    band = (1 / (1 + latency.floor), 1 + latency.floor)
    x = scale([low, high, *each, *band], count=5)
    height = 56.0
    body = [
        element("rect", x=share(x(band[0])), width=share(x(band[1]) - x(band[0])), y=0, height=height, class_="floor"),
        *axes(x, None, height, "times as fast"),
        *(element("circle", cx=share(x(value)), cy=44, r=3, class_="center before") for value in each),
        element("line", x1=share(x(low)), x2=share(x(high)), y1=20, y2=20, class_="interval"),
        element("circle", cx=share(x(middle)), cy=20, r=6, class_="center after"),
    ]
    title = (
        f"Speedup {middle:.2f}, line: 99 % interval {low:.2f} to {high:.2f}. Small dots: one process each. "
        "Grey band: no difference on this machine"
    )
    return Svg(title, "".join(body), height, bottom=BOTTOM)


def pairs(title: str, rows: Sequence[tuple[str, float | None, float | None, str]], unit: str) -> Svg:
    """Two bars a row: before and after.

    Args:
        title: What is shown.
        rows: Label, value before, value after, and what stands beside the label.
        unit: Of the values.
    """
    top = max((value for _, *both, _ in rows for value in both if isinstance(value, float)), default=1.0) or 1.0
    body = []
    for place, (label, before, after, beside) in enumerate(rows):
        y = place * ROW
        body.append(element("text", label, x=0, y=y + 12, class_="label"))
        body.append(element("text", beside, x="100%", y=y + 12, class_="tick end"))
        for offset, value, kind in ((18, before, "before"), (27, after, "after")):
            if value is not None:
                width = share(max(value / top, 0.003))
                body.append(element("rect", x=0, y=y + offset, width=width, height=7, rx=2, class_=f"fill {kind}"))
    return Svg(f"{title} in {unit}. Upper, grey bar: before. Lower, blue bar: after", "".join(body), ROW * len(rows))


def levels(title: str, rows: Sequence[tuple[str, float]], ends: tuple[str, str]) -> Svg:
    """A stem of dB for each value; what is infinite stands at the top as a hollow dot.

    Args:
        title: What is shown.
        rows: Label and dB, one at least.
        ends: What stands below the first and the last one.
    """
    finite = [value for _, value in rows if math.isfinite(value)]
    y = scale([*finite, 0.0])
    height = 200.0
    body = []
    for tick in y.ticks:
        at = height * (1 - y(tick))
        body.append(element("line", x1="0%", x2="100%", y1=at, y2=at, class_="rule"))
        body.append(element("text", f"{tick:g}", x=-11, y=at + 4, class_="tick end"))
    worst = min(finite, default=math.inf)
    for place, (name, value) in enumerate(rows):
        x = share((place + 0.5) / len(rows))
        top = height * (1 - y(value))
        kind = "same" if value == math.inf else "low" if value == worst else "after"
        said = f"{name}: {decibels(value)}"
        inner = [
            element("title", said),
            element("line", x1=x, x2=x, y1=height * (1 - y(0.0)), y2=top, class_="stem"),
            element("circle", cx=x, cy=top, r=3.5 if kind == "after" else 5, class_=f"center {kind}"),
        ]
        body.append(group(inner))
    body.append(element("text", "SQNR in dB, higher is better", x=-40, y=-10, class_="tick"))
    body.append(element("text", ends[0], x=0, y=height + 18, class_="tick"))
    body.append(element("text", ends[1], x="100%", y=height + 18, class_="tick end"))
    return Svg(title, "".join(body), height, left=LEFT, bottom=26)


def stacks(
    title: str, rows: Sequence[tuple[str, Mapping[str, float]]], kinds: Sequence[str], form: str = "{:.1f}"
) -> Svg:
    """A bar for each row, divided by kind; a part that is wide enough carries its name.

    Args:
        title: What is shown.
        rows: Label, and kind -> amount.
        kinds: In their order; the place decides the colour.
        form: Of an amount in the hover text.
    """
    top = max((sum(parts.values()) for _, parts in rows), default=1.0) or 1.0
    body = []
    for place, (label, parts) in enumerate(rows):
        y, x = place * 62.0, 0.0
        body.append(element("text", label, x=0, y=y + 14, class_="label"))
        for kind in kinds:
            width = parts.get(kind, 0.0) / top
            if not width:
                continue
            inner = [
                element("title", f"{kind}: {form.format(parts[kind])}"),
                element(
                    "rect",
                    x=share(x),
                    y=y + 22,
                    width=share(width),
                    height=28,
                    class_=f"kind kind{kinds.index(kind) % 8}",
                ),
            ]
            if width > 0.02 * len(kind) + 0.06:
                inner.append(element("text", kind, x=share(x + width / 2), y=y + 41, class_="middle inside"))
            body.append(group(inner))
            x += width
    return Svg(title, "".join(body), 62.0 * len(rows))
