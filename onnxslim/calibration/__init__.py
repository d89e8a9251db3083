"""Samples in, statistics out."""

from onnxslim.calibration.sample import Metric, Sample, Samples

__all__ = ["Metric", "Sample", "Samples"]
