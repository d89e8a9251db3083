"""The entry point of the command line, ``onnxslim.cli:main``; ``slim`` is here for callers of OnnxSlim."""

from typing import TYPE_CHECKING

from onnxslim.cli.dispatch import main
from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.api.slim import slim

__all__ = ["main", "slim"]

__getattr__ = lazy_exports(__name__, {"slim": "onnxslim.api.slim"})
