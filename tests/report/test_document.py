"""Documents of results, and how the terminal shows each kind of block."""

from __future__ import annotations

import ast
import dataclasses
import io

import pytest
from rich.console import Console

from onnxslim.report import Attempt, blocks, document_of, terminal
from onnxslim.report.blocks import (
    Align,
    Block,
    Cell,
    DataTable,
    Document,
    Fit,
    Frame,
    Heading,
    Line,
    Listing,
    Section,
    Tone,
    cells,
    data_table,
)
from onnxslim.report.terminal import STYLES, as_text, print_document
from tests.report.test_report import LATENCY, LOSSY, REPORT

MORE, LESS = Cell("+3 %", Tone.BAD), Cell("-72 %", Tone.GOOD)
SIZES = data_table(
    (Heading(fit=Fit.KEEP), Heading("before", Align.RIGHT), Heading("change", Align.RIGHT)),
    [cells("bytes", "10 kB", LESS), cells("[red]w", "9 B", MORE)],
)
MODELS = DataTable(
    (Heading(align=Align.CENTER, fit=Fit.CUT), Heading(align=Align.CENTER, width=8)),
    ((cells("Model", "long_name[1].onnx"),), (cells("Conv", "3"), cells("Relu", "1"))),
    Frame.ASCII,
)
COMPARED = data_table((Heading(), Heading("a")), [cells("passed", "True")], Frame.RULED)
BLOCKS: list[tuple[Block, str]] = [
    (Line("parity: [red] passed"), "parity: [red] passed"),
    (Line("x" * 300, Tone.WARN), "x" * 300),
    (Listing(Line("skipped: 2"), (Line("    1 x a"), Line("    1 x b"))), "skipped: 2\n      1 x a\n      1 x b"),
    (SIZES, "        before  change\nbytes    10 kB   -72 %\n[red]w     9 B    +3 %"),
    (
        MODELS,
        "+------------------+\n"
        "| Model | long_nam |\n"
        "|       | e[1].onn |\n"
        "|       |    x     |\n"
        "|-------+----------|\n"
        "| Conv  |    3     |\n"
        "| Relu  |    1     |\n"
        "+------------------+",
    ),
    (COMPARED, "┏━━━━━━━━┳━━━━━━┓\n┃        ┃ a    ┃\n┡━━━━━━━━╇━━━━━━┩\n│ passed │ True │\n└────────┴──────┘"),
]


def of(*sections: Section) -> Document:
    return Document(sections)


@pytest.mark.parametrize(("block", "shown"), BLOCKS)
def test_each_kind_of_block_as_text(block: Block, shown: str) -> None:
    assert as_text(of(Section("only", (block,)))) == shown
    indented = as_text(of(Section("only", (block,), title="dropped")))
    assert [line.rstrip() for line in indented.splitlines()] == ["dropped:", *(f"  {e}" for e in shown.splitlines())]


def test_a_tone_is_a_colour_where_there_are_colours() -> None:
    assert STYLES.keys() == set(Tone)
    out = io.StringIO()
    sections = Section("lines", tuple(Line(tone.name, tone) for tone in Tone)), Section("table", (SIZES,))
    print_document(of(*sections), Console(file=out, width=80, color_system="standard", force_terminal=True))
    *lines, _, less, more = out.getvalue().splitlines()
    codes = {"STRONG": 1, "FAINT": 2, "GOOD": 32, "BAD": 31, "WARN": 33}
    assert lines == ["PLAIN", *(f"\x1b[{code}m{name}\x1b[0m" for name, code in codes.items())]
    assert "\x1b[32m" in less
    assert "\x1b[31m" in more


def test_a_report_as_a_document() -> None:
    attempt = Attempt(parity=LOSSY, latency=dataclasses.replace(LATENCY, verdict="slower", ratio=1.25))
    report = dataclasses.replace(REPORT, warnings=("doubtful",), attempt=attempt)
    made = document_of(report)
    assert [section.name for section in made.sections] == [
        "verdict", "files", "models", "checks", "dropped", "passes", "notes",
    ]  # fmt: skip
    by_name = {section.name: section for section in made.sections}
    assert by_name["verdict"].blocks[0] == Line("warning: doubtful", Tone.WARN)
    assert by_name["dropped"].title == "tried and dropped"
    assert by_name["dropped"].blocks[1].tone is Tone.BAD  # type: ignore[union-attr]
    (table,) = by_name["models"].blocks
    assert isinstance(table, DataTable)
    assert table.groups[0][0] == cells("bytes", "10.90 MB", "3.00 MB", LESS)
    assert document_of(report, explain=True) != made


def test_a_renderer_sees_values_of_blocks_alone() -> None:
    def walk(value: object) -> None:
        if isinstance(value, tuple):
            for item in value:
                walk(item)
        elif dataclasses.is_dataclass(value):
            assert type(value).__module__ == blocks.__name__
            for field in dataclasses.fields(value):
                walk(getattr(value, field.name))
        else:
            assert value is None or isinstance(value, str | int | Tone | Align | Fit | Frame), value

    for explain in (False, True):
        made = document_of(dataclasses.replace(REPORT, attempt=Attempt(steps=REPORT.steps)), explain)
        walk(made)
        hash(made)
    with open(terminal.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("onnxslim")} == {blocks.__name__}
