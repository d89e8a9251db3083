"""Symbolic shape inference with values: what is certain of every tensor, from the inputs forward.

Only graph inputs (their dtype and dims) and the weights are believed. What the file declares of other values is
compared with what follows from those, never used.

Long because one walk holds all states: graphs, bodies, functions and what is forgotten between them.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.control_flow import CONTROL_RULES
from onnxslim.analysis.facts import ShapeFacts
from onnxslim.analysis.inference import Inference


def infer_shapes(model: ir.Model) -> ShapeFacts:
    """Infers dtypes, symbolic shapes and small integer values of all values of a model, subgraphs and functions too.

    Never raises on a malformed node: its outputs are unknown, and ``ShapeFacts.problems`` says why.
    """
    inference = Inference(model, CONTROL_RULES)
    inference.enter(model.graph)
    inference.run(model.graph)
    return inference.finish()
