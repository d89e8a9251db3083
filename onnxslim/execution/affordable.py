"""How long onnxruntime may take to open or run a large graph that is only compared on random inputs.

A comparison opens four sessions: the original and the candidate, each with and without optimizations. Measured with
onnxruntime 1.32, on graphs of 50,000 to 131,000 nodes: one session takes 13 to 90 microseconds a node (320 where one
node has 50,000 inputs), and 300 microseconds a subgraph; a tree of 65,539 graphs took 3.1 GB.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxslim.errors import TooSlow
from onnxslim.execution.guard import MEND_SLOW
from onnxslim.graph.walk import bodies

LARGE = 20_000
"""Nodes and graphs from which a graph is large. A smaller one that takes long to open is no matter of its size."""
OPENING_SECONDS = 4.0
"""Seconds on the CPU that onnxruntime may take to open a large graph, or to run it once, and more for many bytes."""
SUBGRAPH_SECONDS = 3e-4
"""Seconds that a subgraph takes, with optimizations or without."""


def opening_seconds(model: ir.Model) -> float:
    """Seconds on the CPU that a session of ``model`` may take to open, and a run of it; infinite for small graphs.

    Raises:
        TooSlow: It has so many subgraphs that it takes longer, and gigabytes of memory.
    """
    graphs = size = 0
    for body in bodies(model):
        graphs += 1
        size += 1 + len(body)
    if graphs * SUBGRAPH_SECONDS > OPENING_SECONDS:
        raise TooSlow(
            f"the model has {graphs:,} graphs, which onnxruntime takes about {graphs * SUBGRAPH_SECONDS:.0f} s to open",
            where=model.graph.name or "model",
            why=f"on random inputs a model is compared where it takes at most {OPENING_SECONDS:g} s",
            mend=MEND_SLOW,
        )
    return OPENING_SECONDS if size > LARGE else math.inf


def run_too_slow(most: float, model: ir.Model) -> TooSlow:
    """The error that says that one run of a large graph takes more than ``most`` seconds."""
    return TooSlow(
        "onnxruntime takes too long to run the model once",
        where=model.graph.name or "model",
        why=f"on random inputs so large a graph is compared where a run takes at most {most:.3g} s",
        mend=MEND_SLOW,
    )
