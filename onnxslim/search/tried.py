"""A point of a search that was built, and the options that choose a model like it."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.search.front import Figures
from onnxslim.search.goal import EQUAL
from onnxslim.search.lab import BuiltTrial
from onnxslim.search.space import Point


@dataclass(eq=False)
class Tried:
    """A point that was built."""

    point: Point
    built: BuiltTrial
    predicted: Figures | None
    measured: Figures | None
    reason: str


def command_of(figures: Figures | None) -> str:
    """Options that would choose a model of these figures again."""
    if figures is None:
        return ""
    fast = "" if figures.speedup is None else f" --min-speedup {EQUAL * figures.speedup:.2f}"
    return f"--max-size {figures.bytes}{fast}"
