"""What a page is made of: sections with figures, each a drawing and the table that says the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnxslim.report.page.svg import Svg


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell of a table: its text, and the number that it is sorted by where that is not the text."""

    text: str
    order: float | None = None
    tone: str = ""
    """``good``, ``bad``, ``code``, ``kind0`` to ``kind7`` for a colour of a chart, or nothing."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: the first entry of a row names it. ``total`` is a last row that stays there when rows are sorted."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    total: tuple[Entry, ...] = ()

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether it holds numbers, which stand at the right."""
        return tuple(any(row[place].order is not None for row in self.rows) for place in range(len(self.columns)))


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


def known(table: Sheet) -> Sheet:
    """The table without columns that hold nothing but ``-``."""
    places = [i for i in range(len(table.columns)) if any(row[i].text != "-" for row in table.rows)]

    def kept(row: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(row[place] for place in places) if row else ()

    columns = tuple(table.columns[place] for place in places)
    return Sheet(table.caption, columns, tuple(map(kept, table.rows)), kept(table.total))


def number(value: float | None, form: str = "{:.2f}", tone: str = "") -> Entry:
    """A number as an entry; ``-`` where it is unknown, which is sorted to the end."""
    return Entry("-") if value is None or math.isnan(value) else Entry(form.format(value), value, tone)


def ratio_db(value: float | None) -> Entry:
    """A signal to noise ratio under a heading that names the unit; what did not change has none."""
    return Entry("same", math.inf) if value == math.inf else number(value, "{:.1f}")
