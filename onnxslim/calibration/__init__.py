"""Samples in, statistics out.

Names are imported on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.calibration.blocks import BLOCK
    from onnxslim.calibration.fingerprint import fingerprints, model_digest
    from onnxslim.calibration.gram import Gram
    from onnxslim.calibration.histogram import Histogram
    from onnxslim.calibration.moments import Mean, Range
    from onnxslim.calibration.ranges import entropy, min_max, mse, percentile
    from onnxslim.calibration.statistics import Request, Statistics
    from onnxslim.calibration.stream import collect, collect_in_groups

__all__ = [
    "BLOCK",
    "Gram",
    "Histogram",
    "Mean",
    "Range",
    "Request",
    "Statistics",
    "collect",
    "collect_in_groups",
    "entropy",
    "fingerprints",
    "min_max",
    "model_digest",
    "mse",
    "percentile",
]

_HOMES = {
    ".blocks": ("BLOCK",),
    ".fingerprint": (
        "fingerprints",
        "model_digest",
    ),
    ".gram": ("Gram",),
    ".histogram": ("Histogram",),
    ".moments": (
        "Mean",
        "Range",
    ),
    ".ranges": (
        "entropy",
        "min_max",
        "mse",
        "percentile",
    ),
    ".statistics": (
        "Request",
        "Statistics",
    ),
    ".stream": (
        "collect",
        "collect_in_groups",
    ),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
