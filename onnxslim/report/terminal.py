"""A document for a person at a terminal, by rich. The caller's console decides on colour and width."""

from __future__ import annotations

import io
from typing import assert_never

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from onnxslim.report.blocks import Align, Block, Cell, DataTable, Document, Fit, Frame, Line, Listing, Tone

PLAIN_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""
INDENT = 2
"""Columns by which what belongs to a line or a title is moved to the right."""
STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.FAINT: "dim",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.WARN: "yellow",
}


def print_document(document: Document, console: Console) -> None:
    """Prints a document, a section after the other."""
    for section in document.sections:
        if section.title:
            _print_line(Line(f"{section.title}:", Tone.STRONG), console)
        for block in section.blocks:
            _print_block(block, console, INDENT if section.title else 0)


def as_text(document: Document) -> str:
    """What `print_document` prints, as plain text."""
    text = io.StringIO()
    print_document(document, Console(file=text, width=PLAIN_WIDTH, color_system=None, force_terminal=False))
    return text.getvalue().rstrip("\n")


def _print_block(block: Block, console: Console, indent: int) -> None:
    match block:
        case Line():
            _print_line(block, console, indent)
        case Listing():
            _print_line(block.head, console, indent)
            for item in block.items:
                _print_line(item, console, indent + INDENT)
        case DataTable():
            table = _table(block)
            console.print(Padding.indent(table, indent) if indent else table)
        case _:
            assert_never(block)


def _print_line(line: Line, console: Console, indent: int = 0) -> None:
    """A line as it is: names are no markup, and it is left to the terminal to wrap it."""
    text = " " * indent + line.text
    console.print(text, style=STYLES[line.tone], markup=False, highlight=False, soft_wrap=True)


def _table(block: DataTable) -> Table:
    shows_headings = any(heading.text for heading in block.headings)
    if block.frame is Frame.NONE:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=shows_headings)
    else:
        table = Table(box=box.ASCII if block.frame is Frame.ASCII else box.HEAVY_HEAD, show_header=shows_headings)
    for heading in block.headings:
        table.add_column(
            escape(heading.text),
            justify="left" if heading.align is Align.LEFT else "right" if heading.align is Align.RIGHT else "center",
            overflow="ellipsis" if heading.fit is Fit.CUT else "fold",
            no_wrap=heading.fit is Fit.KEEP,
            max_width=heading.width,
        )
    for group in block.groups:
        for row in group:
            table.add_row(*map(_markup, row))
        table.add_section()
    return table


def _markup(cell: Cell) -> str:
    """A cell as text with markup, so that rich highlights its numbers, too."""
    text, style = escape(cell.text), STYLES[cell.tone]
    return f"[{style}]{text}[/]" if style else text
