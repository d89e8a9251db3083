"""The result in one sentence for who does not know the tool, and in a few numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnxslim.evaluation.tier import Tier
from onnxslim.report.wording import size

if TYPE_CHECKING:
    from onnxslim.execution import Latency
    from onnxslim.report.record import Account


def sentence(report: Account) -> str:
    """What came of it: size, speed, quality, and what that was measured on."""
    said = [part for part in (_size(report), _speed(report.latency)) if part]
    start = f"The model is {' and '.join(said)}" if said else f"{report.command}: {report.decision}"
    quality = _quality(report)
    return f"{start}{'; ' if quality else ''}{quality}."


def figures(report: Account) -> list[tuple[str, str, str]]:
    """(number, what it is, how it came about) of size, speed and quality, as far as they are known."""
    found = []
    before, after = report.input.bytes, report.output.bytes if report.output is not None else None
    if before and after:
        times = before / after
        found.append(
            (f"{times:.2f}x", "smaller" if times >= 1 else "of the size before", f"{size(before)} → {size(after)}")
        )
    latency = report.latency
    if latency is not None:
        low, high = 1 / latency.high, 1 / latency.low
        said = f"{latency.a_ms:.3g} → {latency.b_ms:.3g} ms; {low:.2f} to {high:.2f}"
        number = "unclear" if latency.noisy else f"{1 / latency.ratio:.2f}x"
        word = {"faster": "as fast", "slower": "as fast: slower", "no difference": "no difference found"}[
            latency.verdict
        ]
        found.append((number, "speed: too noisy to tell" if latency.noisy else word, said))
    if report.scores:
        before_score, after_score = report.scores["input"], report.scores["output"]
        on = f" on {report.held_out:,} held-out samples" if report.held_out else ""
        found.append((f"{after_score:.4g}", report.metric or "score", f"{before_score:.4g} before{on}"))
    parity = report.parity
    if parity is not None and parity.sqnr is not None:
        number = "same" if parity.sqnr == math.inf else f"{parity.sqnr:.1f} dB"
        found.append((number, "SQNR of the worst output", f"on {parity.feeds:,} {parity.evidence}"))
    elif parity is not None:
        found.append(("same" if parity.passed else "FAILED", "outputs", f"on {parity.feeds:,} {parity.evidence}"))
    return found


def _size(report: Account) -> str:
    before, after = report.input.bytes, report.output.bytes if report.output is not None else None
    if not before or not after:
        return ""
    if before == after:
        return "of the same size"
    change = f"{size(before)} to {size(after)}"
    return (
        f"{before / after:.2f} times smaller ({change})"
        if after < before
        else f"{after / before:.2f} times larger ({change})"
    )


def _speed(latency: Latency | None) -> str:
    if latency is None:
        return ""
    interval = f"{1 / latency.high:.2f} to {1 / latency.low:.2f} at 99 % confidence"
    threads = f"{latency.threads} thread{'s' * (latency.threads != 1)}"
    if latency.noisy:
        return f"measured too noisily to tell its speed ({interval})"
    if latency.verdict == "no difference":
        return f"as fast as before within what can be measured ({interval}, {threads})"
    return f"{1 / latency.ratio:.2f} times as fast ({interval}, {threads})"


def _quality(report: Account) -> str:
    parity = report.parity
    if report.scores:
        before, after = report.scores["input"], report.scores["output"]
        change = "stays at" if before == after else "falls to" if after < before else "rises to"
        was = "" if before == after else f" from {before:.4g}"
        on = f", measured on {report.held_out:,} held-out samples that chose nothing" if report.held_out else ""
        return f"its score{f' ({report.metric})' if report.metric else ''} {change} {after:.4g}{was}{on}"
    if parity is None:
        return "" if report.output is None else "its outputs were not compared"
    on = f"on {parity.feeds:,} {'held-out samples' if report.held_back else parity.evidence}"
    if not parity.passed:
        return f"its outputs FAILED the comparison with the original's {on}"
    if parity.tier is not Tier.LOSSY or parity.sqnr == math.inf:
        return f"its outputs are the same {on}"
    if parity.sqnr is None:
        return "it has no outputs to measure"
    return f"its outputs differ by noise {parity.sqnr:.1f} dB below the signal, in the worst part, {on}"
