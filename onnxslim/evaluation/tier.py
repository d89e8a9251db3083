"""How closely two models' outputs are asked to agree. The bounds stand in onnxslim.evaluation.parity."""

from __future__ import annotations

import enum


class Tier(enum.IntEnum):
    """Agreement of the outputs before and after a rewrite, tightest first."""

    EXACT = 0
    """The same bits: the rewrite only moves or removes data."""
    NUMERIC = 1
    """Floats are reordered: equal within a bound scaled by dtype."""
    LOSSY = 2
    """The outputs change; how much is measured on real samples."""
