"""One walk over the layers of a model, for whatever is fitted to what the original computed.

Layers come in the order of the nodes, so that each reads what those before it now make: errors are made up for instead
of adding up (He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import onnx_ir as ir

from onnxslim.execution import Feed

from .sides import Sides

Layer = TypeVar("Layer")
Result = TypeVar("Result")


def fit_layers(
    original: ir.Model,
    model: ir.Model,
    layers: Sequence[tuple[Layer, Sequence[ir.Node]]],
    solve: Callable[[Sides, Layer, Sequence[ir.Node]], Result],
    feeds: Sequence[Feed],
    *,
    what: str,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Fits layers of ``model`` in place.

    Args:
        original: Its nodes have the same outputs; not changed.
        model: Changed in place.
        layers: Each with the nodes of ``model`` that read its weight, in the order of the first of them.
        solve: Fits the layer at which the walk has arrived: it asks the sides for the least-squares problem, changes
            the weights, and refreshes the sides.
        feeds: Samples; one in `onnxslim.samples.feeds.FOLD` validates, the others are fitted.
        what: Said of each layer, such as ``"refit layer"``.
        memory: Bytes that may be held between the layers; where more would be, the last samples are left out.
        threads: Threads of the sessions.
        progress: Called with a short text before each layer.

    Returns:
        What ``solve`` gave of each layer.

    Raises:
        CannotRun: The model cannot be run in pieces.
    """
    sides = Sides(original, model, feeds, threads=threads, memory=memory)
    results = []
    for count, (layer, nodes) in enumerate(layers, 1):
        left = sides.advance(nodes[0])
        progress(f"{what} {count} of {len(layers)} on {left} samples")
        results.append(solve(sides, layer, nodes))
    return results
