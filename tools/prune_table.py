"""The results of `tools.bench_prune` as tables."""

from __future__ import annotations

from typing import Any

from tools.slim_table import table

Row = dict[str, Any]
ENOUGH = 0.9
"""Share of the inner rows above which what is left is not looked into."""


def markdown(results: Row) -> str:
    """All tables of what there is."""
    parts = []
    if results.get("transformer"):
        each = results["transformer"]
        parts.append(
            f"A transformer of {each['nodes']:,} nodes and {each['rows']:,} inner rows, {each['groups']} groups: "
            f"analysed in {each['seconds']:.2f} s."
        )
    if results.get("reach"):
        parts += [_reach_summary(results["reach"]), _reach(results["reach"])]
    runs = results.get("runs", {})
    kinds = {
        "### Quality without labels": [name for name in runs if "then int8" not in name and "--ratio" not in name],
        "### Pruned, then int8": [name for name in runs if "then int8" in name],
        "### Never slower": [name for name in runs if "then int8" not in name and "--ratio" in name],
    }
    for title, names in kinds.items():
        if names:
            parts += [title, _runs({name: runs[name] for name in names})]
    return "\n\n".join(parts) + "\n"


def share(each: Row) -> float:
    """Of the inner rows, those that can be removed; 1 where there are none."""
    return float(each["free"] / each["rows"]) if each["rows"] else 1.0


def _reach_summary(found: Row) -> str:
    above = sum(share(each) >= ENOUGH for each in found.values())
    good = [each for each in found.values() if each["groups"] and not each["problems"] and "error" in each]
    free, rows = (sum(each[key] for each in found.values()) for key in ("free", "rows"))
    lines = [
        f"- at least {ENOUGH:.0%} of the inner rows can go in {above} of {len(found)} models; "
        f"of the rows of all models {free / rows:.0%}",
        f"- without a random half of each group: {len(good)} of {len(found)} lose channels, are valid and run, at most "
        f"{max((each['error'] for each in good), default=0.0):.1e} off the oracle",
    ]
    return "\n".join(lines)


def _reach(found: Row) -> str:
    rows = []
    for name, each in found.items():
        pins = "; ".join(f"{operator}: {reason} ({count})" for operator, reason, count in each["pinned"])
        if each["problems"]:
            half = f"invalid: {each['problems'][0]}"
        elif "error" in each:
            half = f"{each['error']:.0e}; {each['change']:.0e}"
        else:
            half = each["not run"]
        cells = [name, each["nodes"], f"{each['seconds']:.3f}", each["groups"]]
        rows.append([*cells, f"{each['free']} of {each['rows']} ({share(each):.2f})", half, pins or "-"])
    head = ["model", "nodes", "s", "groups", "inner rows that can go", "off the oracle; the oracle off the original"]
    return table([*head, "what keeps the others"], rows)


def _runs(runs: Row) -> str:
    head = ["model and options", "decision", "MACs", "smaller", "time to the original's", "to the slimmed model's"]
    return table(
        [*head, "worst output, dB", "score", "s; peak MB"], [[name, *_cells(each)] for name, each in runs.items()]
    )


def _cells(each: Row) -> list[str]:
    cost = f"{each['wall_seconds']:.0f}; {each['peak_rss_bytes'] / 1e6:.0f}"
    if each["error"]:
        return [each["error"].replace("|", "/")[:80], *["-"] * 6, cost]
    macs = each["report"].get("macs") or {}
    kept = f"{macs['output'] / macs['input']:.2f}" if macs.get("input") and macs.get("output") else "-"
    noise = "-" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f}"
    times = [_time(each.get("latency", {}).get("1")), _time(each.get("to_slimmed"))]
    return [each["report"]["decision"], kept, f"{each['size_ratio']:.2f}x", *times, noise, score_of(each), cost]


def _time(latency: Row | None) -> str:
    if latency is None:
        return "-"
    return f"{latency['ratio']:.2f}x ({latency['low']:.2f} to {latency['high']:.2f})"


def score_of(each: Row) -> str:
    """The score that a user would ask for, before and after, and the paired interval of the change."""
    score = each["scores"][each["metric"]]
    before, after = score["fp32"], score["int8"]  # the judge's names for the original and the result
    told = f"{each['metric']} {before:.4f} -> {after:.4f} ({score['low']:+.4f} to {score['high']:+.4f})"
    return f"{told}, {each['items']} items"
