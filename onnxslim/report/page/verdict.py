"""The result in one sentence for who does not know the tool, and in a few numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnxslim.evaluation.tier import Tier
from onnxslim.report.wording import decibels, size, three
from onnxslim.report.words import verb_named

if TYPE_CHECKING:
    from onnxslim.evaluation import Parity
    from onnxslim.execution import Latency
    from onnxslim.report.record import Account


def sentence(report: Account) -> str:
    """What came of it: size, speed, quality, and what that was measured on."""
    said = [part for part in (_size(report), _speed(report.latency)) if part]
    start = f"The model is {' and '.join(said)}" if said else f"{report.command}: {report.decision}"
    verb = verb_named(report.command)
    if report.decision in (verb.kept, "unchanged"):
        start = f"The model was not {verb.done}" + (f": it is {' and '.join(said)}" if said else "")
    quality = _quality(report)
    kept = report.front.kept if report.front is not None else None
    broken = "it breaks a limit of the search" if kept is not None and kept.reason else ""
    return "; ".join(filter(None, (start, quality, broken))) + "."


def figures(report: Account) -> list[tuple[str, str, str]]:
    """(number, what it is, how it came about) of size, speed and quality, as far as they are known."""
    found = []
    before, after = report.input.bytes, report.output.bytes if report.output is not None else None
    if before and after:
        number = "same" if _alike(before, after) else f"{max(before, after) / min(before, after):.2f}x"
        word = "size" if _alike(before, after) else "smaller" if after < before else "larger"
        found.append((number, word, f"{size(before)} → {size(after)}"))
    latency = report.latency
    if latency is not None:
        low, high = 1 / latency.high, 1 / latency.low
        said = f"{three(latency.a_ms)} → {three(latency.b_ms)} ms; 99 % interval {low:.2f}x to {high:.2f}x"
        number, word = {
            "faster": (f"{1 / latency.ratio:.2f}x", "as fast"),
            "slower": (f"{1 / latency.ratio:.2f}x", "as fast: slower"),
            "no difference": ("same", "speed: no difference found"),
        }[latency.verdict]
        found.append(("unclear", "speed: too noisy to tell", said) if latency.noisy else (number, word, said))
    if report.scores:
        before_score, after_score = report.scores["input"], report.scores["output"]
        on = f" on {report.held_out:,} held-out samples" if report.held_out else ""
        found.append((f"{after_score:.4g}", report.metric or "score", f"{before_score:.4g} before{on}"))
    parity = report.parity
    if parity is not None and parity.sqnr is not None:
        if not parity.passed:
            found.append(("FAILED", f"outputs: SQNR {decibels(parity.sqnr)}", on_samples(report, parity)))
        elif parity.sqnr == math.inf:
            found.append(("same", "outputs", on_samples(report, parity)))
        else:
            word = "error of the worst output"
            found.append((_percent(parity.sqnr), word, f"SQNR {decibels(parity.sqnr)}, {on_samples(report, parity)}"))
    elif parity is not None:
        found.append(("same" if parity.passed else "FAILED", "outputs", on_samples(report, parity)))
    return found


def _size(report: Account) -> str:
    before, after = report.input.bytes, report.output.bytes if report.output is not None else None
    if not before or not after:
        return ""
    if _alike(before, after):
        return f"as large as before ({size(after)})"
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
        return f"as fast as before, within what can be measured ({interval}, {threads})"
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
    on = on_samples(report, parity)
    if not parity.passed:
        return f"its outputs FAILED the comparison with the original's {on}"
    if parity.tier is not Tier.LOSSY or parity.sqnr == math.inf:
        return f"its outputs are the same {on}"
    if parity.sqnr is None:
        return "it has no outputs to measure"
    return f"its outputs are off by {_percent(parity.sqnr)} in the worst part (SQNR {decibels(parity.sqnr)}), {on}"


def _alike(before: int, after: int) -> bool:
    """Whether a ratio of two decimals would be 1.00."""
    return math.isclose(before, after, rel_tol=0.005)


def on_samples(report: Account, parity: Parity) -> str:
    """What the outputs were compared on, and how many of it."""
    held_out = report.held_back and parity.tier is Tier.LOSSY
    what = parity.evidence.removesuffix("s") + "s" * (parity.feeds != 1)
    return f"on {parity.feeds:,} {'held-out ' if held_out else ''}{what}"


def _percent(sqnr_db: float) -> str:
    """The error as a share of the signal, since that needs no logarithm.

    >>> _percent(33.3), _percent(11.6), _percent(100.0)
    ('2.2 %', '26 %', 'under 0.01 %')
    """
    share = 100 * 10 ** (-sqnr_db / 20)
    return "under 0.01 %" if share < 0.01 else f"{share:.2g} %" if share < 10 else f"{share:,.0f} %"
