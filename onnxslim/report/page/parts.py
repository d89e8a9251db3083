"""What a page is made of: sections with figures, each a drawing and the table that says the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnxslim.report.page.svg import Svg


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell of a table: its text, and the number that it is sorted by where that is not the text."""

    text: str
    order: float | None = None
    tone: str = ""
    """``good``, ``bad``, ``code`` or nothing."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: the first entry of a row names it. ``total`` is a last row that stays there when rows are sorted."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    total: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing or several beside each other, and the table that says the same."""

    title: str
    drawings: tuple[Svg, ...] = ()
    sheet: Sheet | None = None
    note: str = ""
    folded: bool = True
    """Whether the table is behind a click, since the drawing says it."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A section of a page; one that has nothing to show does not occur."""

    name: str
    title: str
    lead: str = ""
    drawings: tuple[Drawing, ...] = ()
    lines: tuple[str, ...] = ()
    text: str = ""
    """Verbatim, such as a recipe."""

    @property
    def holds(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.drawings or self.lines or self.text)


def sheet(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Entry | str]], total: Sequence[str] = ()
) -> Sheet:
    """A table; a bare text is an entry."""
    return Sheet(caption, tuple(columns), tuple(map(_row, rows)), _row(total))


def _row(cells: Sequence[Entry | str]) -> tuple[Entry, ...]:
    return tuple(Entry(cell) if isinstance(cell, str) else cell for cell in cells)


def number(value: float | None, form: str = "{:.2f}", tone: str = "") -> Entry:
    """A number as an entry; ``-`` where it is unknown, which is sorted to the end."""
    return Entry("-") if value is None else Entry(form.format(value), value, tone)
