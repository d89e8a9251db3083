"""Results for a person at a terminal: rich tables. The caller's console decides on colour and width."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim.report.side_by_side import MAX_PORTS, column_of, side_by_side
from onnxslim.report.wording import (
    QDQ,
    change,
    common,
    difference_lines,
    kind_of,
    latency_line,
    parity_line,
    ranks_of,
    score_line,
    shorten,
    size,
    verdict,
)
from onnxslim.report.words import verb_named

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity
    from onnxslim.execution import Latency
    from onnxslim.packing import TensorFacts
    from onnxslim.pipeline import Action, Guilty, Step
    from onnxslim.report.facts import ModelFacts, PortFacts
    from onnxslim.report.report import Attempt, Report

PLAIN_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""
TOP_OPS = 12
"""Operators shown of those whose count changed; the rest are summed up."""
ENCODINGS = ("dense", "standard", "folded")
TOP_TENSORS = 8
"""Weights shown without --explain, the largest ones; the rest are summed up."""
TOP_REASONS = 8
"""Kinds of reasons shown without --explain."""
EXAMPLES = 5
"""Places that --explain names for each kind."""
GOOD, BAD = "green", "red"
_SPEED_STYLE = {"faster": GOOD, "slower": BAD, "no difference": ""}


def print_report(report: Report, console: Console, *, explain: bool = False) -> None:
    """Prints what a command did: the verdict, before and after, checks, and what was skipped.

    Args:
        report: The result.
        console: Where to.
        explain: Whether to show every kind of rewrite and of reason with examples, and what a dropped result was.
    """
    for warning in report.warnings:
        _say(console, f"warning: {warning}", "yellow")
    _say(console, verdict(report), "bold")
    if report.reason:
        _say(console, f"why: {report.reason}")
    if report.output is not None:
        _say(console, " -> ".join(filter(None, (report.input.path, report.output.path))))
        if not report.output.path:
            _say(console, "nothing was written: name an output", "yellow")
        _print_files(report, console)
        console.print(
            _slim_table(report)
            if verb_named(report.command).side_by_side
            else _before_after(report.input, report.output, report.macs)
        )
    else:
        print_facts(report.input, console)
    ranks = ranks_of(report.output or report.input)
    if report.parity is not None:
        _print_parity(report.parity, console, held_back=report.held_back, ranks=ranks)
    elif report.verified and not any(step.result.actions for step in report.steps):
        _say(console, "parity: no rewrite applies, so there is nothing to compare")
    elif report.output is not None:
        _say(console, "parity: not checked", "yellow")
    if report.calibrated or report.held_out:
        _say(console, f"samples: {report.calibrated:,} to calibrate, {report.held_out:,} held out to judge the result")
    if report.latency is not None:
        _print_latency(report.latency, console)
    if report.parallel is not None:
        _print_latency(report.parallel, console)
    if report.scores:
        _say(console, score_line(report.scores, report.metric, held_out=report.held_out))
    if report.output is not None and report.output.tensors:
        print_tensors(report.output.tensors, console, top=None if explain else TOP_TENSORS)
    if report.attempt is not None:
        _print_attempt(report.attempt, console, report.held_back, ranks, explain)
    _print_steps(report.steps, report.guilty, console, explain)
    for note in report.notes:
        _say(console, f"note: {note}")
    _say(console, f"{report.seconds:.1f} s", "dim")


def as_text(report: Report) -> str:
    """What `print_report` prints, as plain text."""
    text = io.StringIO()
    print_report(report, Console(file=text, width=PLAIN_WIDTH, color_system=None, force_terminal=False))
    return text.getvalue().rstrip("\n")


def _print_files(report: Report, console: Console) -> None:
    """The files beside the model's own, which the line before names."""
    if len(report.files) > 1:
        _say(console, "files: " + ", ".join(f"{each.path} ({size(each.bytes)})" for each in report.files))
    for path in report.removed_files:
        _say(console, f"removed: {path}, the data of the model that was replaced")
    for path in report.unused_files:
        _say(console, f"left: {path}, which the replaced model referred to and no model here does now", "yellow")


def print_facts(facts: ModelFacts, console: Console) -> None:
    """Prints what one model is made of."""
    table = _table("", "model")
    table.add_row("file", escape(facts.path) or "-")
    table.add_row("bytes", size(facts.bytes))
    table.add_row("IR version, opsets", f"{facts.ir_version}, {_opsets(facts)}")
    table.add_row("producer", escape(facts.producer) or "-")
    for label, ports in (("input", facts.inputs), ("output", facts.outputs)):
        for port in ports[:MAX_PORTS]:
            table.add_row(f"{label} {escape(port.name)}", escape(_port(port)))
        if len(ports) > MAX_PORTS:
            table.add_row(f"{label} ...", f"{len(ports) - MAX_PORTS:,} more")
    table.add_row("parameters", f"{facts.parameters:,} in {size(facts.weight_bytes)}")
    table.add_row("operators", f"{facts.nodes:,}")
    for name, count in facts.ops.items():
        table.add_row(f"  {escape(name)}", f"{count:,}")
    console.print(table)
    if facts.tensors:
        print_tensors(facts.tensors, console)


