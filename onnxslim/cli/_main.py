"""Where OnnxSlim keeps ``main`` and ``slim``; its callers import them from here. Nothing else is in this module."""

from onnxslim.cli import main
from onnxslim.compat.slim import slim

__all__ = ["main", "slim"]
