"""The results of `tools.bench_sparse` as tables."""

from __future__ import annotations

from typing import Any

from tools.prune_table import score_of
from tools.slim_table import table

Row = dict[str, Any]
ENCODINGS = ("standard", "strict", "folded")


def markdown(results: Row) -> str:
    """All tables of what there is."""
    parts = []
    if results.get("exact"):
        parts += ["### Exact", _exact_summary(results["exact"]), _exact(results["exact"])]
    if results.get("files"):
        parts += ["### Files", _files(results["files"])]
    if results.get("runs"):
        parts += ["### Scores", _runs(results["runs"])]
    return "\n\n".join(parts) + "\n"


def _exact_summary(found: Row) -> str:
    cells = [(name, level, each) for name, levels in found.items() for level, each in levels.items()]
    wrong = [
        f"{name} at {level}, {encoding}"
        for name, level, each in cells
        for encoding in ENCODINGS
        if not each[encoding]["outputs"] or not each[encoding]["tensors"] or each[encoding]["problems"]
    ]
    grown = [(name, level) for name, level, each in cells if any(each[e]["bytes"] > each["dense"] for e in ENCODINGS)]
    files = len(cells) * len(ENCODINGS)
    lines = [
        f"- {len(found)} models, {files} files: {files - len(wrong)} with the "
        f"same bits in every output and every decoded tensor; {len(grown)} larger than the dense one",
        *(f"- not the same: {each}" for each in wrong),
    ]
    return "\n".join(lines)


def _exact(found: Row) -> str:
    """Dense bytes over those of the smallest encoding, and how far that is above the bound."""
    rows = []
    for name, levels in found.items():
        cells = [name, f"{next(iter(levels.values()))['dense'] / 1e6:.2f} MB"]
        for each in levels.values():
            sizes = [each[encoding]["bytes"] for encoding in ENCODINGS]
            least = each["rest"] + each["bound"]
            cells.append(
                f"{each['dense'] / sizes[0]:.2f}x, {each['dense'] / sizes[2]:.2f}x ({min(sizes) / least - 1:+.0%})"
            )
        rows.append(cells)
    levels = [f"{float(level):.0%}" for level in next(iter(found.values()))]
    return table(["model", "dense", *levels], rows)


def _files(found: Row) -> str:
    rows = []
    for name, each in found.items():
        dense = each["dense"]
        for key, made in each.items():
            if "error" in made:
                rows.append([name, key, made["error"], *["-"] * 6])
                continue
            latency = made.get("latency")
            rows.append(
                [
                    name,
                    key,
                    f"{made['bytes'] / 1e6:.2f} MB",
                    f"{dense['bytes'] / made['bytes']:.2f}x",
                    f"{made['zstd'] / 1e6:.2f} MB",
                    f"{made['load'] * 1e3:.0f} ms, {made['load'] / dense['load']:.2f}x",
                    f"{made['peak'] / 1e6:.0f} MB",
                    "-" if latency is None else f"{latency[0]:.3f} ({latency[1]:.3f} to {latency[2]:.3f})",
                    made["same"],
                ]
            )
    return table(["model", "file", "bytes", "smaller", "zstd", "load", "memory", "time / dense", "outputs"], rows)


def _runs(found: Row) -> str:
    rows = []
    for name, each in found.items():
        cost = f"{each['wall_seconds']:.0f}; {each['peak_rss_bytes'] / 1e6:.0f}"
        if each["error"]:
            rows.append([name, str(each["error"]).replace("|", "/")[:80], *"-" * 4, cost])
            continue
        noise = "-" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f}"
        same = ", ".join(f"{key} {value:.4f}" for key, value in each.get("agreement", {}).items()) or "-"
        rows.append([name, each["report"]["decision"], f"{each['size_ratio']:.2f}x", noise, score_of(each), same, cost])
    return table(["model and options", "decision", "smaller", "dB", "score", "agreement", "s; MB"], rows)
