"""What is told of a result, and in which order: a report, the facts of a model or a parity as a document.

The document holds all that a renderer needs (`onnxslim.report.blocks`); the terminal's is `onnxslim.report.terminal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.blocks import Block, DataTable, Document, Line, Listing, Section, Tone, document
from onnxslim.report.conversion import conversion_blocks
from onnxslim.report.front_table import front_blocks
from onnxslim.report.side_by_side import column_of, side_by_side
from onnxslim.report.steps import step_blocks
from onnxslim.report.tables import before_after, facts_table, weights_table
from onnxslim.report.wording import difference_lines, latency_line, parity_line, ranks_of, score_line, size, verdict
from onnxslim.report.words import verb_named

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity
    from onnxslim.evaluation.check import Check
    from onnxslim.execution import Latency
    from onnxslim.report.facts import ModelFacts
    from onnxslim.report.record import Account, Record

TOP_TENSORS = 8
"""Weights shown without --explain, the largest ones; the rest are summed up."""
_SPEEDS = {"faster": Tone.GOOD, "slower": Tone.BAD, "no difference": Tone.PLAIN}


def document_of(report: Account, explain: bool = False) -> Document:
    """What a command did: the verdict, before and after, checks, and what was skipped.

    Args:
        report: The result.
        explain: Whether to show every weight, and every kind of rewrite and of reason with examples.
    """
    return document(
        Section("verdict", tuple(_verdict(report))),
        Section("source", () if report.converted is None else tuple(conversion_blocks(report.converted))),
        Section("files", tuple(_files(report))),
        Section("models", tuple(_models(report))),
        Section("checks", tuple(_checks(report))),
        Section("search", () if report.front is None else tuple(front_blocks(report.front, explain=explain))),
        Section("weights", tuple(_weights(report, explain))),
        Section("dropped", tuple(_dropped(report, explain)), title="tried and dropped"),
        Section("passes", tuple(step_blocks(report.steps, report.guilty, explain=explain))),
        Section("notes", tuple(_notes(report))),
    )


def document_of_facts(facts: ModelFacts) -> Document:
    """What one model is made of, and what its weights hold where they were read."""
    return document(Section("model", tuple(_facts(facts))))


def document_of_parity(
    parity: Parity, checks: Sequence[Check] = (), *, warnings: Sequence[str] = (), score: str = ""
) -> Document:
    """Whether two models agree, the worst difference of each output where they do not, notes, and limits.

    Args:
        parity: The comparison of the outputs.
        checks: Limits, each beside what was measured.
        warnings: What makes the samples or the original doubtful.
        score: The line of a metric; empty where there is none.
    """
    found = _parity(parity)
    notes = tuple(Line(f"note: {note}") for note in parity.notes)
    return document(
        Section("warnings", tuple(Line(f"warning: {each}", Tone.WARN) for each in warnings)),
        Section("checks", (Listing(found.head, found.items + notes), *((Line(score),) if score else ()))),
        Section("limits", limit_blocks(checks)),
    )


def limit_blocks(checks: Sequence[Check]) -> tuple[Block, ...]:
    """Each limit: whether it holds, what was asked and measured, and how sure that is."""
    return tuple(
        Listing(
            Line(
                f"{each.limit}: {'holds' if each.holds else 'BROKEN'}: {each.found}; asked: {each.wanted}",
                Tone.PLAIN if each.holds else Tone.BAD,
            ),
            (Line(each.doubt, Tone.WARN),) if each.doubt else (),
        )
        for each in checks
    )


def _verdict(report: Account) -> Iterator[Block]:
    for warning in report.warnings:
        yield Line(f"warning: {warning}", Tone.WARN)
    yield Line(verdict(report), Tone.STRONG)
    if report.reason:
        yield Line(f"why: {report.reason}")


def _files(report: Account) -> Iterator[Block]:
    """Where the model came from and went; files beside the model's own, which the first line names, come after."""
    if report.output is None:
        return
    yield Line(" -> ".join(filter(None, (report.input.path, report.output.path))))
    if not report.output.path:
        yield Line("nothing was written: name an output", Tone.WARN)
    if len(report.files) > 1:
        yield Line("files: " + ", ".join(f"{each.path} ({size(each.bytes)})" for each in report.files))
    for path in report.removed_files:
        yield Line(f"removed: {path}, the data of the model that was replaced")
    for path in report.unused_files:
        yield Line(f"left: {path}, which the replaced model referred to and no model here does now", Tone.WARN)


def _models(report: Account) -> Iterator[Block]:
    if report.output is None:
        yield from _facts(report.input)
    elif verb_named(report.command).side_by_side:
        both = (("input", report.input), ("output", report.output))
        seconds = report.session_seconds
        yield side_by_side([column_of(facts, session_seconds=seconds.get(which)) for which, facts in both])
    else:
        yield before_after(report.input, report.output, report.macs)


def _facts(facts: ModelFacts) -> Iterator[DataTable]:
    yield facts_table(facts)
    if facts.tensors:
        yield weights_table(facts.tensors)


def _checks(report: Account) -> Iterator[Block]:
    if report.parity is not None:
        yield _parity(report.parity, held_back=report.held_back, ranks=_ranks(report))
    elif report.verified and not any(step.result.actions for step in report.steps):
        yield Line("parity: no rewrite applies, so there is nothing to compare")
    elif report.output is not None:
        yield Line("parity: not checked", Tone.WARN)
    if report.calibrated or report.held_out:
        yield Line(f"samples: {report.calibrated:,} to calibrate, {report.held_out:,} held out to judge the result")
    yield from _latencies(report)
    if report.scores:
        yield Line(score_line(report.scores, report.metric, held_out=report.held_out))


def _weights(report: Account, explain: bool) -> Iterator[Block]:
    if report.output is not None and report.output.tensors:
        yield weights_table(report.output.tensors, top=None if explain else TOP_TENSORS)


def _dropped(report: Account, explain: bool) -> Iterator[Block]:
    """What was measured of the result that was dropped."""
    attempt = report.attempt
    if attempt is None:
        return
    if attempt.parity is not None:
        yield _parity(attempt.parity, held_back=report.held_back, ranks=_ranks(report))
    yield from _latencies(attempt)
    yield from step_blocks(attempt.steps, attempt.guilty, explain=explain)


def _notes(report: Account) -> Iterator[Block]:
    for note in report.notes:
        yield Line(f"note: {note}")
    yield Line(f"{report.seconds:.1f} s", Tone.FAINT)


def _parity(parity: Parity, *, held_back: int = 0, ranks: Mapping[str, int] | None = None) -> Listing:
    line = parity_line(parity, held_back=held_back, ranks=ranks)
    head = Line(line, Tone.PLAIN if parity.passed else Tone.BAD)
    return Listing(head, tuple(map(Line, difference_lines(parity))))


def _latencies(record: Record) -> Iterator[Line]:
    for latency in (record.latency, record.parallel):
        if latency is not None:
            yield _latency(latency)


def _latency(latency: Latency) -> Line:
    return Line(latency_line(latency), _SPEEDS[latency.verdict])


def _ranks(report: Account) -> dict[str, int]:
    return ranks_of(report.output or report.input)
