"""Weights made sparse in turn, each for what it reads after all before it, and what the original made there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim import linalg
from onnxslim.calibration import Gram, Statistics
from onnxslim.execution import Feed
from onnxslim.fitting import Problem, Sides, fit_layers, gains, gains_of
from onnxslim.graph.edit import constant_tensor, set_constant

from .grids import Levels, Matrix
from .sweep import Made, Wanted, plain, swept
from .weights import Weight

TOWARD = 1e-2
"""Share of the mean diagonal that holds the weights near to those of before, when they are fitted to what comes now."""
STILL = 1e-5
"""Share of its square that a feature varies by at least: what is left of less is the rounding of single precision."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A weight as it is to be.

    Attributes:
        array: Of the type of the weight.
        levels: Of its rows, by group, where it has few values.
        bias: The name of the bias that changed with it, and its numbers.
    """

    array: np.ndarray
    levels: Sequence[Levels] | None
    bias: tuple[str, np.ndarray] | None = None


def fit_alone(weight: Weight, wanted: Wanted, statistics: Statistics | None, *, compensate: bool = True) -> Fitted:
    """One weight, by the Gram matrix of what it is multiplied by in the original, where that was measured.

    Args:
        weight: Not changed.
        wanted: What it shall become.
        statistics: That hold its request, or do not.
        compensate: Whether its numbers make up for each other.
    """
    found = None if statistics is None or weight.request is None else statistics.get(weight.request)
    gram, count = (found.matrix, found.rows) if isinstance(found, Gram) and found.rows else (None, 0)
    rows, wanted = weight.geometry.matrix(weight.array.astype(np.float64)), wanted.of(weight.array.dtype)
    made = []
    for place, group in enumerate(rows):
        # Directions of a recurrence and matrices of a batch share what they are multiplied by.
        own = None if gram is None else gram[min(place, len(gram) - 1)]
        if own is None or not np.diagonal(own).any() or not np.isfinite(own).all():
            made.append(plain(group, np.ones(group.shape[1]), wanted, weight.geometry.places))
        elif not compensate:
            made.append(plain(group, np.diagonal(own) / np.diagonal(own).mean(), wanted, weight.geometry.places))
        else:
            one = swept(group, own, wanted, weight.geometry.places, group == 0)
            before, now = group @ own, one.rows @ own
            pairs = (before, one.rows), (before, group), (now, one.rows)
            along, squares, made_now = (np.einsum("of,of->o", *pair) for pair in pairs)
            made.append(one.longer(gains(along, squares, made_now, count), wanted))
    return _fitted(weight, made)


def _fitted(weight: Weight, made: Sequence[Made]) -> Fitted:
    array = weight.geometry.with_matrix(np.stack([each.rows for each in made])).astype(weight.array.dtype)
    grids = [each.levels for each in made if each.levels is not None]
    return Fitted(array, grids or None)


def fit_in_turn(
    original: ir.Model,
    model: ir.Model,
    weights: Sequence[tuple[Weight, Wanted]],
    feeds: Sequence[Feed],
    *,
    memory: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Fitted], dict[str, str]]:
    """Fits weights in the order of their nodes; ``model`` is changed in place.

    Args:
        original: The model of before; its nodes have the same outputs.
        model: Changed in place.
        weights: Of ``model``, each read by nodes of the main graph, with what they shall become; in the order of the
            first of these.
        feeds: Every fourth judges, the others are fitted.
        memory: Bytes that may be held between the layers; where more would be, the last samples are left out.
        threads: Of the sessions.
        progress: Called with a short text now and then.

    Returns:
        Name -> what the weight became; name -> why one was not fitted.

    Raises:
        CannotRun: The model cannot be run in pieces.
    """
    order = {node: place for place, node in enumerate(model.graph)}
    reasons: dict[str, str] = {}
    final = last(model, {node for weight, _ in weights for node in weight.nodes})

    def solve(sides: Sides, layer: tuple[Weight, Wanted], nodes: Sequence[ir.Node]) -> Fitted:
        weight, wanted = layer
        problem = sides.posed(nodes, None, memory)
        if isinstance(problem, str):
            reasons[weight.name] = problem
            made = fit_alone(weight, wanted, None)
            set_constant(weight.value, made.array)
        else:
            made = _solve(problem, weight, wanted, lengthen=final.isdisjoint(weight.nodes))
        sides.refresh(nodes)
        return made

    walked = [(each, sorted(each[0].nodes, key=lambda node: order[node])) for each in weights]
    limits = {"memory": memory, "threads": threads}
    made = fit_layers(original, model, walked, solve, feeds, what="fit weight", progress=progress, **limits)
    return {weight.name: each for (weight, _), each in zip(weights, made, strict=True)}, reasons


def last(model: ir.Model, nodes: Collection[ir.Node]) -> set[ir.Node]:
    """Those of some nodes from which an output of the model is reached without another of them."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    left = [value.producer() for value in model.graph.outputs]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in nodes:
            found.add(node)
        else:
            left += [value.producer() for value in node.inputs if value is not None]
    return found


