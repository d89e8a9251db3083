"""One limit held against what was measured: what was asked, what was found, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxslim.evaluation.confidence import Drop
    from onnxslim.evaluation.findings import Parity
    from onnxslim.execution import Latency


@dataclass(frozen=True, slots=True)
class Check:
    """A limit, and whether it holds.

    Attributes:
        limit: Name of the option, such as ``max_size``.
        asked: Its value.
        measured: The value that was held against it; None where it could not be measured, and the limit does not hold.
        holds: Whether it does.
        wanted: What was asked, in words: ``at most 3,000,000 bytes``.
        found: What was measured, in words.
        doubt: Where another measurement may well fall on the other side of the limit, why; else empty.
    """

    limit: str
    asked: float
    measured: float | None
    holds: bool
    wanted: str
    found: str
    doubt: str = ""

    def __str__(self) -> str:
        """What broke, for an error or a log.

        >>> print(size_check(3_400_000, 3_000_000))
        max_size does not hold: 3,400,000 bytes instead of at most 3,000,000
        """
        if self.holds:
            return f"{self.limit} holds: {self.found}, {self.wanted} asked"
        return f"{self.limit} does not hold: {self.found} instead of {self.wanted}"


def size_check(size: int, most: int) -> Check:
    """Bytes of a model's files against the most that they may be."""
    return Check("max_size", most, size, size <= most, f"at most {most:,}", f"{size:,} bytes")


def speed_check(latency: Latency, least: float) -> Check:
    """How many times faster a candidate is: the median ratio counts, and the doubt is its interval."""
    low, high = 1 / latency.high, 1 / latency.low
    found = f"{latency.speedup:.2f}x the speed (interval {low:.2f}x to {high:.2f}x)"
    doubt = (
        f"the interval includes {least:g}x: measured again, it may be on the other side" if low < least < high else ""
    )
    return Check(
        "min_speedup",
        least,
        latency.speedup,
        latency.speedup >= least,
        f"at least {least:g}x",
        found,
        doubt if low < least < high else "",
    )


def drop_check(drop: Drop, most: float, *, by_bound: bool = False) -> Check:
    """What is lost of the metric: the drop itself counts, or its upper bound where there is one.

    Args:
        drop: What was measured.
        most: What it may be.
        by_bound: Whether the bound is held against the limit.
    """
    held = drop.bound if by_bound and drop.bound is not None else drop.value
    certain = drop.bound is None or drop.bound == drop.value  # no group of samples differs from another
    bound = "" if certain else f", with {100 * drop.confidence:g} % confidence at most {drop.bound:.4g}"
    on = f"{drop.samples} sample{'s' * (drop.samples != 1)}"
    found = f"a drop of {drop.value:.4g}{bound} ({drop.before:.4g} -> {drop.after:.4g} on {on})"
    doubt = ""
    if drop.bound is None:
        doubt = f"the drop has no bound: {drop.why}"
    elif within(held, most) and not within(drop.bound, most):
        doubt = f"the drop may be more than {most:g} on other samples: more of them would tell"
    return Check("max_drop", most, held, within(held, most), f"at most {most:g}", found, doubt)


def within(lost: float, most: float) -> bool:
    """Whether a loss is no more than is allowed, but for rounding: one hit of a hundred is a drop of 0.01.

    >>> within(0.96 - 0.95, 0.01), 0.96 - 0.95 <= 0.01
    (True, False)
    """
    return lost <= most or math.isclose(lost, most, rel_tol=1e-9, abs_tol=1e-12)


def sqnr_check(parity: Parity, least: float) -> Check:
    """The worst part of the outputs, in dB."""
    worst = min(parity.fidelity, key=lambda each: each.sqnr_db, default=None)
    if worst is None:
        return Check("min_sqnr", least, None, parity.passed, f"at least {least:g} dB", "no part that is measured in dB")
    found = f"{worst.sqnr_db:.1f} dB in {worst.label}"
    return Check("min_sqnr", least, worst.sqnr_db, worst.sqnr_db >= least, f"at least {least:g} dB", found)


def score_check(value: float, least: float, low: float | None = None, high: float | None = None) -> Check:
    """A model's score against the least that it may be: the score counts, and the doubt is its interval."""
    doubt = ""
    if low is not None and high is not None and low < least < high:
        doubt = f"the interval of the score includes {least:g}: more samples would tell"
    return Check("min_score", least, value, value >= least, f"at least {least:g}", f"a score of {value:.4g}", doubt)


def unmeasured(limit: str, asked: float, wanted: str, why: str) -> Check:
    """A limit that does not hold because nothing could be measured."""
    return Check(limit, asked, None, False, wanted, f"not measured: {why}")
