"""What was measured of a candidate, and what rejects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from onnxslim.evaluation.check import Check, drop_check, size_check, speed_check, within
from onnxslim.evaluation.compare import Difference
from onnxslim.evaluation.tier import Tier

if TYPE_CHECKING:
    from onnxslim.evaluation.confidence import Drop
    from onnxslim.evaluation.findings import Parity
    from onnxslim.execution import Latency


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is known of a candidate beside the original; None and empty where it was not measured.

    Attributes:
        bytes: Of its file.
        parity: Its outputs against the original's, on held-out samples, part by part.
        scores: The metric on the report part, by model (``input``, ``output``).
        drop: What is lost of the metric, with its bound; where it is known, the limit is held against it.
        latency: On the threads asked for.
        parallel: On all CPUs, where that is more.
    """

    bytes: int | None = None
    parity: Parity | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    drop: Drop | None = None
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
        by_bound: Whether the upper bound of a drop is held against ``max_drop``, where one is known, and not the drop.
        max_size: Bytes that the user allows for the file.
        min_speedup: Times as fast as the original that the user asks for, by the median. It takes the place of the rule
            that nothing may be slower.
        what: How the candidate is called where it is slower.
    """

    most_bytes: int | None = None
    least_gain: float = 0.0
    gain_over: int | None = None
    min_sqnr: float = 0.0
    max_drop: float | None = None
    by_bound: bool = False
    max_size: int | None = None
    min_speedup: float | None = None
    what: str = "the result"

    def reject(self, found: Measurement) -> Rejection | None:
        """The first reason against a candidate, in the order of size, outputs, score and speed; None where it holds."""
        return next(self.rejections(found), None)

    def rejections(self, found: Measurement) -> Iterator[Rejection]:
        """Every reason against a candidate, in that order."""
        yield from self._size(found)
        yield from self._outputs(found)
        yield from self._score(found)
        yield from self._speed(found)

    def checks(self, found: Measurement) -> Iterator[Check]:
        """The user's limits on score, size and speed beside what was measured; what was not measured is left out."""
        if self.max_drop is not None and found.drop is not None:
            yield drop_check(found.drop, self.max_drop, by_bound=self.by_bound)
        if self.max_size is not None and found.bytes is not None:
            yield size_check(found.bytes, self.max_size)
        if self.min_speedup is not None and found.latency is not None:
            yield speed_check(found.latency, self.min_speedup)

    def _size(self, found: Measurement) -> Iterator[Rejection]:
        if found.bytes is None:
            return
        if self.most_bytes is not None and found.bytes > self.most_bytes:
            yield Rejection(f"the result would be larger: {found.bytes:,} bytes instead of {self.most_bytes:,}")
        if self.gain_over is not None and found.bytes >= (1 - self.least_gain) * self.gain_over:
            yield Rejection(f"the file would be no smaller: {found.bytes:,} bytes instead of {self.gain_over:,}")
        if self.max_size is not None:
            yield from _broken(size_check(found.bytes, self.max_size))

    def _outputs(self, found: Measurement) -> Iterator[Rejection]:
        if found.parity is not None and not found.parity.passed:
            yield Rejection(f"the outputs differ too much: {found.parity.differences[0]}", poor=True)

    def _score(self, found: Measurement) -> Iterator[Rejection]:
        if self.max_drop is None:
            return
        if found.drop is not None:
            yield from _broken(drop_check(found.drop, self.max_drop, by_bound=self.by_bound), poor=True)
        elif found.scores:
            before, after = found.scores["input"], found.scores["output"]
            if not within(before - after, self.max_drop):
                change = f"{before:.4g} -> {after:.4g}"
                lost = f"the metric falls by more than {self.max_drop:g} on held-out samples: {change}"
                yield Rejection(lost, poor=True)

    def _speed(self, found: Measurement) -> Iterator[Rejection]:
        for latency in sorted(found.latencies, key=lambda each: each.threads):
            if latency is found.latency and self.min_speedup is not None:
                yield from _broken(speed_check(latency, self.min_speedup))
            elif latency.verdict == "slower":
                where = "here" if latency is found.latency else f"here on {latency.threads} threads"
                yield Rejection(f"{self.what} is slower {where}: {latency.speedup:.2f}x the speed of the original")


def _broken(check: Check, *, poor: bool = False) -> Iterator[Rejection]:
    if not check.holds:
        yield Rejection(str(check), poor)


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
