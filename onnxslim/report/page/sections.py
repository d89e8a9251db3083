"""The chapters of a page, in their order: what was measured first, then what was done and with what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxslim.evaluation.tier import Tier
from onnxslim.report.page.charts import latencies, levels, ratio, stacks
from onnxslim.report.page.layering import graphs_chapter, layers_chapter
from onnxslim.report.page.parts import Chapter, Drawing, Entry, number, ratio_db, sheet
from onnxslim.report.page.searching import front_chapter
from onnxslim.report.page.verdict import on_samples
from onnxslim.report.wording import common, difference_lines, kind_of, shorten, size, three

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity
    from onnxslim.execution import Latency
    from onnxslim.report.layers import GraphFacts, Layers
    from onnxslim.report.record import Account

TOP = 20
"""Weights of each model that are listed; the others are summed up."""
MOST_REASONS = 60
"""Kinds of reasons that are listed."""
MOST_PARTS = 100
"""Parts of the outputs that are listed."""


def chapters(report: Account) -> list[Chapter]:
    """All chapters that have something to show."""
    found: list[Chapter] = []
    found.append(Chapter("warnings", "Before you rely on it", lines=tuple(report.warnings)))
    if report.front is not None and report.front.trials:
        found.append(front_chapter(report.front))
    found.append(Chapter("latency", "Latency", drawings=tuple(_latencies(report))))
    layers = report.layers
    if layers is not None:
        found.append(layers_chapter(layers))
    if report.parity is not None:
        found.append(_outputs(report.parity, on_samples(report, report.parity)))
    if layers is not None:
        found.append(_bytes(report, layers))
        found.append(graphs_chapter(layers, _reasons(report)))
    found.append(_done(report))
    found.append(_skipped(report))
    found.append(Chapter("notes", "Notes", lines=tuple(report.notes)))
    found.append(_origin(report))
    return [each for each in found if each.holds]


def _latencies(report: Account) -> Iterator[Drawing]:
    for latency in (report.latency, report.parallel):
        if latency is None:
            continue
        threads = f"{latency.threads} thread{'s' * (latency.threads != 1)}"
        title = f"On {threads}: {three(latency.a_ms)} → {three(latency.b_ms)} ms"
        drawings = (latencies(latency), ratio(latency)) if latency.spreads else ()
        rows: list[Sequence[Entry | str]] = [
            (
                f"process {place}",
                *(Entry(three(each), each) for each in (*spread.a_ms, *spread.b_ms)),
                number(1 / spread.ratio),
            )
            for place, spread in enumerate(latency.spreads, 1)
        ]
        marks = ("5 %", "25 %", "median", "75 %", "95 %")
        columns = ("process", *(f"{side} {mark}" for side in ("before", "after") for mark in marks), "times as fast")
        yield Drawing(title, drawings, sheet(f"Milliseconds of one run, {threads}", columns, rows), _judgement(latency))


def _judgement(latency: Latency) -> str:
    low, high = 1 / latency.high, 1 / latency.low
    verdict = "too noisy to tell; rerun on an idle machine" if latency.noisy else latency.verdict
    return (
        f"Verdict: {verdict}. The speedup is {1 / latency.ratio:.3f} with a 99 % interval of {low:.3f} to {high:.3f}, "
        f"over {latency.processes} processes and {latency.trials:,} rounds in which both models took turns. On this "
        f"machine two runs of one model differ by up to {100 * latency.floor:.1f} %: within that band, no difference "
        "is claimed."
    )


def _outputs(parity: Parity, on: str) -> Chapter:
    lines = [*difference_lines(parity), *parity.notes]
    parts = sorted(parity.fidelity, key=lambda each: each.sqnr_db)[:MOST_PARTS]
    drawings = []
    if parts:
        rows = [
            (
                Entry(each.label),
                ratio_db(each.sqnr_db),
                number(each.cosine, "{:.5f}"),
                Entry("-") if each.top1 is None else number(100 * each.top1, "{:.1f} %"),
            )
            for each in parts
        ]
        columns = ("part", "SQNR dB", "cosine", "same largest entry")
        title = "Error of each part of the outputs, worst first. Red: the largest error. Hollow: not changed"
        chart = levels(title, [(each.label, each.sqnr_db) for each in parts], ("worst part", "best part"))
        drawn = (chart,) if len(parts) > 1 else ()
        left = (
            f" The worst {MOST_PARTS} of {len(parity.fidelity):,} are shown."
            if len(parity.fidelity) > MOST_PARTS
            else ""
        )
        note = (
            "An output that was joined from parts is judged part by part, before a Softmax or Sigmoid hides an error. "
            "Cosine: 1 is the same direction. Same largest entry: how often both models choose the same class." + left
        )
        drawings.append(
            Drawing("Part by part", drawn, sheet("Parts of the outputs", columns, rows), note, folded=False)
        )
    kind = "passed" if parity.passed else "FAILED"
    asked = {Tier.EXACT: "equal", Tier.NUMERIC: "equal but for rounding", Tier.LOSSY: "close"}
    lead = f"The outputs must be {asked[parity.tier]} to the original's: {kind} {on}."
    return Chapter("outputs", "Outputs", lead, tuple(drawings), tuple(lines))


def _bytes(report: Account, layers: Layers) -> Chapter:
    sides = (("before", layers.original, report.input), ("after", layers.result, report.output))
    rows: list[tuple[str, dict[str, float]]] = []
    for name, graph, facts in sides:
        parts: dict[str, float] = {}
        for each in graph.weights:
            parts[each.encoding] = parts.get(each.encoding, 0.0) + each.bytes
        file = facts.bytes if facts is not None else None
        weights = sum(parts.values())
        if file is not None and file > weights:
            parts["graph"] = file - weights
        rows.append((f"{name}: {size(file if file is not None else int(weights))}", parts))
    totals: dict[str, float] = {}
    for _, parts in rows:
        for kind, count in parts.items():
            totals[kind] = totals.get(kind, 0.0) + count
    kinds = sorted(totals, key=lambda kind: (kind == "graph", -totals[kind]))
    if not kinds:
        return Chapter("bytes", "Bytes")
    table = sheet(
        "Bytes by encoding",
        ("encoding", "before", "after"),
        [
            (
                Entry(kind, tone=f"kind{place % 8}"),
                *(Entry(size(int(parts.get(kind, 0))), parts.get(kind, 0)) for _, parts in rows),
            )
            for place, kind in enumerate(kinds)
        ],
        ("all", *(size(int(sum(parts.values()))) for _, parts in rows)),
    )
    chart = stacks("Bytes of the file by encoding, before and after", rows, kinds, "{:,.0f} bytes")
    note = (
        "graph: nodes, names and the rest of the file. packed: weights in few bits or with many zeros, unpacked when "
        "the model is loaded."
    )
    drawings = [Drawing("By encoding", (chart,), table, note, folded=False)]
    drawings += [_weights(name, graph) for name, graph, _ in sides if graph.weights]
    return Chapter("bytes", "Bytes", "What the file is made of.", tuple(drawings))


def _weights(name: str, graph: GraphFacts) -> Drawing:
    rest = graph.weights[TOP:]
    total = (f"{len(rest):,} others", "", "", size(sum(each.bytes for each in rest))) if rest else ()
    rows = [
        (
            Entry(each.name, tone="code"),
            "x".join(map(str, each.shape)) or "scalar",
            each.encoding,
            Entry(size(each.bytes), each.bytes),
        )
        for each in graph.weights[:TOP]
    ]
    caption = f"Largest tensors {name}"
    return Drawing(caption, (), sheet(caption, ("tensor", "shape", "encoding", "bytes"), rows, total))


def _done(report: Account) -> Chapter:
    rows = []
    for step in report.steps:
        rules: dict[str, int] = {}
        for action in step.result.actions:
            rules[action.rule] = rules.get(action.rule, 0) + 1
        said = ", ".join(f"{rule} {count:,}x" for rule, count in sorted(rules.items(), key=lambda item: -item[1]))
        rows.append((step.name, said or "no rewrite applies", number(step.seconds, "{:.1f}")))
    lines = [
        f"Reverted, since a check failed with it: {each.action.rule} at {each.action.site}: {each.reason}"
        for each in report.guilty
    ]
    table = sheet("Passes", ("pass", "rewrites", "seconds"), rows)
    drawings = (Drawing("Passes", (), table, folded=False),) if rows else ()
    return Chapter("passes", "What was done", "", drawings, tuple(lines[:MOST_REASONS]))


def _skipped(report: Account) -> Chapter:
    """Rewrites that were skipped, by rule and kind of reason, most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for step in report.steps:
        for each in step.result.declined:
            reason = each.reason
            for said in (each.site, each.site.partition(" ")[2]):  # the example names it already
                reason = reason.replace(said, "it") if len(said) > 2 else reason
            groups.setdefault((each.rule, kind_of(reason)), []).append((each.site, reason))
    if not groups:
        return Chapter("skipped", "Skipped rewrites")
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        (
            rule,
            Entry(f"{len(found):,}", len(found)),
            common(reason for _, reason in found),
            Entry(shorten(found[0][0], 80), tone="code"),
        )
        for (rule, _), found in ordered[:MOST_REASONS]
    ]
    rest = ordered[MOST_REASONS:]
    total = (f"{len(rest)} more kinds", f"{sum(len(found) for _, found in rest):,}", "", "") if rest else ()
    table = sheet("Skipped rewrites", ("rule", "places", "reason", "for example"), rows, total)
    count = sum(len(step.result.declined) + step.result.declined_beyond for step in report.steps)
    lead = f"{count:,} places where a rewrite was considered and left out, and why."
    return Chapter("skipped", "Skipped rewrites", lead, (Drawing("By reason", (), table),))


