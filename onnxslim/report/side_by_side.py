"""Models beside each other, as OnnxSlim prints them: name, opset, inputs, outputs, operators, file size, times."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxslim.report.blocks import Align, Cell, DataTable, Document, Fit, Frame, Heading, Row, Section, Tone, cells
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


def side_by_side(columns: Sequence[Column], elapsed: float | None = None) -> DataTable:
    """The table.

    Args:
        columns: The models; the number of an operator is good where it is less than the first model's.
        elapsed: Seconds that it all took.
    """
    labels, models = Heading(align=Align.CENTER, fit=Fit.CUT), Heading(align=Align.CENTER, width=NAME)
    groups = tuple(tuple(group) for group in _groups(columns, elapsed))
    return DataTable((labels, *(models for _ in columns)), tuple(filter(None, groups)), Frame.ASCII)


def _groups(columns: Sequence[Column], elapsed: float | None) -> Iterator[Iterable[Row]]:
    yield [cells("Model Name", *(each.name for each in columns))]
    yield [cells("Model Info", *(each.info for each in columns))]
    yield [*_ports("IN", [each.inputs for each in columns]), *_ports("OUT", [each.outputs for each in columns])]
    names = sorted({name for each in columns for name in each.ops})
    yield (cells(name, *_counts([each.ops.get(name, 0) for each in columns])) for name in names)
    if len(columns) > 1 or names:
        yield [cells("Operators", *_counts([sum(each.ops.values()) for each in columns]))]
    yield [cells("File Size", *(each.size for each in columns))]
    if any(each.session_seconds is not None for each in columns):
        yield [cells("Session Creation", *(_seconds(each.session_seconds) for each in columns))]
    if elapsed is not None:
        yield [cells("Elapsed Time", f"{elapsed:.2f} s")]


def _ports(label: str, ports: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    names = list(dict.fromkeys(name for each in ports for name in each))
    for name in names[:MAX_PORTS]:
        yield cells(f"{label}: {name}", *(each.get(name, "") for each in ports))
    if left := names[MAX_PORTS:]:
        yield cells(f"{label}: ...", *(f"{sum(name in each for name in left):,} more" for each in ports))


def print_side_by_side(columns: Sequence[Column], elapsed: float | None = None) -> None:
    """Prints the table on stdout: with colours at a terminal, as wide as it needs elsewhere."""
    from rich.console import Console

    from onnxslim.report.terminal import print_document

    width = None if sys.stdout.isatty() else PLAIN_WIDTH + (NAME + 3) * len(columns)
    print_document(Document((Section("models", (side_by_side(columns, elapsed),)),)), Console(width=width))


def _counts(counts: Sequence[int]) -> list[Cell]:
    return [Cell(f"{count:,}", Tone.GOOD if count < counts[0] else Tone.PLAIN) for count in counts]


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f} ms"


def _port(port: PortFacts) -> str:
    if port.shape is None:
        return f"{port.dtype}: unknown rank"
    dims = ", ".join("?" if dim is None else str(dim) for dim in port.shape)
    return f"{port.dtype}: ({dims}{',' if len(port.shape) == 1 else ''})"
