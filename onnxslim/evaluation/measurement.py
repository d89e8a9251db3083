"""What was measured of a candidate, and what rejects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.tier import Tier

if TYPE_CHECKING:
    from onnxslim.evaluation.findings import Parity
    from onnxslim.execution import Latency


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is known of a candidate beside the original; None and empty where it was not measured.

    Attributes:
        bytes: Of its file.
        parity: Its outputs against the original's, on held-out samples, part by part.
        scores: The metric on the report part, by model (``input``, ``output``).
        latency: On the threads asked for.
        parallel: On all CPUs, where that is more.
    """

    bytes: int | None = None
    parity: Parity | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    latency: Latency | None = None
    parallel: Latency | None = None

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """Those that were measured."""
        return tuple(each for each in (self.latency, self.parallel) if each is not None)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a candidate must not be the output.

    Attributes:
        reason: In words.
        poor: Whether it is the outputs or the score that speak against it, and not size or speed.
    """

    reason: str
    poor: bool = False


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a candidate must keep.

    Attributes:
        most_bytes: Of its file; None where any size will do.
        least_gain: Share of ``gain_over`` bytes that the file must save, where its size is what it is for.
        gain_over: Bytes of the file without the change; None where size is not what it is for.
        min_sqnr: dB of the worst part of the outputs.
        max_drop: Of the metric; None where any drop will do.
        what: How the candidate is called where it is slower.
    """

    most_bytes: int | None = None
    least_gain: float = 0.0
    gain_over: int | None = None
    min_sqnr: float = 0.0
    max_drop: float | None = None
    what: str = "the result"

    def reject(self, found: Measurement) -> Rejection | None:
        """The first reason against a candidate, in the order of size, outputs, score and speed; None where it holds."""
        for check in (self._size, self._outputs, self._score, self._speed):
            reason = check(found)
            if reason is not None:
                return reason
        return None

    def _size(self, found: Measurement) -> Rejection | None:
        if found.bytes is None:
            return None
        if self.most_bytes is not None and found.bytes > self.most_bytes:
            return Rejection(f"the result would be larger: {found.bytes:,} bytes instead of {self.most_bytes:,}")
        if self.gain_over is not None and found.bytes >= (1 - self.least_gain) * self.gain_over:
            return Rejection(f"the file would be no smaller: {found.bytes:,} bytes instead of {self.gain_over:,}")
        return None

    def _outputs(self, found: Measurement) -> Rejection | None:
        if found.parity is None or found.parity.passed:
            return None
        return Rejection(f"the outputs differ too much: {found.parity.differences[0]}", poor=True)

    def _score(self, found: Measurement) -> Rejection | None:
        if self.max_drop is None or not found.scores:
            return None
        before, after = found.scores["input"], found.scores["output"]
        if before - after <= self.max_drop:
            return None
        change = f"{before:.4g} -> {after:.4g}"
        return Rejection(f"the metric falls by more than {self.max_drop:g} on held-out samples: {change}", poor=True)

    def _speed(self, found: Measurement) -> Rejection | None:
        for latency in sorted(found.latencies, key=lambda each: each.threads):
            if latency.verdict == "slower":
                where = "here" if latency is found.latency else f"here on {latency.threads} threads"
                return Rejection(f"{self.what} is slower {where}: {1 / latency.ratio:.2f}x the speed of the original")
        return None


def hold_to(parity: Parity, min_sqnr: float) -> Parity:
    """The same findings, failed where a part of a lossy result keeps less than ``min_sqnr`` dB (docs/decisions/002)."""
    if parity.tier is not Tier.LOSSY:
        return parity
    poor = [
        Difference(
            "value",
            each.output,
            f"{each.label} keeps an SQNR of {each.sqnr_db:.1f} dB, below the {min_sqnr:g} dB of min_sqnr",
        )
        for each in parity.fidelity
        if each.sqnr_db < min_sqnr
    ]
    return replace(parity, passed=parity.passed and not poor, differences=(*parity.differences, *poor))
