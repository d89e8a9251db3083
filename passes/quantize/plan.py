"""What quantization decided about a model, by names: it holds for every clone of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxslim.pipeline import Action

from .bias import Means
from .group import GroupNames
from .migrate import Factors
from .rounding import NEAREST, Rounding
from .tensors import Span


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the search decided.

    ``target`` is the name of the machine that it is for. ``details`` says of
    each chosen group what it brings, by key; ``declined`` of the others (site, reason).
    """

    groups: tuple[GroupNames, ...] = ()
    target: str = ""
    spans: Mapping[str, Span] = field(default_factory=dict)
    means: Means = field(default_factory=dict)
    rounding: Rounding = NEAREST
    details: Mapping[str, str] = field(default_factory=dict)
    declined: tuple[tuple[str, str], ...] = ()
    reach: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Migrated:
    """Scales that migrate, and dB of the outputs without and with that.

    Attributes:
        factors: Key of a migration -> factor of each channel.
        exponent: Share of the scales that weights take up.
        before: Without.
        after: With.
    """

    factors: Mapping[str, Factors] = field(default_factory=dict)
    exponent: float = 0.0
    before: float = math.inf
    after: float = math.inf

    def action(self, key: str) -> Action:
        """What the report says of a migration."""
        detail = f"exponent {self.exponent:g}, all together {self.before:.1f} -> {self.after:.1f} dB"
        return Action("migrate", (key,), key, detail)


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """What becomes int8, and which scales migrate before.

    ``model`` is the digest of the model that it was offered for; empty where it is for the model that it was made of.
    """

    migrated: Migrated
    chosen: Chosen
    model: str = ""
