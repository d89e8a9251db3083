"""Least squares, layer after layer: each weight makes of the pruned network's values what the original one computed.

For a contraction with inputs X in the pruned network and outputs Y in the original, the new weights are
argmin |X W - Y|^2 + l |W - W_0|^2, W_0 being those that mixing gave; l is the one that is best on samples that were not
fitted, and W_0 stays where none is better. X comes of layers that are refitted already, so that errors are made up for
instead of adding up (He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim.fitting import Forward, Problem, posed
from onnxslim.fitting.problem import own_bias
from onnxslim.graph.edit import constant_tensor
from onnxslim.runtime import Feed

from .affine import refit_affine
from .layers import Layer

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean diagonal of X^T X, see `onnxslim.linalg.damped`."""


def refit(
    original: ir.Model,
    pruned: ir.Model,
    layers: Sequence[Layer],
    feeds: Sequence[Feed],
    *,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Refits ``layers`` of ``pruned`` in place, in the order of the nodes.

    Args:
        original: The model with all channels; its nodes have the same outputs.
        pruned: Changed in place.
        layers: In the order of the nodes.
        feeds: Every fourth judges, the others are fitted; of fewer than four nothing is.
        memory: Bytes that may be held between the layers; where more would be, the last samples are left out.
        threads: Of the sessions.
        progress: Called with a short text now and then.

    Returns:
        How many layers were changed.

    Raises:
        CannotRun: The model cannot be run in pieces.
    """
    sides = Forward(original, feeds, threads, memory // 2), Forward(pruned, feeds, threads, memory // 2)
    nodes = {node.outputs[0].name: node for node in pruned.graph}
    targets = {node.outputs[0].name: node for node in original.graph}
    changed = 0
    for count, layer in enumerate(layers):
        sides[1].advance(sides[1].before(layer.key))
        sides[0].advance(sides[0].before(layer.key) + 1)
        left = min(len(side.held) for side in sides)
        for side in sides:
            side.drop(left)
        progress(f"refit layer {count + 1} of {len(layers)} on {left} samples")
        node = nodes[layer.key]
        source = node.inputs[0]
        assert source is not None
        inputs = [values[source.name or ""] for values in sides[1].held]
        outputs = [values[layer.key] for values in sides[0].held]
        done = refit_affine(node, inputs, outputs, layer.rows)
        if not done:
            problem = posed(node, targets[layer.key], inputs, outputs, layer.rows, memory)
            done = isinstance(problem, Problem) and _solve(problem)
        if done:
            changed += 1
            for value in (*node.inputs[1:], own_bias(node)):
                tensor = constant_tensor(value)
                if value is not None and tensor is not None:
                    sides[1].refresh(value, tensor)
    return changed


def _solve(problem: Problem) -> bool:
    """Gives a node the weights that are best on the samples not fitted; False where those are its own."""
    best, weights = problem.judging.error(problem.weights), None
    for penalty in PENALTIES:
        found = problem.fitted.solved(penalty, problem.weights)
        error = problem.judging.error(found)
        if error < best:
            best, weights = error, found
    if weights is None:
        return False
    problem.put(weights)
    return True
