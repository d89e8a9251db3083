"""Fitting the weights of a contraction to what the original computed: pruning and sparsification share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.fitting.bias import biases_of, shift_bias
    from onnxslim.fitting.gains import gains, gains_of
    from onnxslim.fitting.problem import Matrix, Normal, Problem, Reading, paired_rows, posed, posed_together
    from onnxslim.fitting.sides import Sides, follow_each_other
    from onnxslim.fitting.walk import fit_layers

__all__ = [
    "Matrix",
    "Normal",
    "Problem",
    "Reading",
    "Sides",
    "biases_of",
    "fit_layers",
    "follow_each_other",
    "gains",
    "gains_of",
    "paired_rows",
    "posed",
    "posed_together",
    "shift_bias",
]

_HOMES = {
    ".bias": (
        "biases_of",
        "shift_bias",
    ),
    ".gains": (
        "gains",
        "gains_of",
    ),
    ".problem": (
        "Matrix",
        "Normal",
        "Problem",
        "Reading",
        "paired_rows",
        "posed",
        "posed_together",
    ),
    ".sides": (
        "Sides",
        "follow_each_other",
    ),
    ".walk": ("fit_layers",),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