def _reasons(report: Account) -> dict[str, str]:
    """Node -> why the last rewrite that was considered there was skipped."""
    declined = (each for step in report.steps for each in step.result.declined)
    return {each.site.partition(" ")[2]: f"{each.rule}: {each.reason}" for each in declined if " " in each.site}


def _origin(report: Account) -> Chapter:
    facts = [("command", report.command), ("decision", report.decision)]
    for name, model in (("input", report.input), ("output", report.output)):
        if model is not None:
            opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in model.opsets.items())
            facts.append((name, f"{model.path or 'in memory'}; {model.nodes:,} operators; opset {opsets}"))
    if report.calibrated or report.held_out:
        facts.append(("samples", f"{report.calibrated:,} to calibrate, {report.held_out:,} held out"))
    facts += [(f"machine: {name}", text) for name, text in report.machine.items()]
    facts += [(f"version: {name}", text) for name, text in report.versions.items()]
    if report.target:
        facts.append(("made for", report.target))
    if report.seconds:
        facts.append(("took", f"{report.seconds:.1f} s"))
    table = sheet("How it was made", ("what", "value"), facts)
    drawings = (Drawing("Machine and versions", (), table, folded=False),)
    return Chapter("origin", "Recipe, versions and machine", drawings=drawings, text=report.recipe)
