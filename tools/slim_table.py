"""The results of `tools.bench_slim` as tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tools.slim_runs import OURS, PEERS, VERIFIED

Row = dict[str, Any]
LARGEST = 3
"""Models whose peak memory is told."""


def markdown(results: Row) -> str:
    """All tables."""
    models: dict[str, Row] = results["models"]
    tools = [tool for tool in (OURS, VERIFIED, *PEERS) if any(tool in row["runs"] for row in models.values())]
    parts = ["## Summary", _summary(models, tools), "## Against the best peer", _ranking(models)]
    parts += ["## Median reduction of operators by origin", _by_origin(models)]
    parts += [f"## Peak memory on the {LARGEST} largest, MB", _memory(models, tools)]
    parts += ["## Operators (Constant nodes not counted) and bytes, model by model", _each(models, tools)]
    troubles = list(_troubles(models, tools))
    if troubles:
        parts += ["## What went wrong", "\n".join(f"- {line}" for line in troubles)]
    if results.get("chains"):
        parts += ["## Chains of nodes, ours without verification", _chains(results["chains"])]
    return "\n\n".join(parts) + "\n"


def best_peer(row: Row) -> str | None:
    """The peer with the fewest operators, of those that `valid` counts."""
    counted = [tool for tool in PEERS if tool in row["runs"] and valid(row, tool)]
    return min(counted, key=lambda tool: row["runs"][tool]["nodes"], default=None)


def valid(row: Row, tool: str) -> bool:
    """Whether the result is right, keeps the interface, needs no operators of new domains and is no larger."""
    made = row["runs"][tool]
    right = made.get("verdict") == "ok" and not made["interface"] and not made["frozen"] and not made["new_domains"]
    return right and made["bytes"] <= row["original"]["bytes"]


def gaps(results: Row) -> str:
    """Where a valid peer leaves fewer operators than ours: which operators make the difference."""
    lines = ["# Models where a valid peer has fewer operators (ours - peer, by operator)"]
    behind = []
    for name, row in results["models"].items():
        peer = best_peer(row)
        ours = row["runs"][OURS]
        if peer is not None and ours.get("nodes", float("inf")) > row["runs"][peer]["nodes"]:
            behind.append((ours.get("nodes", 0) - row["runs"][peer]["nodes"], name, peer))
    for more, name, peer in sorted(behind, reverse=True):
        row = results["models"][name]
        ours, theirs = row["runs"][OURS], row["runs"][peer]
        if "ops" not in ours:
            lines.append(f"- {name}: ours has no result: {ours['error']}")
            continue
        counts = {op: ours["ops"].get(op, 0) - theirs["ops"].get(op, 0) for op in {*ours["ops"], *theirs["ops"]}}
        text = ", ".join(f"{op} {count:+d}" for op, count in sorted(counts.items(), key=lambda item: -item[1]) if count)
        was = row["original"]["nodes"]
        lines.append(f"- {name} (+{more}; {was} -> ours {ours['nodes']}, {peer} {theirs['nodes']}): {text}")
    return "\n".join(lines) + "\n"


def _summary(models: dict[str, Row], tools: list[str]) -> str:
    rows = []
    for tool in tools:
        made = [(row, row["runs"][tool]) for row in models.values() if tool in row["runs"]]
        judged = [(row, run) for row, run in made if "nodes" in run]
        sessions = [run["session_ratio"] for _, run in judged if run.get("session_ratio")]
        rows.append(
            [
                tool,
                len(made),
                sum(run.get("verdict") in ("wrong", "invalid") for _, run in made),
                sum(bool(run["error"]) for _, run in made),
                sum(bool(run.get("frozen")) for _, run in made),
                sum(bool(run.get("interface")) for _, run in made),
                sum(run["bytes"] > row["original"]["bytes"] for row, run in judged),
                _percent(_median(1 - run["nodes"] / row["original"]["nodes"] for row, run in judged)),
                _number(_median(run["cpu_seconds"] for _, run in made), 2),
                _number(sum(run["cpu_seconds"] for _, run in made), 1),
                _number(_median(sessions), 2),
            ]
        )
    head = ["", "models", "wrong or invalid", "no output", "axis frozen", "interface changed", "file grown"]
    head += ["median op reduction", "CPU s, median", "CPU s, sum", "session creation, median ratio"]
    return table(head, rows)


def _ranking(models: dict[str, Row]) -> str:
    """How often nobody has fewer operators than ours, counting valid peers, and whom we are behind."""
    compared = {name: best for name, row in models.items() if (best := best_peer(row)) is not None}
    if not compared:
        return "No peers were run."

    def behind(peer_of: Callable[[str], str | None]) -> list[str]:
        found = []
        for name, row in models.items():
            peer = peer_of(name)
            if peer is None or not valid(row, peer):
                continue
            ours, theirs = row["runs"][OURS].get("nodes"), row["runs"][peer]["nodes"]
            if ours is None or ours > theirs:
                found.append(f"{name} {ours} > {theirs} ({peer})")
        return found

    ahead = behind(compared.get)
    slimmer = behind(lambda name: "onnxslim" if "onnxslim" in models[name]["runs"] else None)
    reduction = _median(
        1 - models[n]["runs"][best]["nodes"] / models[n]["original"]["nodes"] for n, best in compared.items()
    )
    return "\n".join(
        [
            f"- no more operators than the best valid peer: {len(compared) - len(ahead)} of {len(compared)} "
            f"({_percent(1 - len(ahead) / len(compared))})",
            f"- median reduction of the best valid peer: {_percent(reduction)}",
            f"- more operators than the best valid peer: {'; '.join(ahead) or 'none'}",
            f"- more operators than OnnxSlim, where it is valid: {'; '.join(slimmer) or 'none'}",
        ]
    )


def _by_origin(models: dict[str, Row]) -> str:
    """The zoo's models and the exports by the middle of their names: how their exporter left them decides much."""
    groups: dict[str, list[Row]] = {}
    for name, row in models.items():
        kind = name.rpartition(".")[2] if "." in name else "zoo"
        groups.setdefault(
            {"ts": "TorchScript", "dynamo": "torch.export", "raw": "unoptimized"}.get(kind, kind), []
        ).append(row)
    rows = []
    for kind, found in {**groups, "all": list(models.values())}.items():
        best = [row["runs"][peer]["nodes"] / row["original"]["nodes"] for row in found if (peer := best_peer(row))]
        ours = [row["runs"][OURS]["nodes"] / row["original"]["nodes"] for row in found if "nodes" in row["runs"][OURS]]
        medians = [_median(1 - share for share in shares) for shares in (ours, best)]
        rows.append([kind, len(found), *map(_percent, medians)])
    return table(["origin", "models", "ours", "best valid peer for each model"], rows)


