"""Fitting the weights of a contraction to what the original computed: pruning and sparsification share it."""

from .bias import bias_of, shift_bias
from .feeds import FITTED, first_feeds
from .forward import Forward
from .gains import gains, gains_of
from .lengths import Lengths
from .noise import Noise
from .problem import HELD_OUT, Matrix, Normal, Problem, paired_rows, posed

__all__ = [
    "FITTED",
    "HELD_OUT",
    "Forward",
    "Lengths",
    "Matrix",
    "Noise",
    "Normal",
    "Problem",
    "bias_of",
    "first_feeds",
    "gains",
    "gains_of",
    "paired_rows",
    "posed",
    "shift_bias",
]
