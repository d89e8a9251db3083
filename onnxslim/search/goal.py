"""What a search is for, and what its result must keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from onnxslim.search.front import Figures

GoalName = Literal["balanced", "smallest", "fastest"]
GOALS: tuple[GoalName, ...] = get_args(GoalName)

OTHER = 0.05
"""What a logarithm of the other quantity is worth beside the one that a goal names."""
EQUAL = 0.97
"""Share of the plain result's size ratio or speed that counts as no less: times are measured with noise."""
SHORT = 5.0
"""What a logarithm is worth by which a balanced result is larger or slower than the plain one."""
SLOWER = 0.98
"""Speed of the original from which on a model is not taken to be slower, before it is measured with an interval."""
MARGIN_DB = 1.0
"""dB that the outputs must be better than asked on the samples to choose by: others decide in the end."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be as large as possible.

    Attributes:
        name: ``smallest`` is the size ratio, ``fastest`` the speed, ``balanced`` their product.
        plain: Figures of the result without a search: a balanced one should be no larger and no slower.
    """

    name: GoalName = "balanced"
    plain: Figures | None = None

    def value(self, figures: Figures) -> float:
        """Logarithm of how good a model is.

        >>> small, fast = Figures(10, 8.0, 1.0, 30.0), Figures(20, 2.0, 4.0, 30.0)
        >>> [Goal(name).value(small) > Goal(name).value(fast) for name in ("smallest", "fastest")]
        [True, False]
        """
        size, speed = math.log(figures.size_ratio), math.log(figures.speedup or 1.0)
        if self.name == "smallest":
            return size + OTHER * speed
        if self.name == "fastest":
            return speed + OTHER * size
        short = 0.0
        if self.plain is not None:
            floors = math.log(EQUAL * self.plain.size_ratio), math.log(EQUAL * (self.plain.speedup or 1.0))
            short = sum(max(0.0, floor - mine) for floor, mine in zip(floors, (size, speed), strict=True))
        return size + speed - SHORT * short


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model must keep on the samples to choose by.

    Attributes:
        min_sqnr: dB of the worst part.
        max_drop: Of the metric; None where there is none.
        original_bytes: Of the file that came in.
        max_size: Bytes; None where it need only be no larger than the original.
        min_speedup: None where it need only be no slower.
    """

    min_sqnr: float
    max_drop: float | None
    original_bytes: int
    max_size: int | None = None
    min_speedup: float | None = None

    @property
    def noise(self) -> float:
        """Noise over signal that is allowed."""
        return float(10 ** (-(self.min_sqnr + MARGIN_DB) / 10))

    def broken(self, figures: Figures) -> dict[str, str]:
        """What a model does not keep: ``error``, ``metric``, ``size`` and ``speed`` -> in words."""
        found = {}
        if figures.sqnr_db < self.min_sqnr + MARGIN_DB:
            asked = f"less than {self.min_sqnr:g} dB and {MARGIN_DB:g} to spare"
            found["error"] = f"the worst part keeps {figures.sqnr_db:.1f} dB, {asked}"
        drop = figures.drop if figures.drop_bound is None else figures.drop_bound
        if self.max_drop is not None and drop is not None and drop > self.max_drop:
            of = "may drop" if figures.drop_bound is not None else "drops"
            found["metric"] = f"the metric {of} by {drop:.4f}, at most {self.max_drop:g} is allowed"
        most = self.original_bytes if self.max_size is None else min(self.max_size, self.original_bytes)
        if figures.bytes > most:
            found["size"] = f"{figures.bytes:,} bytes, at most {most:,} are allowed"
        least = SLOWER if self.min_speedup is None else self.min_speedup
        if figures.speedup is not None and figures.speedup < least:
            found["speed"] = f"{figures.speedup:.2f}x the speed, {least:g}x is needed"
        return found

    def words(self, metric: str) -> Mapping[str, str]:
        """What is asked, for a reader."""
        found = {"error": f"at least {self.min_sqnr:g} dB of the worst part"}
        if self.max_drop is not None:
            found["metric"] = f"{metric or 'the metric'} drops by at most {self.max_drop:g}"
        found["size"] = "no larger than the original" if self.max_size is None else f"at most {self.max_size:,} bytes"
        found["speed"] = (
            "no slower than the original" if self.min_speedup is None else f"at least {self.min_speedup:g}x the speed"
        )
        return found
