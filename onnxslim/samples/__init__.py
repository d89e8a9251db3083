"""Sample inputs: where they come from, what they must be, and how they are split.

Names are imported on first use, so that reading samples loads neither onnx nor onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.samples.check import check_samples
    from onnxslim.samples.feeds import feeds_of, is_validation, typical
    from onnxslim.samples.identity import sample_set_hash
    from onnxslim.samples.images import ImageOptions
    from onnxslim.samples.sample import Metric, Sample, Samples
    from onnxslim.samples.sources import load_samples
    from onnxslim.samples.splits import Split, split

__all__ = [
    "ImageOptions",
    "Metric",
    "Sample",
    "Samples",
    "Split",
    "check_samples",
    "feeds_of",
    "is_validation",
    "load_samples",
    "sample_set_hash",
    "split",
    "typical",
]

_HOMES = {
    ".check": ("check_samples",),
    ".feeds": (
        "feeds_of",
        "is_validation",
        "typical",
    ),
    ".identity": ("sample_set_hash",),
    ".images": ("ImageOptions",),
    ".sample": (
        "Metric",
        "Sample",
        "Samples",
    ),
    ".sources": ("load_samples",),
    ".splits": (
        "Split",
        "split",
    ),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
