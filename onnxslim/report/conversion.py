"""What is told of a conversion, and of the converters that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from onnxslim.report.blocks import (
    Block,
    Document,
    Frame,
    Heading,
    Line,
    Listing,
    Section,
    Tone,
    cells,
    data_table,
    document,
)
from onnxslim.report.wording import size

if TYPE_CHECKING:
    from onnxslim.converters.converted import Converted
    from onnxslim.converters.kinds import Converter


def document_of_conversion(found: Converted) -> Document:
    """How a model was converted, what was compared, and what the graph expects."""
    return document(Section("conversion", tuple(conversion_blocks(found))))


def conversion_blocks(found: Converted) -> Iterator[Block]:
    """The same as blocks of a section."""
    yield Line(f"converted from {found.framework} by {found.exporter}", Tone.STRONG)
    yield Line(f"{found.source} -> {found.output or 'ONNX'}: {size(found.size)}")
    yield Line(f"compared with the framework's outputs: {found.parity}", Tone.GOOD)
    yield Listing(Line("inputs that the graph expects:"), tuple(Line(str(each)) for each in found.inputs))
    for note in found.notes:
        yield Line(f"note: {note}")


def document_of_converters(table: Mapping[str, Converter], versions: Mapping[str, str]) -> Document:
    """Each kind, its forms, and the packages that an environment has or lacks.

    Args:
        table: Kind -> converter.
        versions: Distribution -> version, of those that are there.
    """
    rows = []
    for each in table.values():
        missing = [name for name in each.packages if name not in versions]
        there = ", ".join(f"{name} {versions[name]}" for name in each.packages if name in versions)
        state = f"pip install {' '.join(missing)}" if missing else there
        forms = ", ".join([*map(str, each.forms), "module:object"])
        rows.append(cells(each.kind, "ready" if not missing else "", forms, each.exporter, state))
    headings = [Heading(text) for text in ("kind", "", "forms", "exporter", "packages")]
    return document(Section("converters", (data_table(headings, rows, Frame.RULED),)))
