"""What a document is made of: plain values, which a renderer shows without a look at the results behind them.

A document has sections, and a section has blocks: lines, lists and tables. Texts are final: numbers are formatted,
long names are shortened, and nothing in a text is markup. A `Tone` says what a text means; the renderer picks a colour.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Tone(enum.Enum):
    """What a text means to its reader."""

    PLAIN = enum.auto()
    STRONG = enum.auto()
    FAINT = enum.auto()
    GOOD = enum.auto()
    BAD = enum.auto()
    WARN = enum.auto()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text. The renderer does not break it: a terminal or a browser wraps it."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Listing:
    """A line, and the lines that belong to it: indented below it, or folded away where a reader can open them."""

    head: Line
    items: tuple[Line, ...] = ()


class Align(enum.Enum):
    """Where the cells of a column stand."""

    LEFT = enum.auto()
    RIGHT = enum.auto()
    CENTER = enum.auto()


class Fit(enum.Enum):
    """What becomes of a cell that is longer than there is room for."""

    FOLD = enum.auto()
    """It goes on in the next line."""
    CUT = enum.auto()
    """Its end is left out."""
    KEEP = enum.auto()
    """It stays in one line; the other columns become narrower."""


class Frame(enum.Enum):
    """What stands around the cells of a table."""

    NONE = enum.auto()
    RULED = enum.auto()
    ASCII = enum.auto()


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of a table. A table whose headings are all empty is shown without a row for them.

    Attributes:
        text: What stands above the column.
        align: Where its cells stand.
        fit: What becomes of long cells.
        width: The most characters in a line of a cell; None where the renderer decides.
    """

    text: str = ""
    align: Align = Align.LEFT
    fit: Fit = Fit.FOLD
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    tone: Tone = Tone.PLAIN


Row = tuple[Cell, ...]
"""One cell for each heading, or fewer: the last columns are empty then."""


@dataclass(frozen=True, slots=True)
class DataTable:
    """A table. A framed one has a line between two groups of rows."""

    headings: tuple[Heading, ...]
    groups: tuple[tuple[Row, ...], ...]
    frame: Frame = Frame.NONE


Block = Line | Listing | DataTable


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks that belong together.

    Attributes:
        name: A word that is unique within the document, such as for an anchor; it is not shown.
        blocks: In their order.
        title: What is shown above the blocks, which are indented then; empty where they speak for themselves.
    """

    name: str
    blocks: tuple[Block, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """All that is said of one result. A section without blocks does not occur."""

    sections: tuple[Section, ...]


def document(*sections: Section) -> Document:
    """A document of the sections that have blocks."""
    return Document(tuple(section for section in sections if section.blocks))


def cells(*texts: str | Cell) -> Row:
    """A row; a bare text is a plain cell."""
    return tuple(Cell(text) if isinstance(text, str) else text for text in texts)


def data_table(headings: Iterable[Heading], rows: Iterable[Row], frame: Frame = Frame.NONE) -> DataTable:
    """A table of one group of rows."""
    return DataTable(tuple(headings), (tuple(rows),), frame)
