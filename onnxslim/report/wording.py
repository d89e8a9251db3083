"""What a report says, as single lines of plain text: the verdict, parity, latency, scores, sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from onnxslim.evaluation.tier import Tier
from onnxslim.report.words import verb_named

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity
    from onnxslim.evaluation.compare import Difference
    from onnxslim.execution import Latency
    from onnxslim.report.facts import ModelFacts
    from onnxslim.report.record import Account

QDQ = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
"""Operators that mark what runs in int8; onnxruntime fuses most of them away, so that they do not count as work."""
INTERFACE = ("missing output", "extra output", "output order", "inputs", "declared type", "declared shape")
"""Differences seen without running; what the runs then say follows from them."""
UNITS = {"sqnr": "dB"}
"""Units of the metrics that have one."""
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_QUOTED = re.compile(r"'[^']*'")


def verdict(report: Account) -> str:
    """The whole result in one line: what came of it, how large, how fast, how close."""
    said = [f"{report.command}: {report.decision}"]
    if report.output is not None and report.input.bytes and report.output.bytes is not None:
        said.append(_times(report.output.bytes / report.input.bytes))
    if report.latency is not None:
        said.append(speed(report.latency))
    elif report.output is not None and not verb_named(report.command).side_by_side:
        said.append("speed not measured")
    if report.parity is not None:
        said.append(_quality(report.parity, held_back=report.held_back))
    return f"{said[0]}: {', '.join(said[1:])}" if said[1:] else said[0]


def speed(latency: Latency) -> str:
    """The claim that a latency bears.

    A ratio is said only where the verdict is that there is a difference.
    """
    if latency.noisy:
        return "speed too noisy to tell"
    return "no speed change found" if latency.verdict == "no difference" else f"{1 / latency.ratio:.2f}x the speed"


def latency_line(latency: Latency) -> str:
    """One line: times, the ratio with its interval, and the verdict."""
    claim = {
        "faster": f"{1 / latency.ratio:.2f}x faster",
        "slower": f"{latency.ratio:.2f}x slower",
        "no difference": "no difference found",
    }[latency.verdict]
    low, high = 1 / latency.high, 1 / latency.low
    threads = f"{latency.threads} thread{'s' * (latency.threads != 1)}"
    if latency.noisy:
        return (
            f"latency: too noisy to tell ({_short(low)}x to {_short(high)}x); rerun on an idle machine: "
            f"{latency.a_ms:.3g} -> {latency.b_ms:.3g} ms ({threads})"
        )
    return (
        f"latency: {claim}: {latency.a_ms:.3g} -> {latency.b_ms:.3g} ms "
        f"(speed ratio {1 / latency.ratio:.3f}, interval {low:.3f} to {high:.3f}; {threads})"
    )


def _short(ratio: float) -> str:
    """A ratio with as many digits as noise is worth.

    >>> _short(0.763), _short(8.31), _short(14.2)
    ('0.76', '8.3', '14')
    """
    return f"{ratio:.2f}" if ratio < 1.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def parity_line(parity: Parity, *, held_back: int = 0, ranks: Mapping[str, int] | None = None) -> str:
    """One line: whether the outputs agree, how closely, and on what.

    Args:
        parity: The findings.
        held_back: Whether the feeds are samples that the passes have not seen: how many of them there are.
        ranks: Ranks of the outputs, where known; a share of equal top classes is a matter of rank 2.
    """
    if not parity.passed:
        return f"parity: FAILED ({parity.tier.name.lower()})"
    if parity.tier is not Tier.LOSSY:
        return f"parity: passed ({parity.tier.name.lower()}): {parity}"
    worst = min(parity.fidelity, key=lambda found: found.sqnr_db, default=None)
    if worst is None:
        return f"parity: no outputs to measure, {_on(parity, held_back)}"
    if parity.worst == 0 and worst.sqnr_db == math.inf:
        return f"parity: the outputs are the same, {_on(parity, held_back)}"
    more = f", the worst of {len(parity.fidelity)} parts of the outputs" if len(parity.fidelity) > 1 else ""
    top = _top1(worst.top1, (ranks or {}).get(worst.output))
    return (
        f"parity: outputs differ by SQNR {worst.sqnr_db:.1f} dB, cosine {worst.cosine:.5f}{top} "
        f"in {worst.label}{more}, {_on(parity, held_back)}"
    )


def difference_lines(parity: Parity) -> Iterator[str]:
    """The differences by kind and output: how often, and the worst; what follows from another interface is left out."""
    differences: Iterable[Difference] = parity.differences
    interface = [each for each in differences if each.kind in INTERFACE]
    groups: dict[tuple[str, str], list[Difference]] = {}
    for each in interface or differences:
        groups.setdefault((each.kind, each.output), []).append(each)
    for (kind, output), found in groups.items():
        worst = max(found, key=lambda each: each.error)
        of = f" of {output!r}" if output else ""
        feeds = {each.feed for each in found if each.feed is not None}
        where = ""
        if len(feeds) == 1:
            where = f" on feed {worst.feed}"
        elif feeds:
            where = f" on {len(feeds)} of {parity.feeds} feeds, worst on feed {worst.feed}"
        yield f"{kind}{of}{where}: {worst.detail}"
    if interface and len(parity.differences) > len(interface):
        yield "the values were not compared further: the interfaces differ"


def score_line(scores: Mapping[str, float], metric: str, *, held_out: int = 0) -> str:
    """The metric before and after, and how many samples it was taken on.

    >>> score_line({"input": 0.96, "output": 0.95}, "top1", held_out=75)
    'metric top1: 0.96 -> 0.95 on 75 held-out samples (higher is better)'
    """
    unit = f" {UNITS[metric]}" if metric in UNITS else ""
    shown = " -> ".join(f"{score:.4g}{unit}" for score in scores.values())
    on = f" on {_plural(held_out, 'held-out sample')}" if held_out else ""
    return f"metric{f' {metric}' if metric else ''}: {shown}{on} (higher is better)"


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


def three(value: float) -> str:
    """A positive number with three digits, so that numbers below each other have one form.

    >>> three(26.0), three(0.654), three(162.4), three(16240.0), three(0.0)
    ('26.0', '0.654', '162', '16,240', '0.00')
    """
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def decibels(sqnr_db: float) -> str:
    """A signal to noise ratio for a person: what nothing changed has no number.

    >>> decibels(31.04), decibels(math.inf)
    ('31.0 dB', 'same')
    """
    return "same" if sqnr_db == math.inf else f"{sqnr_db:.1f} dB"


def change(before: int | None, after: int | None) -> str:
    """The change in percent.

    >>> change(100, 54), change(0, 3), change(7, 7), change(1000, 999)
    ('-46 %', 'new', '', '-0.1 %')
    """
    if before is None or after is None or before == after:
        return ""
    if not before:
        return "new"
    percent = 100 * (after - before) / before
    return f"{percent:+.0f} %" if abs(percent) >= 1 else f"{percent:+.1g} %"


def ranks_of(facts: ModelFacts) -> dict[str, int]:
    """Ranks of the outputs that have one."""
    return {port.name: len(port.shape) for port in facts.outputs if port.shape is not None}


def kind_of(reason: str) -> str:
    """A reason without its numbers and quoted names: what such reasons have in common.

    >>> kind_of("1x1 with 16 -> 24 channels, read by 'a.1'")
    'Nx1 with N -> N channels, read by ...'
    """
    return _NUMBER.sub("N", _QUOTED.sub("...", reason))


def common(reasons: Iterable[str]) -> str:
    """Reasons of one kind as one, with the span of each number that varies.

    >>> common(["a 3 x 10 product", "a 5 x 10 product"])
    'a 3..5 x 10 product'
    """
    texts = list(dict.fromkeys(reasons))
    if len(texts) == 1:
        return texts[0]
    unquoted = [_QUOTED.sub("...", text) for text in texts]
    columns = zip(*(_NUMBER.findall(text) for text in unquoted), strict=True)
    spans = iter([_span(column) for column in columns])
    return _NUMBER.sub(lambda _: next(spans), unquoted[0])


def shorten(text: str, width: int = 56) -> str:
    """``text`` with its middle left out, since names tell apart by their ends.

    >>> shorten("Conv /model/layer/block/conv", 16)
    'Conv /m...k/conv'
    """
    if len(text) <= width:
        return text
    half = (width - 3) // 2
    return f"{text[: width - 3 - half]}...{text[-half:]}"


def _span(numbers: tuple[str, ...]) -> str:
    ordered = sorted(set(numbers), key=lambda text: float(text.replace(",", "").rstrip(".") or 0))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]}..{ordered[-1]}"


def _times(ratio: float) -> str:
    """The size as a multiple, with a third decimal where two would hide the difference.

    >>> _times(0.284), _times(0.9963), _times(1.0)
    ('0.28x the size', '0.996x the size', 'the same size')
    """
    if ratio == 1:
        return "the same size"
    return f"{ratio:.3f}x the size" if 0.995 <= ratio < 1.005 else f"{ratio:.2f}x the size"


def _quality(parity: Parity, *, held_back: int) -> str:
    if not parity.passed:
        return "outputs FAILED"
    if parity.tier is not Tier.LOSSY or (parity.worst == 0 and parity.sqnr == math.inf):
        return f"outputs the same {_on(parity, held_back)}"
    if parity.sqnr is None:
        return "no outputs to measure"
    return f"SQNR {parity.sqnr:.1f} dB {_on(parity, held_back)}"


def _on(parity: Parity, held_back: int) -> str:
    what = (
        "random input"
        if parity.evidence != "samples"
        else "held-out sample"
        if held_back and parity.tier is Tier.LOSSY
        else "sample"
    )
    return f"on {_plural(parity.feeds, what)}"


def _top1(share: float | None, rank: int | None) -> str:
    """Agreement of classes where the output is [batch, classes]; no claim about classes where that is not known."""
    if share is None or (rank is not None and rank not in (2, 3)):
        return ""
    name = "top-1 agreement" if rank == 2 else "same largest entry of the last axis"
    return f", {name} {100 * share:.1f} %"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