def _memory(models: dict[str, Row], tools: list[str]) -> str:
    largest = sorted(models, key=lambda name: -models[name]["original"]["bytes"])[:LARGEST]
    rows = [
        [f"{name} ({models[name]['original']['bytes'] / 1e6:.0f} MB)"]
        + [_number(_get(models[name], tool, "peak_rss_bytes", 1e-6), 0) for tool in tools]
        for name in largest
    ]
    return table(["", *tools], rows)


def _each(models: dict[str, Row], tools: list[str]) -> str:
    shown = [tool for tool in tools if tool != VERIFIED]
    rows = []
    for name, row in models.items():
        cells = [name, f"{row['original']['nodes']}; {row['original']['bytes']:,}"]
        for tool in shown:
            run = row["runs"].get(tool)
            if run is None or "nodes" not in run:
                cells.append("-" if run is None else "failed" if run["error"] else run["verdict"])
                continue
            marks = "" if valid(row, tool) else " (" + ", ".join(_faults(row, run)) + ")"
            cells.append(f"{run['nodes']}{marks}; {run['cpu_seconds']:.2f} s")
        rows.append(cells)
    return table(["", "original", *shown], rows)


def _faults(row: Row, run: Row) -> Iterator[str]:
    if run["verdict"] != "ok":
        yield run["verdict"]
    if run["frozen"]:
        yield "frozen"
    elif run["interface"]:
        yield "interface"
    if run["new_domains"]:
        yield "not portable"
    if run["bytes"] > row["original"]["bytes"]:
        yield f"{run['bytes'] / row['original']['bytes'] - 1:+.2%} bytes"


def _troubles(models: dict[str, Row], tools: list[str]) -> Iterator[str]:
    for name, row in models.items():
        if row["note"].startswith("not compared"):
            yield f"{name}: {row['note']}"
        for tool in tools:
            run = row["runs"].get(tool, {})
            if run.get("error"):
                yield f"{name}, {tool}: {run['error']}"
            for text in (*run.get("differences", ())[:1], *run.get("interface", ())[:1], *run.get("frozen", ())[:1]):
                yield f"{name}, {tool}: {text}"


def _chains(chains: Row) -> str:
    rows = []
    for kind, found in chains.items():
        if "error" in found:
            rows.append([kind, found["error"], ""])
            continue
        times = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in found["cpu_seconds"].items())
        rows.append([kind, times, f"{found['times_linear']:.2f}"])
    return table(["chain", "CPU s by nodes", "10k to 50k nodes, times linear"], rows)


def _get(row: Row, tool: str, key: str, scale: float) -> float | None:
    found = row["runs"].get(tool, {}).get(key)
    return None if found is None else found * scale


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return statistics.median(listed) if listed else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}".replace("%", " %")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
