"""Layer by layer: time, error and channels of both models, and their graphs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.page.charts import levels, pairs
from onnxslim.report.page.parts import Chapter, Drawing, Entry, Sheet, number, sheet
from onnxslim.report.page.regions import MOST, LayerGroup, channels_text, few, matched, picture, regions_of
from onnxslim.report.wording import shorten, size

if TYPE_CHECKING:
    from onnxslim.report.layers import Layers

SLOWEST = 12
"""Layers whose time is drawn."""
LISTED = 150
"""Layers that a table lists; the others are summed up."""
Pair = tuple[LayerGroup | None, LayerGroup | None]


def layer_chapters(layers: Layers, skipped: Mapping[str, str]) -> list[Chapter]:
    """Time and error by layer, then both graphs.

    Args:
        layers: Of both models.
        skipped: Node -> why a rewrite was skipped there.
    """
    before, after = regions_of(layers.original), regions_of(layers.result)
    rows = matched(before, after)
    errors = {each.name: each.sqnr_db for each in layers.errors}
    channels = {node.name: node.channels for node in layers.original.nodes if node.channels is not None}
    drawings = [*_times(rows), *_errors(layers, len(rows))]
    if rows:
        drawings.append(
            Drawing("All layers", (), _table(rows, errors, channels), _missing(layers), folded=bool(drawings))
        )
    lead = "A layer is a node that makes channels with what follows it; onnxruntime fuses much of that into one kernel."
    chapter = Chapter("layers", "Layer by layer", lead, tuple(drawings), tuple(layers.notes))
    return [chapter, _graphs(before, after, channels, skipped)]


def _times(rows: Sequence[Pair]) -> list[Drawing]:
    timed = [(pair, _ms(pair[0]), _ms(pair[1])) for pair in rows]
    shown = [each for each in timed if each[1] or each[2]]
    if not shown:
        return []
    shown.sort(key=lambda each: -max(each[1] or 0.0, each[2] or 0.0))
    bars = [
        (shorten(_name(pair), 34), a, b, " → ".join("-" if t is None else f"{t:.3g}" for t in (a, b)))
        for pair, a, b in shown[:SLOWEST]
    ]
    sums = (sum(a or 0.0 for _, a, _ in shown), sum(b or 0.0 for _, _, b in shown))
    table = sheet(
        "Time by layer in milliseconds",
        ("layer", "before", "after", "change"),
        [
            (Entry(_name(pair)), number(a, "{:.4f}"), number(b, "{:.4f}"), _change(a, b))
            for pair, a, b in shown[:LISTED]
        ],
        ("all layers", *(f"{each:.3f}" for each in sums), ""),
    )
    note = "From onnxruntime's profiler, which slows short nodes: times compare layers, they do not add up to a run."
    title = f"Time by layer, the slowest {len(bars)}" if len(shown) > len(bars) else "Time by layer"
    return [Drawing(title, (pairs("Time of the slowest layers", bars, "milliseconds"),), table, note)]


def _change(before: float | None, after: float | None) -> Entry:
    if not before or after is None:
        return Entry("-")
    return number(before / after if after else math.inf, "{:.2f}x")


def _errors(layers: Layers, count: int) -> list[Drawing]:
    if not layers.errors:
        return []
    shown = [(each.name, each.sqnr_db) for each in layers.errors]
    title = "Signal to noise ratio of values inside, in the order of the model"
    chart = levels(title, shown, ("first layer", "last layer"))
    rows = [
        (Entry(name, tone="code"), Entry("the same", math.inf) if db == math.inf else number(db, "{:.1f}"))
        for name, db in sorted(shown, key=lambda each: each[1])[:LISTED]
    ]
    finite = min(shown, key=lambda each: each[1])
    note = f"On {layers.samples} samples. The lowest is {finite[1]:.1f} dB at {finite[0]}."
    return [Drawing("Error by layer", (chart,), sheet("Error by value", ("value", "SQNR dB"), rows), note)]


def _table(rows: Sequence[Pair], errors: dict[str, float], channels: dict[str, int]) -> Sheet:
    found = []
    for before, after in rows[:LISTED]:
        region = after or before
        assert region is not None, "one of both is there"
        error = next((errors[name] for node in reversed(region.nodes) for name in node.outputs if name in errors), None)
        state = "gone" if after is None else "new" if before is None else "int8" if after.int8 else "float"
        found.append(
            (
                Entry(region.main.name),
                Entry(region.label),
                Entry(
                    channels_text(region.main, channels if after is not None else {}).removesuffix(" channels") or "-"
                ),
                Entry(state),
                *(Entry("-") if each is None else Entry(size(each.bytes), each.bytes) for each in (before, after)),
                *(number(_ms(each), "{:.4f}") for each in (before, after)),
                Entry("-")
                if error is None
                else Entry("the same", math.inf)
                if error == math.inf
                else number(error, "{:.1f}"),
            )
        )
    columns = (
        "layer",
        "operators",
        "channels",
        "runs as",
        "bytes before",
        "bytes after",
        "ms before",
        "ms after",
        "SQNR dB",
    )
    rest = len(rows) - LISTED
    total = (f"{rest:,} more", *[""] * (len(columns) - 1)) if rest > 0 else ()
    return sheet("Layers of both models", columns, found, total)


def _missing(layers: Layers) -> str:
    return "" if layers.timed else "Times are shown where a model was profiled."


def _graphs(
    before: Sequence[LayerGroup], after: Sequence[LayerGroup], channels: dict[str, int], skipped: Mapping[str, str]
) -> Chapter:
    if not before or not after:
        return Chapter("graphs", "Both graphs")
    drawings = []
    rows = []
    for name, regions, other in (("original", before, {}), ("result", after, channels)):
        shown = few(regions)
        drawings.append(picture(f"Graph of the {name}, from inputs at the top to outputs", shown, other))
        rows.append(shown)
    table = sheet(
        "Regions of both graphs",
        ("region", "original", "result", "runs as", "skipped"),
        [
            (
                (b or a).main.name,  # type: ignore[union-attr]
                "-" if a is None else " · ".join(filter(None, (a.label, channels_text(a.main, {})))),
                "-" if b is None else " · ".join(filter(None, (b.label, channels_text(b.main, channels)))),
                "gone" if b is None else "int8" if b.int8 else "float",
                _skipped(b or a, skipped),
            )
            for a, b in matched(*rows)
        ],
    )
    cut = max(len(before), len(after)) > MOST
    note = "A filled box marked int8 runs on integers; a dashed border marks pruned channels, as before → after." + (
        f" Neighbours were joined, so that at most {MOST} regions are drawn." if cut else ""
    )
    return Chapter("graphs", "Both graphs", "", (Drawing("Original and result", tuple(drawings), table, note),))


def _skipped(region: LayerGroup | None, skipped: Mapping[str, str]) -> str:
    """Why rewrites were skipped in it: one reason, and how many nodes more have one."""
    found = [skipped[node.name] for node in region.nodes if node.name in skipped] if region is not None else []
    if not found:
        return "-"
    return shorten(found[0], 120) + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


def _name(pair: Pair) -> str:
    region = pair[1] or pair[0]
    return "" if region is None else region.main.name


def _ms(region: LayerGroup | None) -> float | None:
    return None if region is None else region.milliseconds
