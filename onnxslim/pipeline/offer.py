"""What a pass offers to a search: choices, and what each does to a model beside the model without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Effects:
    """What a choice does to a model. Effects of different passes are taken to be independent until they are measured.

    Attributes:
        noise: Noise over signal that it adds to the worst part of the outputs.
        drop: What it takes from the metric; 0 where there is none.
        time: Time of a run as a share of the time without it.
        bytes: Bytes of the file as a share of the bytes without it.
    """

    noise: float = 0.0
    drop: float = 0.0
    time: float = 1.0
    bytes: float = 1.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One choice of a pass.

    Attributes:
        label: For a reader, such as ``64 % of the MACs``; unique among the offers of the pass.
        decision: What `Pass.adapt` makes a plan of; dataclasses of `Pass.plan_types`, names, numbers and arrays.
        effects: Measured on the samples to choose by, or predicted.
        options: Fields of the pass with which it decides about the same by itself: what a recipe says of the choice.
    """

    label: str
    decision: Any
    effects: Effects
    options: Mapping[str, Any] = field(default_factory=dict)
