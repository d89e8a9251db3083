"""The results of `tools.bench_compress` as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.compress_runs import PEERS, SEARCHES, SINGLES, TOOLS
from tools.quantize_table import score_of, speed
from tools.slim_table import table

Row = dict[str, Any]
AS_FAST = 0.97
"""Of another's speedup that counts as being as fast: both are measured, each against the original."""
WANTED = {"balanced": (4.5, 2.3), "smallest": (8.0, 0.0), "fastest": (0.0, 2.8)}
"""Goal -> the medians to reach: times smaller, times faster on one thread."""
TINY, TINY_MODELS = 10.0, 5
"""``smallest`` is to make so many models so many times smaller."""
PROMPT = 60.0
"""Seconds within which the median model has its first valid result."""


@dataclass(frozen=True)
class Standing:
    """What a tool left of a model; the original where it has no result.

    Attributes:
        tool: Whose.
        made: Whether it has a result.
        smaller: Times.
        faster: Times, on one thread; 1 where nothing was timed.
        drop: Of the score on the report samples.
        faults: What it broke: ``larger``, ``slower``, ``drop``, and ``drop shown`` where the interval says so too.
    """

    tool: str
    made: bool = False
    smaller: float = 1.0
    faster: float = 1.0
    drop: float = 0.0
    faults: tuple[str, ...] = ()

    def holds(self, other: Standing) -> bool:
        """Whether it is at least as small and as fast as another, up to `AS_FAST`."""
        return self.smaller >= other.smaller and self.faster >= AS_FAST * other.faster

    def __str__(self) -> str:
        return f"{self.smaller:.2f}x {self.faster:.2f}x"


def standing(tool: str, run: Row | None, max_drop: float) -> Standing:
    """What a run comes to.

    Args:
        tool: Whose.
        run: Of the results; None where it was not run.
        max_drop: What it was allowed to lose.
    """
    if run is None or run["error"]:
        return Standing(tool)
    timed: Row = run.get("latency", {})
    score = run["scores"][run["metric"]]
    drop = score["fp32"] - score["int8"]  # the judge's names for the original and the result
    found = {
        "larger": run["size_ratio"] < 1,
        "slower": any(each["verdict"] == "slower" for each in timed.values()),
        "drop": drop > max_drop,
        "drop shown": score["high"] < -max_drop,
    }
    faults = tuple(name for name, true in found.items() if true)
    faster = 1 / timed["1"]["ratio"] if "1" in timed else 1.0
    return Standing(tool, True, run["size_ratio"], faster, drop, faults)


def best(row: Row, tools: Iterable[str], max_drop: float) -> Standing | None:
    """The tool that did most among those that broke nothing, by times smaller x times faster; None: none was run."""
    ran = [standing(tool, row["runs"][tool], max_drop) for tool in tools if tool in row["runs"]]
    return max((each for each in ran if not each.faults), key=lambda each: each.smaller * each.faster, default=None)


def markdown(results: Row) -> str:
    """All tables."""
    models: dict[str, Row] = results["models"]
    max_drop = results.get("max_drop", 0.01)
    goals = {name: goal for name, goal in SEARCHES.items() if any(name in row["runs"] for row in models.values())}
    parts = ["## Summary", _summary(models, max_drop), f"Peers: {'; '.join(results['peers'].values()) or 'none'}."]
    for name, goal in goals.items():
        ran = {model: row for model, row in models.items() if name in row["runs"]}
        parts += [f"## {goal}", "\n".join(_claims(goal, name, ran, max_drop)), _against(name, ran, max_drop)]
    for model, row in models.items():
        parts += [f"## {model}", _about(row), _each(row)]
    return "\n\n".join(parts) + "\n"


def _summary(models: dict[str, Row], max_drop: float) -> str:
    rows = []
    for tool in TOOLS:
        runs = [row["runs"][tool] for row in models.values() if tool in row["runs"]]
        if not runs:
            continue
        each = [standing(tool, run, max_drop) for run in runs]
        faults = [sum(fault in one.faults for one in each) for fault in ("larger", "slower", "drop", "drop shown")]
        rows.append(
            [
                tool,
                len(runs),
                sum(not one.made for one in each),
                *faults,
                f"{statistics.median(one.smaller for one in each):.2f}",
                f"{statistics.median(one.faster for one in each):.2f}",
                f"{statistics.median(run['wall_seconds'] for run in runs):.0f}",
                f"{max(run['peak_rss_bytes'] for run in runs) / 1e6:.0f}",
            ]
        )
    head = ["", "models", "no result", "larger", "slower", f"drop > {max_drop:g}", "the interval says so too"]
    head += ["times smaller, median", "times faster, median", "s, median", "peak MB of a process, most"]
    return table(head, rows) + "\n\nWho has no result leaves a model as it is: 1.00 in the medians."


