"""The entry point of the command line, ``onnxslim.cli:main``."""

from onnxslim.cli.dispatch import main

__all__ = ["main"]
