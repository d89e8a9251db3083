"""Models beside each other, as OnnxSlim prints them: name, opset, inputs, outputs, operators, file size, times."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim.report.wording import size

if TYPE_CHECKING:
    from onnxslim.report.facts import ModelFacts, PortFacts

NAME = 40
"""Columns of a model; what is longer is folded."""
MAX_PORTS = 100
"""Inputs or outputs that are shown; of thousands, the rest is summed up."""
PLAIN_WIDTH = 60
"""Columns of the labels where the table goes to a file or a pipe."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One model: texts to show, and operators by name."""

    name: str
    info: str
    ops: Mapping[str, int]
    size: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    session_seconds: float | None = None
    """Time to open it in onnxruntime, where it was measured."""


def column_of(facts: ModelFacts, *, name: str = "", session_seconds: float | None = None) -> Column:
    """A model's facts as a column; its size is that of its file, external data included."""
    opset = facts.opsets.get("", facts.opsets.get("ai.onnx", "-"))
    return Column(
        name=name or os.path.basename(facts.path) or "OnnxModel",
        info=f"Op Set: {opset} / IR Version: {facts.ir_version}",
        inputs={port.name: _port(port) for port in facts.inputs},
        outputs={port.name: _port(port) for port in facts.outputs},
        ops=facts.ops,
        size=size(facts.bytes),
        session_seconds=session_seconds,
    )


def side_by_side(columns: Sequence[Column], elapsed: float | None = None) -> Table:
    """The table.

    Args:
        columns: The models; numbers of operators are green where they are less than the first model's.
        elapsed: Seconds that it all took.
    """
    table = Table(box=box.ASCII, show_header=False, show_lines=False)
    table.add_column(justify="center")
    for _ in columns:
        table.add_column(justify="center", max_width=NAME, overflow="fold")

    def section(*rows: Sequence[str]) -> None:
        for row in rows:
            table.add_row(*row)
        table.add_section()

    section(["Model Name", *(escape(each.name) for each in columns)])
    section(["Model Info", *(each.info for each in columns)])
    for label, ports in (("IN", [c.inputs for c in columns]), ("OUT", [c.outputs for c in columns])):
        names = list(dict.fromkeys(name for each in ports for name in each))
        for name in names[:MAX_PORTS]:
            table.add_row(escape(f"{label}: {name}"), *(escape(each.get(name, "")) for each in ports))
        if len(names) > MAX_PORTS:
            left = names[MAX_PORTS:]
            counts = (f"{sum(name in each for name in left):,} more" for each in ports)
            table.add_row(f"{label}: ...", *counts)
    table.add_section()
    names = sorted({name for each in columns for name in each.ops})
    section(*([escape(name), *_counts([c.ops.get(name, 0) for c in columns])] for name in names))
    if len(columns) > 1 or names:
        section(["Operators", *_counts([sum(each.ops.values()) for each in columns])])
    section(["File Size", *(each.size for each in columns)])
    if any(each.session_seconds is not None for each in columns):
        section(["Session Creation", *(_seconds(each.session_seconds) for each in columns)])
    if elapsed is not None:
        section(["Elapsed Time", f"{elapsed:.2f} s"])
    return table


def print_side_by_side(columns: Sequence[Column], elapsed: float | None = None) -> None:
    """Prints the table on stdout: with colours at a terminal, as wide as it needs elsewhere."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH + (NAME + 3) * len(columns)
    Console(width=width).print(side_by_side(columns, elapsed))


def _counts(counts: Sequence[int]) -> list[str]:
    first = counts[0]
    return [f"[green]{count:,}[/]" if count < first else f"{count:,}" for count in counts]


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f} ms"


def _port(port: PortFacts) -> str:
    if port.shape is None:
        return f"{port.dtype}: unknown rank"
    dims = ", ".join("?" if dim is None else str(dim) for dim in port.shape)
    return f"{port.dtype}: ({dims}{',' if len(port.shape) == 1 else ''})"