def _claims(goal: str, name: str, models: dict[str, Row], max_drop: float) -> Iterator[str]:
    each = {model: standing(name, row["runs"][name], max_drop) for model, row in models.items()}
    sizes = {model: one.smaller for model, one in each.items()}
    speeds = {model: one.faster for model, one in each.items()}
    for want, word, values in zip(WANTED[goal], ("smaller", "faster"), (sizes, speeds), strict=True):
        if want:
            middle = statistics.median(values.values())
            short = ", ".join(f"{model} {value:.2f}" for model, value in values.items() if value < want)
            yield f"- median {middle:.2f}x {word}, {_met(middle >= want)} {want:g}x; below it: {short or 'none'}"
    if goal == "smallest":
        tiny = [model for model, one in each.items() if one.smaller >= TINY]
        said = f"{len(tiny)} models at least {TINY:g}x smaller, {_met(len(tiny) >= TINY_MODELS)} {TINY_MODELS}"
        yield f"- {said}: {', '.join(tiny) or 'none'}"
    for fault in ("larger", "slower", "drop", "drop shown"):
        wrong = [model for model, one in each.items() if fault in one.faults]
        yield f"- {fault}: {', '.join(wrong) or 'none'}"
    for word, tools in (("single verb or recipe", SINGLES), ("peer", tuple(PEERS))):
        others = {model: found for model, row in models.items() if (found := best(row, tools, max_drop))}
        behind = [model for model, other in others.items() if not each[model].holds(other)]
        if others:
            share = 1 - len(behind) / len(others)
            said = f"as small and as fast as the best {word}: {share:.0%} of {len(others)}, {_met(share >= 0.9)} 90 %"
            yield f"- {said}; not: {', '.join(behind) or 'none'}"
    firsts = [row["runs"][name].get("first_seconds") for row in models.values()]
    known = [value for value in firsts if value is not None]
    if known:
        middle = statistics.median(known)
        yield f"- first valid result: median {middle:.0f} s of {len(known)}, {_met(middle <= PROMPT)} {PROMPT:g} s"


def _met(holds: bool) -> str:
    return "as wanted:" if holds else "**not** as wanted:"


def _against(name: str, models: dict[str, Row], max_drop: float) -> str:
    rows = []
    for model, row in models.items():
        run = row["runs"][name]
        ours = standing(name, run, max_drop)
        cells = [model, str(ours) if ours.made else run["error"].replace("|", "/")[:80]]
        cells += [f"{ours.drop:+.4f}" if ours.made else "-", ", ".join(ours.faults) or "-"]
        for tools in (SINGLES, tuple(PEERS)):
            other = best(row, tools, max_drop)
            cells += ["-", "-"] if other is None else [f"{other.tool} {other}", "yes" if ours.holds(other) else "no"]
        front = (run.get("report") or {}).get("front") or {}
        cells += [str(len(front.get("trials", ()))), front.get("stopped", "-"), _seconds(run.get("first_seconds"))]
        rows.append([*cells, f"{run['wall_seconds']:.0f}"])
    head = ["model", "smaller, faster", "drop", "broken", "best single", "held", "best peer", "held", "models built"]
    return table([*head, "it stopped as", "first valid, s", "s"], rows)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _about(row: Row) -> str:
    original, samples = row["original"], row["original"]["samples"]
    return (
        f"{original['bytes']:,} bytes, opset {original['opset']}; ours is given {samples['ours']} samples and splits "
        f"them, peers calibrate on {samples['peers']} of them."
    )


def _each(row: Row) -> str:
    rows = []
    for tool in [tool for tool in TOOLS if tool in row["runs"]]:
        run = row["runs"][tool]
        cost = [f"{run['wall_seconds']:.1f}", f"{run['peak_rss_bytes'] / 1e6:.0f}"]
        if run["error"]:
            rows.append([tool, run["error"].replace("|", "/")[:120], *["-"] * 4, *cost])
            continue
        timed: Row = run.get("latency", {})
        several = next((each for count, each in timed.items() if count != "1"), None)
        noise = "-" if run["sqnr_db"] is None else f"{float(run['sqnr_db']):.1f}"
        score = run["scores"][run["metric"]]
        told = f"{run['metric']} {score['fp32']:.4f} -> {score_of(score)}, {run['items']} items"
        rows.append([tool, f"{run['size_ratio']:.2f}x", speed(timed.get("1")), speed(several), noise, told, *cost])
    head = ["", "smaller", "faster, 1 thread", "faster, all threads", "worst part, dB", "score", "s", "peak MB"]
    return table(head, rows)