def print_tensors(tensors: Sequence[TensorFacts], console: Console, *, top: int | None = None) -> None:
    """Prints what the weights hold, and what they take in each encoding.

    Args:
        tensors: Of a model.
        console: Where to.
        top: So many of the largest ones; the others are summed up.
    """
    table = _table("weight", "shape", "zeros", "values", "mean |w|", *ENCODINGS, "entropy", "stored")
    ordered = sorted(tensors, key=lambda each: -(each.bytes["dense"] or 0)) if top is not None else tensors
    shown, rest = ordered[:top], ordered[len(ordered) if top is None else top :]
    for each in shown:
        dead = sum(1 for neuron in each.neurons if neuron == 0)
        span = f" ({min(each.neurons):.2g} to {max(each.neurons):.2g})" if len(each.neurons) > 1 else ""
        table.add_row(
            escape(shorten(each.name, 40)),
            "x".join(map(str, each.shape)),
            f"{each.zeros / max(each.elements, 1):.0%}" + (f", {dead} outputs" if dead else ""),
            str(each.distinct) if each.distinct is not None else "many",
            f"{each.mean_abs:.2g}{span}",
            *_encodings([each]),
            each.stored,
        )
    for label, some in ((f"{len(rest)} others", rest), ("all", ordered)):
        if some:
            elements, zeros = sum(each.elements for each in some), sum(each.zeros for each in some)
            table.add_row(label, f"{elements:,}", f"{zeros / elements:.0%}", "", "", *_encodings(some), "")
    console.print(table)


def _encodings(tensors: Sequence[TensorFacts]) -> list[str]:
    """Bytes dense, and as little as each encoding and the bound make of it."""
    folded = sum(each.bytes["folded"] or each.bytes["dense"] or 0 for each in tensors)
    way = f" {tensors[0].packing}" if len(tensors) == 1 and tensors[0].packing else ""
    dense, standard = (sum(each.bytes[key] or 0 for each in tensors) for key in ("dense", "standard"))
    return [size(dense), size(standard), f"{size(folded)}{way}", size(round(sum(each.bound for each in tensors)))]


def print_parity(parity: Parity, console: Console) -> None:
    """Prints whether two models agree, the worst difference of each output where not, and notes."""
    _print_parity(parity, console)
    for note in parity.notes:
        _say(console, f"  note: {note}")


def _print_parity(
    parity: Parity, console: Console, *, held_back: int = 0, ranks: Mapping[str, int] | None = None, indent: str = ""
) -> None:
    line = parity_line(parity, held_back=held_back, ranks=ranks)
    _say(console, indent + line, "" if parity.passed else BAD)
    for difference in difference_lines(parity):
        _say(console, f"{indent}  {difference}")


def _print_latency(latency: Latency, console: Console, indent: str = "") -> None:
    _say(console, indent + latency_line(latency), _SPEED_STYLE[latency.verdict])


def _print_attempt(attempt: Attempt, console: Console, held_back: int, ranks: Mapping[str, int], explain: bool) -> None:
    """What was measured of the result that was dropped."""
    _say(console, "tried and dropped:", "bold")
    if attempt.parity is not None:
        _print_parity(attempt.parity, console, held_back=held_back, ranks=ranks, indent="  ")
    if attempt.latency is not None:
        _print_latency(attempt.latency, console, indent="  ")
    if attempt.parallel is not None:
        _print_latency(attempt.parallel, console, indent="  ")
    _print_steps(attempt.steps, attempt.guilty, console, explain, indent="  ")


def _slim_table(report: Report) -> Table:
    assert report.output is not None
    both = (("input", report.input), ("output", report.output))
    columns = [column_of(facts, session_seconds=report.session_seconds.get(which)) for which, facts in both]
    return side_by_side(columns)


