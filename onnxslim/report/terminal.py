"""Results for a person at a terminal: rich tables. The caller's console decides on colour and width."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from onnxslim.pipeline import Declined
    from onnxslim.report.facts import ModelFacts, PortFacts
    from onnxslim.report.report import Report
    from onnxslim.runtime import Latency, Parity

TOP_OPS = 12
"""Operators shown of those whose count changed; the rest are summed up."""
TOP_REASONS = 8
"""Reasons shown without --explain."""


def print_report(report: Report, console: Console, *, explain: bool = False) -> None:
    """Prints what a command did: decision, before and after, checks, and what was left alone.

    Args:
        report: The result.
        console: Where to.
        explain: Whether to list every rewrite and every declined one with its reason.
    """
    files = " -> ".join(facts.path for facts in (report.input, report.output) if facts is not None and facts.path)
    _say(console, f"{report.command}: {report.decision}" + (f": {report.reason}" if report.reason else ""), "bold")
    if files:
        _say(console, files)
    if report.output is not None:
        console.print(_before_after(report.input, report.output))
    else:
        print_facts(report.input, console)
    for line in _checks(report):
        _say(console, line)
    for guilty in report.guilty:
        _say(console, f"taken back {guilty.action.key}: {guilty.reason}", "red")
    _print_steps(report, console, explain)
    for note in report.notes:
        _say(console, f"note: {note}")
    _say(console, f"{report.seconds:.1f} s", "dim")


def print_facts(facts: ModelFacts, console: Console) -> None:
    """Prints what one model is made of."""
    table = _table("", "model")
    table.add_row("file", escape(facts.path) or "-")
    table.add_row("bytes", size(facts.bytes))
    table.add_row("IR version, opsets", f"{facts.ir_version}, {_opsets(facts)}")
    table.add_row("producer", escape(facts.producer) or "-")
    for label, ports in (("input", facts.inputs), ("output", facts.outputs)):
        for port in ports:
            table.add_row(f"{label} {escape(port.name)}", escape(_port(port)))
    table.add_row("parameters", f"{facts.parameters:,} in {size(facts.weight_bytes)}")
    table.add_row("operators", f"{facts.nodes:,}")
    for name, count in facts.ops.items():
        table.add_row(f"  {escape(name)}", f"{count:,}")
    console.print(table)


def latency_line(latency: Latency) -> str:
    """One line: times, the ratio with its interval, and the verdict."""
    claim = {
        "faster": f"{1 / latency.ratio:.2f}x faster",
        "slower": f"{latency.ratio:.2f}x slower",
        "no difference": "no difference found",
    }[latency.verdict]
    low, high = 1 / latency.high, 1 / latency.low
    threads = f"{latency.threads} thread{'s' * (latency.threads != 1)}"
    return (
        f"latency: {claim}: {latency.a_ms:.3g} -> {latency.b_ms:.3g} ms "
        f"(speed ratio {1 / latency.ratio:.3f}, interval {low:.3f} to {high:.3f}; {threads})"
    )


def parity_line(parity: Parity) -> str:
    """One line: whether the outputs agree, how closely, and on what."""
    return f"parity: {'passed' if parity.passed else 'FAILED'} ({parity.tier.name.lower()}): {parity}"


def print_parity(parity: Parity, console: Console) -> None:
    """Prints whether two models agree, each difference where they do not, and what could not be compared."""
    _say(console, parity_line(parity))
    for difference in parity.differences:
        _say(console, f"  {difference}")
    for note in parity.notes:
        _say(console, f"  note: {note}")


def size(count: int | None) -> str:
    """Bytes for a person, exact below 10 kB.

    >>> size(1023), size(10_900_000), size(None)
    ('1,023 B', '10.90 MB', '-')
    """
    if count is None:
        return "-"
    if count < 10_000:
        return f"{count:,} B"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.2f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def _before_after(before: ModelFacts, after: ModelFacts) -> Table:
    table = _table("", "before", "after", "")
    table.add_row("bytes", size(before.bytes), size(after.bytes), _ratio(before.bytes, after.bytes))
    table.add_row("weights", size(before.weight_bytes), size(after.weight_bytes), "")
    table.add_row("opsets", _opsets(before), _opsets(after), "")
    table.add_row("operators", f"{before.nodes:,}", f"{after.nodes:,}", f"{after.nodes - before.nodes:+,}")
    changed = sorted(
        (name for name in before.ops.keys() | after.ops.keys() if before.ops.get(name, 0) != after.ops.get(name, 0)),
        key=lambda name: (-abs(after.ops.get(name, 0) - before.ops.get(name, 0)), name),
    )
    for name in changed[:TOP_OPS]:
        old, new = before.ops.get(name, 0), after.ops.get(name, 0)
        table.add_row(f"  {escape(name)}", f"{old:,}", f"{new:,}", f"{new - old:+,}")
    if len(changed) > TOP_OPS:
        rest = changed[TOP_OPS:]
        old, new = sum(before.ops.get(n, 0) for n in rest), sum(after.ops.get(n, 0) for n in rest)
        table.add_row(f"  {len(rest)} others", f"{old:,}", f"{new:,}", f"{new - old:+,}")
    return table


def _checks(report: Report) -> Iterable[str]:
    if report.parity is not None:
        yield parity_line(report.parity)
    elif report.evidence == "none" and report.output is not None:
        yield "parity: not checked"
    if report.latency is not None:
        yield latency_line(report.latency)
    if report.scores:
        yield "score: " + ", ".join(f"{name} {score:.4g}" for name, score in report.scores.items())


def _print_steps(report: Report, console: Console, explain: bool) -> None:
    declined: list[Declined] = []
    for step in report.steps:
        rules = Counter(action.rule for action in step.result.actions)
        done = ", ".join(f"{rule} {count:,}x" for rule, count in rules.most_common()) or "no rewrite applies"
        _say(console, f"pass {step.name} ({step.seconds:.1f} s): {done}")
        declined += step.result.declined
        if explain:
            for action in step.result.actions:
                place = action.site or ", ".join(action.outputs)
                _say(console, f"  {action.rule} at {place}" + (f": {action.detail}" if action.detail else ""))
            for item in step.result.declined:  # lines, since a table of thousands of rows takes seconds to lay out
                _say(console, f"  left alone by {item.rule}: {item.site}: {item.reason}")
    if declined and not explain:
        console.print(_declined_table(declined))


def _declined_table(declined: Sequence[Declined]) -> Table:
    """Declined rewrites by rule and reason, most frequent first."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for item in declined:
        groups[item.rule, item.reason].append(item.site)
    table = _table("times", "rule", "why", "for example", title=f"left alone: {len(declined):,}")
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    for (rule, reason), sites in ordered[:TOP_REASONS]:
        table.add_row(f"{len(sites):,}", escape(rule), escape(reason), escape(sites[0]))
    if len(ordered) > TOP_REASONS:
        rest = sum(len(sites) for _, sites in ordered[TOP_REASONS:])
        table.add_row(f"{rest:,}", "...", f"{len(ordered) - TOP_REASONS} more reasons; --explain shows all", "")
    return table


def _say(console: Console, line: str, style: str = "") -> None:
    """A line as it is: names are no markup, and it is left to the terminal to wrap it."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="", pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if column in ("before", "after", "times") else "left")
        if number == 0:
            table.columns[0].no_wrap = len(columns) > 1 and column == ""
    return table


def _ratio(before: int | None, after: int | None) -> str:
    return f"x{after / before:.3f}" if before and after is not None else ""


def _opsets(facts: ModelFacts) -> str:
    return ", ".join(f"{escape(domain) or 'ai.onnx'} {version}" for domain, version in facts.opsets.items())


def _port(port: PortFacts) -> str:
    dims = "unknown rank" if port.shape is None else ", ".join("?" if d is None else str(d) for d in port.shape)
    return f"{port.dtype}[{dims}]"
