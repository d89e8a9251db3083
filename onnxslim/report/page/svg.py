"""Drawings as text. Positions along x are shares of the width, so that letters keep their size on every screen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True, slots=True)
class Svg:
    """A finished drawing.

    Attributes:
        title: What it shows.
        legend: How to read it, which stands above it besides.
        body: The elements within.
        height: In pixels.
        width: In pixels; None for all that there is.
        left, bottom: Pixels for labels beside and below it.
        names: Whether parts of it can be reached by keyboard and have names of their own.
    """

    title: str
    body: str
    height: float
    width: float | None = None
    left: int = 0
    bottom: int = 0
    names: bool = False
    legend: str = ""


def element(name: str, text: str | None = None, /, **attributes: object) -> str:
    """An element: ``class_`` is ``class``, and ``_`` in a name is ``-``.

    >>> element("rect", x="5%", class_="bar")
    '<rect x="5%" class="bar"/>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{said}/>" if text is None else f"<{name}{said}>{escape(text)}</{name}>"


def group(inner: Iterable[str], /, **attributes: object) -> str:
    """Elements together."""
    return element("g", **attributes)[:-2] + ">" + "".join(inner) + "</g>"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def share(value: float) -> str:
    """A position along x.

    >>> share(0.125)
    '12.5%'
    """
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True)
class Scale:
    """Numbers to shares of a length, from 0 at ``low`` to 1 at ``high``."""

    low: float
    high: float
    ticks: list[float] = field(default_factory=list)

    def __call__(self, value: float) -> float:
        """Where a number stands; what is outside stands at the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def scale(values: Iterable[float], *, least: float | None = None, count: int = 4) -> Scale:
    """A scale with round ticks that holds all finite values.

    >>> scale([1.0, 3.7], least=0.0).ticks
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known) if least is None else min(least, *known), max(known)
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * each for each in (1, 2, 2.5, 5, 10) if base * each >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Scale(first * step, last * step, [round(place * step, 10) for place in range(first, last + 1)])


def axes(x: Scale, y: Scale | None, height: float, x_label: str, y_label: str = "") -> list[str]:
    """Lines and labels of a plot; the labels of y stand left of the drawing."""
    found = []
    for tick in x.ticks:
        found.append(element("line", x1=share(x(tick)), x2=share(x(tick)), y1=0, y2=height, class_="rule"))
        found.append(element("text", f"{tick:g}", x=share(x(tick)), y=height + 19, class_="tick middle"))
    for tick in y.ticks if y is not None else ():
        at = height * (1 - y(tick)) if y is not None else 0
        found.append(element("line", x1="0%", x2="100%", y1=at, y2=at, class_="rule"))
        found.append(element("text", f"{tick:g}", x=-11, y=at + 4, class_="tick end"))
    found.append(element("text", x_label, x="100%", y=height + 36, class_="tick end"))
    if y_label:
        found.append(element("text", y_label, x=-40, y=-10, class_="tick"))
    return found