def _solve(problem: Problem, weight: Weight, wanted: Wanted, *, lengthen: bool) -> Fitted:
    """Sweeps from the weights of now and from those that fit best, and keeps of each output what judges better.

    What the model gives is not made longer: nothing adds up behind it, and the least error is the best guess.
    """
    free, wanted = problem.bias is not None, wanted.of(weight.array.dtype)
    ways: tuple[list[Made], ...] = ([], [], [])
    for place, old in enumerate(problem.weights[:, :-1] if free else problem.weights):
        gram, cross = centred(problem, place)
        diagonal = np.diagonal(gram)
        if not (diagonal > 0).any():
            for way in ways:
                way.append(plain(old.T, np.ones(len(old)), wanted, weight.geometry.places))
            continue
        near = linalg.ridge(gram, cross, damping=TOWARD, toward=old.T)
        ways[0].append(plain(old.T, diagonal / diagonal.mean(), wanted, weight.geometry.places))
        ways[1].append(swept(old.T, gram, wanted, weight.geometry.places, old.T == 0))
        ways[2].append(swept(near, gram, wanted, weight.geometry.places, old.T == 0))
    for way in ways if lengthen else ():
        factors = gains_of(problem, np.stack([each.rows.T for each in way]))
        way[:] = [each.longer(some, wanted) for each, some in zip(way, factors, strict=True)]
    found = np.stack([np.stack([each.rows.T for each in way]) for way in ways])  # [ways, groups, columns, outputs]
    if free:
        found = np.concatenate([found, np.stack([_shift(problem, each) for each in found])], axis=2)
    errors = np.stack([problem.judging.errors(each) for each in found])
    if wanted.values == "codebook":  # which belongs to all outputs of a group
        chosen = np.broadcast_to(errors.sum(axis=2, keepdims=True), errors.shape).argmin(axis=0)  # [groups, outputs]
    else:
        features = slice(None, -1) if free else slice(None)
        none, height = (found[:, :, features] == 0).sum(axis=2), min(wanted.pattern.block[0], errors.shape[2])
        chosen = best_with_zeros(_joined(errors, height), _joined(none, height))
        chosen = np.repeat(chosen, height, axis=1)[:, : errors.shape[2]]
    best = np.take_along_axis(found, chosen[np.newaxis, :, np.newaxis], axis=0)[0]
    problem.put(best)
    grids = [_merged([way[place].levels for way in ways], each) for place, each in enumerate(chosen) if wanted.few]
    bias = None
    if problem.bias is not None:
        tensor = constant_tensor(problem.bias)
        assert tensor is not None
        bias = (problem.bias.name or "", tensor.numpy())
    return Fitted(weight.array, [each for each in grids if each is not None] or None, bias)


def _joined(table: npt.NDArray[Any], height: int) -> npt.NDArray[Any]:
    """Sums over the outputs of each block: what is zero together in one way need not be in another."""
    return np.asarray(np.add.reduceat(table, np.arange(0, table.shape[2], height), axis=2))


def best_with_zeros(errors: Matrix, zeros: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Of each output the way that errs least, with no fewer zeros in all than each way has alone.

    What judges better has fewer zeros more often than not: without a price of them, there would be too few.

    Args:
        errors: ``[ways, groups, outputs]``.
        zeros: The same of the numbers that are zero.

    >>> best_with_zeros(np.array([[[1.0, 1.0]], [[0.0, 0.9]]]), np.array([[[5, 5]], [[4, 6]]])).tolist()
    [[1, 1]]
    """
    least = zeros.sum(axis=(1, 2)).min()

    def chosen(price: float) -> npt.NDArray[np.int64]:
        return np.asarray((errors - price * zeros).argmin(axis=0))

    def enough(found: npt.NDArray[np.int64]) -> bool:
        return bool(np.take_along_axis(zeros, found[np.newaxis], axis=0).sum() >= least)

    low, high = 0.0, 1.0 + float(np.ptp(errors))
    if enough(chosen(low)):
        return chosen(low)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(chosen(middle)) else (middle, high)
    return chosen(high)


def centred(problem: Problem, place: int) -> tuple[Matrix, Matrix]:
    """X^T X and X^T Y of a group; of what is left without the means, where a bias is free to take them."""
    gram, cross = problem.fitted.gram[place], problem.fitted.cross[place]
    if problem.bias is None:
        return gram, cross
    sums, count = gram[-1, :-1], gram[-1, -1]
    result = gram[:-1, :-1] - np.outer(sums, sums) / count
    told = cross[:-1] - np.outer(sums, cross[-1]) / count
    still = np.diagonal(result) <= STILL * np.diagonal(gram)[:-1]
    result[still], result[:, still], told[still] = 0.0, 0.0, 0.0
    return result, told


def _shift(problem: Problem, weights: Matrix) -> Matrix:
    """``[groups, 1, outputs]``: the change of the bias that is best with these weights."""
    gram, cross = problem.fitted.gram, problem.fitted.cross
    told = np.einsum("gf,gfo->go", gram[:, -1, :-1], weights)
    shift: Matrix = ((cross[:, -1] - told) / gram[:, -1, -1:])[:, np.newaxis]
    return shift


def _merged(grids: Sequence[Levels | None], chosen: np.ndarray) -> Levels | None:
    """Of each row the scale that goes with what was chosen."""
    known = [each for each in grids if each is not None]
    if not known:
        return None
    scales = np.stack([each.scale for each in known])
    scale = np.take_along_axis(scales, chosen[np.newaxis], axis=0)[0]
    return replace(known[int(chosen[0])], scale=scale)
