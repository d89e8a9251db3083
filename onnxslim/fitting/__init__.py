"""Fitting the weights of a contraction to what the original computed: pruning and sparsification share it."""

from .bias import bias_of, biases_of, shift_bias
from .feeds import FITTED, first_feeds, typical
from .forward import Forward
from .gains import gains, gains_of
from .lengths import Lengths
from .noise import OutputNoise
from .problem import HELD_OUT, Matrix, Normal, Problem, Reading, paired_rows, posed, posed_together
from .sides import Sides, follow_each_other

__all__ = [
    "FITTED",
    "HELD_OUT",
    "Forward",
    "Lengths",
    "Matrix",
    "Normal",
    "OutputNoise",
    "Problem",
    "Reading",
    "Sides",
    "bias_of",
    "biases_of",
    "first_feeds",
    "follow_each_other",
    "gains",
    "gains_of",
    "paired_rows",
    "posed",
    "posed_together",
    "shift_bias",
    "typical",
]
