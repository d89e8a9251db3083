"""Samples in, statistics out.

Names are resolved on first use (PEP 562), so that reading samples alone loads neither onnx nor onnxruntime.
"""

from typing import TYPE_CHECKING

from onnxslim.calibration.sample import Metric, Sample, Samples
from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.calibration.blocks import BLOCK
    from onnxslim.calibration.check import check_samples
    from onnxslim.calibration.fingerprint import fingerprints, model_digest
    from onnxslim.calibration.gram import Gram, Unfold, unfold_of
    from onnxslim.calibration.histogram import Histogram
    from onnxslim.calibration.identity import sample_set_hash
    from onnxslim.calibration.images import ImageOptions
    from onnxslim.calibration.metrics import load_metric
    from onnxslim.calibration.moments import Mean, Range
    from onnxslim.calibration.ranges import entropy, min_max, mse, percentile
    from onnxslim.calibration.sources import load_samples
    from onnxslim.calibration.splits import Split, split
    from onnxslim.calibration.statistics import Request, Statistics
    from onnxslim.calibration.stream import collect, collect_in_groups

__all__ = [
    "BLOCK",
    "Gram",
    "Histogram",
    "ImageOptions",
    "Mean",
    "Metric",
    "Range",
    "Request",
    "Sample",
    "Samples",
    "Split",
    "Statistics",
    "Unfold",
    "check_samples",
    "collect",
    "collect_in_groups",
    "entropy",
    "fingerprints",
    "load_metric",
    "load_samples",
    "min_max",
    "model_digest",
    "mse",
    "percentile",
    "sample_set_hash",
    "split",
    "unfold_of",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "BLOCK": ".blocks",
        "Gram": ".gram",
        "Histogram": ".histogram",
        "ImageOptions": ".images",
        "Mean": ".moments",
        "Range": ".moments",
        "Request": ".statistics",
        "Split": ".splits",
        "Statistics": ".statistics",
        "Unfold": ".gram",
        "check_samples": ".check",
        "collect": ".stream",
        "collect_in_groups": ".stream",
        "entropy": ".ranges",
        "fingerprints": ".fingerprint",
        "load_metric": ".metrics",
        "load_samples": ".sources",
        "min_max": ".ranges",
        "model_digest": ".fingerprint",
        "mse": ".ranges",
        "percentile": ".ranges",
        "sample_set_hash": ".identity",
        "split": ".splits",
        "unfold_of": ".gram",
    },
)
