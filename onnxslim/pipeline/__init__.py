"""Passes: what they are, how they run, how they are found and checked."""

from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Action, Declined, Pass, PassResult

__all__ = ["Action", "Context", "Declined", "Pass", "PassResult"]
