"""onnxruntime: sessions, targets, parity, latency."""

from onnxslim.runtime.feeds import Feed, Outputs, Run
from onnxslim.runtime.tier import Tier

__all__ = ["Feed", "Outputs", "Run", "Tier"]
