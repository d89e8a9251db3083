"""Layer by layer: time, error and channels of both models, and their graphs beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.page.charts import levels, pairs
from onnxslim.report.page.parts import Chapter, Drawing, Entry, Sheet, number, ratio_db, sheet
from onnxslim.report.page.regions import MOST, LayerGroup, channels_text, few, matched, picture, regions_of
from onnxslim.report.wording import decibels, shorten, size

if TYPE_CHECKING:
    from onnxslim.report.layers import Layers

SLOWEST = 12
"""Layers whose time is drawn."""
LISTED = 200
"""Layers that a table lists, those that cost most; the others are counted."""
Pair = tuple[LayerGroup | None, LayerGroup | None]


def layers_chapter(layers: Layers) -> Chapter:
    """Time and error by layer."""
    rows = matched(regions_of(layers.original), regions_of(layers.result))
    errors = {each.name: each.sqnr_db for each in layers.errors}
    channels = _channels(layers)
    drawings = [*_times(rows), *_errors(layers, len(rows))]
    if rows:
        drawings.append(
            Drawing("All layers", (), _table(rows, errors, channels), _missing(layers), folded=bool(drawings))
        )
    lead = "A layer is a convolution or a matrix product, together with the operators right behind it."
    return Chapter("layers", "Layer by layer", lead, tuple(drawings), tuple(layers.notes))


def _channels(layers: Layers) -> dict[str, int]:
    """Those of the original, by node."""
    return {node.name: node.channels for node in layers.original.nodes if node.channels is not None}


def _times(rows: Sequence[Pair]) -> list[Drawing]:
    timed = [(pair, _ms(pair[0]), _ms(pair[1])) for pair in rows]
    shown = [each for each in timed if each[1] or each[2]]
    if not shown:
        return []
    shown.sort(key=lambda each: -max(each[1] or 0.0, each[2] or 0.0))
    bars = [
        (shorten(_name(pair), 34), a, b, " → ".join("-" if t is None else f"{t:.3f}" for t in (a, b)) + " ms")
        for pair, a, b in shown[:SLOWEST]
    ]
    sums = (sum(a or 0.0 for _, a, _ in shown), sum(b or 0.0 for _, _, b in shown))
    table = sheet(
        "Time by layer in milliseconds",
        ("layer", "ms before", "ms after", "times as fast"),
        [
            (Entry(_name(pair)), number(a, "{:.3f}"), number(b, "{:.3f}"), _change(a, b))
            for pair, a, b in shown[:LISTED]
        ],
        ("all layers", *(f"{each:.3f}" for each in sums), ""),
    )
    note = (
        "From onnxruntime's profiler. It slows short nodes: the times compare layers, and do not add up to a whole run."
    )
    title = f"Time by layer, the slowest {len(bars)}" if len(shown) > len(bars) else "Time by layer"
    return [Drawing(title, (pairs("Time of each layer", bars, "milliseconds"),), table, note)]


def _change(before: float | None, after: float | None) -> Entry:
    if not before or after is None:
        return Entry("-")
    return number(before / after) if after else Entry("-")


def _errors(layers: Layers, count: int) -> list[Drawing]:
    if not layers.errors:
        return []
    shown = [(each.name, each.sqnr_db) for each in layers.errors]
    title = "Error of the values inside, in the order of the model. Red: the largest error. Hollow: not changed"
    chart = levels(title, shown, ("first layer", "last layer"))
    rows = [(Entry(name, tone="code"), ratio_db(db)) for name, db in sorted(shown, key=lambda each: each[1])[:LISTED]]
    name, lowest = min(shown, key=lambda each: each[1])
    most = "No value changed." if lowest == math.inf else f"The lowest is {decibels(lowest)} at {name}."
    note = f"Measured on {layers.samples} sample{'s' * (layers.samples != 1)}. {most}"
    return [Drawing("Error by layer", (chart,), sheet("Error by value", ("value", "SQNR dB"), rows), note)]


def _table(rows: Sequence[Pair], errors: dict[str, float], channels: dict[str, int]) -> Sheet:
    found = []
    for before, after in _costly(rows):
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
                *(number(_ms(each), "{:.3f}") for each in (before, after)),
                ratio_db(error),
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
    total = (f"{rest:,} more, which cost least", *[""] * (len(columns) - 1)) if rest > 0 else ()
    return sheet("Layers of both models", columns, found, total)


def _costly(rows: Sequence[Pair]) -> list[Pair]:
    """Those of the longest times, and of the most bytes where none was timed, in the order of the model."""

    def cost(pair: Pair) -> tuple[float, int]:
        there = [each for each in pair if each is not None]
        return max(each.milliseconds or 0.0 for each in there), max(each.bytes for each in there)

    ranked = sorted(range(len(rows)), key=lambda place: cost(rows[place]), reverse=True)
    return [rows[place] for place in sorted(ranked[:LISTED])]


def _missing(layers: Layers) -> str:
    return "" if layers.timed else "Times are shown where a model was profiled."


def graphs_chapter(layers: Layers, skipped: Mapping[str, str]) -> Chapter:
    """Both graphs beside each other.

    Args:
        layers: Of both models.
        skipped: Node -> why a rewrite was skipped there.
    """
    before, after = regions_of(layers.original), regions_of(layers.result)
    channels = _channels(layers)
    if not before or not after:
        return Chapter("graphs", "Both graphs")
    drawings = []
    rows = []
    for name, regions, other, reasons in (("Original", before, {}, {}), ("Result", after, channels, skipped)):
        shown = few(regions)
        drawings.append(picture(f"{name}: inputs at the top, outputs at the bottom", shown, other, reasons))
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
    note = (
        "A filled box marked int8 computes in 8-bit integers. A dashed border: pruned channels, as before → after. "
        "Skipped: operators for which a rewrite was considered and not done. The table and the hover text say why."
        + (f" Neighbours were joined, so that at most {MOST} boxes are drawn." if cut else "")
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
