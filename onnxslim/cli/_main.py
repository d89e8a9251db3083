"""Where OnnxSlim keeps ``main`` and ``slim``; its callers import them from here. Nothing else is in this module."""

from onnxslim.api.slim import slim
from onnxslim.cli import main

__all__ = ["main", "slim"]
