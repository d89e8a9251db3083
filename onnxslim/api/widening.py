"""Lossy passes on weights that a file holds in half precision behind a Cast: to them these are constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.halves import Half, made_of, narrow, stored_in_half, widen
from onnxslim.pipeline import Outcome, Pass

Run = Callable[[Sequence[Pass], ir.Model], Outcome]
"""Runs passes on a model, which is not changed."""


def widened(model: ir.Model, slim: Callable[[ir.Model], Outcome]) -> tuple[ir.Model, Mapping[str, Half]]:
    """The model with float32 constants for Casts of constants in half precision, slimmed, and how the file holds them.

    Slimming finds more then: it folds a BatchNormalization into a convolution whose weights are constants.

    Args:
        model: Slimmed; not changed.
        slim: Runs the passes that slimmed it.

    Returns:
        ``model`` itself and nothing where it has no such constants.
    """
    if next(stored_in_half(model), None) is None:
        return model, {}
    wide = model.clone()
    halves = widen(wide)
    slimmed = slim(wide).model
    floats = {name for graph in model.graphs() for name, value in graph.initializers.items() if _is_float(value)}
    return slimmed, made_of(slimmed, halves, floats)


def run_narrowing(
    model: ir.Model, passes: Sequence[Pass], halves: Mapping[str, Half], run: Run
) -> tuple[Outcome, list[str]]:
    """Runs lossy passes on a widened model, stores what is left of its halves as halves, then runs what comes after.

    Args:
        model: Widened; not changed.
        passes: Those behind the last lossy one, which encode, see the constants as the file is to have them.
        halves: What `widened` gave.
        run: See `Run`.

    Returns:
        The outcome, and the names of constants that are float32 now: they are beyond the range of their type.
    """
    cut = 1 + max((place for place, each in enumerate(passes) if each.tier is Tier.LOSSY), default=-1)
    outcome = run(passes[:cut], model)
    narrowed = outcome.model.clone()
    beyond = narrow(narrowed, halves)
    if cut == len(passes):
        return replace(outcome, model=narrowed), beyond
    after = run(passes[cut:], narrowed)
    steps, guilty = outcome.steps + after.steps, outcome.guilty + after.guilty
    return replace(outcome, model=after.model, steps=steps, guilty=guilty), beyond


def _is_float(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT
