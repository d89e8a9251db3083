"""Least squares, layer after layer: each weight makes of the pruned network's values what the original one computed.

For a contraction with inputs X in the pruned network and outputs Y in the original, the new weights are
argmin |X W - Y|^2 + l |W - W_0|^2, W_0 being those that mixing gave; l is the one that is best on samples that were not
fitted, and W_0 stays where none is better. X comes of layers that are refitted already, so that errors are made up for
instead of adding up (He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim.execution import Feed
from onnxslim.fitting import Problem, Sides, fit_layers, follow_each_other
from onnxslim.graph.edit import constant_tensor, set_constant

from .affine import refit_affine
from .layers import Layer

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean diagonal of X^T X, see `onnxslim.linalg.damped`."""
ROUNDS = 3
"""Times that the weight of a recurrence is fitted, each time to what the last one makes it read."""


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
    nodes = {node.outputs[0].name: node for node in pruned.graph}

    def solve(sides: Sides, layer: Layer, readers: Sequence[ir.Node]) -> bool:
        one = sides.reading(readers[0])
        done = refit_affine(one.node, one.inputs, one.outputs, layer.rows)
        del one
        if not done:
            return _refit_linear(sides, readers, layer, memory)
        sides.refresh(readers)
        return True

    walked = [(layer, [nodes[key] for key in layer.keys]) for layer in layers]
    limits = {"memory": memory, "threads": threads}
    done = fit_layers(original, pruned, walked, solve, feeds, what="refit layer", progress=progress, **limits)
    return sum(done)


def _refit_linear(sides: Sides, readers: Sequence[ir.Node], layer: Layer, memory: int) -> bool:
    """Fits the weight that some nodes read; False where it stays.

    In a recurrence what the nodes read changes with the weight: there a fit is kept only where they then make what they
    are to make, better than before, of what they then read; and from there it is fitted again.
    """
    problem = sides.posed(readers, layer.rows, memory, few=True)
    recurrent = len(readers) > 1 and follow_each_other(readers)
    changed = False
    for _ in range(ROUNDS if recurrent else 1):
        if isinstance(problem, str):
            break
        values = [value for value in (readers[0].inputs[1], problem.bias) if value is not None]
        before = [(value, constant_tensor(value)) for value in values]
        if not solve_on_unfitted(problem):
            break
        sides.refresh(readers)
        if not recurrent:
            return True
        error = problem.judging.error(problem.weights)
        del problem  # its matrices make room for those of the next one
        problem = sides.posed(readers, layer.rows, memory, few=True)
        if isinstance(problem, str) or not problem.judging.error(problem.weights) < error:
            for value, tensor in before:
                assert tensor is not None
                set_constant(value, tensor.numpy())
            sides.refresh(readers)
            break
        changed = True
    return changed


def solve_on_unfitted(problem: Problem) -> bool:
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