def _before_after(before: ModelFacts, after: ModelFacts, macs: Mapping[str, int | None]) -> Table:
    table = _table("", "before", "after", "change")
    old_marks, new_marks = (sum(facts.ops.get(name, 0) for name in QDQ) for facts in (before, after))
    table.add_row("bytes", size(before.bytes), size(after.bytes), _judged(before.bytes, after.bytes))
    old, new = before.weight_bytes, after.weight_bytes
    table.add_row("weights", size(old), size(new), _judged(old, new))
    if macs:  # channels were to go
        counts = {"parameters": (before.parameters, after.parameters), "MACs": (macs["input"], macs["output"])}
        for label, (old_count, new_count) in counts.items():
            shown = ("unknown" if count is None else f"{count:,}" for count in (old_count, new_count))
            table.add_row(label, *shown, _judged(old_count, new_count))
    table.add_row("opsets", _opsets(before), _opsets(after), "")
    old, new = before.nodes - old_marks, after.nodes - new_marks
    table.add_row("operators", f"{old:,}", f"{new:,}", _judged(old, new))
    changed = sorted(
        (
            name
            for name in (before.ops.keys() | after.ops.keys()) - set(QDQ)
            if before.ops.get(name, 0) != after.ops.get(name, 0)
        ),
        key=lambda name: (-abs(after.ops.get(name, 0) - before.ops.get(name, 0)), name),
    )
    rows = [(escape(name), (name,)) for name in changed[:TOP_OPS]]
    rest = tuple(changed[TOP_OPS:])
    for label, names in [*rows, *([(f"{len(rest)} others", rest)] if rest else [])]:
        old, new = (sum(facts.ops.get(name, 0) for name in names) for facts in (before, after))
        table.add_row(f"  {label}", f"{old:,}", f"{new:,}", change(old, new))
    if old_marks or new_marks:
        table.add_row("int8 marks (Q/DQ)", f"{old_marks:,}", f"{new_marks:,}", change(old_marks, new_marks))
    return table


def _judged(before: int | None, after: int | None) -> str:
    """The change, green where it is less."""
    text = change(before, after)
    if not text or before is None or after is None:
        return text
    style = GOOD if after < before else BAD
    return f"[{style}]{text}[/]"


def _print_steps(
    steps: Sequence[Step], guilty: Sequence[Guilty], console: Console, explain: bool, indent: str = ""
) -> None:
    for step in steps:
        rules: dict[str, list[Action]] = {}
        for action in step.result.actions:
            rules.setdefault(action.rule, []).append(action)
        counts = Counter({rule: len(actions) for rule, actions in rules.items()}).most_common()
        done = ", ".join(f"{rule} {count:,}x" for rule, count in counts) or "no rewrite applies"
        _say(console, f"{indent}pass {step.name} ({step.seconds:.1f} s): {done}")
        if explain:
            for rule, count in counts:
                places = [_place(action) for action in rules[rule]]
                _say(console, f"{indent}  {rule} {count:,}x: {_examples(places, EXAMPLES, 88)}")
    back = {(each.action.rule, each.action.site or ",".join(each.action.outputs)): each.reason for each in guilty}
    for line in _grouped([(rule, place, reason) for (rule, place), reason in back.items()], EXAMPLES if explain else 1):
        _say(console, f"{indent}reverted: {line}", "yellow")
    declined = [each for step in steps for each in step.result.declined if (each.rule, each.site) not in back]
    beyond = sum(step.result.declined_beyond for step in steps)
    if not declined:
        return
    lines = list(_grouped([(d.rule, d.site, d.reason) for d in declined], EXAMPLES if explain else 1))
    shown = lines if explain else lines[:TOP_REASONS]
    _say(console, f"{indent}skipped: {len(declined) + beyond:,} (count x rule: reason: example)")
    for line in shown:
        _say(console, f"{indent}  {line}")
    if len(lines) > len(shown):
        _say(console, f"{indent}  ... {len(lines) - len(shown)} more reasons; --explain shows them, --json every place")


def _grouped(entries: Iterable[tuple[str, str, str]], examples: int) -> Iterator[str]:
    """(rule, place, reason) by rule and kind of reason, most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for rule, place, reason in entries:
        _, _, name = place.partition(" ")
        for said in (place, name):  # the example names it already
            reason = reason.replace(said, "it") if len(said) > 2 else reason
        groups.setdefault((rule, kind_of(reason)), []).append((place, reason))
    for (rule, _), found in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        why = common(reason for _, reason in found)
        yield f"{len(found):>5,} x {rule}: {why}: {_examples([place for place, _ in found], examples)}"


def _place(action: Action) -> str:
    return (action.site or ", ".join(action.outputs)) + (f" ({action.detail})" if action.detail else "")


def _examples(places: Sequence[str], count: int, width: int = 56) -> str:
    more = ", ..." if len(places) > count else ""
    return ("e.g. " if more else "") + ", ".join(shorten(place, width) for place in places[:count]) + more


def _say(console: Console, line: str, style: str = "") -> None:
    """A line as it is: names are no markup, and it is left to the terminal to wrap it."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("before", "after", "change") else "left"
        )
        if number == 0:
            table.columns[0].no_wrap = len(columns) > 1 and column == ""
    return table


def _opsets(facts: ModelFacts) -> str:
    return ", ".join(f"{escape(domain) or 'ai.onnx'} {version}" for domain, version in facts.opsets.items())


def _port(port: PortFacts) -> str:
    dims = "unknown rank" if port.shape is None else ", ".join("?" if d is None else str(d) for d in port.shape)
    return f"{port.dtype}[{dims}]"
