"""What came of each model of a folder, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxslim.report.blocks import Align, Block, Cell, Document, Fit, Heading, Line, Section, Tone, cells, data_table
from onnxslim.report.wording import size

MOST = 60
"""Columns of a reason."""


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """What came of one model.

    Attributes:
        name: Its path within the folder.
        decision: In a word or two: ``compressed``, ``kept float``, ``failed``.
        reason: Why it is not all that was asked for; empty where it is.
        bytes: Of the model that came in; None where it could not be read.
        output_bytes: Of the result; None where there is none.
        speedup: Time before over time after; None where it was not measured or no difference was found.
        samples: The source of its samples.
        failed: Whether there is no result.
        skipped: Whether the result was there from an earlier run.
    """

    name: str
    decision: str
    reason: str = ""
    bytes: int | None = None
    output_bytes: int | None = None
    speedup: float | None = None
    samples: str = ""
    failed: bool = False
    skipped: bool = False


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """What came of the models of a folder.

    Attributes:
        models: Those that were reached, in the order of their names.
        samples: Which samples were used, in words.
        left: Models that were not reached, because the run was interrupted.
    """

    models: Sequence[ModelLine]
    samples: str
    left: int = 0

    @property
    def failed(self) -> int:
        """Models without a result."""
        return sum(each.failed for each in self.models)

    @property
    def exit_code(self) -> int:
        """1 where a model failed, else 0."""
        return 1 if self.failed else 0


def document_of_folder(report: FolderReport) -> Document:
    """The table of models, and what it sums up to."""
    return Document((Section("models", tuple(_blocks(report))),))


def _blocks(report: FolderReport) -> Iterator[Block]:
    right = Align.RIGHT
    headings = (
        Heading("model"),
        Heading("decision", fit=Fit.KEEP),
        Heading("before", right, Fit.KEEP),
        Heading("after", right, Fit.KEEP),
        Heading("smaller", right, Fit.KEEP),
        Heading("speed", right, Fit.KEEP),
        Heading("reason", width=MOST),
    )
    yield data_table(headings, [cells(*_row(each)) for each in report.models])
    done = len(report.models) - report.failed
    skipped = sum(each.skipped for each in report.models)
    said = [f"{done} of {len(report.models) + report.left} models have a result"]
    if skipped:
        said.append(f"{skipped} of them from an earlier run")
    if report.failed:
        said.append(f"{report.failed} failed")
    if report.left:
        said.append(f"{report.left} were not reached")
    yield Line(", ".join(said), Tone.BAD if report.failed else Tone.STRONG)
    yield Line(f"samples: {report.samples}")


def _row(each: ModelLine) -> Iterator[str | Cell]:
    yield each.name
    tone = Tone.BAD if each.failed else Tone.FAINT if each.skipped else Tone.PLAIN
    yield Cell(f"{each.decision} (earlier)" if each.skipped else each.decision, tone)
    yield size(each.bytes)
    yield size(each.output_bytes)
    yield f"{each.bytes / each.output_bytes:.2f}x" if each.bytes and each.output_bytes else "-"
    yield f"{each.speedup:.2f}x" if each.speedup is not None else "-"
    yield each.reason
