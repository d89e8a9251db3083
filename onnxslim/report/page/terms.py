"""What the words of a page mean, for who does not know the tool: only those that occur on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxslim.evaluation.tier import Tier

if TYPE_CHECKING:
    from onnxslim.report.record import Account


def terms(report: Account) -> list[tuple[str, str]]:
    """(word, meaning) of what the page speaks of."""
    return list(_terms(report))


def _terms(report: Account) -> Iterator[tuple[str, str]]:
    lossy = report.parity is not None and report.parity.tier is Tier.LOSSY
    if report.latency is not None or report.front is not None:
        yield "1.50x as fast", "a run takes 1 / 1.50 = 67 % of the time that the original takes. Below 1 it is slower."
    if report.latency is not None:
        yield (
            "99 % interval",
            "where the true speedup lies with 99 % confidence. Where the interval reaches the grey band around 1, no "
            "difference is claimed.",
        )
    if lossy or report.front is not None:
        yield (
            "SQNR",
            "signal to quantization noise ratio: how strong an output is against its error, in decibels (dB). Higher "
            "is better: 20 dB is an error of 10 %, 40 dB of 1 %, 60 dB of 0.1 %. It tells how far numbers moved, not "
            "how many answers changed; a metric (--metric) tells that.",
        )
    if report.held_out:
        yield "held-out samples", "samples that judged the result and chose nothing in it."
    if report.front is not None and any(
        each.measured and each.measured.drop is not None for each in report.front.trials
    ):
        yield (
            "score drop, drop at most",
            "how much of the metric a candidate lost, and how much it may have lost given how few samples there are. "
            "The second is held against the limit.",
        )
    if report.layers is not None and any(node.int8 for node in report.layers.result.nodes):
        yield "int8", "computed in 8-bit integers instead of 32-bit floats."
    if report.front is not None:
        yield "pruned", "channels that matter least were removed, and the others were refitted."
