"""The results of `tools.bench_quantize` as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from tools.quantize_runs import STATES, TOOLS
from tools.slim_table import table

Row = dict[str, Any]


def markdown(results: Row) -> str:
    """All tables."""
    models: dict[str, Row] = results["models"]
    tools = [tool for tool in TOOLS if any(tool in row["runs"] for row in models.values())]
    parts = ["## Summary", _summary(models, tools)]
    versions = "; ".join(results["peers"].values())
    parts.append(f"Peers: {versions or 'none'}. Not in these results: {_missing(tools) or 'none'}.")
    for name, row in models.items():
        parts += [f"## {name}", _about(row), _each(row, [tool for tool in tools if tool in row["runs"]])]
    troubles = list(_troubles(models, tools))
    if troubles:
        parts += ["## No result", "\n".join(f"- {line}" for line in troubles)]
    return "\n\n".join(parts) + "\n"


def worse(run: Row) -> bool:
    """Whether the interval of the score's difference lies below zero."""
    return bool(run["scores"][run["metric"]]["high"] < 0)


def worse_anywhere(run: Row) -> bool:
    """Whether that of any metric of the task does: a score that is full can hide what a finer one shows."""
    return any(score["high"] < 0 for score in run["scores"].values())


def _missing(tools: list[str]) -> str:
    return ", ".join(tool for tool in TOOLS if tool not in tools)


def _summary(models: dict[str, Row], tools: list[str]) -> str:
    rows = []
    for tool in tools:
        made = [row["runs"][tool] for row in models.values() if tool in row["runs"]]
        good = [run for run in made if not run["error"]]
        timed = [first for run in good if (first := next(iter(run.get("latency", {}).values()), None))]
        rows.append(
            [
                tool,
                len(made),
                len(made) - len(good),
                sum(map(worse, good)),
                sum(map(worse_anywhere, good)),
                sum(each["verdict"] == "slower" for each in timed),
                sum(run["unfused"] > 0 for run in good),
                _mean(run["size_ratio"] for run in good),
                # Who refuses a model leaves it as large as it is.
                f"{statistics.median(run.get('size_ratio', 1.0) for run in made):.2f}",
                _mean(1 / each["ratio"] for each in timed),
                f"{statistics.median(run['wall_seconds'] for run in made):.1f}",
                f"{max(run['peak_rss_bytes'] for run in made) / 1e6:.0f}",
            ]
        )
    head = [
        "",
        "models",
        "no result",
        "score worse",
        "any metric worse",
        "slower, 1 thread",
        "weights unfused",
        "times smaller",
        "times smaller, median",
    ]
    head += ["times faster, 1 thread", "s, median", "peak MB, most"]
    return table(head, rows) + (
        "\n\nTimes smaller and faster are geometric means over the models with a result; the median is over all "
        "models, 1 where there is none."
    )


def _about(row: Row) -> str:
    original = row["original"]
    samples = original["samples"]
    text = f"{original['bytes']:,} bytes, opset {original['opset']}; peers calibrate on {samples['peers']} samples, "
    text += f"ours splits {samples['ours']} by itself."
    for tool in STATES:
        report = row["runs"].get(tool, {}).get("report")
        if report:
            reason = f" ({report['reason']})" if report["reason"] else ""
            text += f" {tool.capitalize()}: {report['decision']}{reason}, calibrated on {report['calibrated']}."
    return text


def _each(row: Row, tools: list[str]) -> str:
    good = {tool: row["runs"][tool] for tool in tools if not row["runs"][tool]["error"]}
    counts = sorted({count for run in good.values() for count in run.get("latency", {})}, key=int)
    names = list(dict.fromkeys(name for run in good.values() for name in run["scores"]))
    agreements = list(dict.fromkeys(name for run in good.values() for name in run.get("agreement", {})))
    rows = []
    for tool in tools:
        run = row["runs"][tool]
        cost = [f"{run['wall_seconds']:.1f}", f"{run['peak_rss_bytes'] / 1e6:.0f}"]
        if run["error"]:
            nothing = ["-"] * (2 + len(counts) + len(names) + len(agreements))
            rows.append([tool, run["error"].replace("|", "/")[:80], *nothing, *cost])
            continue
        cells = [tool, f"{run['size_ratio']:.2f}x", f"{run['int8_kernels']}; {run['unfused']}"]
        cells += [speed(run.get("latency", {}).get(count)) for count in counts]
        cells.append("-" if run["sqnr_db"] is None else f"{run['sqnr_db']:.1f}")
        cells += [score_of(run["scores"][name]) for name in names]
        cells += [f"{run['agreement'][name]:.4f}" for name in agreements]
        rows.append([*cells, *cost])
    head = ["", "smaller", "int8 kernels; weights unfused", *(f"faster, {_threads(count)}" for count in counts)]
    head += ["worst part, dB", *(_head(name, good) for name in names), *(f"agreement: {name}" for name in agreements)]
    return table([*head, "s", "peak MB"], rows)


def _head(name: str, good: dict[str, Row]) -> str:
    run = next(iter(good.values()))
    return f"{name} (fp32 {run['scores'][name]['fp32']:.4f}; {run['items']} items)"


def _threads(count: str) -> str:
    return "1 thread" if count == "1" else f"{count} threads"


def speed(latency: Row | None) -> str:
    """How much faster, with the interval and the verdict."""
    if latency is None:
        return "-"
    low, high = 1 / latency["high"], 1 / latency["low"]
    return f"{1 / latency['ratio']:.2f}x ({low:.2f} to {high:.2f}), {latency['verdict']}"


def score_of(score: Row) -> str:
    """The score of the result, with the interval of its difference to the original's."""
    return f"{score['int8']:.4f} ({score['low']:+.4f} to {score['high']:+.4f})"


def _troubles(models: dict[str, Row], tools: list[str]) -> Iterator[str]:
    for name, row in models.items():
        for tool in tools:
            error = row["runs"].get(tool, {}).get("error")
            if error:
                yield f"{name}, {tool}: {error}"


def _mean(values: Iterable[float]) -> str:
    listed = list(values)
    return f"{statistics.geometric_mean(listed):.2f}" if listed else "-"
